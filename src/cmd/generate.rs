//! `rbox generate`: the man pages and completion scripts of both programs, made of the same command lines that are
//! parsed. rbox-runtime has no verb for it: its command line is runc's.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

use crate::cli::{GenerateVerb, command};

/// `rbox generate man DIR`, `rbox generate completion DIR`
///
/// Errors: the directory cannot be written to.
pub(crate) fn run(verb: &GenerateVerb) -> Result<ExitCode> {
    for (name, program) in [("rbox", command()), ("rbox-runtime", rbox_runtime::command_line())] {
        match verb {
            GenerateVerb::Man { dir } => man(program, dir)?,
            GenerateVerb::Completion { dir } => completion(name, &program, dir)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn man(program: Command, dir: &Path) -> Result<()> {
    make(dir)?;
    clap_mangen::generate_to(program, dir).with_context(|| format!("cannot write man pages to {}", dir.display()))
}

fn completion(name: &'static str, program: &Command, dir: &Path) -> Result<()> {
    make(dir)?;
    // Making a script writes the program's name into every verb, so each is made of a copy.
    let shown = without_hidden(name, program);
    let failed = |shell| move || format!("cannot write completion for {shell} to {}", dir.display());
    for shell in [Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut shown.clone(), name, dir).with_context(failed(shell))?;
    }
    std::fs::write(dir.join(format!("{name}.bash")), bash(name, shown)).with_context(failed(Shell::Bash))
}

/// A hyphen in the program's name leaves a verb's flags out (github.com/clap-rs/clap/issues/6421), so the script is made
/// for another name, which it says only where it registers its function.
fn bash(name: &str, mut program: Command) -> Vec<u8> {
    let plain = name.replace('-', "_");
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut program, &plain, &mut script);
    String::from_utf8_lossy(&script).replace(&format!(" {plain}\n"), &format!(" {name}\n")).into_bytes()
}

/// The scripts offer hidden verbs too, so these are taken away before.
fn without_hidden(name: &'static str, program: &Command) -> Command {
    let verbs = program.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(program.is_disable_help_subcommand_set())
        .disable_version_flag(program.is_disable_version_flag_set())
        .args(program.get_arguments().cloned())
        .subcommands(verbs)
}

fn make(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}
