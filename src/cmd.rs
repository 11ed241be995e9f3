//! One file for each verb. `run.rs` is the story of a container; the others are short.

mod attach;
mod change;
mod cp;
mod create;
mod dns;
mod exec;
mod generate;
mod image_inspect;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod load;
mod logs;
pub(crate) mod network;
mod port;
pub(crate) mod print;
mod prune;
mod ps;
mod publish;
mod pull;
mod rm;
mod rmi;
pub(crate) mod run;
mod save;
mod start;
pub(crate) mod state;
mod stats;
mod stop;
mod tag;
mod top;
mod version;
mod wait;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use run::Stdio;

use crate::cli::{Cli, ContainerVerb, Global, ImageVerb, RunVerb, Verb};
use crate::{monitor, report};

/// Do what the command line says.
///
/// Errors: those of the verb.
pub(crate) fn run_verb(cli: &Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match &cli.verb {
        Verb::Run(verb) | Verb::Container(ContainerVerb::Run(verb)) => begin(global, verb),
        Verb::Create(verb) | Verb::Container(ContainerVerb::Create(verb)) => {
            Ok(create::run(global, &verb.flags).unwrap_or_else(|error| report::print_refusal(&error)))
        }
        Verb::Monitor(args) => {
            rbox_runtime::resident::leave_caller()?;
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
        Verb::Network(verb) => Ok(network::run(global, verb)),
        Verb::Version(args) => version::run(args),
        Verb::Generate(verb) => generate::run(verb),
        verb => Ok(about_container(global, verb).unwrap_or_else(|error| report::print_refusal(&error))),
    }
}

/// The verbs about what is there: whatever rbox itself cannot do, ends them with 1.
fn about_container(global: &Global, verb: &Verb) -> Result<ExitCode> {
    use ContainerVerb as Of;
    match verb {
        Verb::Start(args) | Verb::Container(Of::Start(args)) => start::run(global, args),
        Verb::Stop(args) | Verb::Container(Of::Stop(args)) => stop::run(global, args),
        Verb::Restart(args) | Verb::Container(Of::Restart(args)) => stop::restart(global, args),
        Verb::Kill(args) | Verb::Container(Of::Kill(args)) => kill::run(global, args),
        Verb::Wait(args) | Verb::Container(Of::Wait(args)) => wait::run(global, args),
        Verb::Attach(args) | Verb::Container(Of::Attach(args)) => attach::run(global, args),
        Verb::Logs(args) | Verb::Container(Of::Logs(args)) => logs::run(global, args),
        Verb::Ps(args) | Verb::Container(Of::Ls(args)) => ps::run(global, args),
        Verb::Rm(args) | Verb::Container(Of::Rm(args)) => rm::run(global, args),
        Verb::Container(Of::Prune(args)) => prune::run(global, args),
        Verb::Exec(args) | Verb::Container(Of::Exec(args)) => exec::run(global, args),
        Verb::Inspect(args) => inspect::run(global, args),
        Verb::Container(Of::Inspect(args)) => inspect::containers(global, args),
        Verb::Top(args) | Verb::Container(Of::Top(args)) => top::run(global, args),
        Verb::Stats(args) | Verb::Container(Of::Stats(args)) => stats::run(global, args),
        Verb::Port(args) | Verb::Container(Of::Port(args)) => port::run(global, args),
        Verb::Publish(args) | Verb::Container(Of::Publish(args)) => publish::publish(global, args),
        Verb::Unpublish(args) | Verb::Container(Of::Unpublish(args)) => publish::unpublish(global, args),
        Verb::Cp(args) | Verb::Container(Of::Cp(args)) => cp::run(global, args),
        Verb::Pause(args) | Verb::Container(Of::Pause(args)) => change::pause(global, args),
        Verb::Unpause(args) | Verb::Container(Of::Unpause(args)) => change::unpause(global, args),
        Verb::Update(args) | Verb::Container(Of::Update(args)) => change::update(global, args),
        Verb::Rename(args) | Verb::Container(Of::Rename(args)) => change::rename(global, args),
        Verb::Info(args) => info::run(global, args),
        Verb::Dns(args) => dns::run(global, args),
        other => unreachable!("run_verb does {other:?} itself"),
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
