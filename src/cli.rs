//! The command line as plain data: one struct for each verb, its flags grouped as `--help` shows them.
//!
//! clap fills the structs and nothing here decides anything: a value is turned into its type (`512m` into bytes) by
//! [`value`], what the flags mean together is said by [`crate::spec`]. Habits of `docker` that clap does not have
//! (`--rm=false`, a value that begins with a dash, options that end at the image's name) are in [`parse`].

mod container;
mod image;
mod living;
mod network;
mod parse;
mod run;
pub(crate) mod value;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use rbox_net::Backend;

pub(crate) use container::{
    AttachArgs, ContainerVerb, KillArgs, LogsArgs, MonitorArgs, PruneArgs, PsArgs, RmArgs, StartArgs, StopArgs,
    WaitArgs,
};
pub(crate) use image::{
    ImageListArgs, ImageVerb, ImportArgs, InspectImageArgs, LoadArgs, PullArgs, RemoveImageArgs, SaveArgs, SaveForm,
    TagArgs,
};
pub(crate) use living::{
    ContainerInspectArgs, ContainersArgs, CopyArgs, ExecArgs, InspectArgs, InspectType, PortArgs, PublishArgs,
    RenameArgs, StatsArgs, TopArgs, UnpublishArgs, UpdateArgs,
};
pub(crate) use network::{
    DnsArgs, NetworkAuditArgs, NetworkConnectArgs, NetworkCreateArgs, NetworkDisconnectArgs, NetworkEgressArgs,
    NetworkGcArgs, NetworkInspectArgs, NetworkListArgs, NetworkNamesArgs, NetworkPruneArgs, NetworkRemoveArgs,
    NetworkShapeArgs, NetworkVerb,
};
pub(crate) use parse::{Stop, command, parse};
pub(crate) use run::{
    ALL_PORTS, CreateVerb, ExplainFlags, ExplainForm, LogFlags, NetworkFlags, PullPolicy, ResourceFlags, RunArgs,
    RunVerb,
};

/// Containers without a daemon, in a form that a person can read
#[derive(Debug, Parser)]
#[command(name = "rbox", version, disable_help_subcommand = true, args_override_self = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb needs to know.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Where images, layers and networks are kept
    #[arg(long, env = "RBOX_ROOT", default_value = "/var/lib/rbox", value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Where the running containers are remembered
    #[arg(long, env = "RBOX_STATE", default_value = "/run/rbox", value_name = "DIR")]
    pub(crate) state: PathBuf,
    /// What an administrator has decided for this machine
    #[arg(long, env = "RBOX_CONFIG", default_value = "/etc/rbox/config.json", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Where the rules of the packet filter go, whatever the configuration says: iptables, iptables-nft, iptables-legacy,
    /// nftables, or none, who leaves them to you (`network rules` prints them). Decided by the first command after a start of
    /// the machine, or by `network reset`
    #[arg(long, env = "RBOX_FIREWALL", value_name = "BACKEND")]
    pub(crate) firewall: Option<Backend>,
}

/// What rbox is asked to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a container from an image and run a program in it
    Run(Box<RunVerb>),
    /// Make a container from an image, to be started later
    Create(Box<CreateVerb>),
    /// Start containers that do not run
    Start(StartArgs),
    /// Ask the programs of containers to end, and kill those that do not
    Stop(StopArgs),
    /// Stop containers and start them again
    Restart(StopArgs),
    /// Send the programs of containers a signal, SIGKILL if no other is named
    Kill(KillArgs),
    /// Wait until containers have ended, and print their exit codes
    Wait(WaitArgs),
    /// Join keyboard and screen with a program that runs
    Attach(AttachArgs),
    /// Print what a container's program has written
    Logs(LogsArgs),
    /// Run a further program in a container
    Exec(ExecArgs),
    /// List the containers
    Ps(PsArgs),
    /// Print all that is known of containers, images and networks
    Inspect(InspectArgs),
    /// Print the processes of a container
    Top(TopArgs),
    /// Show what containers use, again and again
    Stats(StatsArgs),
    /// Print where a container's ports are published
    Port(PortArgs),
    /// Publish further ports of a container, also of one that runs
    Publish(PublishArgs),
    /// Take published ports of a container back, also of one that runs
    Unpublish(UnpublishArgs),
    /// Copy files between a container and the host
    Cp(CopyArgs),
    /// Let all processes of containers stand still
    Pause(ContainersArgs),
    /// Let the processes of paused containers go on
    Unpause(ContainersArgs),
    /// Change the limits of containers
    Update(UpdateArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// Remove containers
    Rm(RmArgs),
    /// Fetch an image from a registry
    Pull(PullArgs),
    /// Take images from an archive (docker save, OCI archive or layout)
    Load(LoadArgs),
    /// Write images to an archive
    Save(SaveArgs),
    /// Make an image of a root file system in a tar archive
    Import(ImportArgs),
    /// List the images
    Images(ImageListArgs),
    /// Remove images
    Rmi(RemoveImageArgs),
    /// Give an image a further name
    Tag(TagArgs),
    /// Everything about containers
    #[command(subcommand)]
    Container(ContainerVerb),
    /// Everything about images
    #[command(subcommand)]
    Image(ImageVerb),
    /// Everything about networks (short: net)
    #[command(subcommand, alias = "net")]
    Network(NetworkVerb),
    /// Say which rbox this is and what it stands on
    Version(VersionArgs),
    /// Say what this host is to containers, and how many there are
    Info(VersionArgs),
    /// Answer the host's own questions for containers by name, until it is ended
    Dns(DnsArgs),
    /// Hold a container that was handed over
    #[command(hide = true)]
    Monitor(MonitorArgs),
    /// Write the man pages or the completion scripts (for `make install`)
    #[command(subcommand, hide = true)]
    Generate(GenerateVerb),
}

/// `rbox version`, `rbox info`
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Print by a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// `rbox generate`
#[derive(Debug, Subcommand)]
pub(crate) enum GenerateVerb {
    /// One man page for each verb
    Man {
        /// The directory to write to
        dir: PathBuf,
    },
    /// Completion for bash, zsh and fish
    Completion {
        /// The directory to write to
        dir: PathBuf,
    },
}
