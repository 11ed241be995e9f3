//! One file for each verb. `run.rs` is the story of a container; the others are short.

mod attach;
mod create;
mod generate;
mod image_inspect;
mod images;
mod import;
mod kill;
mod load;
mod logs;
mod network;
pub(crate) mod print;
mod prune;
mod ps;
mod pull;
mod rm;
mod rmi;
pub(crate) mod run;
mod save;
mod start;
pub(crate) mod state;
mod stop;
mod tag;
mod version;
mod wait;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use run::Stdio;

use crate::cli::{Cli, ContainerVerb, Global, ImageVerb, RunVerb, Verb};
use crate::monitor;

/// Do what the command line says.
///
/// Errors: those of the verb.
pub(crate) fn run_verb(cli: &Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match &cli.verb {
        Verb::Run(verb) | Verb::Container(ContainerVerb::Run(verb)) => begin(global, verb),
        Verb::Create(verb) | Verb::Container(ContainerVerb::Create(verb)) => create::run(global, &verb.flags),
        Verb::Start(args) | Verb::Container(ContainerVerb::Start(args)) => start::run(global, args),
        Verb::Stop(args) | Verb::Container(ContainerVerb::Stop(args)) => stop::run(global, args),
        Verb::Restart(args) | Verb::Container(ContainerVerb::Restart(args)) => stop::restart(global, args),
        Verb::Kill(args) | Verb::Container(ContainerVerb::Kill(args)) => kill::run(global, args),
        Verb::Wait(args) | Verb::Container(ContainerVerb::Wait(args)) => wait::run(global, args),
        Verb::Attach(args) | Verb::Container(ContainerVerb::Attach(args)) => attach::run(global, args),
        Verb::Logs(args) | Verb::Container(ContainerVerb::Logs(args)) => logs::run(global, args),
        Verb::Ps(args) | Verb::Container(ContainerVerb::Ls(args)) => ps::run(global, args),
        Verb::Rm(args) | Verb::Container(ContainerVerb::Rm(args)) => rm::run(global, args),
        Verb::Container(ContainerVerb::Prune(args)) => prune::run(global, args),
        Verb::Monitor(args) => {
            crate::explain::listen(&args.explain)?;
            rbox_runtime::tell_seal();
            monitor::run(global, args)
        }
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

/// `rbox run`: where a monitor makes the requests, it explains them.
fn begin(global: &Global, verb: &RunVerb) -> Result<ExitCode> {
    if !verb.attach.detach && !verb.flags.terminal.tty {
        crate::explain::listen(&verb.explain)?;
        rbox_runtime::tell_seal();
    }
    run::run(global, verb)
}
