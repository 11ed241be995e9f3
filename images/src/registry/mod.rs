//! A registry, spoken to through oci-client: manifests and blobs of one repository.
//!
//! distribution-spec. What is ours here: which protocol, which credentials, and the words of the errors.

mod credentials;

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol, SizedStream};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, RegistryOperation};
use rbox_explain::{Row, step_saying};

use crate::digest::Digest;
use crate::error::{Error, Result, words};
use crate::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, MANIFEST_BYTES_MAX, OCI_INDEX, OCI_MANIFEST};
use crate::reference::Reference;

static MANIFEST: Row = Row {
    key: "manifest",
    why: "a tag leads to a list of digests; from there on every byte can be checked",
    see: "distribution-spec spec.md#pulling-manifests",
};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Docker Hub's registry has another name than the images have.
const DOCKER_HUB: &str = "registry-1.docker.io";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest silence in the middle of a transfer; after it the transfer is taken up again.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// One repository of a registry.
pub(crate) struct Remote {
    client: Client,
    auth: RegistryAuth,
    image: oci_client::Reference,
    /// As the user typed it, for errors.
    name: String,
    registry: String,
}

impl Remote {
    /// Get ready to speak to the registry of `reference`. Nothing is sent yet.
    pub(crate) fn new(reference: &Reference) -> Result<Self> {
        // ring is linked in place of aws-lc, which takes longer to build and is larger. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = if reference.registry() == "docker.io" { DOCKER_HUB } else { reference.registry() };
        let (name, registry) = (reference.familiar(), reference.registry().to_owned());
        let failed = |why: String| Error::Registry { name: name.clone(), host: host.to_owned(), why };
        let auth = credentials::find(reference.registry()).map_err(failed)?;
        // The resolver would ask Google's name servers then, which is not for us to decide.
        if !is_loopback(host) && !is_address(host) && !Path::new(RESOLV_CONF).exists() {
            return Err(failed(format!("no name server is configured ({RESOLV_CONF} is missing)")));
        }
        let protocol = if is_loopback(host) { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("rbox/", env!("CARGO_PKG_VERSION")),
            platform_resolver: None,
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| failed(cause(&error)))?;
        let (host, repository) = (host.to_owned(), reference.repository().to_owned());
        let image = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => oci_client::Reference::with_digest(host, repository, digest.to_string()),
            (None, tag) => oci_client::Reference::with_tag(host, repository, tag.unwrap_or("latest").to_owned()),
        };
        Ok(Remote { client, auth, image, name, registry })
    }

    /// Get a token, where the registry wants one.
    ///
    /// # Errors
    /// Registry, when it cannot be reached; NotFound, when it gives no token for this repository to anybody unnamed.
    pub(crate) async fn sign_in(&self) -> Result<()> {
        let answer = self.client.auth(&self.image, &self.auth, RegistryOperation::Pull).await;
        answer.map(drop).map_err(|error| self.error(&error))
    }

    /// The manifest or index that the tag or digest leads to, with its digest.
    pub(crate) async fn manifest(&self) -> Result<(Digest, Vec<u8>)> {
        self.manifest_of(&self.image).await
    }

    /// The manifest `digest` of the same repository.
    pub(crate) async fn manifest_by_digest(&self, digest: &Digest) -> Result<Vec<u8>> {
        Ok(self.manifest_of(&self.image.clone_with_digest(digest.to_string())).await?.1)
    }

    async fn manifest_of(&self, image: &oci_client::Reference) -> Result<(Digest, Vec<u8>)> {
        let accepted = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST];
        let answer = self.client.pull_manifest_raw(image, &self.auth, &accepted).await;
        let request = || format!("GET https://{}/v2/{}/manifests/…", image.registry(), image.repository());
        let answer = answer.map_err(|error| self.error(&error));
        let (json, _) = step_saying(&MANIFEST, request, || answer, |(json, _)| format!("{} bytes", json.len()))?;
        if json.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(self.failed(format!("its manifest is larger than {MANIFEST_BYTES_MAX} bytes")));
        }
        // Own check, besides the client's: everything that follows hangs on this digest.
        match image.digest().map(str::parse::<Digest>).transpose()? {
            Some(digest) => crate::blobs::check(&digest, &json).map(|()| (digest, json.to_vec())),
            None => Ok((Digest::of(&json), json.to_vec())),
        }
    }

    /// The bytes of a blob from `offset` on. The flag says whether the registry began at the offset (else at 0).
    pub(crate) async fn blob(&self, digest: &Digest, offset: u64) -> std::result::Result<(bool, SizedStream), Failure> {
        self.client.store_auth_if_needed(self.image.resolve_registry(), &self.auth).await;
        let stream = if offset == 0 {
            self.client.pull_blob_stream(&self.image, digest.as_str()).await.map(|stream| (false, stream))
        } else {
            let answer = self.client.pull_blob_stream_partial(&self.image, digest.as_str(), offset, None).await;
            answer.map(|answer| match answer {
                BlobResponse::Full(stream) => (false, stream),
                BlobResponse::Partial(stream) => (true, stream),
            })
        };
        stream.map_err(|error| Failure { passing: is_passing(&error), error: self.error(&error) })
    }

    /// An error of this registry.
    pub(crate) fn failed(&self, why: impl Into<String>) -> Error {
        Error::Registry { name: self.name.clone(), host: self.image.registry().to_owned(), why: why.into() }
    }

    fn not_found(&self) -> Error {
        Error::NotFound { name: self.name.clone(), registry: Some(self.registry.clone()), similar: Vec::new() }
    }

    fn error(&self, error: &OciDistributionError) -> Error {
        let anonymous = self.auth == RegistryAuth::Anonymous;
        match error {
            OciDistributionError::ImageManifestNotFoundError(_) => self.not_found(),
            OciDistributionError::ServerError { code: 404, .. } => self.not_found(),
            OciDistributionError::RegistryError { envelope, .. } => {
                match envelope.errors.first().map(|error| (&error.code, &error.message)) {
                    Some((OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound, _)) => {
                        self.not_found()
                    }
                    Some((OciErrorCode::Toomanyrequests, _)) => self.failed("too many requests, try again later"),
                    Some((_, message)) if !message.is_empty() => self.failed(message.to_lowercase()),
                    _ => self.failed("the request was refused without a reason"),
                }
            }
            // Docker Hub does not tell an image that is not there from one that a stranger may not see.
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_)
                if anonymous && self.registry == "docker.io" =>
            {
                self.not_found()
            }
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
                self.failed(if anonymous { "authentication required" } else { "authentication failed" })
            }
            error => self.failed(cause(error)),
        }
    }
}

/// A failed transfer.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Another attempt may succeed.
    pub(crate) passing: bool,
}

fn is_passing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code >= 500 || *code == 429,
        _ => false,
    }
}

/// The words of the innermost cause: `connection refused`, not the four layers around it.
fn cause(error: &OciDistributionError) -> String {
    if let OciDistributionError::ServerError { code, .. } = error {
        return format!("the registry answers with HTTP status {code}");
    }
    let mut inner: &dyn std::error::Error = error;
    let mut timed_out = false;
    loop {
        timed_out |= inner.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::TimedOut);
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && io.raw_os_error().is_some()
        {
            return words(io);
        }
        match inner.source() {
            Some(source) => inner = source,
            None => break,
        }
    }
    let text = inner.to_string();
    let lower = text.to_lowercase();
    if timed_out || lower.contains("timed out") {
        "it does not answer in time".into()
    } else if lower.contains("no records found") || lower.contains("no record found") {
        "no such host".into()
    } else if lower.contains("invalid peer certificate") {
        format!("its certificate is not trusted ({})", text.rsplit(": ").next().unwrap_or(&text))
    } else {
        text
    }
}

/// Plain HTTP is spoken to registries on this machine alone, as Docker does.
fn is_loopback(registry: &str) -> bool {
    let host = host_of(registry);
    host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| match address {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => address == Ipv6Addr::LOCALHOST,
        })
}

fn is_address(registry: &str) -> bool {
    host_of(registry).parse::<IpAddr>().is_ok()
}

/// The registry without its port, and an IPv6 address without its brackets.
fn host_of(registry: &str) -> &str {
    match registry.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(host, _)| host),
        None => registry.split_once(':').map_or(registry, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear() {
        for near in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.8.8", "[::1]:5000"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in ["docker.io", "localhost.example.com", "10.0.0.1:5000", "[fe80::1]:80", "127.0.0.1.example.com"] {
            assert!(!is_loopback(far), "{far}");
        }
    }
}
