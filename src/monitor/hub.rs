//! Where a container's bytes meet: between its program, its log, and everybody who is attached. One loop over poll(2),
//! one thread, in the monitor as in `rbox run`.
//!
//! ```text
//!   program's stdout, stderr ──▶ ┌─────┐ ──▶ log
//!   (pty master, or pipes)       │ hub │ ──▶ the caller of rbox run        pidfd   ──▶ drain, then end
//!   program's stdin ◀─────────── └─────┘ ◀─▶ attached commands (wire.rs)   signals, relay, new callers at the door
//! ```
//!
//! The program is read only while nobody has something left to take, so the slowest reader slows it down and nothing
//! piles up here: at most one chunk for each reader.

mod ready;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rbox_net::{Networks, Service};
use rbox_runtime::resident;
use rbox_runtime::terminal::{self, Signals};

use super::caller::Caller;
use super::client::Client;
use super::wire::{self, Ask, CHUNK_BYTES, Tell};
use crate::log::{Log, Stream};
use crate::record;
use ready::Ready;

/// Our ends of what the program has for input and output.
#[derive(Debug)]
pub(crate) struct Program {
    /// The program reads what is written here.
    pub(crate) input: Option<Rc<OwnedFd>>,
    /// What it writes.
    pub(crate) outputs: Vec<(Rc<OwnedFd>, Stream)>,
    /// Its terminal, if it has one.
    pub(crate) terminal: Option<Rc<OwnedFd>>,
    /// The end of the first attached input is the end of the program's (`run -i`, not `run -d -i`).
    pub(crate) input_once: bool,
}

/// What the hub needs to know of a program that runs.
pub(crate) struct Life<'a> {
    /// Readable when the program has ended (pidfd_open(2)).
    pub(crate) pidfd: BorrowedFd<'a>,
    /// Send it a signal.
    pub(crate) signal: &'a dyn Fn(i32),
    /// What asks it to end.
    pub(crate) stop_signal: i32,
    /// What is served for its network.
    pub(crate) service: Option<&'a mut Service>,
    /// The networks that it may be connected to meanwhile.
    pub(crate) networks: &'a Networks,
    /// Its container.
    pub(crate) container: &'a str,
    /// Opens the container's network namespace. Nobody keeps it: it is to end with the container.
    pub(crate) netns: &'a dyn Fn() -> io::Result<File>,
    /// Signals that are held back.
    pub(crate) signals: &'a Signals,
    /// Once it has ended, kill what it has left behind: with a pid namespace of others that goes on.
    pub(crate) end_rest: &'a dyn Fn(),
}

impl Life<'_> {
    /// Serve the networks that the container is in by now. Answers why that could not be done.
    fn serve_networks(&mut self) -> String {
        let Some(service) = self.service.as_deref_mut() else { return String::new() };
        let netns = match (self.netns)() {
            Ok(netns) => netns,
            Err(error) => return format!("cannot open the container's network namespace: {}", error.kind()),
        };
        let served = service.refresh(self.networks, self.container, netns.as_fd());
        served.err().map(|error| error.to_string()).unwrap_or_default()
    }
}

/// Everybody who hears a container, and its log.
pub(crate) struct Hub<'a> {
    log: Log,
    door: Option<OwnedFd>,
    directory: PathBuf,
    clients: Vec<Client>,
    caller: Option<Caller<'a>>,
    program: Option<Program>,
    typed: Vec<u8>,
    is_halted: bool,
    /// Notes that a person ends it.
    note_halt: &'a dyn Fn(),
    /// Memory need not be given back.
    is_lean: bool,
    on_started: Option<Box<dyn FnOnce() + 'a>>,
}

impl<'a> Hub<'a> {
    /// A hub with nobody in it, which listens in `directory`.
    ///
    /// Errors: the directory cannot be made.
    pub(crate) fn open(
        log: Log,
        directory: PathBuf,
        caller: Option<Caller<'a>>,
        note_halt: &'a dyn Fn(),
    ) -> Result<Hub<'a>> {
        record::make_private(&directory)?;
        let clients = Vec::new();
        let mut hub = Hub {
            log,
            door: None,
            directory,
            clients,
            caller,
            program: None,
            typed: Vec::new(),
            is_halted: false,
            note_halt,
            is_lean: true,
            on_started: None,
        };
        hub.door = Some(wire::open_door(&hub.directory).context("cannot listen to other commands")?);
        Ok(hub)
    }

    /// Listen no more: who knocks from now on finds nobody. Those who have knocked are still answered.
    pub(crate) fn leave_place(&mut self) {
        // Once: afterwards the place may be another's.
        let directory = std::mem::take(&mut self.directory);
        if !directory.as_os_str().is_empty() {
            crate::sweep::remove_directory(&directory).iter().for_each(crate::report::warn);
        }
    }

    /// Take in a command that is connected already, and hear what it has said so far: the size of its terminal has to
    /// be known before the program looks.
    pub(crate) fn welcome(&mut self, client: OwnedFd) {
        self.clients.push(Client::new(client));
    }

    /// From now on this is the program.
    pub(crate) fn take(&mut self, program: Program) {
        self.program = Some(program);
        self.is_halted = false;
        self.typed.clear();
        for at in 0..self.clients.len() {
            self.hear(at, None);
        }
    }

    /// Do this when the program runs for the first time, and everybody has been told.
    pub(crate) fn on_started(&mut self, act: Box<dyn FnOnce() + 'a>) {
        self.on_started = Some(act);
    }

    /// Tell everybody who asked for it that the program runs.
    pub(crate) fn started(&mut self) {
        self.clients.iter_mut().for_each(|client| client.say(Tell::Started));
        if let Some(act) = self.on_started.take() {
            self.is_lean = false;
            act();
        }
    }

    /// Of a program that has ended unseen: put into the log what it had written.
    pub(crate) fn drain(&mut self) {
        // One after the other until it is empty: what it has left behind may hold it open for ever.
        while let Some(program) = self.program.as_mut().filter(|program| !program.outputs.is_empty()) {
            let last = program.outputs.len();
            while self.take_output(last - 1) {}
            if let Some(program) = &mut self.program {
                program.outputs.truncate(last - 1);
            }
        }
        self.program = None;
        self.log.finish();
    }

    /// Tell everybody that the program has ended, and let them go.
    pub(crate) fn ended(&mut self, code: i32) {
        // Those who knocked while it was taken apart wait at the door.
        while let Some(client) = self.door.as_ref().and_then(wire::answer) {
            self.clients.push(Client::new(client));
        }
        for client in &mut self.clients {
            client.say(Tell::Ended(code));
            client.push();
        }
        self.clients.clear();
    }

    /// Carry bytes, signals and connections until the program has ended and its last words are out.
    ///
    /// Errors: poll(2) or a descriptor of the caller's fails.
    pub(crate) fn carry(&mut self, mut life: Life<'_>) -> Result<()> {
        let doing = "cannot carry the program's input and output";
        let mut has_ended = false;
        loop {
            let silent = has_ended && !self.is_held();
            if silent && self.program.as_ref().is_none_or(|program| program.outputs.is_empty()) {
                break;
            }
            let ready = self.wait(&life, has_ended).context(doing)?;
            if ready.is_empty() {
                if has_ended && self.is_held() {
                    // Who does not read in so long does not keep the last words from the log.
                    self.clients.retain(|client| !client.is_held());
                    continue;
                }
                if has_ended {
                    break;
                }
                self.is_lean = true;
                resident::give_back_memory();
            }
            for one in ready {
                match one {
                    Ready::Ended => {
                        has_ended = true;
                        (life.end_rest)();
                        if let Some(program) = &mut self.program {
                            program.input = None;
                        }
                        self.typed.clear();
                    }
                    Ready::Signal => {
                        if self.take_signals(&life, has_ended)? {
                            return Ok(());
                        }
                    }
                    Ready::Network => life.service.as_deref_mut().into_iter().for_each(Service::ready),
                    other => self.serve(other, &mut life),
                }
            }
            self.clients.retain(|client| !client.is_gone());
        }
        self.program = None;
        self.log.finish();
        Ok(())
    }

    /// Wait without a program, at most so long: who waits to start it again can be told not to, and asked what is.
    /// Answers whether it was told so.
    ///
    /// Errors: those of poll(2).
    pub(crate) fn pause(&mut self, for_ms: u64, signals: &Signals) -> Result<bool> {
        let until = std::time::Instant::now() + std::time::Duration::from_millis(for_ms);
        while !self.is_halted {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                break;
            }
            let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.door.iter().map(|door| PollFd::new(door.as_fd(), PollFlags::POLLIN)));
            fds.extend(self.clients.iter().map(|client| PollFd::new(client.fd(), PollFlags::POLLIN)));
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("cannot wait"),
            }
            while signals.next().context("cannot read signals")?.is_some() {
                self.is_halted = true;
            }
            self.open_door();
            for at in 0..self.clients.len() {
                self.hear_halt(at);
            }
            self.clients.retain(|client| !client.is_gone());
        }
        Ok(self.is_halted)
    }

    fn hear_halt(&mut self, at: usize) {
        while let Some(packet) = self.clients[at].hear() {
            if Ask::parse(&packet) == Some(Ask::Halt) {
                self.halt(at);
            }
        }
    }

    fn halt(&mut self, at: usize) {
        (self.note_halt)();
        self.is_halted = true;
        self.clients[at].say(Tell::Halting);
    }

    fn is_held(&self) -> bool {
        self.clients.iter().any(Client::is_held) || self.caller.as_ref().is_some_and(Caller::is_held)
    }

    fn serve(&mut self, ready: Ready, life: &mut Life<'_>) {
        match ready {
            Ready::Door => self.open_door(),
            Ready::Output(at) => drop(self.take_output(at)),
            Ready::ProgramInput => self.give_input(),
            Ready::Client(at) => self.hear(at, Some(life)),
            Ready::ClientRoom(at) => self.clients[at].push(),
            Ready::CallerInput => self.hear_caller(),
            Ready::CallerRoom(at) => self.show_caller(at),
            Ready::Ended | Ready::Signal | Ready::Network => {}
        }
    }

    fn hear_caller(&mut self) {
        let Some(caller) = &mut self.caller else { return };
        match caller.read() {
            Ok(Some(bytes)) => self.typed = bytes,
            Ok(None) => self.end_input(),
            // The program goes on, as if there were no more to read.
            Err(error) => {
                crate::report::warn(&anyhow::Error::from(error).context("cannot read the standard input"));
                self.end_input();
            }
        }
        self.give_input();
    }

    fn show_caller(&mut self, at: usize) {
        let Some(caller) = &mut self.caller else { return };
        let goes_on = caller.push(at).unwrap_or_else(|error| {
            crate::report::warn(&anyhow::Error::from(error).context("cannot write the program's output"));
            false
        });
        if !goes_on && let Some(program) = &mut self.program {
            // The caller reads no more: the pipe is closed, so that the program is told as in a shell's pipeline.
            program.outputs.retain(|(_, stream)| *stream as usize != at);
        }
    }

    fn open_door(&mut self) {
        while let Some(client) = self.door.as_ref().and_then(wire::answer) {
            self.clients.push(Client::new(client));
        }
    }

    /// Read once what the program has written, and give it to everybody. Answers whether there was anything.
    fn take_output(&mut self, at: usize) -> bool {
        let Some(program) = &mut self.program else { return false };
        // Ready a moment ago; of two that are, the first may have ended and gone from the list.
        let Some((from, stream)) = program.outputs.get(at).cloned() else { return false };
        let mut chunk = [0; CHUNK_BYTES];
        match nix::unistd::read(&from, &mut chunk) {
            Ok(0) => drop(program.outputs.remove(at)),
            Ok(length) => {
                let chunk = &chunk[..length];
                self.log.write(stream, chunk);
                if let Some(caller) = &mut self.caller {
                    caller.take(stream, chunk);
                }
                for client in &mut self.clients {
                    client.output(stream, chunk);
                }
                return true;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // pty(7), EIO: nobody has the other side open any more.
            Err(_) => drop(program.outputs.remove(at)),
        }
        false
    }

    fn give_input(&mut self) {
        let Some(input) = self.program.as_ref().and_then(|program| program.input.clone()) else {
            self.typed.clear();
            return;
        };
        if self.typed.is_empty() {
            return;
        }
        match nix::unistd::write(&input, &self.typed) {
            Ok(count) => drop(self.typed.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The program has closed its input, or its terminal is gone: it wants no more.
            Err(_) => self.end_input(),
        }
        if self.typed.is_empty() {
            self.typed = Vec::new();
        }
    }

    fn end_input(&mut self) {
        self.typed.clear();
        if let Some(program) = self.program.as_mut().filter(|program| program.terminal.is_none()) {
            program.input = None;
        }
        if let Some(caller) = &mut self.caller {
            caller.end_input();
        }
    }

    /// Hear what a client says. Before the program runs there is nobody to pass a signal to.
    fn hear(&mut self, at: usize, mut life: Option<&mut Life<'_>>) {
        while self.typed.is_empty() || !self.clients[at].has_input() {
            let Some(packet) = self.clients[at].hear() else { break };
            match Ask::parse(&packet) {
                Some(Ask::Attach { input }) => self.clients[at].attach(input),
                Some(Ask::Input(bytes)) if self.clients[at].has_input() => {
                    self.typed = bytes.to_vec();
                    self.give_input();
                }
                Some(Ask::EndOfInput) => self.client_ends_input(),
                Some(Ask::Resize { rows, columns }) => {
                    if let Some(terminal) = self.program.as_ref().and_then(|program| program.terminal.as_ref()) {
                        terminal::set_size(terminal.as_fd(), rows, columns);
                    }
                }
                Some(Ask::Signal(number)) => life.iter().for_each(|life| (life.signal)(number)),
                Some(Ask::Halt) => {
                    self.halt(at);
                }
                Some(Ask::Networks) => {
                    let why = life.as_mut().map(|life| life.serve_networks()).unwrap_or_default();
                    self.clients[at].say(Tell::Served(&why));
                }
                Some(Ask::Input(_) | Ask::Wait) | None => {}
            }
        }
        if self.clients[at].is_gone() && self.clients[at].has_input() {
            self.client_ends_input();
        }
    }

    fn client_ends_input(&mut self) {
        if self.program.as_ref().is_some_and(|program| program.input_once) {
            self.end_input();
        }
    }

    /// Pass signals on. `true` when there is nobody left to pass one to: the caller wants to end, not to wait for its own output.
    fn take_signals(&mut self, life: &Life<'_>, has_ended: bool) -> Result<bool> {
        while let Some(signal) = life.signals.next().context("cannot read signals")? {
            let ends = terminal::ENDING.contains(&signal);
            match (&self.caller, signal) {
                (_, Signal::SIGWINCH) => (life.signal)(signal as i32),
                (Some(_), _) if has_ended && ends => return Ok(true),
                _ if has_ended => {}
                (Some(_), _) if life.signals.are_forwarded() => (life.signal)(signal as i32),
                // The signal is rbox's own: it takes the program with it, and goes on to clean up.
                (Some(_), _) if ends => (life.signal)(Signal::SIGKILL as i32),
                // Who asks the monitor to end, asks for the end of its container.
                (None, Signal::SIGTERM) => {
                    (self.note_halt)();
                    self.is_halted = true;
                    (life.signal)(life.stop_signal);
                }
                _ => {}
            }
        }
        Ok(false)
    }
}

impl Drop for Hub<'_> {
    fn drop(&mut self) {
        self.leave_place();
    }
}
