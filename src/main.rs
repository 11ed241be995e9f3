//! The program `rbox`: parse the words, do the verb, print what went wrong, end with the right code. Nothing else.
//!
//! The map: [`cli`] is the command line as data, `cmd/` has one file for each verb (`cmd/run.rs` is the story of a
//! container), [`spec`] turns an image and flags into an OCI configuration, [`report`] words every error.

#![forbid(unsafe_code)]

mod attach;
mod cli;
mod cmd;
mod config;
mod creation;
mod dirs;
mod engine;
mod explain;
mod find;
mod follow;
mod in_place;
mod log;
mod monitor;
mod names;
mod pad;
mod record;
mod report;
mod spec;
mod sweep;
mod template;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = obey();
    // Whoever could not do all that it had to may have left something: that it ends now is told to the next command.
    if !report::has_complained() {
        record::register::leave();
    }
    code
}

/// Do what the command line says.
fn obey() -> ExitCode {
    // Before anything else, so that little is done twice: what is about to be inside a container must not be writable.
    if let Err(error) = rbox_runtime::seal() {
        return report::print(&error.into());
    }
    match cli::parse(std::env::args_os().collect()) {
        Ok(cli) => cmd::run_verb(&cli).unwrap_or_else(|error| report::print(&error)),
        Err(cli::Stop::Say(text)) => match cmd::print::line(text.trim_end()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => report::print(&error),
        },
        Err(cli::Stop::Wrong(problem)) => report::print(&problem.into()),
    }
}
