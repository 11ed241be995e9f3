//! Whether the process that claims a container is still there: every command asks it of all containers.
//!
//! Who claims a container locks one byte of a file in `STATE/alive`, the one whose number is made of the container's id. The
//! lock goes with the process, however that ends (fcntl_locking(2)), so a byte that is locked is a process that lives. To
//! ask is one request to the kernel, which looks at nothing of that process, and the claim itself need not be read.
//!
//! The lock is one that several can have, since for a moment two do: who hands a claim over, and who takes it over. A byte
//! that nobody has locked proves nothing; then the claim tells whose it is, and /proc/PID/stat whether that one lives.
//!
//! The kernel keeps the locks of one file in a list and walks it at each request (posix_test_lock in fs/locks.c). So that
//! not everybody is in the same list, there are some files more than one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::dirs::Dirs;

/// So many files.
const FILES: usize = 13;

/// So many hexadecimal digits of a container's id are the number of its byte.
const DIGITS: usize = 15;

/// Let others see that who claims this container lives, until this process ends. Where that fails they look it up.
pub(super) fn show(dirs: &Dirs, id: &str) {
    set(dirs, id, libc::F_RDLCK);
}

/// The same no more: the claim is another's from now on, or nobody's.
pub(crate) fn hide(dirs: &Dirs, id: &str) {
    set(dirs, id, libc::F_UNLCK);
}

/// Whether another process shows that it claims this container. This one's own locks are not in its way, so it does not see them.
pub(super) fn is_shown(dirs: &Dirs, id: &str) -> bool {
    let (Some(file), Some(mut lock)) = (file(dirs, id), lock(id, libc::F_WRLCK)) else { return false };
    // Answers what is in the way of such a lock, or that nothing is.
    fcntl(file, FcntlArg::F_GETLK(&mut lock)).is_ok() && i32::from(lock.l_type) != libc::F_UNLCK
}

fn set(dirs: &Dirs, id: &str, kind: libc::c_int) {
    if let (Some(file), Some(lock)) = (file(dirs, id), lock(id, kind)) {
        let _ = fcntl(file, FcntlArg::F_SETLK(&lock));
    }
}

fn lock(id: &str, kind: libc::c_int) -> Option<libc::flock> {
    Some(libc::flock {
        l_type: libc::c_short::try_from(kind).ok()?,
        l_whence: libc::c_short::try_from(libc::SEEK_SET).ok()?,
        l_start: i64::from_str_radix(id.get(..DIGITS)?, 16).ok()?,
        l_len: 1,
        l_pid: 0,
    })
}

/// The file of the container with this id. Opened once, and open until this process ends: to close any descriptor of a file
/// gives its locks away.
fn file(dirs: &Dirs, id: &str) -> Option<&'static File> {
    static OPENED: [OnceLock<Option<File>>; FILES] = [const { OnceLock::new() }; FILES];
    let number = usize::from_str_radix(id.get(..DIGITS)?, 16).ok()? % FILES;
    OPENED[number].get_or_init(|| open(dirs, number).ok()).as_ref()
}

fn open(dirs: &Dirs, number: usize) -> io::Result<File> {
    let path = |number: usize| dirs.alive().join(number.to_string());
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.open(path(number)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(dirs.alive())?;
            // All at once, and none that is there already: closed again, it would give a lock of ours away.
            (0..FILES).for_each(|number| drop(options.clone().create_new(true).open(path(number))));
            options.open(path(number))
        }
        file => file,
    }
}
