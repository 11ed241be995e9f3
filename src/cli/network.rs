//! The verbs about networks.

use clap::{Args, Subcommand};

/// `rbox network …`
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkVerb {
    /// List the networks
    #[command(visible_alias = "list")]
    Ls(NetworkListArgs),
    /// Print all that is known of networks
    Inspect(NetworkInspectArgs),
    /// Take away what rbox keeps between containers: the bridge and the base chains of the firewall
    Reset,
}

/// `rbox network ls`
#[derive(Args, Debug)]
pub(crate) struct NetworkListArgs {
    /// Print identifiers alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print whole identifiers
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Show only what fits: driver=, id=, label=, name=, scope=, type=builtin|custom
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = super::value::key_value)]
    pub(crate) filter: Vec<(String, String)>,
    /// Print by a Go template, as `table TEMPLATE`, or as json
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// `rbox network inspect`
#[derive(Args, Debug)]
pub(crate) struct NetworkInspectArgs {
    /// Print by a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// The networks: names or identifiers
    #[arg(required = true, value_name = "NETWORK")]
    pub(crate) networks: Vec<String>,
}
