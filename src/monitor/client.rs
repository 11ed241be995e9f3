//! A command that is connected to the hub: attached, waiting, or about to say what it wants.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::wire::{self, Tell};
use crate::log::Stream;

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    /// It hears what the program writes; and with `true`, what it says is for the program.
    attached: Option<bool>,
    /// Packets for which there was no room.
    held: Vec<Vec<u8>>,
    is_gone: bool,
}

impl Client {
    pub(crate) fn new(socket: OwnedFd) -> Client {
        Client { socket, attached: None, held: Vec::new(), is_gone: false }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether it has something left to take.
    pub(crate) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether nobody is there any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Whether what it says is for the program.
    pub(crate) fn has_input(&self) -> bool {
        self.attached == Some(true)
    }

    pub(crate) fn attach(&mut self, input: bool) {
        self.attached = Some(input);
    }

    /// What the program has written.
    pub(crate) fn output(&mut self, stream: Stream, bytes: &[u8]) {
        if self.attached.is_some() {
            self.say(match stream {
                Stream::Output => Tell::Output(bytes),
                Stream::Errors => Tell::Errors(bytes),
            });
        }
    }

    /// Say something now, or when there is room.
    pub(crate) fn say(&mut self, tell: Tell<'_>) {
        self.held.push(tell.packet());
        if self.held.len() == 1 {
            self.push();
        }
    }

    /// Give it what it has left to take, as far as there is room.
    pub(crate) fn push(&mut self) {
        let mut sent = 0;
        for packet in &self.held {
            match wire::try_send(self.socket.as_fd(), packet) {
                Ok(true) => sent += 1,
                Ok(false) => break,
                Err(_) => {
                    self.is_gone = true;
                    sent = self.held.len();
                    break;
                }
            }
        }
        self.held.drain(..sent);
    }

    /// The next packet that it has sent; nothing when there is none, or when it is gone.
    pub(crate) fn hear(&mut self) -> Option<Vec<u8>> {
        match wire::hear(self.socket.as_fd(), false) {
            Ok(Some(packet)) if packet.is_empty() => {
                self.is_gone = true;
                None
            }
            Ok(packet) => packet,
            Err(_) => {
                self.is_gone = true;
                None
            }
        }
    }
}
