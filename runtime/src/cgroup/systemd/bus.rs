//! A connection to systemd that blocks: one call after the other, and the end of the jobs that they begin.
//!
//! Own code, because the whole need is five calls and one signal: the kept libraries bring threads or an async runtime,
//! and no thread may be alive when a container is cloned.
//!
//! ```text
//!  we                                         systemd, or the bus before it
//!    \0 AUTH EXTERNAL <uid in hex>, BEGIN ───▶
//!    ◀──────────────────────────────────────── OK <guid>: from here on messages (wire.rs)
//!    Hello, AddMatch(JobRemoved) ────────────▶ only to a bus: systemd itself speaks to everyone
//!    StartTransientUnit ─────────────────────▶
//!    ◀──────────────────────────────────────── the job's path
//!    ◀──────────────────────────────────────── JobRemoved(path, "done")
//! ```
//!
//! D-Bus Specification, "Authentication Protocol"; org.freedesktop.systemd1(5).

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::wire::{self, HEAD, Message, Target, Value};

/// As runc: systemd is busy with a thousand units at worst.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where systemd is reached. Its own socket is root's, spares two programs between us, and is there without a bus. The bus
/// is where it is documented. An ordinary user's own systemd would be a third: `$XDG_RUNTIME_DIR/bus`.
const PLACES: [Place; 2] = [
    Place { socket: "/run/systemd/private", is_bus: false },
    Place { socket: "/run/dbus/system_bus_socket", is_bus: true },
];

const DBUS: Target =
    Target { service: "org.freedesktop.DBus", object: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };
const SYSTEMD: Target = Target {
    service: "org.freedesktop.systemd1",
    object: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

#[derive(Debug, Clone, Copy)]
struct Place {
    socket: &'static str,
    is_bus: bool,
}

/// Why a call did not do what it was to do.
#[derive(Debug)]
pub(super) enum Failure {
    /// systemd said no: the error's name, and its words.
    Refused { name: String, text: String },
    /// The job that it began did not end well: `failed`, `canceled`, `timeout` …
    Job(String),
    /// The connection broke, or nobody answered.
    Os(io::Error),
}

impl Failure {
    /// Whether it is this error of systemd's: `UnitExists`, `NoSuchUnit`.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Failure::Refused { name, .. } if name.rsplit('.').next() == Some(wanted))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused { name, text } => {
                let text = text.trim_end_matches('.');
                write!(f, "systemd says: {}", if text.is_empty() { name } else { text })
            }
            Failure::Job(result) => write!(f, "systemd's job ended with: {result}"),
            Failure::Os(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                write!(f, "systemd has not answered for {} s", PATIENCE.as_secs())
            }
            Failure::Os(error) if error.kind() == ErrorKind::UnexpectedEof => f.write_str("systemd hung up"),
            Failure::Os(error) if error.kind() == ErrorKind::InvalidData => {
                f.write_str("systemd's answer cannot be read")
            }
            Failure::Os(error) => f.write_str(&crate::error::cause(error)),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Os(error)
    }
}

/// A connection to systemd.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    until: Instant,
    /// Jobs that ended while we waited for something else.
    ended: Vec<(String, String)>,
}

impl Bus {
    /// Connect. `unit` is the one whose jobs we shall wait for.
    ///
    /// # Errors
    /// `Os`: the error of the last place that was tried.
    pub(super) fn connect(unit: &str) -> Result<Bus, Failure> {
        let mut last = io::Error::from(ErrorKind::NotFound).into();
        for place in PLACES {
            match Bus::connect_to(place, unit) {
                Ok(bus) => return Ok(bus),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    fn connect_to(place: Place, unit: &str) -> Result<Bus, Failure> {
        let stream = UnixStream::connect(place.socket)?;
        let mut bus = Bus { stream, serial: 0, until: Instant::now() + PATIENCE, ended: Vec::new() };
        bus.authenticate()?;
        if place.is_bus {
            // Their answers come before those to what is asked next, and are not worth a wait: without a name of our own
            // the bus hangs up.
            bus.send(DBUS, "Hello", &[])?;
            let wanted = format!(
                "type='signal',sender='{}',path='{}',interface='{}',member='JobRemoved',arg2='{unit}'",
                SYSTEMD.service, SYSTEMD.object, SYSTEMD.interface
            );
            bus.send(DBUS, "AddMatch", &[Value::Text(wanted)])?;
        }
        Ok(bus)
    }

    /// Who we are the kernel tells; it is only to be claimed.
    fn authenticate(&mut self) -> Result<(), Failure> {
        let uid = nix::unistd::geteuid().to_string();
        let hex: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        // BEGIN without waiting for OK, as systemctl does it: systemd reads up to 256 bytes here, and the part of a first
        // message that is among them would lie there until more comes.
        self.stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes())?;
        // Byte by byte: behind the line there may be signals already, which systemd sends to everyone.
        self.limit_wait()?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        if !line.starts_with(b"OK ") {
            return Err(io::Error::from(ErrorKind::PermissionDenied).into());
        }
        Ok(())
    }

    /// Call a method of systemd's, and wait for its answer: the first word of it.
    ///
    /// # Errors
    /// `Refused`, `Os`.
    pub(super) fn call(&mut self, method: &str, body: &[Value]) -> Result<String, Failure> {
        self.until = Instant::now() + PATIENCE;
        let serial = self.send(SYSTEMD, method, body)?;
        loop {
            match self.receive()? {
                Message::Return { to, word } if to == serial => return Ok(word),
                Message::Refused { to, name, text } if to == serial => return Err(Failure::Refused { name, text }),
                _ => {}
            }
        }
    }

    /// Call a method that begins a job, and wait for the job's end.
    ///
    /// # Errors
    /// As [`Bus::call`]; `Job`.
    pub(super) fn work(&mut self, method: &str, body: &[Value]) -> Result<(), Failure> {
        let wanted = self.call(method, body)?;
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(job, _)| *job == wanted) {
                return if result == "done" { Ok(()) } else { Err(Failure::Job(result.clone())) };
            }
            self.receive()?;
        }
    }

    fn send(&mut self, target: Target, method: &str, body: &[Value]) -> io::Result<u32> {
        self.serial += 1;
        self.stream.write_all(&wire::call(target, method, self.serial, body))?;
        Ok(self.serial)
    }

    /// The next message. The end of a job is noted.
    fn receive(&mut self) -> io::Result<Message> {
        let mut head = [0; HEAD];
        self.fill(&mut head)?;
        let mut whole = vec![0; wire::whole_length(&head)?];
        whole[..HEAD].copy_from_slice(&head);
        self.fill(&mut whole[HEAD..])?;
        let message = wire::read(&whole)?;
        if let Message::JobRemoved { job, result } = &message {
            self.ended.push((job.clone(), result.clone()));
        }
        Ok(message)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.limit_wait()?;
        self.stream.read_exact(bytes)
    }

    fn limit_wait(&self) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        // Zero would mean for ever.
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))
    }
}
