//! One function for each verb.

use super::arguments::{Arguments, Create, Delete, Exec, Kill, Run, Verb};
use super::foreground::{self, Foreground};
use super::{log, spec};
use oci_spec::runtime::{Capabilities, Process, Spec};
use rbox_runtime::container::{Blueprint, Container, Live, StartedBy, Status, Ties};
use rbox_runtime::{Error, Result, Root};
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Do what the command line says. Answers the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    refuse_unsupported(arguments)?;
    let root = arguments.root.as_path();
    match &arguments.verb {
        Verb::Create(flags) => create_detached(root, flags).map(|()| 0),
        Verb::Start(flags) => Container::load(root, &flags.id)?.start().map(|()| 0),
        Verb::State(flags) => state(root, &flags.id).map(|()| 0),
        Verb::Kill(flags) => kill(root, flags).map(|()| 0),
        Verb::Delete(flags) => delete(root, flags).map(|()| 0),
        Verb::Run(flags) => run_container(root, flags),
        Verb::Exec(flags) => exec(root, flags),
        Verb::Spec(flags) => spec::write(flags).map(|()| 0),
    }
}

/// The exit code for an error: runc's 1, but for `exec` also the shell's 126 and 127 as runc gives them… as 255.
pub(crate) fn exit_code(verb: &Verb, error: &Error) -> u8 {
    match (verb, error) {
        (Verb::Exec(_), Error::Program { .. }) => 255,
        (verb, _) if verb.runs_a_program() => 1,
        _ => 1,
    }
}

fn refuse_unsupported(arguments: &Arguments) -> Result<()> {
    let refuse = |flag: &str| Err(Error::InvalidSpec { path: flag.to_owned(), why: "is not supported".to_owned() });
    if arguments.systemd_cgroup {
        return refuse("--systemd-cgroup");
    }
    match &arguments.verb {
        Verb::Create(flags) if flags.no_pivot => refuse("--no-pivot"),
        Verb::Run(flags) if flags.create.no_pivot => refuse("--no-pivot"),
        Verb::Spec(flags) if flags.rootless => refuse("spec --rootless"),
        _ if arguments.rootless == "true" => refuse("--rootless=true"),
        _ => Ok(()),
    }
}

fn os(doing: String, source: io::Error) -> Error {
    Error::Os { doing, source }
}

/// A bundle, read.
struct Bundle {
    directory: PathBuf,
    spec: Spec,
}

impl Bundle {
    fn open(flags: &Create) -> Result<Bundle> {
        let directory = flags.bundle.canonicalize();
        let directory = directory.map_err(|error| os(format!("open bundle {}", flags.bundle.display()), error))?;
        let spec = spec::load(&directory.join("config.json"))?;
        Ok(Bundle { directory, spec })
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
            root: Root::open(&rootfs.ok_or_else(missing)?)?,
            ties: Ties {
                console,
                stdio: [None, None, None],
                preserve_fds: flags.preserve_fds,
                keep_keyring: flags.no_new_keyring,
                interrupt: None,
            },
            start,
            reaper: false,
        })
    }
}

fn create_detached(root: &Path, flags: &Create) -> Result<()> {
    let bundle = Bundle::open(flags)?;
    foreground::check_terminal(bundle.wants_terminal(), true, flags.console_socket.is_some())?;
    let console = flags.console_socket.as_deref().map(connect).transpose()?;
    announce(&bundle.create(root, flags, StartedBy::Anyone, console)?, flags)
}

fn connect(socket: &Path) -> Result<OwnedFd> {
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

fn tell_pid(pid: i32, pidfd: BorrowedFd<'_>, file: Option<&Path>, socket: Option<&Path>) -> Result<()> {
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

fn run_container(root: &Path, flags: &Run) -> Result<u8> {
    let bundle = Bundle::open(&flags.create)?;
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
    let code = live.wait()?.code();
    if !flags.keep {
        warn(live.into_container().delete(true)?);
    }
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
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

fn state(root: &Path, id: &str) -> Result<()> {
    let state = Container::load(root, id)?.state();
    let text = serde_json::to_string_pretty(&state).expect("a state is plain data");
    writeln!(io::stdout(), "{text}").map_err(|error| os("print the state".to_owned(), error))
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

fn delete(root: &Path, flags: &Delete) -> Result<()> {
    match Container::load(root, &flags.id) {
        Err(Error::NotFound { .. }) if flags.force => Ok(()),
        // A torn state file must not make a container immortal.
        Err(Error::InvalidSpec { .. }) if flags.force && root.join(&flags.id).is_dir() => {
            std::fs::remove_dir_all(root.join(&flags.id))
                .map_err(|error| os(format!("remove container {}", flags.id), error))
        }
        container => container?.delete(flags.force).map(warn),
    }
}

/// What went wrong when nothing could be done about it any more.
fn warn(warnings: Vec<Error>) {
    for warning in warnings {
        log::stderr(&format!("warning: {warning}"));
    }
}

fn exec(root: &Path, flags: &Exec) -> Result<u8> {
    let container = Container::load(root, &flags.id)?;
    let have = container.status();
    if !matches!(have, Status::Running | Status::Created) {
        return Err(Error::WrongStatus { id: flags.id.clone(), verb: "exec in", have });
    }
    let process = process(&container, flags)?;
    let (terminal, socket) = (process.terminal().unwrap_or(false), flags.console_socket.as_deref());
    foreground::check_terminal(terminal, flags.detach || socket.is_some(), socket.is_some())?;
    let (foreground, console) = match socket {
        Some(socket) => (Foreground::prepare(false)?.0, Some(connect(socket)?)),
        None => Foreground::prepare(terminal)?,
    };
    let stdio = [None, None, None];
    let interrupt = Some(foreground.interrupt()?);
    let ties = Ties { console, stdio, preserve_fds: flags.preserve_fds, keep_keyring: false, interrupt };
    let extra = container.exec(&process, ties)?;
    tell_pid(extra.pid(), extra.pidfd(), flags.pid_file.as_deref(), flags.pidfd_socket.as_deref())?;
    if flags.detach {
        return Ok(0);
    }
    foreground.wait(extra.pidfd())?;
    Ok(u8::try_from(extra.wait()?.code()).unwrap_or(u8::MAX))
}

/// The process of `--process`, or that of the container with the flags laid over it.
fn process(container: &Container, flags: &Exec) -> Result<Process> {
    if let Some(path) = &flags.process {
        return spec::read(path);
    }
    if flags.command.is_empty() {
        return Err(Error::InvalidSpec {
            path: "exec".to_owned(),
            why: "needs a command, or --process FILE".to_owned(),
        });
    }
    let spec: Spec = spec::load(&container.bundle().join("config.json"))?;
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(flags.command.clone()));
    process.set_terminal(Some(flags.tty));
    if let Some(cwd) = &flags.cwd {
        process.set_cwd(cwd.clone());
    }
    if flags.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(flags.env.iter().cloned());
    process.set_env(Some(env));
    set_user(&mut process, flags)?;
    add_capabilities(&mut process, &flags.cap)?;
    Ok(process)
}

fn set_user(process: &mut Process, flags: &Exec) -> Result<()> {
    if let Some(user) = &flags.user {
        let (uid, gid) = user.split_once(':').map_or((user.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        let number = |text: &str| {
            let why = "must be UID[:GID], both numbers".to_owned();
            text.parse::<u32>().map_err(|_| Error::InvalidSpec { path: format!("--user {user}"), why })
        };
        process.user_mut().set_uid(number(uid)?);
        if let Some(gid) = gid {
            process.user_mut().set_gid(number(gid)?);
        }
    }
    if !flags.additional_gids.is_empty() {
        let mut groups = process.user().additional_gids().clone().unwrap_or_default();
        groups.extend(&flags.additional_gids);
        process.user_mut().set_additional_gids(Some(groups));
    }
    Ok(())
}

fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut sets = process.capabilities().clone().unwrap_or_default();
    for name in names {
        let plain = name.to_uppercase();
        let plain = plain.strip_prefix("CAP_").unwrap_or(&plain);
        let capability = plain
            .parse()
            .map_err(|_| Error::InvalidSpec { path: format!("--cap {name}"), why: "unknown capability".to_owned() })?;
        let with = |set: &Option<Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        sets.set_bounding(with(sets.bounding()));
        sets.set_effective(with(sets.effective()));
        sets.set_permitted(with(sets.permitted()));
    }
    process.set_capabilities(Some(sets));
    Ok(())
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
