//! Who the program is and what it may do: working directory, descriptors, limits, user, capabilities; and execve.

use super::filesystem::{find, find_existing};
use super::report::Reporter;
use crate::defence::Defence;
use crate::plan::{Door, LABELS_MAX, Process};
use crate::steps::Step;
use crate::sync::Report;
use crate::sys;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

pub(super) fn set_hostname(name: &CStr) -> io::Result<()> {
    sys::process::sethostname(name)
}

pub(super) fn set_domainname(name: &CStr) -> io::Result<()> {
    sys::process::setdomainname(name)
}

pub(super) fn new_keyring(name: &CStr) -> io::Result<()> {
    match sys::process::join_session_keyring(name) {
        // A kernel without keys has none to protect.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        answer => answer,
    }
}

/// Open the doors of the control groups, as long as the host's tree is there.
pub(super) fn open_doors(on: &Reporter<'_>, doors: &mut [Door]) {
    // With an usher the parent has opened them: inside a user namespace they are closed.
    for (index, door) in doors.iter_mut().enumerate().filter(|(_, door)| door.file.is_none()) {
        door.file = Some(on.quietly(Step::JoinCgroup, index, || sys::file::open(&door.path, libc::O_WRONLY)));
    }
}

/// Enter the control groups: a process with one thread that writes 0 moves itself, without the locks that a parent
/// would have to take for it (12 ms against 0.1 ms for nine hierarchies).
pub(super) fn join_cgroups(on: &Reporter<'_>, doors: &[Door]) {
    for (index, door) in doors.iter().enumerate() {
        let Some(file) = &door.file else { continue };
        on.nth(Step::JoinCgroup, index, || sys::file::write_all(file.as_fd(), b"0"));
    }
}

/// Go to the working directory. By descriptor and without magic links, then asked for by name: a descriptor of the
/// host that leaked in must not become the directory we start in (CVE-2024-21626).
pub(super) fn enter_directory(on: &Reporter<'_>, process: &Process) {
    on.step(Step::WorkingDirectory, || {
        if !Defence::WorkingDirectory.stands() {
            return sys::file::chdir(&process.cwd.whole);
        }
        let place = if process.make_cwd { find(&process.cwd, false)? } else { find_existing(&process.cwd)? };
        sys::file::fchdir(place.as_fd())?;
        if sys::file::current_directory_is_inside()? { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOENT)) }
    });
}

/// See whether there is anything to execute at all.
pub(super) fn find_program(on: &Reporter<'_>, process: &Process) {
    on.step(Step::FindProgram, || {
        let mut worst = libc::ENOENT;
        for candidate in &process.candidates {
            match executable(candidate) {
                Ok(()) => return Ok(()),
                Err(error) => worst = weigh(worst, &error),
            }
        }
        Err(io::Error::from_raw_os_error(worst))
    });
}

fn executable(path: &CStr) -> io::Result<()> {
    let file = sys::file::open(path, libc::O_PATH)?;
    if sys::file::fstat(file.as_fd())?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    sys::file::may_execute(path)
}

/// "Not there" is said only where nothing worse was met in another directory of PATH.
fn weigh(worst: i32, error: &io::Error) -> i32 {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) | None => worst,
        Some(number) => number,
    }
}

/// Put the program's standard input, output and error in place.
pub(super) fn stdio(on: &Reporter<'_>, process: &Process, terminal: Option<&OwnedFd>) {
    if let Some(terminal) = terminal {
        on.step(Step::Stdio, || {
            sys::socket::set_controlling_terminal(terminal.as_fd())?;
            sys::file::chownat(terminal.as_fd(), c"", process.uid, u32::MAX)
        });
    }
    for (number, file) in process.stdio.iter().enumerate() {
        if let Some(file) = terminal.or(file.as_ref()) {
            let target = i32::try_from(number).unwrap_or(0);
            on.nth(Step::Stdio, number, || sys::file::dup_onto(file.as_fd(), target));
        }
    }
}

/// Open the files that take a security module's label: the host's, for the container's /proc is the image's word.
pub(super) fn open_labels(on: &Reporter<'_>, process: &Process) -> Labels {
    let mut files = [const { None }; LABELS_MAX];
    for (index, (label, file)) in process.labels.iter().zip(&mut files).enumerate() {
        *file = Some(on.nth(Step::LabelFile, index, || {
            let own = sys::file::open(c"/proc/self", libc::O_PATH | libc::O_DIRECTORY)?;
            sys::file::openat2(own.as_fd(), &label.file, libc::O_WRONLY, 0, libc::RESOLVE_NO_XDEV)
        }));
    }
    Labels { files }
}

/// The open files for [`Process::labels`].
pub(super) struct Labels {
    files: [Option<OwnedFd>; LABELS_MAX],
}

impl Labels {
    /// Ask for them: from the next execve on.
    pub(super) fn set(&self, on: &Reporter<'_>, process: &Process) {
        for (index, (label, file)) in process.labels.iter().zip(&self.files).enumerate() {
            let Some(file) = file else { continue };
            on.nth(Step::Label, index, || sys::file::write_all(file.as_fd(), label.text.to_bytes()));
        }
    }
}

/// Run on these processors, where that is asked for: first on the way in, then inside.
pub(super) fn set_affinity(on: &Reporter<'_>, process: &Process, which: usize) {
    if let Some(Some(mask)) = process.scheduling.affinity.get(which) {
        on.nth(Step::Affinity, which, || sys::scheduling::set_affinity(mask));
    }
}

/// Processor, disks, memory nodes, personality: as long as we may.
pub(super) fn scheduling(on: &Reporter<'_>, process: &Process) {
    let wish = &process.scheduling;
    if let Some(attributes) = &wish.scheduler {
        on.step(Step::Scheduler, || sys::scheduling::set_scheduler(attributes));
    }
    if let Some(priority) = wish.io_priority {
        on.step(Step::IoPriority, || sys::scheduling::set_io_priority(priority));
    }
    if let Some((mode, nodes)) = &wish.memory_policy {
        on.step(Step::MemoryPolicy, || sys::scheduling::set_memory_policy(*mode, nodes));
    }
    if let Some(domain) = wish.personality {
        on.step(Step::Personality, || sys::scheduling::set_personality(domain));
    }
}

/// Limits of the process, signals as a fresh program expects them, the umask.
pub(super) fn limits(on: &Reporter<'_>, process: &Process) {
    for (index, (resource, soft, hard, _)) in process.rlimits.iter().enumerate() {
        on.nth(Step::Rlimit, index, || sys::process::prlimit(0, *resource, *soft, *hard));
    }
    // Ignored signals stay ignored through execve, and this program ignores SIGPIPE.
    for signal in 1..=64 {
        // SIGKILL, SIGSTOP and the two that glibc keeps for itself cannot be changed, nor have they been.
        let _ = sys::process::default_action(signal);
    }
    let _ = sys::process::set_signal_mask(0);
    sys::process::umask(process.umask.unwrap_or(0o022));
}

/// Become the program's user with its capabilities.
pub(super) fn assume(on: &Reporter<'_>, process: &Process) {
    let sets = &process.capabilities;
    on.step(Step::Bounding, || {
        for capability in (0..=sets.last).filter(|number| sets.bounding & 1 << number == 0) {
            sys::process::drop_bounding(capability)?;
        }
        // Without this, leaving user 0 would empty the permitted set, and nothing could be given back below.
        sys::process::keep_capabilities(true)
    });
    on.step(Step::Groups, || sys::process::setgroups(&process.groups));
    on.step(Step::GroupId, || sys::process::setresgid(process.gid));
    on.step(Step::UserId, || sys::process::setresuid(process.uid));
    on.step(Step::Capabilities, || {
        sys::process::keep_capabilities(false)?;
        sys::process::capset(sets.effective, sets.permitted, sets.inheritable)
    });
    on.step(Step::Ambient, || {
        sys::process::clear_ambient()?;
        for capability in (0..=sets.last).filter(|number| sets.ambient & 1 << number != 0) {
            sys::process::raise_ambient(capability)?;
        }
        Ok(())
    });
}

/// execve, in each place where the program may be.
pub(super) fn execute(on: &Reporter<'_>, process: &Process) -> ! {
    let mut worst = libc::ENOENT;
    for candidate in &process.candidates {
        if let Some(page) = on.trace {
            // Noted before: after it there is nobody left to note anything.
            let noted = sys::shared::Noted { step: Step::Execute as u16, index: 0, errno: 0, took_ns: 0 };
            if executable(candidate).is_ok() {
                page.note(noted, 0);
            }
        }
        let error = sys::process::execve(candidate, process.argv.pointers(), process.envp.pointers());
        worst = weigh(worst, &error);
    }
    on.fail(Report { step: Step::Execute as u16, index: 0, errno: worst })
}
