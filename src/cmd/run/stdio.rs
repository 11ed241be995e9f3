//! The caller's own standard input, output and error.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use oci_spec::runtime::{Box as ConsoleSize, BoxBuilder as ConsoleSizeBuilder};
use rbox_runtime::terminal;

use crate::cli::RunArgs;

/// The caller's three descriptors.
pub(crate) struct Stdio {
    input: io::Stdin,
    output: io::Stdout,
    errors: io::Stderr,
}

impl Stdio {
    pub(crate) fn of_the_caller() -> Stdio {
        Stdio { input: io::stdin(), output: io::stdout(), errors: io::stderr() }
    }

    pub(crate) fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    pub(crate) fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    pub(crate) fn errors(&self) -> BorrowedFd<'_> {
        self.errors.as_fd()
    }

    /// The size that a program's terminal is to have from its first moment on: the caller's, if it has one.
    pub(crate) fn size(&self, tty: bool, interactive: bool) -> Option<ConsoleSize> {
        let input = interactive.then(|| self.input());
        let ours = [input, Some(self.output())].into_iter().flatten().find(|fd| terminal::is_terminal(*fd));
        let size = ours.filter(|_| tty).and_then(terminal::size)?;
        let (height, width) = (u64::from(size.ws_row), u64::from(size.ws_col));
        ConsoleSizeBuilder::default().height(height).width(width).build().ok()
    }

    /// Docker's condition for `-it`.
    ///
    /// Errors: standard input is no terminal.
    pub(crate) fn check(&self, flags: &RunArgs) -> Result<()> {
        let both = flags.terminal.tty && flags.terminal.interactive;
        if both { self.check_terminal() } else { Ok(()) }
    }

    /// A program with a terminal is typed to from a terminal.
    ///
    /// Errors: standard input is no terminal.
    pub(crate) fn check_terminal(&self) -> Result<()> {
        if !terminal::is_terminal(self.input()) {
            let problem =
                crate::report::Problem::new("cannot give the program a terminal: standard input is not a terminal");
            return Err(problem.hint("leave out -t when input comes from a pipe or file").into());
        }
        Ok(())
    }
}
