//! The verbs that make and end a container, and the way to all others.

use super::arguments::{self, Arguments, Create, Kill, Rootless, Run, Verb};
use super::foreground::{self, Foreground};
use super::log::Log;
use super::{events, exec, look, spec, update};
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use rbox_runtime::cgroup::Driver;
use rbox_runtime::container::{Blueprint, Container, Live, StartedBy, Ties};
use rbox_runtime::{Error, Result, Root, grant, rootless};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Do what the command line says. Answers the exit code.
pub(crate) fn run(arguments: &Arguments, log: &Log) -> Result<u8> {
    if arguments.criu.is_some() {
        log.warning("--criu is ignored: checkpoint and restore are not supported");
    }
    // Asked now: he is root of a user namespace later.
    let may_lack_cgroups = match arguments.rootless {
        Rootless::True => true,
        Rootless::False => false,
        Rootless::Auto => rootless::is_likely(),
    };
    let driver = if arguments.systemd_cgroup { Driver::Systemd } else { Driver::Files };
    let around = Surroundings { log, may_lack_cgroups, driver };
    let root = state_root(arguments);
    let root = root.as_path();
    if let Some(id) = rootless::is_needed().then(|| arguments.verb.of_a_living_one()).flatten()
        && let Ok(container) = Container::load(root, id)
    {
        rootless::follow(&container)?;
    }
    let done = match &arguments.verb {
        Verb::Run(flags) => return run_container(root, flags, &around),
        Verb::Exec(flags) => return exec::exec(root, flags, log),
        Verb::Create(flags) => create_detached(root, flags, &around),
        Verb::Start(flags) => Container::load(root, &flags.id)?.start(),
        Verb::State(flags) => look::state(root, &flags.id),
        Verb::Kill(flags) => kill(root, flags),
        Verb::Delete(flags) => Container::delete_named(root, &flags.id, flags.force).map(|failed| warn(log, failed)),
        Verb::Pause(flags) => Container::load(root, &flags.id)?.pause(),
        Verb::Resume(flags) => Container::load(root, &flags.id)?.resume(),
        Verb::Update(flags) => update::update(root, flags, log),
        Verb::List(flags) => look::list(root, flags, log),
        Verb::Ps(flags) => look::ps(root, flags),
        Verb::Events(flags) => events::events(root, flags),
        Verb::Features => look::features(),
        Verb::Spec(flags) => spec::write(flags),
        Verb::Checkpoint => refuse("checkpoint"),
        Verb::Restore => refuse("restore"),
    };
    done.map(|()| 0)
}

/// Where the states are: an ordinary user's own place, unless he says another.
fn state_root(arguments: &Arguments) -> PathBuf {
    let usual = Path::new(arguments::STATE_ROOT);
    let own = (rootless::is_needed() && arguments.root == usual).then(|| rootless::state_root(usual)).flatten();
    own.unwrap_or_else(|| arguments.root.clone())
}

/// runc's exit code for an error of its own: 255 where a program's was to come, from `exec`; else 1, also from `run`.
pub(crate) fn failed(verb: &Verb) -> u8 {
    match verb {
        Verb::Exec(_) => 255,
        _ => 1,
    }
}

fn refuse(what: &str) -> Result<()> {
    Err(Error::InvalidSpec { path: what.to_owned(), why: "is not supported".to_owned() })
}

pub(super) fn os(doing: String, source: io::Error) -> Error {
    Error::Os { doing, source }
}

/// What a new container is made in.
struct Surroundings<'a> {
    log: &'a Log,
    /// `--rootless`: control groups that cannot be made are done without.
    may_lack_cgroups: bool,
    driver: Driver,
}

/// A bundle, read.
struct Bundle {
    directory: PathBuf,
    spec: Spec,
    may_lack_cgroups: bool,
    driver: Driver,
}

fn warn_of_capabilities(spec: &mut Spec, log: &Log) {
    let Some(mut process) = spec.process().clone() else { return };
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let own_users = namespaces.into_iter().flatten().any(|one| one.typ() == LinuxNamespaceType::User);
    grant::withhold(&mut process, own_users).iter().for_each(|warning| log.warning(warning));
    spec.set_process(Some(process));
}

fn open_root(spec: &Spec, path: &Path) -> Result<Root> {
    match spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref()) {
        Some("slave" | "rslave") => Root::open_slave(path),
        _ => Root::open(path),
    }
}

impl Bundle {
    fn open(flags: &Create, around: &Surroundings<'_>) -> Result<Bundle> {
        let directory = flags.bundle.canonicalize();
        let directory = directory.map_err(|error| os(format!("open bundle {}", flags.bundle.display()), error))?;
        let mut spec = spec::load(&directory.join("config.json"), around.log)?;
        if rootless::is_needed() {
            rootless::enter_new(&mut spec)?;
        }
        warn_of_capabilities(&mut spec, around.log);
        Ok(Bundle { directory, spec, may_lack_cgroups: around.may_lack_cgroups, driver: around.driver })
    }

    fn wants_terminal(&self) -> bool {
        self.spec.process().as_ref().and_then(Process::terminal).unwrap_or(false)
    }

    fn create(&self, state_root: &Path, flags: &Create, start: StartedBy, console: Option<OwnedFd>) -> Result<Live> {
        let rootfs = self.spec.root().as_ref().map(|root| self.directory.join(root.path()));
        let missing = || Error::InvalidSpec { path: "config.json: root".to_owned(), why: "is missing".to_owned() };
        Container::create(Blueprint {
            state_root,
            id: &flags.id,
            bundle: &self.directory,
            spec: &self.spec,
            root: open_root(&self.spec, &rootfs.ok_or_else(missing)?)?,
            ties: Ties {
                console,
                stdio: [None, None, None],
                preserve_fds: flags.preserve_fds,
                keep_keyring: flags.no_new_keyring,
                no_pivot: flags.no_pivot,
                interrupt: None,
            },
            start,
            reaper: false,
            may_lack_cgroups: self.may_lack_cgroups,
            driver: self.driver,
        })
    }
}

fn create_detached(root: &Path, flags: &Create, around: &Surroundings<'_>) -> Result<()> {
    let bundle = Bundle::open(flags, around)?;
    foreground::check_terminal(bundle.wants_terminal(), true, flags.console_socket.is_some())?;
    let console = flags.console_socket.as_deref().map(connect).transpose()?;
    announce(&bundle.create(root, flags, StartedBy::Anyone, console)?, flags)
}

pub(super) fn connect(socket: &Path) -> Result<OwnedFd> {
    UnixStream::connect(socket)
        .map(OwnedFd::from)
        .map_err(|error| os(format!("connect to {}", socket.display()), error))
}

/// Tell the caller who the container's first process is. A file that cannot be written takes the container down again.
fn announce(live: &Live, flags: &Create) -> Result<()> {
    let told = tell_pid(live.pid(), live.pidfd(), flags.pid_file.as_deref(), flags.pidfd_socket.as_deref());
    if told.is_err() {
        // The first error is the one to report.
        let _ = live.container().clone().delete(true);
    }
    told
}

pub(super) fn tell_pid(pid: i32, pidfd: BorrowedFd<'_>, file: Option<&Path>, socket: Option<&Path>) -> Result<()> {
    if let Some(socket) = socket {
        let connection = connect(socket)?;
        send(&connection, pidfd).map_err(|error| os(format!("send the pidfd to {}", socket.display()), error))?;
    }
    let Some(path) = file else { return Ok(()) };
    // Beside it and then renamed: a reader never sees half a number.
    let beside = path.with_file_name(format!(".{}", path.file_name().unwrap_or_default().to_string_lossy()));
    std::fs::write(&beside, pid.to_string())
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|error| os(format!("write {}", path.display()), error))
}

fn send(socket: &OwnedFd, file: BorrowedFd<'_>) -> io::Result<()> {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::os::fd::AsRawFd;
    let files = [file.as_raw_fd()];
    let part = [io::IoSlice::new(b"pidfd")];
    sendmsg::<()>(socket.as_raw_fd(), &part, &[ControlMessage::ScmRights(&files)], MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

fn run_container(root: &Path, flags: &Run, around: &Surroundings<'_>) -> Result<u8> {
    let bundle = Bundle::open(&flags.create, around)?;
    let (terminal, socket) = (bundle.wants_terminal(), flags.create.console_socket.as_deref());
    foreground::check_terminal(terminal, flags.detach, socket.is_some())?;
    if flags.detach {
        let console = socket.map(connect).transpose()?;
        begin(bundle.create(root, &flags.create, StartedBy::Us, console)?, &flags.create)?;
        return Ok(0);
    }
    if !flags.no_subreaper {
        foreground::adopt_orphans()?;
    }
    let (foreground, console) = Foreground::prepare(terminal)?;
    let nobody_waits = flags.create.pid_file.is_none() && flags.create.pidfd_socket.is_none();
    let start = if nobody_waits { StartedBy::UsAtOnce } else { StartedBy::Us };
    let live = begin(bundle.create(root, &flags.create, start, console)?, &flags.create)?;
    foreground.wait(live.pidfd())?;
    let ended = live.wait()?;
    if let Some(why) = live.want_of_memory(ended) {
        around.log.warning(&why);
    }
    if !flags.keep {
        warn(around.log, live.into_container().delete(true)?);
    }
    Ok(u8::try_from(ended.code()).unwrap_or(u8::MAX))
}

/// What went wrong when nothing could be done about it any more.
fn warn(log: &Log, failed: Vec<Error>) {
    for error in failed {
        log.warning(&error.to_string());
    }
}

/// Announce a container and open its gate. One that cannot be started is removed.
fn begin(mut live: Live, flags: &Create) -> Result<Live> {
    match announce(&live, flags).and_then(|()| live.start()) {
        Ok(()) => Ok(live),
        Err(error) => {
            // The first error is the one to report.
            let _ = live.into_container().delete(true);
            Err(error)
        }
    }
}

fn kill(root: &Path, flags: &Kill) -> Result<()> {
    let signal = signal_number(&flags.signal)?;
    Container::load(root, &flags.id)?.kill(signal, flags.all)
}

/// `SIGTERM`, `TERM`, `term`, `15`, and the real-time names `RTMIN+3`, `RTMAX-1`.
fn signal_number(text: &str) -> Result<i32> {
    let unknown = || Error::InvalidSpec { path: format!("signal {text}"), why: "unknown".to_owned() };
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.parse::<i32>().ok() };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest).map(|offset| libc::SIGRTMIN() + offset).ok_or_else(unknown);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest).map(|offset| libc::SIGRTMAX() + offset).ok_or_else(unknown);
    }
    let signal: nix::sys::signal::Signal = format!("SIG{name}").parse().map_err(|_| unknown())?;
    Ok(signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_by_name_and_number() {
        for (text, number) in [("SIGTERM", 15), ("term", 15), ("9", 9), ("RTMIN+1", 35), ("SIGRTMAX", 64), ("0", 0)] {
            assert_eq!(signal_number(text).unwrap(), number, "{text}");
        }
        assert_eq!(signal_number("SIGFOO").unwrap_err().to_string(), "signal SIGFOO: unknown");
        assert!(signal_number("65").is_err());
    }
}
