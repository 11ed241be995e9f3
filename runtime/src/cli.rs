//! runc's command line: parse, do, and say in one line what went wrong.

mod arguments;
mod foreground;
mod log;
mod spec;
mod verbs;

use arguments::{Arguments, Verb};
use clap::Parser;
use std::process::ExitCode;

/// runc's exit code for an error of the runtime itself, where no program's status is there to be passed on.
const FAILED: u8 = 1;

/// Run one verb. The exit code is the program's for `run` and `exec`, else 0, or 1 for an error.
pub(crate) fn main() -> ExitCode {
    // Before anything else, so that little is done twice.
    if let Err(error) = rbox_runtime::seal() {
        log::stderr(&error.to_string());
        return ExitCode::from(FAILED);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { FAILED } else { 0 });
        }
    };
    let log = log::Log::new(&arguments);
    match verbs::run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.error(&error.to_string());
            ExitCode::from(verbs::exit_code(&arguments.verb, &error))
        }
    }
}

impl Verb {
    /// Whether the caller expects the exit code of a program.
    fn runs_a_program(&self) -> bool {
        matches!(self, Verb::Run(_) | Verb::Exec(_))
    }
}
