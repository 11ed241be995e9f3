//! Both ends of the program's standard input, output and error: a terminal of its own, pipes, or FIFOs.
//!
//! The program never gets the caller's own descriptors: a terminal of the host's in a container's hands can be typed
//! into (TIOCSTI), and a file can be opened again for writing.
//!
//! With a monitor the outputs are FIFOs in the state directory, which the program holds for reading too. So there is a
//! reader as long as there is a writer: when the monitor is killed the program gets no SIGPIPE, its output waits in the FIFO (64
//! KiB, then it waits itself), and the next monitor opens the FIFO by its name.

use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::Uid;
use rbox_runtime::console;
use rbox_runtime::container::Ties;

use super::hub::Program;
use crate::log::Stream;
use crate::record::StreamsOf;

/// The FIFOs' names.
const FIFOS: [(&str, Stream); 2] = [("stdout", Stream::Output), ("stderr", Stream::Errors)];

/// Our ends.
pub(crate) enum Ends {
    /// The socket through which the terminal's master comes.
    Terminal(OwnedFd),
    /// Pipes or FIFOs.
    Pipes { input: Option<OwnedFd>, outputs: Vec<(OwnedFd, Stream)> },
}

impl Ends {
    /// Make both ends; `fifos` is the directory where those of a container with a monitor have their names.
    ///
    /// Errors: no descriptors left; the directory cannot be written.
    pub(crate) fn new(streams: &StreamsOf, fifos: Option<&Path>, user: u32) -> Result<(Ends, Ties)> {
        if streams.terminal {
            let (theirs, ours) = console::pair()?;
            return Ok((Ends::Terminal(ours), Ties { console: Some(theirs), ..Ties::default() }));
        }
        let (input, program_input) = if streams.input {
            let (theirs, ours) = pipe()?;
            give_away(&theirs, user)?;
            (Some(ours), theirs)
        } else {
            (None, OwnedFd::from(OpenOptions::new().read(true).open("/dev/null").context("cannot open /dev/null")?))
        };
        let mut outputs = Vec::new();
        let mut program_outputs = Vec::new();
        for (name, stream) in FIFOS {
            let (ours, theirs) = match fifos {
                Some(directory) => fifo(&directory.join(name))?,
                None => pipe()?,
            };
            give_away(&theirs, user)?;
            outputs.push((ours, stream));
            program_outputs.push(Some(theirs));
        }
        let errors = program_outputs.pop().flatten();
        let output = program_outputs.pop().flatten();
        let ties = Ties { stdio: [Some(program_input), output, errors], ..Ties::default() };
        Ok((Ends::Pipes { input, outputs }, ties))
    }

    /// Take the ends up, once the container is created.
    ///
    /// Errors: no terminal came.
    pub(crate) fn open(self, input_once: bool) -> Result<Program> {
        match self {
            Ends::Terminal(socket) => of_terminal(console::receive(&socket)?, input_once),
            Ends::Pipes { input, outputs } => {
                for pipe in input.iter().chain(outputs.iter().map(|(pipe, _)| pipe)) {
                    not_blocking(pipe)?;
                }
                let outputs = outputs.into_iter().map(|(pipe, stream)| (Rc::new(pipe), stream)).collect();
                Ok(Program { input: input.map(Rc::new), outputs, terminal: None, input_once })
            }
        }
    }
}

/// Make the program's end of a pipe its user's own: else the program could not open /dev/stdout, which leads there (as
/// runc's fixStdioPermissions). Never /dev/null: that is the host's.
///
/// Errors: those of fchown(2).
pub(crate) fn give_away(pipe: &OwnedFd, user: u32) -> Result<()> {
    if user == 0 {
        return Ok(());
    }
    nix::unistd::fchown(pipe, Some(Uid::from_raw(user)), None).context("cannot give a pipe away")
}

/// The program's terminal, of which this is the master.
///
/// Errors: those of fcntl(2).
pub(crate) fn of_terminal(master: OwnedFd, input_once: bool) -> Result<Program> {
    not_blocking(&master)?;
    let master = Rc::new(master);
    let outputs = vec![(master.clone(), Stream::Output)];
    Ok(Program { input: Some(master.clone()), outputs, terminal: Some(master), input_once })
}

/// The outputs of a program whose monitor was killed: what it wrote meanwhile waits there. Its input has ended with the
/// monitor.
pub(super) fn find_again(directory: &Path) -> Program {
    let open = |name: &str| {
        let flags = OFlag::O_NONBLOCK.bits();
        OpenOptions::new().read(true).custom_flags(flags).open(directory.join(name)).ok()
    };
    let found = FIFOS.iter().filter_map(|(name, stream)| Some((Rc::new(OwnedFd::from(open(name)?)), *stream)));
    Program { input: None, outputs: found.collect(), terminal: None, input_once: false }
}

/// (Ours for reading, the program's for reading and writing.)
fn fifo(path: &Path) -> Result<(OwnedFd, OwnedFd)> {
    let doing = || format!("cannot make {}", path.display());
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        // Of an earlier run of the same container: what is in it is nobody's any more.
        Err(nix::errno::Errno::EEXIST) => {
            fs::remove_file(path).with_context(doing)?;
            nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).with_context(doing)?;
        }
        made => made.with_context(doing)?,
    }
    let ours = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).with_context(doing)?;
    let theirs = OpenOptions::new().read(true).write(true).open(path).with_context(doing)?;
    Ok((ours.into(), theirs.into()))
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")
}

fn not_blocking(fd: &OwnedFd) -> Result<()> {
    let doing = "cannot prepare the program's streams";
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL).context(doing)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).context(doing)?;
    Ok(())
}
