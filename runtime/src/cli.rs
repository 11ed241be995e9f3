//! runc's command line: parse, do, and say in one line what went wrong.

mod arguments;
mod events;
mod exec;
mod foreground;
mod log;
mod look;
mod spec;
mod update;
mod verbs;

use arguments::{Arguments, LogFormat};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use log::Log;
use std::path::PathBuf;
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
        Err(error) => return refuse(&error),
    };
    let log = match Log::open(arguments.log.as_deref(), arguments.log_format) {
        Ok(log) => log,
        Err(error) => {
            log::stderr(&error.to_string());
            return ExitCode::from(FAILED);
        }
    };
    if arguments.debug {
        log.steps();
    }
    match verbs::run(&arguments, &log) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.error(&error.to_string());
            ExitCode::from(verbs::failed(&arguments.verb))
        }
    }
}

/// A command line that cannot be read; or a wish for help, which is none. containerd reads only the log, so what can be
/// understood of its flags is.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { FAILED } else { 0 });
    }
    let line = one_line(error);
    let readable = Arguments::command().ignore_errors(true).try_get_matches().unwrap_or_default();
    let file = readable.try_get_one::<PathBuf>("log").ok().flatten();
    let format = readable.try_get_one::<LogFormat>("log_format").ok().flatten();
    match Log::open(file.map(PathBuf::as_path), format.copied().unwrap_or(LogFormat::Text)) {
        Ok(log) => log.error(&line),
        Err(_) => log::stderr(&line),
    }
    ExitCode::from(FAILED)
}

/// clap's error without its usage: what is wrong, and what it may have been meant for.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let said = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let words = said.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("tip: to pass"));
    words.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}
