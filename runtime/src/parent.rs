//! The other side of the channel: clone, hear what init has to say, and put it in words.

use crate::cgroup::Cgroup;
use crate::child;
use crate::diagnose;
use crate::error::{Doing, Error, Result, errno_words};
use crate::hooks;
use crate::plan::{BadEnd, Plan};
use crate::root::Root;
use crate::rootless;
use crate::steps::{self, Step};
use crate::sync::{self, Heard, Report};
use crate::sys;
use crate::sys::process::Cloned;
use rbox_explain::{Actor, Record};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A child that is on its way to becoming the program: init before the gate, or `exec` before its execve.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    channel: OwnedFd,
}

/// Both ends of the channel: (the parent's, the child's). socketpair(2), close-on-exec.
pub(crate) fn channel() -> Result<(OwnedFd, OwnedFd)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
        .doing(|| "make a socket pair".to_owned())
}

/// What the parent does with the child between clone and gate.
pub(crate) struct Surroundings<'a> {
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) root: &'a Root,
    /// The container's init, for a further process: where to go when the container's own group takes no process.
    pub(crate) init: Option<i32>,
}

/// Clone the child of `plan`, born into its unified control group where there is one.
///
/// # Errors
/// `Os` for the clone; `Cgroup` for the control group.
pub(crate) fn clone(plan: &mut Plan, (ours, theirs): (OwnedFd, OwnedFd), around: &Surroundings<'_>) -> Result<Child> {
    refuse_threads()?;
    // systemd makes a group around a process: init is there before its group.
    let outside = plan.tree.is_some() && around.cgroup.is_made_by_systemd();
    let directory = if outside { None } else { around.cgroup.directory()? };
    let made = match (clone_into(plan, theirs.as_fd(), directory.as_ref()), around.init) {
        // As runc: beside init.
        (Err(error), Some(init)) if error.raw_os_error() == Some(libc::EBUSY) => {
            let beside = around.cgroup.directory_of(init)?;
            beside.map_or(Err(error), |beside| clone_into(plan, theirs.as_fd(), Some(&beside)))
        }
        (made, _) => made,
    };
    let (pid, pidfd) =
        made.map_err(|source| Error::Os { doing: clone_words(&source, directory.is_some()).to_owned(), source })?;
    // While we hold a copy of the far end, we would never see the channel close.
    drop(theirs);
    plan.release();
    let child = Child { pid, pidfd, channel: ours };
    if plan.usher.is_some() { child.escort(plan, around) } else { Ok(child) }
}

/// Only the parent comes back.
fn clone_into(plan: &mut Plan, theirs: BorrowedFd<'_>, directory: Option<&OwnedFd>) -> io::Result<(i32, OwnedFd)> {
    let has_usher = plan.usher.is_some();
    let flags = if has_usher { 0 } else { plan.clone_flags };
    let is_init = plan.tree.is_some();
    rbox_explain::step_saying(
        &steps::CLONE,
        || format!("clone3({})", flag_names(flags, directory.is_some())),
        || match sys::process::clone3(flags, directory.map(AsFd::as_fd))? {
            Cloned::Child if has_usher => child::usher(plan, theirs),
            Cloned::Child if is_init => child::init(plan, theirs),
            Cloned::Child => child::enter(plan, theirs),
            Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        },
        |(pid, _): &(i32, OwnedFd)| format!("pid {pid}"),
    )
}

/// A lock that another thread holds would stay locked in the child for ever. The child takes none, but a user of this
/// library should hear of it here and not from a hanging container.
fn refuse_threads() -> Result<()> {
    if cfg!(debug_assertions) {
        let threads = std::fs::read_dir("/proc/self/task").doing(|| "count the threads".to_owned())?.count();
        if threads > 1 {
            return Err(Error::Os {
                doing: format!("clone a container from a program with {threads} threads"),
                source: io::Error::from_raw_os_error(libc::EINVAL),
            });
        }
    }
    Ok(())
}

fn flag_names(flags: u64, into_cgroup: bool) -> String {
    let names = [
        (libc::CLONE_NEWNS, "CLONE_NEWNS"),
        (libc::CLONE_NEWUTS, "CLONE_NEWUTS"),
        (libc::CLONE_NEWIPC, "CLONE_NEWIPC"),
        (libc::CLONE_NEWNET, "CLONE_NEWNET"),
        (libc::CLONE_NEWPID, "CLONE_NEWPID"),
    ];
    let there = names.iter().filter(|(flag, _)| flags & u64::from(flag.unsigned_abs()) != 0).map(|(_, name)| *name);
    there.chain(["CLONE_PIDFD"]).chain(into_cgroup.then_some("CLONE_INTO_CGROUP")).collect::<Vec<_>>().join("|")
}

/// What was tried. The limit behind ENOSPC is one of several; EACCES is the control group's (cgroups(7), "Delegation
/// containment": an ordinary user moves processes only within a tree that is his).
fn clone_words(error: &io::Error, into_cgroup: bool) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => "make namespaces (a limit in /proc/sys/user/max_*_namespaces is reached)",
        Some(libc::EACCES) if into_cgroup => "enter the control group from outside of the tree that is the user's own",
        _ => "make namespaces",
    }
}

impl Child {
    /// Help an usher, which this is, until its own child is born: that one is ours too, and comes back.
    fn escort(self, plan: &Plan, around: &Surroundings<'_>) -> Result<Child> {
        let born = loop {
            match self.hear_while_alive()? {
                Heard::MapMe => {
                    let maps = plan.usher.as_ref().map(|usher| &usher.maps);
                    let mapped = maps.map_or(Ok(()), |maps| maps.write(self.pid));
                    if let Err(error) = mapped {
                        self.end();
                        return Err(error);
                    }
                    // It may have ended meanwhile: what it said is waiting to be heard.
                    let _ = sync::say(self.channel.as_fd(), sync::MAPPED);
                }
                Heard::Born(pid) => break pid,
                Heard::Failed(report) => return Err(self.failed(plan, report, around)),
                _ => return Err(self.vanished(around.cgroup)),
            }
        };
        let _ = self.wait();
        // Our own child, and not waited for: the number is still its.
        let pidfd = sys::process::pidfd_open(born).doing(|| format!("open process {born}"))?;
        let _ = sync::say(self.channel.as_fd(), sync::KNOWN);
        Ok(Child { pid: born, pidfd, channel: self.channel })
    }

    /// The next word, or that the usher has ended: its child has a copy of the channel, which would stay open.
    fn hear_while_alive(&self) -> Result<Heard> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let doing = || "hear from the container's usher".to_owned();
        loop {
            let mut ready = [self.channel.as_fd(), self.pidfd.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut ready, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                polled => polled.doing(doing)?,
            };
            if ready[0].any() != Some(false) {
                return sync::hear(self.channel.as_fd()).doing(doing);
            }
            return Ok(Heard::Closed);
        }
    }

    /// Set what can only be set from outside; then the child may go on.
    ///
    /// # Errors
    /// `Os`. The child lives still: [`Child::end`] is the caller's.
    pub(crate) fn settle(&self, oom_score_adj: Option<i32>) -> Result<()> {
        if let Some(adjustment) = oom_score_adj {
            let path = format!("/proc/{}/oom_score_adj", self.pid);
            match std::fs::write(&path, adjustment.to_string()) {
                // Less than it has takes the host's root; as in runc an ordinary user's container does without.
                Err(error) if error.raw_os_error() == Some(libc::EACCES) && rootless::in_user_namespace() => {}
                written => written.doing(|| format!("set oom_score_adj to {adjustment}"))?,
            }
        }
        match sync::say(self.channel.as_fd(), sync::GO) {
            // It has ended already: what it said is waiting to be heard.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => Ok(()),
            answer => answer.doing(|| "speak to the new process".to_owned()),
        }
    }

    /// Wait until init stands before the gate.
    ///
    /// # Errors
    /// `Child` or `Program` with the step that failed, in words. The child has ended then.
    pub(crate) fn await_created(
        &self,
        plan: &Plan,
        around: &Surroundings<'_>,
        hooks: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let hear = || sync::hear(self.channel.as_fd()).doing(|| "hear from the container's init".to_owned());
        let mut heard = hear()?;
        if heard == Heard::Environment {
            hooks()?;
            // It may have ended meanwhile: what it said is waiting to be heard.
            let _ = sync::say(self.channel.as_fd(), sync::HOOKED);
            heard = hear()?;
        }
        match heard {
            Heard::Created => Ok(()),
            Heard::Failed(report) => Err(self.failed(plan, report, around)),
            _ => Err(self.vanished(around.cgroup)),
        }
    }

    /// Open the gate of a child that waits at the channel.
    ///
    /// # Errors
    /// `Os` when it is gone.
    pub(crate) fn open_gate(&self) -> Result<()> {
        rbox_explain::step(
            &steps::START,
            || format!("write(channel to {})", self.pid),
            || sync::say(self.channel.as_fd(), sync::START),
        )
        .doing(|| "start the container".to_owned())
    }

    /// The same, before the child is there: one that has ended before is heard of next.
    ///
    /// # Errors
    /// `Os`.
    pub(crate) fn open_gate_ahead(&self) -> Result<()> {
        match self.open_gate() {
            Err(Error::Os { source, .. }) if source.raw_os_error() == Some(libc::EPIPE) => Ok(()),
            answer => answer,
        }
    }

    /// Wait until the child has become the program.
    ///
    /// # Errors
    /// As [`Child::await_created`].
    pub(crate) fn await_program(
        &self,
        plan: &Plan,
        around: &Surroundings<'_>,
        listen: impl Fn(i32) -> Result<()>,
    ) -> Result<()> {
        loop {
            match sync::hear(self.channel.as_fd()).doing(|| "hear from the container's init".to_owned())? {
                Heard::Failed(report) => return Err(self.failed(plan, report, around)),
                Heard::Notifies(number) => {
                    if let Err(error) = listen(number) {
                        self.end();
                        return Err(error);
                    }
                    let _ = sync::say(self.channel.as_fd(), sync::LISTENED);
                }
                // execve closed the channel. A child that was killed in this moment is a program that ended at once.
                _ => return Ok(()),
            }
        }
    }

    /// Why the child, which has ended, had failed before it was told to go on.
    pub(crate) fn last_words(&self, plan: &Plan, around: &Surroundings<'_>) -> Option<Error> {
        match sync::hear(self.channel.as_fd()) {
            Ok(Heard::Failed(report)) => Some(self.failed(plan, report, around)),
            _ => None,
        }
    }

    /// A step failed: hear what is said besides, and see the child's end.
    fn failed(&self, plan: &Plan, report: Report, around: &Surroundings<'_>) -> Error {
        let words = sync::hear_words(self.channel.as_fd());
        self.end();
        failure(plan, report, around, &words)
    }

    /// Wait until the child has said something or has become the program, unless `interrupt` is readable before: then the
    /// child is killed. It is not waited for: in a frozen control group it dies only when it is thawed.
    ///
    /// # Errors
    /// `Os` with EINTR when it was interrupted.
    pub(crate) fn await_word_unless(&self, interrupt: BorrowedFd<'_>) -> Result<()> {
        use nix::errno::Errno;
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let doing = || "start the program".to_owned();
        loop {
            let mut ready = [self.channel.as_fd(), interrupt].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut ready, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                polled => polled.doing(doing)?,
            };
            if ready[0].any() != Some(false) {
                return Ok(());
            }
            let _ = sys::process::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            return Err(Errno::EINTR).doing(doing);
        }
    }

    /// Kill the child and collect it. Gone already is fine.
    pub(crate) fn end(&self) {
        let _ = sys::process::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = self.wait();
    }

    /// Wait for the child's end: its status as wait(2) gives it.
    ///
    /// # Errors
    /// ECHILD when it is not ours or has been collected.
    pub(crate) fn wait(&self) -> io::Result<Ended> {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        loop {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(Ended::Exited(code)),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Ended::Killed(signal as i32)),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Init ended without a word: killed, most likely by its memory limit.
    fn vanished(&self, cgroup: &Cgroup) -> Error {
        let ended = self.wait();
        let doing = "create the container".to_owned();
        let (why, errno) = match ended {
            Ok(Ended::Killed(libc::SIGKILL)) if cgroup.oom_kills().is_ok_and(|kills| kills > 0) => {
                (diagnose::too_little_memory(cgroup.memory_limit()), libc::ENOMEM)
            }
            Ok(Ended::Killed(signal)) => (format!("its init was killed by signal {signal}"), libc::EINTR),
            Ok(Ended::Exited(99)) => ("its init allocated memory after the clone".to_owned(), libc::EPROTO),
            Ok(Ended::Exited(code)) => (format!("its init ended with status {code}"), libc::EPROTO),
            Err(error) => (crate::error::cause(&error), libc::ECHILD),
        };
        Error::Child { step: "created", doing, why, errno }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// The shell's number for it: the status, or 128 + the signal.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Ended::Exited(code) => code,
            Ended::Killed(signal) => 128 + signal,
        }
    }
}

/// Put a failed step into words.
fn failure(plan: &Plan, report: Report, around: &Surroundings<'_>, said: &[u8]) -> Error {
    let Some(step) = Step::from_number(report.step) else {
        return Error::Child {
            step: "?",
            doing: "create the container".to_owned(),
            why: errno_words(report.errno),
            errno: report.errno,
        };
    };
    if matches!(step, Step::FindProgram | Step::Execute) {
        return diagnose::program(&plan.process, report.errno, around.root, around.cgroup);
    }
    if let Some((kind, list)) = plan.hooks.of_step(step) {
        let path = list.hooks.get(usize::from(report.index)).map(|hook| hook.path.to_string_lossy());
        return hooks::failure(kind, &path.unwrap_or_default(), BadEnd::from_number(report.errno), said);
    }
    let words = plan.words(step, usize::from(report.index));
    let why = diagnose::step(plan, step, report).unwrap_or_else(|| errno_words(report.errno));
    Error::Child { step: step.row().key, doing: words.doing, why, errno: report.errno }
}

/// Tell the listener of `--explain` what the child has noted from its step number `from` on. Answers how many there are.
pub(crate) fn tell_steps(plan: &Plan, from: usize) -> usize {
    let Some(page) = &plan.trace else { return from };
    let noted = page.since(from);
    for one in &noted {
        let Some(step) = Step::from_number(one.step) else { continue };
        // For a hook the number is more than an errno.
        let result = if one.errno == 0 { Ok(String::new()) } else { Err(BadEnd::from_number(one.errno).to_string()) };
        rbox_explain::tell(Record {
            actor: Actor::Init,
            row: step.row(),
            request: plan.words(step, usize::from(one.index)).request,
            result,
            took: Duration::from_nanos(one.took_ns),
        });
    }
    from + noted.len()
}

/// Send a signal to a process that a pidfd stands for.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    rbox_explain::step(
        &steps::KILL,
        || format!("pidfd_send_signal({signal})"),
        || sys::process::pidfd_send_signal(pidfd, signal),
    )
}
