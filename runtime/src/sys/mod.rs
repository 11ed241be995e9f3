//! The only unsafe code of rbox: one function for each system call that nix lacks, or that must not allocate.
//!
//! No policy here. Each function takes typed, borrowed arguments, returns `io::Result`, and names its man page. What
//! runs in the child after the clone must not allocate, lock or panic: everything here keeps to that.

pub(crate) mod bpf;
#[cfg(all(target_arch = "x86_64", not(feature = "weaken")))]
mod entry;
pub(crate) mod file;
pub mod interface;
pub(crate) mod mount;
pub(crate) mod process;
pub mod robust;
pub(crate) mod scheduling;
pub(crate) mod shared;
pub(crate) mod socket;
pub(crate) mod terminal;
pub(crate) mod trap;

use std::io;

/// Turn a raw return value into a result; -1 becomes the thread's errno.
fn check(returned: libc::c_long) -> io::Result<libc::c_long> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// As [`check`], for calls that answer nothing else.
fn done(returned: libc::c_long) -> io::Result<()> {
    check(returned).map(drop)
}

/// As [`check`], for calls that answer a new descriptor.
fn descriptor(returned: libc::c_long) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::{FromRawFd, OwnedFd};
    let number = check(returned)?;
    let raw = i32::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us (the caller passes the return value of such a call),
    // so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
