//! One file for each verb. `run.rs` is the story of a container; the others are short.

mod generate;
mod image_inspect;
mod images;
mod import;
mod load;
mod network;
pub(crate) mod print;
mod ps;
mod pull;
mod rm;
mod rmi;
mod run;
mod save;
mod tag;
mod version;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, ImageVerb, Verb};

/// Do what the command line says.
///
/// Errors: those of the verb.
pub(crate) fn run_verb(cli: &Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match &cli.verb {
        Verb::Run(flags) => {
            crate::explain::listen(&flags.explain)?;
            rbox_runtime::tell_seal();
            run::run(global, flags)
        }
        Verb::Ps(args) => ps::run(global, args),
        Verb::Rm(args) => rm::run(global, args),
        Verb::Images(args) | Verb::Image(ImageVerb::Ls(args)) => images::run(global, args),
        Verb::Pull(args) | Verb::Image(ImageVerb::Pull(args)) => pull::run(global, args),
        Verb::Load(args) | Verb::Image(ImageVerb::Load(args)) => load::run(global, args),
        Verb::Save(args) | Verb::Image(ImageVerb::Save(args)) => save::run(global, args),
        Verb::Import(args) | Verb::Image(ImageVerb::Import(args)) => import::run(global, args),
        Verb::Rmi(args) | Verb::Image(ImageVerb::Rm(args)) => rmi::run(global, args),
        Verb::Tag(args) | Verb::Image(ImageVerb::Tag(args)) => tag::run(global, args),
        Verb::Image(ImageVerb::Inspect(args)) => image_inspect::run(global, args),
        Verb::Network(verb) => network::run(global, verb),
        Verb::Version(args) => version::run(args),
        Verb::Generate(verb) => generate::run(verb),
    }
}
