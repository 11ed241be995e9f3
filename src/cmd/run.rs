//! STORY 1: `rbox run`, from the command line to the program's end, outside the container.
//!
//! Each numbered line makes one thing and returns a guard that takes it back. When a line fails, what stands above it
//! unwinds by itself, in reverse; when rbox is killed, the next rbox finds the claim of line 2 and does the same from
//! what is on disk (`sweep.rs`). Inside the container the story goes on in `runtime/src/child/init.rs`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use rbox_images::{Image, Progress, PullOptions, Reference, Snapshot, Store};
use rbox_net::{Endpoint, EndpointRecord, Networks, Sandbox};
use rbox_runtime::Root;
use rbox_runtime::container::{Blueprint, Container, Live, StartedBy, Ties};

use crate::cli::{Global, PullPolicy, RunArgs};
use crate::dirs::Dirs;
use crate::record::{self, Claim, Record};
use crate::spec::{self, Prepared};
use crate::{names, sweep};

mod bundle;
mod network;
mod streams;

use bundle::Parts;
use streams::{Inside, Stdio};

/// Run a program in a new container, in the foreground. The exit code is the program's.
///
/// Errors: whatever keeps the program from running; nothing is left then.
pub(crate) fn run(global: &Global, flags: &RunArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    let stdio = Stdio::of_the_caller();
    stdio.check(flags)?;
    let networks = Networks::open(dirs.state())?;
    let store = Store::open(dirs.root())?;
    warn(sweep::sweep(&dirs, &networks));

    // 1. The image: from the store, else from its registry. It is a cache: nothing takes it back.
    let image = flags.image().map(|name| image(&store, flags, name)).transpose()?;

    // 2. The id and the name. From here on the next rbox can tell what we leave if we are killed.
    let host = spec::Host::read(flags)?;
    let id = record::random_id()?;
    let claim = match &flags.container.name {
        Some(name) => Claim::make(&dirs, id, name.clone())?,
        None => names::claim(&dirs, &id)?,
    };
    let claimed = Claimed { claim, dirs: &dirs, keep: false };
    let claim = &claimed.claim;

    // 3. Address and host ports, before anything is made: what is taken is refused here.
    let request = network::request(flags, claim, image.as_ref().map(|image| &image.config))?;
    let reservation = networks.reserve(&request)?;

    // 4. Its network: a namespace that no process is in yet, with link, address, route, rules.
    let (mut endpoint, sandbox) = network::connect(reservation)?;

    // 5. The root file system: a writable layer on the image's, or the directory of --rootfs. A mount of nobody's tree.
    let root = root(&store, flags, image.as_ref(), claim)?;

    // 6. The bundle: config.json, and the files of the host's that the container sees.
    let host_gateway = network::host_gateway(&networks)?;
    let (image, network) = (image.as_ref(), endpoint.record());
    let sandbox_path = sandbox.as_ref().map(Sandbox::path);
    let parts =
        Parts { dirs: &dirs, flags, host: &host, image, claim, network, sandbox_path, root: &root, host_gateway };
    let mut prepared = bundle::write(&parts)?;
    let mut record = record(flags, image, claim, &prepared, network);
    record.save(&dirs)?;

    // 7. The container, up to its gate: namespaces, limits and mounts are there, the program does not run.
    let (inside, ties) = Inside::new(flags)?;
    if let Some(process) = prepared.spec.process_mut() {
        process.set_console_size(stdio.size(flags));
    }
    let mut made = Made::create(&dirs, claim, &prepared, root, ties)?;
    // From here on its network lives as long as its processes.
    drop(sandbox);

    // 8. The gate opens: init becomes the program.
    bundle::write_cidfile(flags.container.cidfile.as_ref(), &claim.id)?;
    let session = inside.begin(flags, &stdio)?;
    made.live_mut().start()?;
    record.started = Some(record::now());
    record.save(&dirs)?;

    // 9. Bytes, signals and relayed connections, until the program has ended.
    let ended = session.carry(made.live(), &mut endpoint)?;

    // 10. Taken apart in reverse. Errors are told, not lost; the exit code stays the program's.
    record.finished = Some(record::now());
    record.exit_code = Some(ended.code());
    warn(take_apart(endpoint, made, claimed, &record));
    Ok(ExitCode::from(u8::try_from(ended.code()).unwrap_or(u8::MAX)))
}

/// Tell of what did not go well without failing for it.
fn warn(errors: Vec<anyhow::Error>) {
    for error in errors {
        crate::report::warn(&error);
    }
}

fn image(store: &Store, flags: &RunArgs, name: &str) -> Result<Image> {
    let pull = || -> Result<Image> { pull_image(store, name, flags) };
    match flags.container.pull {
        PullPolicy::Always => pull(),
        PullPolicy::Never => Ok(store.find(name)?),
        PullPolicy::Missing => match store.find(name) {
            Err(rbox_images::Error::NotFound { .. }) => pull(),
            found => Ok(found?),
        },
    }
}

fn pull_image(store: &Store, name: &str, flags: &RunArgs) -> Result<Image> {
    let platform = flags.container.platform.as_deref().map(str::parse).transpose()?;
    let progress = if flags.container.quiet { Progress::Quiet } else { Progress::Stderr };
    let options = PullOptions { platform, progress };
    Ok(store.pull(&name.parse::<Reference>()?, &options)?)
}

/// The claim, and all that stands in its name: bundle, snapshot, name.
struct Claimed<'a> {
    claim: Claim,
    dirs: &'a Dirs,
    keep: bool,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if !self.keep {
            warn(sweep::erase(self.dirs, &self.claim));
        }
    }
}

fn root(store: &Store, flags: &RunArgs, image: Option<&Image>, claim: &Claim) -> Result<Root> {
    let Some(image) = image else {
        let directory = flags.files.rootfs.as_deref().context("neither an image nor --rootfs")?;
        return Ok(Root::open(directory)?);
    };
    match store.snapshot(image, &claim.id, rbox_images::Sharing::default())? {
        Snapshot::Overlay { lower, upper, work } => Ok(Root::overlay(&lower, &upper, &work)?),
        Snapshot::Copy(directory) => Ok(Root::open(&directory)?),
    }
}

fn record(
    flags: &RunArgs,
    image: Option<&Image>,
    claim: &Claim,
    prepared: &Prepared,
    network: &EndpointRecord,
) -> Record {
    let process = prepared.spec.process().as_ref();
    Record {
        id: claim.id.clone(),
        name: claim.name.clone(),
        image: flags
            .image()
            .map_or_else(|| flags.files.rootfs.iter().map(|path| path.display().to_string()).collect(), str::to_owned),
        image_id: image.map(|image| image.id.to_string()),
        command: process.and_then(|process| process.args().clone()).unwrap_or_default(),
        created: record::now(),
        started: None,
        finished: None,
        exit_code: None,
        error: None,
        stop_signal: prepared.stop_signal.to_string(),
        stop_timeout: prepared.stop_timeout,
        remove: flags.container.rm,
        network: flags.network.name().to_owned(),
        ports: network::ports_shown(&network.ports, &prepared.exposed),
        labels: prepared.labels.clone(),
    }
}

/// A container that is ended and removed when it goes out of scope.
struct Made {
    live: Option<Live>,
}

impl Made {
    fn create(dirs: &Dirs, claim: &Claim, prepared: &Prepared, root: Root, ties: Ties) -> Result<Made> {
        let live = Container::create(Blueprint {
            state_root: &dirs.runtime(),
            id: &claim.id,
            bundle: &dirs.container(&claim.id),
            spec: &prepared.spec,
            root,
            ties,
            start: StartedBy::UsAndDiesWithUs,
            reaper: prepared.init,
        })?;
        Ok(Made { live: Some(live) })
    }

    fn live(&self) -> &Live {
        self.live.as_ref().expect("taken only by delete, which takes self")
    }

    fn live_mut(&mut self) -> &mut Live {
        self.live.as_mut().expect("taken only by delete, which takes self")
    }

    fn delete(mut self) -> Result<()> {
        let live = self.live.take().expect("taken only here, which takes self");
        Ok(live.into_container().delete(true)?)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            warn(live.into_container().delete(true).err().map(anyhow::Error::from).into_iter().collect());
        }
    }
}

/// Take the container apart after its program has ended. What another could want first goes first: the ports.
fn take_apart(endpoint: Endpoint, made: Made, mut claimed: Claimed<'_>, record: &Record) -> Vec<anyhow::Error> {
    let mut errors: Vec<anyhow::Error> = Vec::new();
    let leaving = endpoint.leave();
    errors.extend(made.delete().err());
    if record.remove {
        drop(claimed);
    } else {
        claimed.keep = true;
        errors.extend(record.save(claimed.dirs).err());
        errors.extend(claimed.claim.release(claimed.dirs).err());
    }
    // Last: by now the kernel has ended the network namespace, and the cable with it.
    errors.extend(leaving.finish().into_iter().map(anyhow::Error::from));
    errors
}
