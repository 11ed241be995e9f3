//! Stepping into another network namespace, for as long as one closure runs.
//!
//! A namespace belongs to a thread (setns(2)). The closure gets a thread of its own that ends before
//! [`inside`] returns, so no error path can leave the caller in the wrong namespace.

use std::io;
use std::os::fd::BorrowedFd;

use nix::sched::{CloneFlags, setns};
use rbox_explain::{Row, step};

static ENTER: Row = Row {
    key: "setns",
    why: "what concerns the container's network is said from inside it, by a thread that ends there",
    see: "setns(2)",
};

/// Run `act` in the network namespace `netns`.
pub(crate) fn inside<T: Send>(netns: BorrowedFd<'_>, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, || {
            step(&ENTER, || "setns(netns, CLONE_NEWNET)".to_owned(), || setns(netns, CloneFlags::CLONE_NEWNET))?;
            act()
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}
