//! The verbs about networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::value;

/// `rbox network …`
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkVerb {
    /// Print every port that leads into a container, and who can reach it
    Audit(NetworkAuditArgs),
    /// Connect a container to a network, also one that runs
    Connect(NetworkConnectArgs),
    /// Make a network
    Create(NetworkCreateArgs),
    /// Disconnect a container from a network
    Disconnect(NetworkDisconnectArgs),
    /// Remove what bears rbox's mark in the kernel and belongs to nobody any more
    Gc(NetworkGcArgs),
    /// Print what a container may open connections to (--egress), and what was refused
    Egress(NetworkEgressArgs),
    /// Print all that is known of networks
    Inspect(NetworkInspectArgs),
    /// List the networks
    #[command(visible_alias = "list")]
    Ls(NetworkListArgs),
    /// Remove all networks that no container is in
    Prune(NetworkPruneArgs),
    /// Put back what is gone of the networks' rules in the firewall
    Reload(NetworkNamesArgs),
    /// Take away what rbox keeps between containers: the bridges and the base chains of the firewall
    Reset,
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(NetworkRemoveArgs),
    /// Print the rules that the networks have in the firewall, and what each is for
    Rules(NetworkNamesArgs),
    /// Have a container's network be slower, now and at each start; what is not said is as fast as it can
    Shape(NetworkShapeArgs),
}

/// `rbox network gc`
#[derive(Args, Debug)]
pub(crate) struct NetworkGcArgs {
    /// Print it, and leave it where it is
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// `rbox network create`
#[derive(Args, Debug)]
pub(crate) struct NetworkCreateArgs {
    /// How it joins its containers: bridge, macvlan or ipvlan
    #[arg(short, long, value_name = "DRIVER", value_parser = value::driver, default_value = "bridge")]
    pub(crate) driver: rbox_net::Driver,
    /// Its subnet: 192.168.0.0/16; one for each family, with macvlan and ipvlan any number
    #[arg(long, value_name = "SUBNET", value_parser = value::subnet)]
    pub(crate) subnet: Vec<rbox_net::Subnet>,
    /// The containers' way out, in one of the subnets
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<IpAddr>,
    /// Take the containers' addresses from this part of a subnet alone
    #[arg(long, value_name = "SUBNET", value_parser = value::subnet)]
    pub(crate) ip_range: Vec<rbox_net::Subnet>,
    /// An address that belongs to somebody else
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = value::reserved)]
    pub(crate) aux_address: Vec<(String, IpAddr)>,
    /// Give the containers IPv6 addresses too
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Let nothing in or out
    #[arg(long)]
    pub(crate) internal: bool,
    /// An option of the driver. bridge: name, mtu, icc, masquerade, host_binding, interface_prefix, gateway_mode_ipv4,
    /// gateway_mode_ipv6. macvlan, ipvlan: parent, mode, mtu, interface_prefix, host_shim. Docker's longer keys are understood
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = value::key_value)]
    pub(crate) opt: Vec<(String, String)>,
    /// Put a label on the network
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = value::label)]
    pub(crate) label: Vec<(String, String)>,
    /// Its name
    #[arg(value_name = "NETWORK")]
    pub(crate) name: String,
}

/// `rbox network connect`
#[derive(Args, Debug)]
pub(crate) struct NetworkConnectArgs {
    /// Its address there
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<Ipv4Addr>,
    /// Its IPv6 address there
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<Ipv6Addr>,
    /// A further name for it there
    #[arg(long, value_name = "NAME", value_parser = value::alias)]
    pub(crate) alias: Vec<String>,
    /// Know another container of the network by a further name
    #[arg(long, value_name = "NAME[:ALIAS]", value_parser = value::link)]
    pub(crate) link: Vec<value::LinkFlag>,
    /// The hardware address of its interface there
    #[arg(long, value_name = "ADDRESS", value_parser = value::mac_address)]
    pub(crate) mac_address: Option<rbox_net::MacAddress>,
    /// The name of its interface there
    #[arg(long, value_name = "NAME")]
    pub(crate) ifname: Option<String>,
    /// Of several networks, that with the highest is the way out
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_hyphen_values = true)]
    pub(crate) gw_priority: i32,
    /// Move this device of the host's into the container instead: then no network is named
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["ip", "ip6", "alias", "link", "mac_address", "gw_priority"])]
    pub(crate) netdev: Option<String>,
    /// The network, a name or identifier, and the container; with --netdev the container alone
    #[arg(value_name = "NETWORK CONTAINER", num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
}

/// `rbox network disconnect`
#[derive(Args, Debug)]
pub(crate) struct NetworkDisconnectArgs {
    /// Where it is not connected, or there is no such container, all is well
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Give this device back to the host: then no network is named
    #[arg(long, value_name = "DEVICE")]
    pub(crate) netdev: Option<String>,
    /// The network, a name or identifier, and the container; with --netdev the container alone
    #[arg(value_name = "NETWORK CONTAINER", num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
}

/// `rbox network rm`
#[derive(Args, Debug)]
pub(crate) struct NetworkRemoveArgs {
    /// One that is not there is no error
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The networks: names or identifiers
    #[arg(required = true, value_name = "NETWORK")]
    pub(crate) networks: Vec<String>,
}

/// `rbox network prune`
#[derive(Args, Debug)]
pub(crate) struct NetworkPruneArgs {
    /// Do not ask first
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove only what fits: label=, label!=, until=
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::key_value)]
    pub(crate) filter: Vec<(String, String)>,
}

/// `rbox network rules`, `rbox network reload`
#[derive(Args, Debug)]
pub(crate) struct NetworkNamesArgs {
    /// The networks: names or identifiers; all, where none is named
    #[arg(value_name = "NETWORK")]
    pub(crate) networks: Vec<String>,
}

/// `rbox network audit`
#[derive(Args, Debug)]
pub(crate) struct NetworkAuditArgs {
    /// Print by a Go template, as `table TEMPLATE`, or as json
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// `rbox network egress`
#[derive(Args, Debug)]
pub(crate) struct NetworkEgressArgs {
    /// Print by a Go template, or as json
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// The container: a name or identifier
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `rbox network shape`
#[derive(Args, Debug)]
pub(crate) struct NetworkShapeArgs {
    /// How much it may send: 10mbit, 512kbit, 1mbps (bytes)
    #[arg(long, value_name = "RATE", value_parser = value::rate)]
    pub(crate) rate: Option<u64>,
    /// How much it may get
    #[arg(long, value_name = "RATE", value_parser = value::rate)]
    pub(crate) rate_in: Option<u64>,
    /// How much later what it sends arrives: 20ms
    #[arg(long, value_name = "TIME", value_parser = value::delay)]
    pub(crate) delay: Option<Duration>,
    /// How much of what it sends is lost: 1%
    #[arg(long, value_name = "SHARE", value_parser = value::loss)]
    pub(crate) loss: Option<u32>,
    /// As fast as it can
    #[arg(long, conflicts_with_all = ["rate", "rate_in", "delay", "loss"])]
    pub(crate) clear: bool,
    /// In this network alone: a name or identifier
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Option<String>,
    /// The container: a name or identifier
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
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
    /// Show only what fits: dangling=true|false, driver=, id=, label=, name=, scope=, type=builtin|custom
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = value::key_value)]
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

/// `rbox dns`
#[derive(Args, Debug)]
#[command(after_help = "\
Containers are called NAME.rbox, ID.rbox (12 digits) and, in a network, NAME.NETWORK.rbox and ALIAS.NETWORK.rbox. Another domain
than rbox is told by /etc/rbox/config.json, {\"dns\": {\"domain\": \"box.example\"}}, and is closed to the containers themselves.
Whoever resolves names for this host is told to ask here for that domain: docs/networks.md has the two lines for
systemd-resolved.")]
pub(crate) struct DnsArgs {
    /// Where it answers, by udp and tcp; without a port, 53
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = value::name_server, default_value = "127.0.0.153")]
    pub(crate) listen: SocketAddr,
}
