//! Who we are to a registry: `~/.docker/config.json` and the credential helpers it names.

use std::fs::File;
use std::path::PathBuf;

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci_client::secrets::RegistryAuth;

/// The name that `docker login` files Docker Hub under.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The credentials for `registry`; anonymous when there are none. The error is worded for a user.
pub(super) fn find(registry: &str) -> Result<RegistryAuth, String> {
    let Some(path) = config_path() else { return Ok(RegistryAuth::Anonymous) };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(RegistryAuth::Anonymous),
        Err(error) => return Err(format!("cannot read {}: {}", path.display(), crate::error::words(&error))),
    };
    let key = if registry == "docker.io" { DOCKER_HUB_KEY } else { registry };
    match get_credential_from_reader(file, key) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
        Ok(DockerCredential::IdentityToken(_)) => {
            Err(format!("{} has an identity token, and only user names with passwords are supported", path.display()))
        }
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        // A helper without an entry for this registry says so by failing (docker-credential-helpers, credentials.go).
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            Ok(RegistryAuth::Anonymous)
        }
        Err(CredentialRetrievalError::HelperFailure { helper, stdout, stderr }) => {
            let said = format!("{} {}", stdout.trim(), stderr.trim());
            Err(format!("credential helper {helper}: {}", said.trim()))
        }
        Err(CredentialRetrievalError::HelperCommunicationError) => {
            Err(format!("the credential helper that {} names cannot be run", path.display()))
        }
        Err(error) => Err(format!("{}: {}", path.display(), error.to_string().to_lowercase())),
    }
}

fn config_path() -> Option<PathBuf> {
    let own = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    own.or_else(home).map(|dir| dir.join("config.json"))
}
