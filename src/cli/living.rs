//! The words of the verbs about containers that are there already: `exec`, `inspect`, `cp`, `top` and their like.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::value;

/// `rbox exec`
#[derive(Args, Debug)]
#[command(override_usage = "rbox exec [FLAGS] CONTAINER COMMAND [ARG...]")]
pub(crate) struct ExecArgs {
    /// Leave the program alone: rbox ends at once, its output goes nowhere
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Set an environment variable; without a value, hand on the caller's
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = value::env)]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Keep the standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program all capabilities
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Give the program a terminal of its own
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Run as this user: a name or number of the container's own /etc/passwd
    #[arg(short, long, value_name = "USER[:GROUP]", value_parser = value::user)]
    pub(crate) user: Option<String>,
    /// Begin in this directory
    #[arg(short, long, value_name = "DIR", value_parser = value::workdir)]
    pub(crate) workdir: Option<String>,
    /// The container, then the program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CONTAINER COMMAND [ARG...]")]
    pub(crate) words: Vec<String>,
}

/// What `rbox inspect` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectType {
    /// Containers
    Container,
    /// Images
    Image,
    /// Networks
    Network,
}

/// `rbox inspect`
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Print by a Go template, or as json on one line
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Count the bytes of containers' files too
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Look for nothing but this
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub(crate) kind: Option<InspectType>,
    /// Names or ids: of containers, else of images, else of networks
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// `rbox container inspect`
#[derive(Args, Debug)]
pub(crate) struct ContainerInspectArgs {
    /// Print by a Go template, or as json on one line
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Count the bytes of their files too
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Names, ids or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `rbox pause`, `rbox unpause`
#[derive(Args, Debug)]
pub(crate) struct ContainersArgs {
    /// Names, ids or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `rbox top`
#[derive(Args, Debug)]
#[command(override_usage = "rbox top CONTAINER [PS OPTIONS]")]
pub(crate) struct TopArgs {
    /// The container, then options for ps(1); -ef without any
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CONTAINER [PS OPTIONS]")]
    pub(crate) words: Vec<String>,
}

/// `rbox port`
#[derive(Args, Debug)]
pub(crate) struct PortArgs {
    /// Name, id or beginning of an id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Only where this port of the container is published
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub(crate) port: Option<String>,
}

/// `rbox publish`
#[derive(Args, Debug)]
#[command(after_help = "\
Each port is written as for -p of rbox run. Where the container runs, the port is open when this ends, and where it is is
printed; all of them are published, or none. It is remembered: the next start publishes them too.")]
pub(crate) struct PublishArgs {
    /// Name, id or beginning of an id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// The ports: 80, 8080:80, 127.0.0.1:8080:80, [::1]:8080:80, 8000-8010:80-90/udp
    #[arg(required = true, value_name = "[[ADDRESS:]PORT:]PORT[/PROTOCOL]")]
    pub(crate) ports: Vec<String>,
}

/// `rbox unpublish`
#[derive(Args, Debug)]
#[command(after_help = "\
A port is named by its number on the host, at one address (127.0.0.1:8080) or at all where it is published (8080, 53/udp), or
as it was published (8080:80). A range goes as a whole. Connections that stand go on.")]
pub(crate) struct UnpublishArgs {
    /// Name, id or beginning of an id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// The ports of the host
    #[arg(required = true, value_name = "[ADDRESS:]PORT[:PORT][/PROTOCOL]")]
    pub(crate) ports: Vec<String>,
}

/// `rbox rename`
#[derive(Args, Debug)]
pub(crate) struct RenameArgs {
    /// Name, id or beginning of an id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// The name that it is to have
    #[arg(value_name = "NEW_NAME")]
    pub(crate) name: String,
}

/// `rbox cp`
#[derive(Args, Debug)]
#[command(override_usage = "rbox cp [FLAGS] CONTAINER:PATH PATH|-\n       rbox cp [FLAGS] PATH|- CONTAINER:PATH")]
pub(crate) struct CopyArgs {
    /// Keep the owners of the files
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Copy what a symbolic link leads to, not the link
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// What to copy; - takes a tar archive from the standard input
    #[arg(value_name = "SOURCE")]
    pub(crate) from: String,
    /// Where to; - writes a tar archive to the standard output
    #[arg(value_name = "DESTINATION")]
    pub(crate) to: String,
}

/// `rbox stats`
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Those that do not run too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print once, and end
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Whole ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print by a Go template, as `table TEMPLATE`, or as json
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Names, ids or beginnings of ids; all that run without any
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `rbox update`
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// Most memory it may use
    #[arg(short, long, value_name = "BYTES", value_parser = value::bytes)]
    pub(crate) memory: Option<i64>,
    /// Most memory and swap together; -1: as much swap as there is
    #[arg(long, value_name = "BYTES", value_parser = value::bytes_or_unlimited)]
    pub(crate) memory_swap: Option<i64>,
    /// Memory to be pushed back to when the host is short of it
    #[arg(long, value_name = "BYTES", value_parser = value::bytes)]
    pub(crate) memory_reservation: Option<i64>,
    /// How many processors' time it may use: 1.5
    #[arg(long, value_name = "NUMBER", value_parser = value::cpus)]
    pub(crate) cpus: Option<i64>,
    /// Its share when processors are short; 1024 is usual
    #[arg(short, long, value_name = "SHARES", value_parser = value::cpu_shares)]
    pub(crate) cpu_shares: Option<u64>,
    /// Microseconds of processor time in each period
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_quota: Option<i64>,
    /// The period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<i64>,
    /// The processors it may use: 0-3,7
    #[arg(long, value_name = "LIST", value_parser = value::number_list)]
    pub(crate) cpuset_cpus: Option<String>,
    /// The memory nodes it may use: 0-1
    #[arg(long, value_name = "LIST", value_parser = value::number_list)]
    pub(crate) cpuset_mems: Option<String>,
    /// Most processes and threads; -1: no limit
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pids_limit: Option<i64>,
    /// Its weight for disks, 10 to 1000
    #[arg(long, value_name = "WEIGHT", value_parser = value::blkio_weight)]
    pub(crate) blkio_weight: Option<u16>,
    /// Names, ids or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}
