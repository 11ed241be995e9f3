//! The caller of `rbox run` without a terminal: its own standard input, output and error.
//!
//! They are shared with the shell and others that it started, so they stay blocking: a read is made when poll(2) says
//! that there is something, a write is at most a page, which a ready pipe takes whole (pipe(7), `PIPE_BUF`).

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use crate::log::Stream;

/// What a blocking pipe that is ready takes without waiting: `PIPE_BUF`.
const PAGE_BYTES: usize = 4096;

/// Three descriptors, and what is on its way to two of them.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    input: Option<BorrowedFd<'a>>,
    outputs: [Output<'a>; 2],
}

#[derive(Debug)]
struct Output<'a> {
    to: BorrowedFd<'a>,
    held: Vec<u8>,
    written: usize,
    is_gone: bool,
}

impl<'a> Caller<'a> {
    /// `input` where the program is to hear it.
    pub(crate) fn new(input: Option<BorrowedFd<'a>>, output: BorrowedFd<'a>, errors: BorrowedFd<'a>) -> Caller<'a> {
        let side = |to| Output { to, held: Vec::new(), written: 0, is_gone: false };
        Caller { input, outputs: [side(output), side(errors)] }
    }

    /// Where its bytes come from, until they have ended.
    pub(crate) fn input(&self) -> Option<BorrowedFd<'a>> {
        self.input
    }

    /// Read once. Nothing when there is no more to come.
    ///
    /// Errors: those of read(2).
    pub(crate) fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(input) = self.input else { return Ok(None) };
        let mut bytes = vec![0; PAGE_BYTES];
        match nix::unistd::read(input, &mut bytes) {
            // A terminal that cannot be read from the background, or went away, has nothing more to say.
            Ok(0) | Err(Errno::EIO) => Ok(None),
            Ok(length) => {
                bytes.truncate(length);
                Ok(Some(bytes))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Some(Vec::new())),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Whether something is on its way.
    pub(crate) fn is_held(&self) -> bool {
        self.outputs.iter().any(Output::is_held)
    }

    /// The outputs that something is on its way to.
    pub(crate) fn wants_room(&self) -> impl Iterator<Item = (usize, BorrowedFd<'a>)> {
        self.outputs.iter().enumerate().filter(|(_, output)| output.is_held()).map(|(at, output)| (at, output.to))
    }

    /// Take what the program has written. Nothing is on its way there when this is called.
    pub(crate) fn take(&mut self, stream: Stream, bytes: &[u8]) {
        let output = &mut self.outputs[stream as usize];
        if !output.is_gone {
            output.held.extend_from_slice(bytes);
        }
    }

    /// Write once. `false` when nobody reads there any more.
    ///
    /// Errors: those of write(2); nothing more is written there then.
    pub(crate) fn push(&mut self, at: usize) -> io::Result<bool> {
        let output = &mut self.outputs[at];
        let chunk = &output.held[output.written..];
        match nix::unistd::write(output.to, &chunk[..chunk.len().min(PAGE_BYTES)]) {
            Ok(count) => {
                output.written += count;
                if output.written == output.held.len() {
                    output.held.clear();
                    output.written = 0;
                }
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(true),
            Err(errno) => {
                output.is_gone = true;
                output.held.clear();
                output.written = 0;
                if errno == Errno::EPIPE { Ok(false) } else { Err(errno.into()) }
            }
        }
    }
}

impl Output<'_> {
    fn is_held(&self) -> bool {
        !self.held.is_empty()
    }
}
