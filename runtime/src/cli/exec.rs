//! `exec`: from its flags to a process in the container.

use super::arguments::Exec;
use super::foreground::{self, Foreground};
use super::log::Log;
use super::spec;
use super::verbs::{connect, tell_pid};
use oci_spec::runtime::{Capabilities, Process, Spec};
use rbox_runtime::cgroup::Groups;
use rbox_runtime::container::{Container, Place, Ties};
use rbox_runtime::{Error, Result, grant};
use std::path::Path;

/// Answers the program's exit code; 0 for one that is left alone.
pub(super) fn exec(root: &Path, flags: &Exec, log: &Log) -> Result<u8> {
    let container = Container::load(root, flags.id())?;
    let place = Place { groups: Groups::parse(&flags.cgroup)?, paused: flags.ignore_paused };
    // Before anything of the caller's is touched, and before a config.json that went with the container is missed.
    container.may_exec(&place)?;
    let process = process(&container, flags, log)?;
    let (terminal, socket) = (process.terminal().unwrap_or(false), flags.console_socket.as_deref());
    foreground::check_terminal(terminal, flags.detach || socket.is_some(), socket.is_some())?;
    let (foreground, console) = match socket {
        Some(socket) => (Foreground::prepare(false)?.0, Some(connect(socket)?)),
        None => Foreground::prepare(terminal)?,
    };
    let stdio = [None, None, None];
    let interrupt = Some(foreground.interrupt()?);
    let ties = Ties { console, stdio, preserve_fds: flags.preserve_fds, interrupt, ..Ties::default() };
    let extra = container.exec_at(&process, ties, &place)?;
    tell_pid(extra.pid(), extra.pidfd(), flags.pid_file.as_deref(), flags.pidfd_socket.as_deref())?;
    if flags.detach {
        return Ok(0);
    }
    foreground.wait(extra.pidfd())?;
    Ok(u8::try_from(extra.wait()?.code()).unwrap_or(u8::MAX))
}

fn process(container: &Container, flags: &Exec, log: &Log) -> Result<Process> {
    let mut process = wanted(container, flags, log)?;
    grant::withhold(&mut process, container.has_own_users()).iter().for_each(|warning| log.warning(warning));
    Ok(process)
}

/// The process of `--process`, or that of the container with the flags laid over it.
fn wanted(container: &Container, flags: &Exec, log: &Log) -> Result<Process> {
    if let Some(path) = &flags.process {
        // As in runc the file is the whole process; but nothing is ignored silently.
        for flag in overruled(flags) {
            log.warning(&format!("{flag} is ignored: --process says all of it"));
        }
        return spec::load(path, log);
    }
    if flags.command().is_empty() {
        return Err(Error::InvalidSpec {
            path: "exec".to_owned(),
            why: "needs a command, or --process FILE".to_owned(),
        });
    }
    let spec: Spec = spec::load(&container.bundle().join("config.json"), log)?;
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(flags.command().to_vec()));
    process.set_terminal(Some(flags.tty));
    if let Some(cwd) = &flags.cwd {
        process.set_cwd(cwd.clone());
    }
    if let Some(profile) = &flags.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &flags.process_label {
        process.set_selinux_label(Some(label.clone()));
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

/// The flags that say what a process file says.
fn overruled(flags: &Exec) -> impl Iterator<Item = &'static str> {
    [
        ("COMMAND", !flags.command().is_empty()),
        ("--cwd", flags.cwd.is_some()),
        ("--env", !flags.env.is_empty()),
        ("--tty", flags.tty),
        ("--user", flags.user.is_some()),
        ("--additional-gids", !flags.additional_gids.is_empty()),
        ("--cap", !flags.cap.is_empty()),
        ("--no-new-privs", flags.no_new_privs),
        ("--apparmor", flags.apparmor.is_some()),
        ("--process-label", flags.process_label.is_some()),
    ]
    .into_iter()
    .filter_map(|(flag, given)| given.then_some(flag))
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
        // The kernel takes for ambient only what is inheritable too, and that set is the container's own.
        if sets.inheritable().as_ref().is_some_and(|set| set.contains(&capability)) {
            sets.set_ambient(with(sets.ambient()));
        }
    }
    process.set_capabilities(Some(sets));
    Ok(())
}
