//! `rbox generate`: the man pages and completion scripts, made of the same command line that is parsed.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap_complete::Shell;

use crate::cli::{GenerateVerb, command};

/// `rbox generate man DIR`, `rbox generate completion DIR`
///
/// Errors: the directory cannot be written to.
pub(crate) fn run(verb: &GenerateVerb) -> Result<ExitCode> {
    match verb {
        GenerateVerb::Man { dir } => {
            make(dir)?;
            clap_mangen::generate_to(command(), dir)
                .with_context(|| format!("cannot write man pages to {}", dir.display()))?;
        }
        GenerateVerb::Completion { dir } => {
            make(dir)?;
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut command(), "rbox", dir)
                    .with_context(|| format!("cannot write completion for {shell} to {}", dir.display()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn make(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}
