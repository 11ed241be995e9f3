//! STORY 1: a container's life, from the command line to the program's end, outside the container.
//!
//! Each numbered line makes one thing and returns a guard that takes it back. When a line fails, what stands above it
//! unwinds by itself, in reverse; when rbox is killed, the next rbox finds the claim of line 2 and does the same from
//! what is on disk (`sweep.rs`). Inside the container the story goes on in `runtime/src/child/init.rs`.
//!
//! ```text
//!   rbox run        lines 1 to 3 and 4 to 11, in one process
//!   rbox run -d, -t lines 1 to 3; then a monitor (`monitor.rs`) walks lines 4 to 11
//!   rbox create     lines 1 to 3
//!   rbox start      a monitor walks lines 4 to 11, and again when the restart policy says so
//! ```

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use rbox_images::{Image, Progress, PullOptions, Reference, Snapshot, Store};
use rbox_net::{Leaving, Sandbox};
use rbox_runtime::Root;
use rbox_runtime::cgroup::Driver;
use rbox_runtime::container::{Blueprint, Container, Ended, Live, StartedBy, Ties};
use rbox_runtime::terminal::Signals;

use crate::cli::value::MountFlag;
use crate::cli::{Global, PullPolicy, RunArgs, RunVerb};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::follow::{self, Following};
use crate::log::Log;
use crate::monitor::{Caller as Streams, Ends, Hub, Life};
use crate::record::{self, Claim, Intent, Mounted, Record, StreamsOf};
use crate::spec::{Caller, Prepared};
use crate::{names, sweep};

pub(super) mod bundle;
pub(super) mod network;
pub(super) mod ports;
pub(super) mod reach;
mod stdio;

pub(crate) use bundle::Draft;
use bundle::{Cidfile, Parts};
pub(crate) use network::{line_of, linked};
pub(crate) use stdio::Stdio;

/// Run a program in a new container. The exit code is the program's.
///
/// Errors: whatever keeps the program from running; nothing is left then.
pub(crate) fn run(global: &Global, verb: &RunVerb) -> Result<ExitCode> {
    let flags = &verb.flags;
    let stdio = Stdio::of_the_caller();
    if !verb.attach.detach {
        stdio.check(flags)?;
    }
    let engine = Engine::open(global)?;
    let begin = if verb.attach.detach { Begin::Detached } else { Begin::Attached };
    let created = create(&engine, flags, begin)?;
    if verb.attach.detach || flags.terminal.tty {
        return super::start::new(&engine, created, verb, &stdio);
    }
    let Created { claimed, intent, draft, cidfile } = created;
    let input = flags.terminal.interactive.then(|| stdio.input());
    let caller = Streams::new(input, stdio.output(), stdio.errors());
    let id = &claimed.claim.id.clone();
    let note_halt = || note_halt(&engine.dirs, id);
    let mut hub = Hub::open(log(&engine.dirs, &intent, id), engine.dirs.live(id), Some(caller), &note_halt)?;
    let place = Place { hub: &mut hub, monitored: false, forward: verb.attach.sig_proxy };
    let lived = match live(&engine, (&claimed.claim, &intent), draft, place) {
        Ok(lived) => lived,
        Err(error) => {
            if broken_off(claimed, &error) {
                cidfile.keep();
            }
            return Err(error);
        }
    };
    cidfile.keep();
    let code = lived.code;
    lived.settle(claimed, &mut hub);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// An error after the program may have begun, so that nobody knows how it ended. What had begun stays as a record that says
/// why, unless it was `--rm`; anything else goes with its claim. Answers whether it stays.
pub(crate) fn broken_off(claimed: Claimed<'_>, error: &anyhow::Error) -> bool {
    let (dirs, id) = (claimed.dirs, &claimed.claim.id);
    // Looked at before anything is written: a disk that is full is no reason to lose what stands there.
    let stays = match Record::load(dirs, id) {
        Ok(record) => record.is_some_and(|record| record.started.is_some() && !record.remove),
        Err(_) => true,
    };
    if stays {
        let noted = Record::update(dirs, id, |record| {
            record.restarting = false;
            if record.is_begun() {
                record.end(255, Some(crate::report::report(error).message));
            }
        });
        warn(noted.err().into_iter().chain(claimed.release().err()).collect());
    }
    stays
}

/// What stands after line 3: a container that no process runs in.
pub(crate) struct Created<'a> {
    pub(crate) claimed: Claimed<'a>,
    pub(crate) intent: Intent,
    pub(crate) draft: Draft,
    pub(crate) cidfile: Cidfile,
}

/// How the container that is created is to begin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Now, with the caller attached.
    Attached,
    /// Now, alone.
    Detached,
    /// When a person starts it.
    Later,
}

/// Lines 1 to 3: everything that needs no kernel object.
///
/// Errors: the image is not to be had, the name is taken, flags contradict each other. Nothing is left then.
pub(crate) fn create<'a>(engine: &'a Engine, flags: &RunArgs, begin: Begin) -> Result<Created<'a>> {
    let dirs = &engine.dirs;

    // 1. The image: from the store, else from its registry. It is a cache: nothing takes it back.
    let image = flags.image().map(|name| image(&engine.store, flags, name)).transpose()?;

    // 2. The id and the name. From here on the next rbox can tell what we leave if we are killed.
    let caller = Caller::read(flags)?;
    let id = record::random_id()?;
    let cidfile = Cidfile::write(flags.container.cidfile.as_ref(), &id)?;
    let claim = match &flags.container.name {
        Some(name) => Claim::make(dirs, id, name.clone())?,
        None => names::claim(dirs, &id)?,
    };
    let claimed = Claimed { claim, dirs, keep: false };
    let id = &claimed.claim.id;

    // 3. What it is: a writable layer on the image's, and on disk everything that was said, so that each later start
    //    makes the same of it.
    let mut intent = Intent { flags: flags.clone(), image: image.as_ref().map(|image| image.config.clone()), caller };
    let draft = bundle::draft(engine, id, &intent, begin != Begin::Later)?;
    network::pin(engine, &mut intent.flags)?;
    if let Some(image) = &image {
        engine.store.snapshot(image, id, rbox_images::Sharing::default())?;
    }
    record::make_private(&dirs.container(id))?;
    intent.save(dirs, id)?;
    let detached = begin == Begin::Detached;
    bundle::creation(dirs, &claimed.claim.name, (&intent, &draft), detached)?.save(dirs, id)?;
    record(&claimed.claim, image.as_ref(), (&intent, &draft.prepared), detached).save(dirs)?;
    Ok(Created { claimed, intent, draft, cidfile })
}

/// Where a life is walked: the hub through which the program is heard, and who walks.
pub(crate) struct Place<'p, 'c> {
    pub(crate) hub: &'p mut Hub<'c>,
    /// By a monitor: the program outlives who walks.
    pub(crate) monitored: bool,
    /// The caller's signals are the program's.
    pub(crate) forward: bool,
}

/// Lines 4 to 11: one life of a container, from the lease of its address to the program's end.
///
/// Errors: whatever keeps the program from running. What the lines made is taken back; the container stays as it was.
pub(crate) fn live(
    engine: &Engine,
    (claim, intent): (&Claim, &Intent),
    Draft { prepared, host }: Draft,
    place: Place<'_, '_>,
) -> Result<Lived> {
    let (dirs, flags) = (&engine.dirs, &intent.flags);
    // Before it is looked where others are: who gets another address after that tells us.
    let following = Following::begin(dirs, &claim.id, &flags.network)?;
    let streams = Record::load(dirs, &claim.id)?.context("the container's record is lost")?.streams;

    // 4. Address and host ports, before anything of the kernel's is made: what is taken is refused here.
    let request = network::request(engine, flags, claim, (intent.image.as_ref(), &host))?;
    let reservation = engine.networks.reserve(&request)?;
    network::tell_of_ports(&reservation, flags);

    // 5. Its network: a namespace that no process is in yet, with link, address, route, rules.
    let (mut endpoints, sandbox) = network::connect(engine, reservation, flags)?;
    reach::tell(&engine.networks, &claim.id, &endpoints.ports());

    // 6. The root file system: the layers as one tree, or the directory of --rootfs. A mount of nobody's tree.
    let root = root(&engine.store, intent, claim)?;

    // 7. The bundle: config.json, and the files of the host's that the container sees.
    let host_gateway = network::host_gateway(&engine.networks)?;
    let sandbox_path = sandbox.as_ref().map(Sandbox::path);
    let network = endpoints.records();
    let parts = Parts { dirs, intent, host: &host, claim, network, sandbox_path, root: &root, host_gateway };
    let prepared = bundle::write(prepared, &parts)?;
    let ports = ports::shown(&endpoints.ports(), &prepared.exposed);
    following.settle(engine)?;
    follow::tell(engine, claim);

    // 8. The container, up to its gate: namespaces, limits and mounts are there, the program does not run.
    let (ends, ties) = Ends::new(&streams, place.monitored.then(|| dirs.live(&claim.id)).as_deref(), user(&prepared))?;
    let mut made = Made::create(dirs, claim, (&prepared, root), (ties, place.monitored))?;
    place.hub.take(ends.open(streams.input_once)?);
    // From here on its network lives as long as its processes.
    drop(sandbox);

    // 9. The gate opens: init becomes the program.
    let signals = Signals::hold(place.forward).context("cannot hold signals back")?;
    made.live_mut().start()?;
    Record::update(dirs, &claim.id, |record| {
        record.begin(ports);
        record.monitored = place.monitored;
    })?;
    place.hub.started();

    // 10. Bytes, signals and relayed connections, until the program has ended.
    let live = made.live();
    place.hub.carry(Life {
        pidfd: live.pidfd(),
        signal: &|number| drop(live.kill(number)),
        stop_signal: prepared.stop_signal as i32,
        service: Some(endpoints.service()),
        networks: &engine.networks,
        container: &claim.id,
        netns: &|| namespace(live.pid()),
        signals: &signals,
        end_rest: &|| drop(live.container().kill(Signal::SIGKILL as i32, true)),
    })?;
    let ended = live.wait()?;

    // 11. Taken apart in reverse. Errors are told, not lost; the exit code stays the program's.
    let oom = matches!(ended, Ended::Killed(9)) && live.container().oom_kills() > 0;
    let mut errors = note_end(dirs, &claim.id, ended.code(), oom);
    let leaving = endpoints.leave();
    drop(following);
    errors.extend(made.delete().err());
    Ok(Lived { code: ended.code(), leaving: Some(leaving), errors })
}

/// The network namespace of a process.
pub(crate) fn namespace(pid: i32) -> std::io::Result<File> {
    File::open(format!("/proc/{pid}/ns/net"))
}

/// Tell of what did not go well without failing for it.
fn warn(errors: Vec<anyhow::Error>) {
    for error in errors {
        crate::report::warn(&error);
    }
}

/// A life that is over: the program has ended, and its network namespace is about to.
pub(crate) struct Lived {
    pub(crate) code: i32,
    leaving: Option<Leaving>,
    errors: Vec<anyhow::Error>,
}

impl Lived {
    /// Of a container that was taken up again: `leaving` where it had a network.
    pub(crate) fn adopted(code: i32, leaving: Option<Leaving>, errors: Vec<anyhow::Error>) -> Lived {
        Lived { code, leaving, errors }
    }

    /// The container has ended for good: release it, or with `--rm` remove it; then tell those who wait for it.
    pub(crate) fn settle(mut self, claimed: Claimed<'_>, hub: &mut Hub<'_>) {
        let (dirs, id) = (claimed.dirs, claimed.claim.id.clone());
        // Before another may start it, who listens at the same place.
        hub.leave_place();
        // Its address and its ports are free before it can be started again, and nothing of it is left when its claim is.
        self.take_apart();
        match Record::load(dirs, &id) {
            Ok(Some(record)) if !record.remove => self.errors.extend(claimed.release().err()),
            Ok(_) => drop(claimed),
            // Whose it is cannot be told: the next command sees to it.
            Err(error) => {
                self.errors.push(error);
                claimed.handed_over();
            }
        }
        let code = self.code;
        self.finish();
        hub.ended(code);
    }

    /// Take the last of it apart, and tell what did not go well.
    pub(crate) fn finish(mut self) {
        self.take_apart();
        warn(std::mem::take(&mut self.errors));
    }

    /// By now the kernel has ended the network namespace, and the cable with it.
    fn take_apart(&mut self) {
        let leaving = self.leaving.take().map(Leaving::finish).unwrap_or_default();
        self.errors.extend(leaving.into_iter().map(anyhow::Error::from));
    }
}

/// A person ends it: remembered before it is answered, so that a monitor that is killed now is not taken for a crash.
pub(crate) fn note_halt(dirs: &Dirs, id: &str) {
    warn(Record::update(dirs, id, |record| record.stopped_by_hand = true).err().into_iter().collect());
}

fn note_end(dirs: &Dirs, id: &str, code: i32, oom_killed: bool) -> Vec<anyhow::Error> {
    let noted = Record::update(dirs, id, |record| {
        record.end(code, None);
        record.oom_killed = oom_killed;
    });
    noted.err().into_iter().collect()
}

/// The log of a container.
pub(crate) fn log(dirs: &Dirs, intent: &Intent, id: &str) -> Log {
    Log::new(&intent.flags.log, dirs.log(id))
}

/// A container as it is meant to be now: the same flags and image, and the machine and the other containers as they are.
///
/// Errors: flags that contradict each other, or ask for more than the machine has; a container that is needed does not
/// run.
pub(crate) fn draft(engine: &Engine, id: &str, intent: &Intent) -> Result<Draft> {
    bundle::draft(engine, id, intent, true)
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
pub(crate) struct Claimed<'a> {
    pub(crate) claim: Claim,
    dirs: &'a Dirs,
    keep: bool,
}

impl<'a> Claimed<'a> {
    /// A claim that this process has. What stands in its name goes with it, unless it is released.
    pub(crate) fn new(claim: Claim, dirs: &'a Dirs) -> Claimed<'a> {
        Claimed { claim, dirs, keep: false }
    }

    /// The container stays, and nobody answers for it.
    ///
    /// Errors: the state directory cannot be written.
    pub(crate) fn release(mut self) -> Result<()> {
        self.keep = true;
        // Under the lock, as a claim is rewritten under it when the container's name is changed.
        let _lock = sweep::lock(self.dirs)?;
        self.claim.release(self.dirs)
    }

    /// Another process answers for it from now on.
    pub(crate) fn handed_over(mut self) {
        self.keep = true;
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if !self.keep {
            warn(sweep::erase(self.dirs, &self.claim));
        }
    }
}

fn root(store: &Store, intent: &Intent, claim: &Claim) -> Result<Root> {
    if let Some(directory) = &intent.flags.files.rootfs {
        return Ok(Root::open(&intent.caller.directory.join(directory))?);
    }
    match store.find_snapshot(&claim.id)? {
        Snapshot::Overlay { lower, upper, work } => Ok(Root::overlay(&lower, &upper, &work)?),
        Snapshot::Copy(directory) => Ok(Root::open(&directory)?),
    }
}

fn user(prepared: &Prepared) -> u32 {
    prepared.spec.process().as_ref().map_or(0, |process| process.user().uid())
}

fn record(claim: &Claim, image: Option<&Image>, (intent, prepared): (&Intent, &Prepared), detached: bool) -> Record {
    let flags = &intent.flags;
    let process = prepared.spec.process().as_ref();
    let directory = || flags.files.rootfs.iter().map(|path| path.display().to_string()).collect();
    let mounts = flags.files.volume.iter().chain(&flags.files.mount);
    let mounted = |mount: &MountFlag| Mounted {
        source: match mount {
            MountFlag::Bind(bind) => intent.caller.directory.join(&bind.source).display().to_string(),
            MountFlag::Tmpfs(_) => String::new(),
        },
        target: mount.target().display().to_string(),
    };
    Record {
        id: claim.id.clone(),
        name: claim.name.clone(),
        image: flags.image().map_or_else(directory, str::to_owned),
        image_id: image.map(|image| image.id.to_string()),
        command: process.and_then(|process| process.args().clone()).unwrap_or_default(),
        created: record::now(),
        started: None,
        finished: None,
        finished_before: None,
        exit_code: None,
        oom_killed: false,
        error: None,
        stop_signal: prepared.stop_signal.to_string(),
        stop_timeout: prepared.stop_timeout,
        remove: flags.container.rm,
        network: flags.network.names(),
        ports: ports::shown(&[], &prepared.exposed),
        labels: prepared.labels.clone(),
        mounts: mounts.map(mounted).collect(),
        streams: StreamsOf {
            terminal: flags.terminal.tty,
            input: flags.terminal.interactive,
            input_once: flags.terminal.interactive && !detached,
            unlogged: flags.log.log_driver == crate::cli::value::LogDriver::None,
        },
        restart: flags.container.restart,
        restart_count: 0,
        restarting: false,
        paused_once: false,
        stopped_by_hand: false,
        monitored: false,
    }
}

/// A container that is ended and removed when it goes out of scope.
struct Made {
    live: Option<Live>,
}

impl Made {
    fn create(
        dirs: &Dirs,
        claim: &Claim,
        (prepared, root): (&Prepared, Root),
        (ties, monitored): (Ties, bool),
    ) -> Result<Made> {
        let live = Container::create(Blueprint {
            state_root: &dirs.runtime(),
            id: &claim.id,
            bundle: &dirs.container(&claim.id),
            spec: &prepared.spec,
            root,
            ties,
            start: if monitored { StartedBy::Us } else { StartedBy::UsAndDiesWithUs },
            reaper: prepared.init,
            driver: Driver::Files,
            may_lack_cgroups: false,
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
        live.into_container().delete(true)?;
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            warn(live.into_container().delete(true).err().map(anyhow::Error::from).into_iter().collect());
        }
    }
}
