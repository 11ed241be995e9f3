//! The words of `rbox ps` and `rbox rm`.

use clap::Args;

/// `rbox ps`
#[derive(Args, Debug)]
pub(crate) struct PsArgs {
    /// Those that have ended too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only the newest one, whatever it does
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Only so many of the newest, whatever they do
    #[arg(short = 'n', long, value_name = "NUMBER")]
    pub(crate) last: Option<usize>,
    /// Only the ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
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
    /// Names, ids or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}
