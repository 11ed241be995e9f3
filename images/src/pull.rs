//! Getting an image from a registry: manifest, then config, then the layers, three at once.
//!
//! A blob streams to a private file while it is hashed; a broken transfer goes on where it broke. When all blobs are
//! here the layers are unpacked and everything is entered into the store at once.

use std::io::Write as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use rbox_explain::{Row as ExplainRow, step_saying};

use crate::blobs::BlobWriter;
use crate::digest::Digest;
use crate::error::{Doing, Error, Result, refused};
use crate::image::{Config, Image};
use crate::layer::chain_ids;
use crate::manifest::{CONFIG_BYTES_MAX, Descriptor, Document, Manifest};
use crate::platform::Platform;
use crate::progress::{Progress, Row, Screen};
use crate::reference::Reference;
use crate::registry::{Failure, Remote};
use crate::staging::Staging;
use crate::store::{Store, resolve};

static BLOBS: ExplainRow = ExplainRow {
    key: "blobs",
    why: "the layers that are not here yet are downloaded, each hashed while it arrives",
    see: "distribution-spec spec.md#pulling-blobs",
};

/// Downloads at a time, as Docker's max-concurrent-downloads.
const DOWNLOADS: usize = 3;
/// Attempts to get a blob in a row that bring nothing new, as Docker's max-download-attempts.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Which image of a multi-platform index; this machine's when none is given.
    pub platform: Option<Platform>,
    /// Where progress is shown.
    pub progress: Progress,
}

impl Store {
    /// Get `reference` from its registry. All threads have ended when this returns.
    ///
    /// # Errors
    /// NotFound with similar local names; NoSuchPlatform; Registry; Refused when content is not what its digest says;
    /// Os.
    pub fn pull(&self, reference: &Reference, options: &PullOptions) -> Result<Image> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.doing(|| "start the download".into())?;
        let answer = runtime.block_on(Pull::new(self, reference, options)?.run());
        // Waits for the threads that it may have started.
        drop(runtime);
        match answer {
            Err(Error::NotFound { name, registry, .. }) => {
                let similar = match resolve(&self.catalog()?, &reference.familiar()) {
                    Err(Error::NotFound { similar, .. }) => similar,
                    _ => Vec::new(),
                };
                Err(Error::NotFound { name, registry, similar })
            }
            answer => answer,
        }
    }
}

/// One pull.
struct Pull<'a> {
    store: &'a Store,
    reference: &'a Reference,
    platform: Platform,
    remote: Remote,
    screen: Screen,
}

/// A blob on its way.
struct Download<'r> {
    descriptor: &'r Descriptor,
    writer: BlobWriter,
    row: Row,
}

impl<'a> Pull<'a> {
    fn new(store: &'a Store, reference: &'a Reference, options: &PullOptions) -> Result<Self> {
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let (remote, screen) = (Remote::new(reference)?, Screen::new(options.progress));
        Ok(Pull { store, reference, platform, remote, screen })
    }

    async fn run(self) -> Result<Image> {
        self.remote.sign_in().await?;
        let (top, document) = self.remote.manifest().await?;
        let shown = self.reference.tag().map_or_else(|| top.to_string(), str::to_owned);
        let repository = self.reference.familiar_name();
        let path = repository.strip_prefix(&format!("{}/", self.reference.registry())).unwrap_or(&repository);
        let full = if self.reference.registry() == "docker.io" { self.reference.repository() } else { path };
        self.screen.line(format!("{shown}: Pulling from {full}"));

        let (digest, json, manifest) = self.choose(top.clone(), document).await?;
        let tag = self.reference.tag().is_some() && self.reference.digest().is_none();
        let mut names = vec![self.reference.with_digest(top.clone())];
        names.extend(tag.then(|| self.reference.clone()));
        let before = self.store.catalog()?.names.get(self.reference).cloned();

        let mut staging = Staging::new(self.store)?;
        staging.put(&json)?;
        let rows = self.download(&mut staging, &digest, &manifest).await?;
        rows.iter().for_each(|row| row.state("Extracting"));
        let ready = staging.prepare(&digest, &manifest, names)?;
        let id = ready.id.clone();
        staging.commit(&[ready])?;
        rows.iter().for_each(|row| row.done("Pull complete"));

        self.screen.line(format!("Digest: {top}"));
        let name = self.reference.familiar();
        match before {
            Some(before) if before == id => self.screen.line(format!("Status: Image is up to date for {name}")),
            _ => self.screen.line(format!("Status: Downloaded newer image for {name}")),
        }
        self.store.by_id(&id)
    }

    /// From what the name leads to, go down to the manifest for the platform.
    async fn choose(&self, digest: Digest, json: Vec<u8>) -> Result<(Digest, Vec<u8>, Manifest)> {
        let index = match Document::parse(&json)? {
            Document::Manifest(manifest) => return Ok((digest, json, manifest)),
            Document::Index(index) => index,
        };
        let descriptor = index.choose(&self.platform, &self.reference.familiar())?;
        let json = self.remote.manifest_by_digest(&descriptor.digest).await?;
        match Document::parse(&json)? {
            Document::Manifest(manifest) => Ok((descriptor.digest.clone(), json, manifest)),
            Document::Index(_) => Err(self.remote.failed("its index lists another index")),
        }
    }

    /// Get all blobs that are not here. Gives the rows of the layers that are new.
    async fn download(&self, staging: &mut Staging<'_>, digest: &Digest, manifest: &Manifest) -> Result<Vec<Row>> {
        check_sizes(manifest)?;
        let id = &manifest.config.digest;
        let wanted = manifest.layers.iter().map(|layer| layer.digest.clone());
        staging.keep(wanted.chain([id.clone(), digest.clone()]).collect::<Vec<_>>())?;
        if staging.blob(id).is_none() {
            let row = Screen::new(Progress::Quiet).row(id.short(), manifest.config.size);
            let writer = staging.blob_writer(Some((id.clone(), manifest.config.size)))?;
            let config = self.fetch(Download { descriptor: &manifest.config, writer, row }).await?;
            staging.add_blob(config.writer)?;
        }
        let config = Config::parse(staging.read(id, CONFIG_BYTES_MAX)?)?;
        let chain = chain_ids(&config.diff_ids()?);
        // From here on nobody collects what is here already of this image.
        staging.keep(chain.iter().cloned())?;

        let mut new = Vec::new();
        let mut downloads = Vec::new();
        for (number, layer) in manifest.layers.iter().enumerate() {
            let row = self.screen.row(layer.digest.short(), layer.size);
            let unpacked = chain.get(number).map_or(Ok(None), |chain| self.store.layer(chain))?.is_some();
            let twice = manifest.layers[..number].iter().any(|before| before.digest == layer.digest);
            match staging.blob(&layer.digest) {
                Some(_) if unpacked => row.done("Already exists"),
                Some(_) => new.push(row),
                None if twice => row.done("Already exists"),
                None => {
                    row.state("Pulling fs layer");
                    let writer = staging.blob_writer(Some((layer.digest.clone(), layer.size)))?;
                    downloads.push(Download { descriptor: layer, writer, row });
                }
            }
        }
        new.extend(self.download_layers(staging, downloads).await?);
        Ok(new)
    }

    async fn download_layers(&self, staging: &mut Staging<'_>, downloads: Vec<Download<'_>>) -> Result<Vec<Row>> {
        let began = std::time::Instant::now();
        let count = downloads.len();
        let mut rows = Vec::new();
        let mut running = stream::iter(downloads).map(|download| self.fetch(download)).buffer_unordered(DOWNLOADS);
        while let Some(done) = running.next().await {
            let done = done?;
            done.row.state("Verifying Checksum");
            staging.add_blob(done.writer)?;
            done.row.state("Download complete");
            rows.push(done.row);
        }
        if count > 0 {
            let request = || format!("GET {count} blobs of {}", self.reference.familiar());
            step_saying(&BLOBS, request, || Ok::<_, Error>(()), |()| format!("in {} ms", began.elapsed().as_millis()))?;
        }
        Ok(rows)
    }

    /// Get one blob, in as many attempts as it takes.
    async fn fetch<'r>(&self, mut download: Download<'r>) -> Result<Download<'r>> {
        let (mut pause, mut attempt) = (FIRST_PAUSE, 1);
        loop {
            download.row.state("Downloading");
            let before = download.writer.written();
            match self.fetch_rest(&mut download).await {
                Ok(()) => return Ok(download),
                Err(failure) if failure.passing && (attempt < ATTEMPTS || download.writer.written() > before) => {
                    if download.writer.written() > before {
                        (pause, attempt) = (FIRST_PAUSE, 0);
                    }
                    attempt += 1;
                    download.row.state(&format!("Retrying in {} ms", pause.as_millis()));
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(failure) => return Err(failure.error),
            }
        }
    }

    /// Get what is missing of a blob.
    async fn fetch_rest(&self, download: &mut Download<'_>) -> std::result::Result<(), Failure> {
        let size = download.descriptor.size;
        let have = download.writer.written();
        let (resumed, mut stream) = self.remote.blob(&download.descriptor.digest, have).await?;
        // A registry that does not know ranges begins anew; what is here already is passed over.
        let mut skip = if resumed { 0 } else { have };
        while download.writer.written() < size || size == 0 {
            let bytes = match stream.next().await {
                Some(Ok(bytes)) => bytes,
                Some(Err(_)) | None if size == 0 => break,
                Some(Err(_)) | None => {
                    let missing = size - download.writer.written();
                    let why = format!(
                        "the transfer of {} broke off, {missing} bytes are missing",
                        download.descriptor.digest
                    );
                    return Err(Failure { error: self.remote.failed(why), passing: true });
                }
            };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            skip -= skipped as u64;
            let written = download.writer.write_all(&bytes[skipped..]).doing(|| "write to the image store".into());
            written.map_err(|error| Failure { error, passing: false })?;
            download.row.at(download.writer.written());
        }
        Ok(())
    }
}

/// A config that claims to be enormous is refused before anything is asked for.
fn check_sizes(manifest: &Manifest) -> Result<()> {
    if manifest.config.size > CONFIG_BYTES_MAX {
        let why = format!("its config is said to have {} bytes; {CONFIG_BYTES_MAX} are allowed", manifest.config.size);
        return Err(refused("use the manifest", why));
    }
    Ok(())
}
