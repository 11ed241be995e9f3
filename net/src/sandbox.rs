//! A sandbox: the network namespace of one container (the CNM noun), made and furnished before the container.
//!
//! ```text
//!   Sandbox::new ──▶ Reservation::connect(sandbox) ──▶ the container joins it by its path ──▶ drop(sandbox)
//!    lo, no process    eth0, address, route, rules       setns(2)                               it ends with its last process
//! ```
//!
//! A netlink socket keeps the namespace it was opened in alive for an RCU grace period after its close (8 to 20 ms;
//! netlink_release in net/netlink/af_netlink.c), and the host's end of the cable lives as long. So where it can be done
//! without one, by [`Ioctls`], it is: of 25 ms for `run --rm true` on the bridge 12 are left. And else it is made first: that
//! time passes while the container is built and runs. When the namespace was furnished just before the program started, a
//! program that ends at once had to wait for all of it.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use nix::sched::{CloneFlags, unshare};

use crate::error::{Doing, Result};
use crate::steps;

/// Requests that furnish the network namespace of the calling thread and leave nothing behind in it: ioctl(2) on a TCP socket,
/// netdevice(7). This library has no unsafe code, so who uses it brings them along.
#[derive(Debug, Clone, Copy)]
pub struct Ioctls {
    /// Switch an interface on.
    pub set_up: fn(&str) -> io::Result<()>,
    /// Give an interface that is off its address, with its subnet's prefix.
    pub set_address: fn(&str, Ipv4Addr, u8) -> io::Result<()>,
    /// Make this the way to everywhere.
    pub add_default_gateway: fn(Ipv4Addr) -> io::Result<()>,
}

/// A network namespace without a process. It is gone when this is dropped, unless a process has joined it by then.
#[derive(Debug)]
pub struct Sandbox {
    netns: File,
}

impl Sandbox {
    /// Make an empty network namespace.
    ///
    /// A thread makes it and ends, because the caller must stay where it is: unshare(2) moves who calls it.
    ///
    /// # Errors
    /// `Os`: the kernel refuses, or has no room for another.
    pub fn new() -> Result<Sandbox> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        let on_a_thread = || {
            let thread = std::thread::Builder::new().name("netns".into()).spawn(make)?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
        };
        let words = || "unshare(CLONE_NEWNET)".to_owned();
        let netns =
            rbox_explain::step(&steps::SANDBOX, words, on_a_thread).doing(|| "make a network namespace".into())?;
        Ok(Sandbox { netns })
    }

    /// Where others find it while this lives: `/proc/PID/fd/N`.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_raw_fd()).into()
    }
}

impl AsFd for Sandbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }
}
