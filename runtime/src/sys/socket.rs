//! What the child needs of sockets and terminals: accept, pass a descriptor, bring `lo` up, take a pty.

use super::{check, descriptor, done};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// Wait for a connection. accept4(2), close-on-exec.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    loop {
        // SAFETY: the peer's address is not wanted.
        let peer = unsafe { libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), libc::SOCK_CLOEXEC) };
        match descriptor(i64::from(peer)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

/// Send `file` with the bytes of `name` as the message. sendmsg(2), unix(7) `SCM_RIGHTS`. Does not allocate.
pub(crate) fn send_descriptor(socket: BorrowedFd<'_>, file: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        file: i32,
        padding: i32, // CMSG_SPACE rounds up to 8
    }
    // SAFETY: cmsghdr is plain numbers.
    let mut control = Control { header: unsafe { std::mem::zeroed() }, file: file.as_raw_fd(), padding: 0 };
    control.header.cmsg_len = size_of::<libc::cmsghdr>() + size_of::<i32>();
    control.header.cmsg_level = libc::SOL_SOCKET;
    control.header.cmsg_type = libc::SCM_RIGHTS;
    let bytes = name.to_bytes();
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain numbers and pointers, for which all zero is "none".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = ptr::from_mut(&mut part);
    message.msg_iovlen = 1;
    message.msg_control = ptr::from_mut(&mut control).cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: every pointer of the message points to a local that outlives the call, with its true length.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), ptr::from_ref(&message), libc::MSG_NOSIGNAL) };
    check(sent as libc::c_long).map(drop)
}

/// netdevice(7): the flags fit the field, which is 16 bits wide.
const IFF_UP_RUNNING: libc::c_short = 0x1 | 0x40;

/// Bring the interface `lo` of this network namespace up. netdevice(7) `SIOCSIFFLAGS`. Same as: `ip link set lo up`.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: numbers, no memory.
    let socket =
        descriptor(i64::from(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }))?;
    // SAFETY: ifreq is plain numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = IFF_UP_RUNNING;
    // SAFETY: the request outlives the call and is what SIOCSIFFLAGS takes.
    done(i64::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, ptr::from_mut(&mut request)) }))
}

/// Ask for the kernel's own sentence in the errors of a netlink socket. netlink(7) `NETLINK_EXT_ACK`, Linux 4.12.
pub(crate) fn netlink_ext_ack(socket: BorrowedFd<'_>) -> io::Result<()> {
    let yes: libc::c_int = 1;
    let size: libc::socklen_t = 4; // of a c_int
    // SAFETY: the number outlives the call, and its size is told.
    done(i64::from(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, ptr::from_ref(&yes).cast(), size)
    }))
}

/// The other side of the pty whose master is `master`, opened without any path. ioctl_tty(2) `TIOCGPTPEER`, Linux 4.13.
pub(crate) fn pty_peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: numbers, no memory.
    descriptor(i64::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }))
}

/// Allow the other side of `master` to be opened. ioctl_tty(2) `TIOCSPTLCK`.
pub(crate) fn pty_unlock(master: BorrowedFd<'_>) -> io::Result<()> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the number outlives the call.
    done(i64::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, ptr::from_ref(&unlocked)) }))
}

/// Make `terminal` the controlling terminal of this session. ioctl_tty(2) `TIOCSCTTY`.
pub(crate) fn set_controlling_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: numbers, no memory.
    done(i64::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }))
}

/// Set the size of a terminal in characters. ioctl_tty(2) `TIOCSWINSZ`.
pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the size outlives the call.
    done(i64::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, ptr::from_ref(&size)) }))
}
