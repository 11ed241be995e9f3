//! Why each kind of request is made: the rows behind `--explain` for everything this crate asks of the kernel.
// size: flat table

use rbox_explain::Row;

pub(crate) static BRIDGE: Row = Row {
    key: "bridge",
    why: "one virtual switch for all containers of the network; made at first use and kept",
    see: "ip-link(8), kernel networking/bridge.rst",
};
pub(crate) static BRIDGE_ADDRESS: Row = Row {
    key: "bridge-address",
    why: "the bridge is the containers' default gateway, so it needs an address of their subnet",
    see: "ip-address(8)",
};
pub(crate) static BRIDGE_UP: Row = Row {
    key: "bridge-up",
    why: "only now, with its rules in place, may the switch carry anything",
    see: "ip-link(8)",
};
pub(crate) static VETH: Row = Row {
    key: "veth",
    why: "the cable: one end in the container as eth0, the other plugged into the bridge",
    see: "veth(4)",
};
pub(crate) static PORT_UP: Row = Row {
    key: "port-up",
    why: "the host's end of the cable; it carries nothing until the container's is on too",
    see: "ip-link(8)",
};
pub(crate) static HAIRPIN: Row = Row {
    key: "hairpin",
    why: "a container reaches itself through its own published port: the frame leaves by the port it came from; and none goes \
          round the bridge to the port's own host",
    see: "bridge(8), ip-link(8), kernel br_handle_frame()",
};
pub(crate) static ISOLATED: Row = Row {
    key: "isolated",
    why: "the network's containers may not speak to each other: no frame passes from one isolated port to another",
    see: "bridge(8)",
};
pub(crate) static SUB_LINK: Row = Row {
    key: "sub-link",
    why: "a network card of the container's own, on the segment of one of the host's",
    see: "ip-link(8), kernel networking/ipvlan.rst",
};
pub(crate) static PARENT: Row = Row {
    key: "parent",
    why: "the network's containers stand on this link, which the host did not have",
    see: "ip-link(8)",
};
pub(crate) static PARENT_UP: Row =
    Row { key: "parent-up", why: "what stands on a link that is down hears nothing", see: "ip-link(8)" };
pub(crate) static SHIM: Row = Row {
    key: "shim",
    why: "the kernel keeps a link from speaking to those on top of it: so the host gets one beside them",
    see: "ip-link(8), macvlan",
};
pub(crate) static DEVICE: Row = Row {
    key: "device",
    why: "a device of the host's goes into the container, or comes back: it is in one network at a time",
    see: "ip-link(8), network_namespaces(7)",
};
pub(crate) static ADDRESS_SHOW: Row =
    Row { key: "address-show", why: "a device loses its addresses when it is moved", see: "rtnetlink(7) RTM_GETADDR" };
pub(crate) static ADDRESS: Row =
    Row { key: "address", why: "the leased address, so that others on the bridge can reach it", see: "ip-address(8)" };
pub(crate) static LINK_UP: Row = Row { key: "link-up", why: "from here frames may pass", see: "ip-link(8)" };
pub(crate) static ROUTE: Row = Row {
    key: "route",
    why: "everything that is not on the container's own subnet goes to the bridge",
    see: "ip-route(8)",
};
pub(crate) static ANNOUNCE: Row = Row {
    key: "announce",
    why: "setting the hardware address again makes the kernel send a gratuitous ARP: no neighbour keeps a stale entry",
    see: "kernel networking/ip-sysctl.rst, arp_notify",
};
pub(crate) static LINK_DELETE: Row =
    Row { key: "link-delete", why: "takes the cable out; the end in the container goes with it", see: "veth(4)" };
pub(crate) static LINK_SHOW: Row =
    Row { key: "link-show", why: "is the link there, is it ours, does it forward?", see: "rtnetlink(7) RTM_GETLINK" };
pub(crate) static ROUTE_SHOW: Row = Row {
    key: "route-show",
    why: "the default route's MTU is the containers' too, and a subnet of the host must not be taken twice",
    see: "rtnetlink(7) RTM_GETROUTE",
};
pub(crate) static SANDBOX: Row = Row {
    key: "netns",
    why: "the container's own network, made before the container: it is complete when the container joins it",
    see: "unshare(2), network_namespaces(7)",
};
pub(crate) static LOOPBACK: Row =
    Row { key: "loopback", why: "the container reaches itself at 127.0.0.1", see: "ip-link(8)" };
pub(crate) static SETNS: Row = Row {
    key: "setns",
    why: "a thread steps into the container's network, opens a netlink socket there, and ends",
    see: "setns(2), network_namespaces(7)",
};
pub(crate) static PROC_ASIDE: Row = Row {
    key: "proc-aside",
    why: "what is looked for in it stays in no cache of the host's, where every later look would walk past it",
    see: "fsopen(2), fsmount(2)",
};
pub(crate) static SYSCTL_FORWARD: Row = Row {
    key: "ip-forward",
    why: "the host must pass packets between its network cards and the bridge; other users may rely on it, so it stays",
    see: "kernel networking/ip-sysctl.rst",
};
pub(crate) static SYSCTL_LOCALNET: Row = Row {
    key: "route-localnet",
    why: "lets the host's 127.0.0.1 be translated to a container; the raw table already drops the way back in",
    see: "kernel networking/ip-sysctl.rst",
};
pub(crate) static SYSCTL_IPV6_OFF: Row = Row {
    key: "ipv6-off",
    why: "the network has no IPv6, so no card of the container may speak it behind the firewall's back",
    see: "kernel networking/ip-sysctl.rst",
};
pub(crate) static SYSCTL_IPV6_SHUT: Row = Row {
    key: "ipv6-shut",
    why: "a container must not say here that it is the host's router, nor send what no rule looks at",
    see: "CVE-2020-13401, kernel networking/ip-sysctl.rst, disable_ipv6",
};
pub(crate) static SYSCTL_IPV6_PORT: Row = Row {
    key: "ipv6-port",
    why: "a port of a bridge needs no address of its own, and the kernel none to look through",
    see: "kernel networking/ip-sysctl.rst, disable_ipv6",
};
pub(crate) static SYSCTL_IPV6_ON: Row =
    Row { key: "ipv6-on", why: "the network has IPv6", see: "kernel networking/ip-sysctl.rst, disable_ipv6" };
pub(crate) static SYSCTL_IPV6_LEASED: Row = Row {
    key: "ipv6-leased",
    why: "addresses and routes are leased, so no neighbour is asked and no router believed",
    see: "kernel networking/ip-sysctl.rst, accept_ra, accept_dad",
};
pub(crate) static SYSCTL_ACCEPT_RA: Row = Row {
    key: "accept-ra",
    why: "a host that forwards stops listening to routers: this link has its way out from one, and goes on listening",
    see: "kernel networking/ip-sysctl.rst, accept_ra",
};
pub(crate) static SYSCTL_ARP_NOTIFY: Row = Row {
    key: "arp-notify",
    why: "cards of this namespace announce their address by themselves",
    see: "kernel networking/ip-sysctl.rst",
};
pub(crate) static RULES_BASE: Row = Row {
    key: "rules-base",
    why: "the chains and the rules every container of this network shares; written once",
    see: "iptables-restore(8)",
};
pub(crate) static RULES_ADD: Row = Row {
    key: "rules-add",
    why: "each published port is translated to the container, and let through",
    see: "iptables-restore(8)",
};
pub(crate) static RULES_LIST: Row =
    Row { key: "rules-list", why: "what is there already is not written twice", see: "iptables(8)" };
pub(crate) static RULES_HEAR: Row = Row {
    key: "rules-hear",
    why: "the kernel tells by which numbers the new rules go, so nobody has to look for them among all",
    see: "nft(8), monitor; netlink(7), NETLINK_ADD_MEMBERSHIP; linux/netfilter/nfnetlink.h, NFNLGRP_NFTABLES",
};
pub(crate) static RULES_LOOK: Row = Row {
    key: "rules-look",
    why: "a number that was noted may have become another rule's",
    see: "linux/netfilter/nf_tables.h, NFT_MSG_GETRULE",
};
pub(crate) static RULES_DELETE: Row = Row {
    key: "rules-delete",
    why: "the ports lead nowhere now; found by number and comment, taken out in one transaction",
    see: "nft(8), libnftables nfnetlink batch",
};
pub(crate) static RULES_LIFT: Row = Row {
    key: "rules-lift",
    why: "what all networks have in common comes before what is one network's",
    see: "nft(8), libnftables nfnetlink batch",
};
pub(crate) static NFT_BASE: Row = Row {
    key: "nft-base",
    why: "the table of rbox, and the network's chains: who may come in, and whose sender is changed",
    see: "nft(8)",
};
pub(crate) static NFT_ADD: Row =
    Row { key: "nft-add", why: "each published port is an entry of a map: it leads to the container", see: "nft(8)" };
pub(crate) static NFT_DELETE: Row = Row { key: "nft-delete", why: "the ports lead nowhere now", see: "nft(8)" };
pub(crate) static NFT_REMOVE: Row =
    Row { key: "nft-remove", why: "nobody needs the network's chains any more", see: "nft(8)" };
pub(crate) static NFT_REBUILD: Row = Row {
    key: "nft-rebuild",
    why: "the table is made anew in one transaction, with all that is wanted",
    see: "nft(8)",
};
pub(crate) static PORT_HOLD: Row = Row {
    key: "port-hold",
    why: "the packets never reach this socket; it only keeps other programs from taking the port",
    see: "bind(2)",
};
pub(crate) static PORT_RELAY: Row = Row {
    key: "port-relay",
    why: "the container has no IPv6 address to translate to, so rbox listens itself and copies",
    see: "listen(2), ipv6(7) IPV6_V6ONLY",
};
pub(crate) static FLOWS_FORGET: Row = Row {
    key: "flows-forget",
    why: "the kernel asks the rules for a flow's first datagram alone, and this flow has begun under others",
    see: "conntrack(8), linux/netfilter/nfnetlink_conntrack.h",
};
pub(crate) static NAME_SERVER: Row = Row {
    key: "name-server",
    why: "containers of a network find each other by name: they ask 127.0.0.11, and rbox listens there for each of them",
    see: "resolv.conf(5), RFC 1035",
};
pub(crate) static RULES_REDIRECT: Row = Row {
    key: "rules-redirect",
    why: "port 53 of 127.0.0.11 leads to the name server, so that the container may use port 53 for itself",
    see: "iptables-restore(8), iptables-extensions(8) DNAT",
};
pub(crate) static EGRESS: Row = Row {
    key: "egress",
    why: "what the container may open connections to; put into its own network before there is anything to reach",
    see: "nft(8), hook output",
};
pub(crate) static EGRESS_NAME: Row = Row {
    key: "egress-name",
    why: "an allowed name means these addresses for now: they may be reached before the container is told them",
    see: "nft(8), SETS, timeout",
};
pub(crate) static QUEUE: Row = Row {
    key: "queue",
    why: "the link sends slower, later or less on purpose, or as fast as it can again",
    see: "tc(8), tc-tbf(8), tc-netem(8)",
};
