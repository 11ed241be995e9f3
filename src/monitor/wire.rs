//! What a command and the process that holds a container say to each other, both ends in one file.
//!
//! ```text
//!   command ── Attach, Input, EndOfInput, Resize, Signal, Wait, Halt, Networks ──▶ holder (the monitor, or rbox run)
//!           ◀── Started, Output, Errors, Halting, Served, Ended ──
//! ```
//!
//! A socket that keeps messages apart (unix(7), `SOCK_SEQPACKET`): one message is one packet, a letter and what belongs
//! to it. Below a directory that only root may enter, so everybody who speaks is root.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, listen, recv, send, socket,
    socketpair,
};

/// As many of the program's bytes as one packet carries.
pub(crate) const CHUNK_BYTES: usize = 16 * 1024;
const PACKET_BYTES: usize = CHUNK_BYTES + 16;
const FLAGS: SockFlag = SockFlag::SOCK_CLOEXEC;

/// What a command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask<'a> {
    /// From now on, what the program writes, and `input`: what is typed here is for it.
    Attach { input: bool },
    /// Bytes for the program.
    Input(&'a [u8]),
    /// There are no more.
    EndOfInput,
    /// The terminal's size.
    Resize { rows: u16, columns: u16 },
    /// A signal for the program.
    Signal(i32),
    /// Tell me when the program has ended.
    Wait,
    /// A person ends the program now: it is not to be started again.
    Halt,
    /// The container is in other networks now.
    Networks,
}

/// What the holder says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell<'a> {
    /// The program runs.
    Started,
    /// What it wrote to its standard output, or its terminal.
    Output(&'a [u8]),
    /// What it wrote to its standard error.
    Errors(&'a [u8]),
    /// It is not started again.
    Halting,
    /// What is served for its networks is as they are now; or the reason why not.
    Served(&'a str),
    /// It has ended with this code, and what was made for it is taken apart.
    Ended(i32),
}

impl Ask<'_> {
    /// The packet.
    pub(crate) fn packet(self) -> Vec<u8> {
        match self {
            Self::Attach { input } => vec![b'a', u8::from(input)],
            Self::Input(bytes) => joined(b'i', bytes),
            Self::EndOfInput => vec![b'e'],
            Self::Resize { rows, columns } => {
                let ([a, b], [c, d]) = (rows.to_le_bytes(), columns.to_le_bytes());
                vec![b'r', a, b, c, d]
            }
            Self::Signal(number) => joined(b's', &number.to_le_bytes()),
            Self::Wait => vec![b'w'],
            Self::Halt => vec![b'h'],
            Self::Networks => vec![b'n'],
        }
    }

    /// What a packet says; nothing when it says nothing that is known.
    pub(crate) fn parse(packet: &[u8]) -> Option<Ask<'_>> {
        let (letter, rest) = packet.split_first()?;
        Some(match (letter, rest) {
            (b'a', [input]) => Ask::Attach { input: *input == 1 },
            (b'i', bytes) => Ask::Input(bytes),
            (b'e', []) => Ask::EndOfInput,
            (b'r', [a, b, c, d]) => {
                Ask::Resize { rows: u16::from_le_bytes([*a, *b]), columns: u16::from_le_bytes([*c, *d]) }
            }
            (b's', number) => Ask::Signal(i32::from_le_bytes(number.try_into().ok()?)),
            (b'w', []) => Ask::Wait,
            (b'h', []) => Ask::Halt,
            (b'n', []) => Ask::Networks,
            _ => return None,
        })
    }
}

impl Tell<'_> {
    /// The packet.
    pub(crate) fn packet(self) -> Vec<u8> {
        match self {
            Self::Started => vec![b's'],
            Self::Output(bytes) => joined(b'o', bytes),
            Self::Errors(bytes) => joined(b'e', bytes),
            Self::Halting => vec![b'h'],
            Self::Served(why) => joined(b'n', why.as_bytes()),
            Self::Ended(code) => joined(b'x', &code.to_le_bytes()),
        }
    }

    /// What a packet says; nothing when it says nothing that is known.
    pub(crate) fn parse(packet: &[u8]) -> Option<Tell<'_>> {
        let (letter, rest) = packet.split_first()?;
        Some(match (letter, rest) {
            (b's', []) => Tell::Started,
            (b'o', bytes) => Tell::Output(bytes),
            (b'e', bytes) => Tell::Errors(bytes),
            (b'h', []) => Tell::Halting,
            (b'n', why) => Tell::Served(std::str::from_utf8(why).ok()?),
            (b'x', code) => Tell::Ended(i32::from_le_bytes(code.try_into().ok()?)),
            _ => return None,
        })
    }
}

fn joined(letter: u8, bytes: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(1 + bytes.len());
    packet.push(letter);
    packet.extend_from_slice(bytes);
    packet
}

/// Both ends of a connection that has no name.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, FLAGS)?)
}

/// Listen in `directory`, which is there; in place of a process that listened there and is dead.
pub(crate) fn open_door(directory: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(directory.join("socket")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let door = socket(AddressFamily::Unix, SockType::SeqPacket, FLAGS | SockFlag::SOCK_NONBLOCK, None)?;
    let (_directory, address) = address(directory)?;
    bind(door.as_raw_fd(), &address)?;
    rbox_explain::mark("door-named");
    listen(&door, Backlog::new(64)?)?;
    Ok(door)
}

/// Speak to who listens in `directory`.
///
/// Errors: NotFound or ConnectionRefused when nobody does.
pub(crate) fn knock(directory: &Path) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, FLAGS, None)?;
    let (_directory, address) = address(directory)?;
    connect(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

/// A socket's path has at most 107 bytes (unix(7)), and a state directory may lie deep: the path begins at a descriptor.
fn address(directory: &Path) -> io::Result<(File, UnixAddr)> {
    let file = File::open(directory)?;
    let address = UnixAddr::new(format!("/proc/self/fd/{}/socket", file.as_raw_fd()).as_str())?;
    Ok((file, address))
}

/// Send a packet. `false` when there is no room for it now.
///
/// Errors: nobody is at the other end.
pub(crate) fn try_send(to: BorrowedFd<'_>, packet: &[u8]) -> io::Result<bool> {
    match send(to.as_raw_fd(), packet, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Send a packet, however long that takes.
///
/// Errors: nobody is at the other end.
pub(crate) fn say(to: BorrowedFd<'_>, ask: Ask<'_>) -> io::Result<()> {
    loop {
        match send(to.as_raw_fd(), &ask.packet(), MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::EINTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// A packet, where there is one; `Some` of nothing when the other end is closed, `None` when there is none yet.
///
/// Errors: those of recv(2), but for a connection that was cut.
pub(crate) fn hear(from: BorrowedFd<'_>, wait: bool) -> io::Result<Option<Vec<u8>>> {
    let mut packet = vec![0; PACKET_BYTES];
    let flags = if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
    loop {
        return match recv(from.as_raw_fd(), &mut packet, flags) {
            Ok(length) => {
                packet.truncate(length);
                Ok(Some(packet))
            }
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Ok(None),
            Err(Errno::ECONNRESET) => Ok(Some(Vec::new())),
            Err(errno) => Err(errno.into()),
        };
    }
}

/// Take the next caller, if there is one.
pub(crate) fn answer(door: &OwnedFd) -> Option<OwnedFd> {
    rustix::net::accept_with(door, rustix::net::SocketFlags::CLOEXEC).ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        for ask in [
            Ask::Attach { input: true },
            Ask::Attach { input: false },
            Ask::Input(b"abc"),
            Ask::EndOfInput,
            Ask::Resize { rows: 24, columns: 600 },
            Ask::Signal(15),
            Ask::Wait,
            Ask::Halt,
        ] {
            assert_eq!(Ask::parse(&ask.packet()), Some(ask));
        }
        for tell in
            [Tell::Started, Tell::Output(b"x"), Tell::Errors(b""), Tell::Halting, Tell::Ended(-1), Tell::Ended(255)]
        {
            assert_eq!(Tell::parse(&tell.packet()), Some(tell));
        }
        for packet in [&b""[..], b"?", b"r12", b"s1", b"w1", b"x"] {
            assert!(Ask::parse(packet).is_none(), "{packet:?}");
        }
    }

    #[test]
    fn a_door_is_found_at_the_end_of_a_long_path() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        assert_eq!(knock(&deep).unwrap_err().kind(), io::ErrorKind::NotFound);
        let door = open_door(&deep).unwrap();
        let command = knock(&deep).unwrap();
        let holder = answer(&door).unwrap();
        assert!(answer(&door).is_none());
        say(command.as_fd(), Ask::Wait).unwrap();
        assert_eq!(hear(holder.as_fd(), true).unwrap().unwrap(), Ask::Wait.packet());
        assert_eq!(hear(holder.as_fd(), false).unwrap(), None);
        drop(command);
        assert_eq!(hear(holder.as_fd(), true).unwrap().unwrap(), b"");
        drop(door);
        assert_eq!(knock(&deep).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
