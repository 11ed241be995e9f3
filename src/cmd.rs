//! One file for each verb. `run.rs` is the story of a container; the others are short.

mod change;
mod cp;
mod exec;
mod generate;
mod image_inspect;
mod images;
mod import;
mod info;
mod inspect;
mod load;
mod network;
mod port;
pub(crate) mod print;
mod ps;
mod pull;
mod rm;
mod rmi;
mod run;
mod save;
mod stats;
mod tag;
mod top;
mod version;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, ContainerVerb, Global, ImageVerb, RunArgs, Verb};
use crate::report;

/// Do what the command line says.
///
/// Errors: those of the verb.
pub(crate) fn run_verb(cli: &Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match &cli.verb {
        Verb::Run(flags) => run(global, flags),
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
        Verb::Container(ContainerVerb::Run(flags)) => run(global, flags),
        Verb::Container(ContainerVerb::Ls(args)) => ps::run(global, args),
        Verb::Container(ContainerVerb::Rm(args)) => rm::run(global, args),
        verb => Ok(about_container(global, verb).unwrap_or_else(|error| report::print_refusal(&error))),
    }
}

fn run(global: &Global, flags: &RunArgs) -> Result<ExitCode> {
    crate::explain::listen(&flags.explain)?;
    rbox_runtime::tell_seal();
    run::run(global, flags)
}

/// The verbs about containers that are there: whatever rbox itself cannot do, ends them with 1.
fn about_container(global: &Global, verb: &Verb) -> Result<ExitCode> {
    use ContainerVerb as Of;
    match verb {
        Verb::Exec(args) | Verb::Container(Of::Exec(args)) => exec::run(global, args),
        Verb::Inspect(args) => inspect::run(global, args),
        Verb::Container(Of::Inspect(args)) => inspect::containers(global, args),
        Verb::Top(args) | Verb::Container(Of::Top(args)) => top::run(global, args),
        Verb::Stats(args) | Verb::Container(Of::Stats(args)) => stats::run(global, args),
        Verb::Port(args) | Verb::Container(Of::Port(args)) => port::run(global, args),
        Verb::Cp(args) | Verb::Container(Of::Cp(args)) => cp::run(global, args),
        Verb::Pause(args) | Verb::Container(Of::Pause(args)) => change::pause(global, args),
        Verb::Unpause(args) | Verb::Container(Of::Unpause(args)) => change::unpause(global, args),
        Verb::Update(args) | Verb::Container(Of::Update(args)) => change::update(global, args),
        Verb::Rename(args) | Verb::Container(Of::Rename(args)) => change::rename(global, args),
        Verb::Info(args) => info::run(global, args),
        other => unreachable!("run_verb does {other:?} itself"),
    }
}
