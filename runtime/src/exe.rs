//! This program, protected from the containers it makes.
//!
//! Until execve, the first process of a container *is* this program, and a container can reach it: an image whose
//! entry point is `#!/proc/self/exe` runs it inside, and `/proc/PID/exe` then leads to our file on the host. Opened
//! for writing by root, it would be overwritten for every later user (CVE-2019-5736).
//!
//! So the program first executes itself again through a read-only copy of its own mount. The copy is attached
//! nowhere: no path leads to it, it can only be reached as `/proc/PID/exe`, and opening that for writing answers EROFS
//! whoever asks. To make it writable again takes `CAP_SYS_ADMIN` on the host, or, from a user namespace, permission
//! to write a file of the host's root. (runc copies itself into a sealed memory file, 0.3 ms a megabyte, charged to
//! whoever asks; or mounts an overlay. A copy of a mount costs 10 µs.)

use crate::defence::Defence;
use crate::error::{Doing, Result};
use crate::rootless;
use crate::steps;
use crate::sys;
use crate::sys::mount::Attributes;
use rbox_explain::{Actor, Record};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// The words of a command line after which a process of ours will be inside a container. Another word may look like
/// one of them (`rbox rm run`): then the program is sealed for nothing.
pub(crate) const VERBS: &[&CStr] = &[c"create", c"run", c"exec", c"monitor"];

/// Make sure that this program, if its words say that it makes a process in a container, runs from a file that nobody
/// can write, executing it again if need be.
///
/// To be called first thing in `main`, before anything is opened or said. On x86-64 it finds its work done already, by
/// the program's first instructions (`sys/entry.rs`).
///
/// # Errors
/// `Os` when the kernel refuses: before Linux 5.12.
pub fn seal() -> Result<()> {
    if !std::env::args_os().skip(1).any(|word| VERBS.iter().any(|verb| verb.to_bytes() == word.as_bytes())) {
        return Ok(());
    }
    let doing = || "protect this program from its containers".to_owned();
    let exe = sys::file::open(c"/proc/self/exe", libc::O_PATH).doing(doing)?;
    if !Defence::OwnProgram.stands() {
        return Ok(());
    }
    if sys::file::is_on_readonly_mount(exe.as_fd()).doing(doing)? {
        return Ok(());
    }
    let copy = match readonly_copy(&exe) {
        // An ordinary user, who has no mounts: a copy in memory, unless we run from it already.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => match rootless::sealed_copy(&exe).doing(doing)? {
            Some(copy) => copy,
            None => return Ok(()),
        },
        copy => copy.doing(doing)?,
    };
    Err(execute(&copy)).doing(doing)
}

/// Tell the listener of `--explain` what [`seal`] did: that was before anybody could listen.
pub fn tell_seal() {
    // The copy is attached nowhere, so its path is that of its own root.
    if !rbox_explain::listening() || std::fs::read_link("/proc/self/exe").is_ok_and(|path| path != Path::new("/")) {
        return;
    }
    for request in [
        "open_tree(\"/proc/self/exe\", OPEN_TREE_CLONE)",
        "mount_setattr(copy of the program, set MOUNT_ATTR_RDONLY, MS_PRIVATE)",
    ] {
        rbox_explain::tell(Record {
            actor: Actor::Host,
            row: &steps::SEAL,
            request: request.to_owned(),
            result: Ok("before this list began".to_owned()),
            took: Duration::ZERO,
        });
    }
}

fn readonly_copy(exe: &OwnedFd) -> io::Result<OwnedFd> {
    let copy = sys::mount::open_tree(exe.as_fd(), c"", false)?;
    let readonly = Attributes { set: libc::MOUNT_ATTR_RDONLY, propagation: libc::MS_PRIVATE, ..Attributes::default() };
    sys::mount::mount_setattr(copy.as_fd(), false, &readonly)?;
    Ok(copy)
}

/// Only returns on failure.
fn execute(program: &OwnedFd) -> io::Error {
    let strings = |texts: &mut dyn Iterator<Item = Vec<u8>>| -> Vec<CString> {
        // What came through execve once contains no zero byte.
        texts.filter_map(|text| CString::new(text).ok()).collect()
    };
    let arguments = strings(&mut std::env::args_os().map(|argument| argument.as_bytes().to_vec()));
    let variables =
        strings(&mut std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()));
    let (argv, envp) = (crate::plan::Argv::new(arguments), crate::plan::Argv::new(variables));
    sys::process::execveat(program.as_fd(), argv.pointers(), envp.pointers())
}
