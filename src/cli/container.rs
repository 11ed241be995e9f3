//! The words of the verbs about containers that are there.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::living::{
    ContainerInspectArgs, ContainersArgs, CopyArgs, ExecArgs, PortArgs, PublishArgs, RenameArgs, StatsArgs, TopArgs,
    UnpublishArgs, UpdateArgs,
};
use super::run::{CreateVerb, ExplainFlags, RunVerb};
use super::value::{self, DetachKeys};

/// `rbox container …`: the verbs once more, as docker has them.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerVerb {
    /// Join keyboard and screen with a program that runs
    Attach(AttachArgs),
    /// Copy files between a container and the host
    Cp(CopyArgs),
    /// Make a container from an image, to be started later
    Create(Box<CreateVerb>),
    /// Run a further program in a container
    Exec(ExecArgs),
    /// Print all that is known of containers
    Inspect(ContainerInspectArgs),
    /// Send the programs of containers a signal
    Kill(KillArgs),
    /// Print what a container's program has written
    Logs(LogsArgs),
    /// List the containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(PsArgs),
    /// Let all processes of containers stand still
    Pause(ContainersArgs),
    /// Print where a container's ports are published
    Port(PortArgs),
    /// Remove all containers that do not run
    Prune(PruneArgs),
    /// Publish further ports of a container, also of one that runs
    Publish(PublishArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// Stop containers and start them again
    Restart(StopArgs),
    /// Remove containers
    Rm(RmArgs),
    /// Make a container from an image and run a program in it
    Run(Box<RunVerb>),
    /// Start containers that do not run
    Start(StartArgs),
    /// Show what containers use, again and again
    Stats(StatsArgs),
    /// Ask the programs of containers to end, and kill those that do not
    Stop(StopArgs),
    /// Print the processes of a container
    Top(TopArgs),
    /// Let the processes of paused containers go on
    Unpause(ContainersArgs),
    /// Take published ports of a container back, also of one that runs
    Unpublish(UnpublishArgs),
    /// Change the limits of containers
    Update(UpdateArgs),
    /// Wait until containers have ended, and print their exit codes
    Wait(WaitArgs),
}

/// `rbox ps`
#[derive(Args, Debug)]
pub(crate) struct PsArgs {
    /// Those that have ended too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only those of which this is true: id, name, label, status, exited, ancestor, network, before, since, publish, expose, volume
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = value::key_value)]
    pub(crate) filter: Vec<(String, String)>,
    /// Only the newest one, whatever it does
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Only so many of the newest, whatever they do; -1: no limit
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "-1")]
    pub(crate) last: i64,
    /// Only the ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How much they have written, too
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Whole ids and commands
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print by a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// `rbox rm`
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// End it first if it runs
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove its anonymous volumes too: rbox makes none
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Names, ids or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `rbox container prune`
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Do not ask first
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `rbox start`
#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    /// Stay attached: its output is shown, its exit code is rbox's
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Stay attached, and pass on what is typed
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// The keys that leave a terminal while its program goes on
    #[arg(long, value_name = "KEYS", value_parser = value::detach_keys, default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: DetachKeys,
    /// Pass the signals that rbox gets to the program, if it has no terminal
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        value_parser = value::boolean
    )]
    pub(crate) sig_proxy: bool,
    /// Names, ids or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `rbox stop`, `rbox restart`
#[derive(Args, Debug)]
pub(crate) struct StopArgs {
    /// Seconds until a program that does not end is killed; -1 waits for ever [default: the container's own, else 10]
    #[arg(short, long, value_name = "SECONDS", value_parser = value::stop_timeout)]
    pub(crate) time: Option<i32>,
    /// The signal that asks for the end [default: the container's own]
    #[arg(short, long, value_name = "SIGNAL", value_parser = value::signal)]
    pub(crate) signal: Option<nix::sys::signal::Signal>,
    /// Names, ids or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `rbox kill`
#[derive(Args, Debug)]
pub(crate) struct KillArgs {
    /// The signal
    #[arg(short, long, value_name = "SIGNAL", value_parser = value::signal, default_value = "KILL")]
    pub(crate) signal: nix::sys::signal::Signal,
    /// Names, ids or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `rbox wait`
#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    /// Names, ids or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `rbox attach`
#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    /// The keys that leave a terminal while its program goes on
    #[arg(long, value_name = "KEYS", value_parser = value::detach_keys, default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: DetachKeys,
    /// Do not pass on what is typed
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Pass the signals that rbox gets to the program, if it has no terminal
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        value_parser = value::boolean
    )]
    pub(crate) sig_proxy: bool,
    /// Name, id or beginning of an id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `rbox logs`
#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Go on until the program has ended
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only so many of the last lines; all: every line
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = value::tail, default_value = "all")]
    pub(crate) tail: value::Tail,
    /// The time before each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Only what was written from then on: 2024-05-02T10:00:00Z, 1714644000, 10m
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    pub(crate) since: Option<Timestamp>,
    /// Only what was written before
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    pub(crate) until: Option<Timestamp>,
    /// Name, id or beginning of an id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `rbox monitor`: for rbox itself.
#[derive(Args, Debug)]
pub(crate) struct MonitorArgs {
    /// The container's whole id
    pub(crate) id: String,
    /// The process that hands it over
    #[arg(long, value_name = "PID")]
    pub(crate) from: i32,
    /// Take up what runs
    #[arg(long)]
    pub(crate) adopt: bool,
    #[command(flatten)]
    pub(crate) explain: ExplainFlags,
}
