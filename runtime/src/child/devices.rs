//! /dev: nodes, links, and the console.

use super::report::Reporter;
use crate::defence::Defence;
use crate::plan::{Console, Device, Place, Tree};
use crate::steps::Step;
use crate::sys;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// linux/magic.h
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Make the device nodes and the links in /dev.
pub(super) fn make(on: &Reporter<'_>, tree: &Tree) {
    // The mask must not take bits from the modes below; the program's own umask is set later.
    sys::process::umask(0);
    let dev = (!tree.device_links.is_empty()).then(|| on.step(Step::DeviceDirectory, dev));
    for (index, device) in tree.devices.iter().enumerate() {
        on.nth(Step::Device, index, || match (&dev, device.place.parts.as_slice()) {
            (Some(dev), [directory, name]) if directory.as_c_str() == c"dev" => node(dev.as_fd(), name, device),
            (_, [.., name]) => node(parent_of(&device.place)?.as_fd(), name, device),
            (_, []) => Ok(()),
        });
    }
    let Some(dev) = dev else {
        sys::process::umask(0o022);
        return;
    };
    for (index, (name, target)) in tree.device_links.iter().enumerate() {
        on.nth(Step::DeviceLink, index, || link(dev.as_fd(), name, target));
    }
    sys::process::umask(0o022);
}

/// No link on the way to a device: /dev is a directory of this container (CVE-2026-41579).
fn no_links() -> u64 {
    libc::RESOLVE_NO_MAGICLINKS | if Defence::NoLinkedPlaces.stands() { libc::RESOLVE_NO_SYMLINKS } else { 0 }
}

fn dev() -> io::Result<OwnedFd> {
    let resolve = no_links();
    sys::file::openat2(sys::file::here(), c"/dev", libc::O_PATH | libc::O_DIRECTORY, 0, resolve)
}

fn node(parent: BorrowedFd<'_>, name: &CStr, device: &Device) -> io::Result<()> {
    if let Some(bound) = &device.bound {
        return bind(parent, name, bound, device);
    }
    match sys::file::mknodat(parent, name, device.mode, device.number) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => return verify(parent, name, device),
        made => made?,
    }
    if device.uid != 0 || device.gid != 0 {
        sys::file::chownat(parent, name, device.uid, device.gid)?;
    }
    Ok(())
}

/// The host's node over an empty file; what is there already must be the device or a file to lay it over.
fn bind(parent: BorrowedFd<'_>, name: &CStr, bound: &OwnedFd, device: &Device) -> io::Result<()> {
    match sys::file::mknodat(parent, name, libc::S_IFREG, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        made => made?,
    }
    let place = sys::file::openat2(parent, name, libc::O_PATH | libc::O_NOFOLLOW, 0, 0)?;
    match sys::file::fstat(place.as_fd())?.st_mode & libc::S_IFMT {
        libc::S_IFREG => sys::mount::move_mount(bound.as_fd(), place.as_fd()),
        _ => verify(parent, name, device),
    }
}

/// What the image or a mount put there already is accepted only if it is the very device.
fn verify(parent: BorrowedFd<'_>, name: &CStr, device: &Device) -> io::Result<()> {
    let there = sys::file::openat2(parent, name, libc::O_PATH | libc::O_NOFOLLOW, 0, 0)?;
    let found = sys::file::fstat(there.as_fd())?;
    if !Defence::TrueNull.stands() {
        return Ok(());
    }
    let same = found.st_mode & libc::S_IFMT == device.mode & libc::S_IFMT && found.st_rdev == device.number;
    if same { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EEXIST)) }
}

fn link(dev: BorrowedFd<'_>, name: &CStr, target: &CStr) -> io::Result<()> {
    match sys::file::symlinkat(target, dev, name) {
        // The image has its own; it is inside the container whatever it is.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        answer => answer,
    }
}

/// Make a terminal in the container's devpts and send its master away.
///
/// The multiplexer is opened without following a link and must be on a devpts, so that no image can hand us another
/// terminal or file (CVE-2025-52565). The other side is opened from the master, without any path at all.
pub(super) fn terminal(on: &Reporter<'_>, console: &Console) -> OwnedFd {
    on.step(Step::Console, || {
        let links = if Defence::TrueTerminal.stands() { libc::RESOLVE_NO_SYMLINKS } else { 0 };
        let resolve = links | libc::RESOLVE_NO_MAGICLINKS;
        let flags = libc::O_RDWR | libc::O_NOCTTY;
        let master = sys::file::openat2(sys::file::here(), c"/dev/pts/ptmx", flags, 0, resolve)?;
        if sys::file::filesystem_magic(master.as_fd())? != DEVPTS_SUPER_MAGIC {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        sys::socket::pty_unlock(master.as_fd())?;
        let terminal = sys::socket::pty_peer(master.as_fd())?;
        if let Some((rows, columns)) = console.size {
            sys::socket::set_window_size(terminal.as_fd(), rows, columns)?;
        }
        sys::socket::send_descriptor(console.socket.as_fd(), master.as_fd(), c"/dev/pts/ptmx")?;
        Ok(terminal)
    })
}

/// As [`terminal`], and lay it over /dev/console.
pub(super) fn console(on: &Reporter<'_>, console: &Console) -> OwnedFd {
    let terminal = terminal(on, console);
    let place = on.quietly(Step::ConsoleMount, 0, console_place);
    let copy = on.step(Step::ConsoleCopy, || match Defence::TrueTerminal.stands() {
        true => sys::mount::open_tree(terminal.as_fd(), c"", false),
        false => sys::mount::open_tree(sys::file::here(), c"/dev/pts/0", false),
    });
    on.step(Step::ConsoleMount, || sys::mount::move_mount(copy.as_fd(), place.as_fd()));
    terminal
}

/// The file /dev/console, made where it is missing.
fn console_place() -> io::Result<OwnedFd> {
    let dev = dev()?;
    match sys::file::mknodat(dev.as_fd(), c"console", libc::S_IFREG | 0o600, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        made => made?,
    }
    sys::file::openat2(dev.as_fd(), c"console", libc::O_PATH | libc::O_NOFOLLOW, 0, libc::RESOLVE_NO_SYMLINKS)
}

/// The directory that holds a device, made where it is missing. No part of it may be a link: a device node must not
/// land in a volume that an image's link leads to.
fn parent_of(place: &Place) -> io::Result<OwnedFd> {
    let resolve = no_links();
    let directory = libc::O_PATH | libc::O_DIRECTORY;
    let mut at = sys::file::open(c"/", directory)?;
    for part in &place.parts[..place.parts.len().saturating_sub(1)] {
        at = match sys::file::openat2(at.as_fd(), part, directory, 0, resolve) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                sys::file::mkdirat(at.as_fd(), part, 0o755)?;
                sys::file::openat2(at.as_fd(), part, directory, 0, resolve)?
            }
            answer => answer?,
        };
    }
    Ok(at)
}
