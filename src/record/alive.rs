//! Whether a process that claims is still there: every command asks it of all of them.
//!
//! Who claims locks one byte of a file in `STATE/alive`, the one whose number is made of its start time and its pid. The
//! lock goes with the process, however that ends (fcntl_locking(2)), so a byte that is locked is a process that lives. To
//! ask is one request to the kernel, which looks at nothing of that process; its /proc/PID/stat takes three, and many times
//! as long.
//!
//! The kernel keeps the locks of one file in a list and walks it at each request (posix_test_lock in fs/locks.c). So that
//! not everybody is in the same list, there are some files more than one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::claim::{boot_id, start_time};
use crate::dirs::Dirs;

/// Below the start time in the number of a byte: no pid is larger than 2^22 (PID_MAX_LIMIT, proc_sys_kernel(5)).
const PID_BITS: u32 = 22;

/// So many files. A prime, so that processes whose pids have the same distance from each other do not meet in one.
const FILES: usize = 13;

/// Let others see that this process lives, from now on. Where that fails they look it up.
pub(super) fn show(dirs: &Dirs, pid: i32, start: u64) {
    if let (Some(file), Some(lock)) = (file(dirs, pid), lock_of(pid, start)) {
        let _ = fcntl(file, FcntlArg::F_SETLK(&lock));
    }
}

/// Whether the process of that number, start time and boot is still there.
pub(crate) fn is_alive(dirs: &Dirs, pid: i32, start: u64, boot: &str) -> bool {
    // This process itself is looked up too: nobody's own locks are in their way.
    boot_id().is_ok_and(|now| now == boot) && (is_shown(dirs, pid, start) || start_time(pid) == Some(start))
}

fn is_shown(dirs: &Dirs, pid: i32, start: u64) -> bool {
    let (Some(file), Some(mut lock)) = (file(dirs, pid), lock_of(pid, start)) else { return false };
    // Answers what is in the way of such a lock, or that nothing is.
    fcntl(file, FcntlArg::F_GETLK(&mut lock)).is_ok() && i32::from(lock.l_type) != libc::F_UNLCK
}

fn lock_of(pid: i32, start: u64) -> Option<libc::flock> {
    let byte = start.checked_shl(PID_BITS)? | u64::try_from(pid).ok()?;
    Some(libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).ok()?,
        l_whence: i16::try_from(libc::SEEK_SET).ok()?,
        l_start: i64::try_from(byte).ok()?,
        l_len: 1,
        l_pid: 0,
    })
}

/// The file of the processes with this pid. Opened once, and open until this process ends: to close any descriptor of a file
/// gives its locks away.
fn file(dirs: &Dirs, pid: i32) -> Option<&'static File> {
    static OPENED: [OnceLock<Option<File>>; FILES] = [const { OnceLock::new() }; FILES];
    let number = usize::try_from(pid).ok()? % FILES;
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
