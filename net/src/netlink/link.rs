//! `ip link`: the bridge, the cable between a container and it, and links on top of others.

use std::os::fd::{AsRawFd, BorrowedFd};

use rbox_explain::Row;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, BridgePortState, Inet6DevConf, InetDevConf, InfoBridgePort, InfoData,
    InfoIpVlan, InfoKind, InfoMacVlan, InfoPortData, InfoPortKind, InfoVeth, InfoVlan, IpVlanMode, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::{Netlink, Refusal};
use crate::address::MacAddress;
use crate::error::Result;
use crate::network::{Driver, SubMode};
use crate::steps;

/// The groups 01:80:c2:00:00:00 to 0f whose frames a port passes on as any other's: all that the kernel takes, 01 being pauses
/// of Ethernet, which it drops. (IFLA_BRPORT_GROUP_FWD_MASK, br_handle_frame().)
const ALL_GROUPS: u16 = !(1 << 1);

/// A bridge to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewBridge<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: MacAddress,
    pub(crate) mtu_bytes: u32,
}

/// A veth pair to be made: `host` stays here as a port of bridge `bridge`, `inside` is born in the container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cable<'a> {
    pub(crate) host: &'a str,
    pub(crate) inside: &'a str,
    pub(crate) bridge: (u32, &'a str),
    pub(crate) mac: MacAddress,
    pub(crate) mtu_bytes: u32,
}

/// A link to be made on top of another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubLink<'a> {
    pub(crate) name: &'a str,
    /// macvlan or ipvlan.
    pub(crate) driver: Driver,
    pub(crate) mode: SubMode,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) mtu_bytes: u32,
}

/// What RTM_GETLINK says of a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LinkState {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) is_up: bool,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) mtu_bytes: Option<u32>,
    /// Its carrier has been noticed, so frames leave: before that its queue (`noop`) drops them.
    pub(crate) is_ready: bool,
    /// It is a port of a bridge, and the bridge passes its frames.
    pub(crate) forwards: bool,
    /// The kernel made it for somebody, and ends it with its namespace: a cable, a VLAN.
    pub(crate) is_virtual: bool,
    /// IPv6 is switched on there.
    pub(crate) has_ipv6: bool,
    /// What a router announces there is believed.
    pub(crate) believes_routers: bool,
    /// What a person, or rbox, has noted at it.
    pub(crate) alias: Option<String>,
    /// The bridge whose port it is.
    pub(crate) master: Option<u32>,
}

impl Netlink {
    /// Make a bridge; it stays down.
    ///
    /// Same as: `ip link add <name> address <mac> mtu <mtu> txqueuelen 0 type bridge`
    /// Errors: `Os`; the name being taken is one.
    pub(crate) fn add_bridge(&mut self, bridge: NewBridge<'_>) -> Result<()> {
        let NewBridge { name, mac, mtu_bytes } = bridge;
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::Mtu(mtu_bytes),
            LinkAttribute::TxQueueLen(0),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        let words = || format!("ip link add {name} address {mac} mtu {mtu_bytes} txqueuelen 0 type bridge");
        self.link(&steps::BRIDGE, words, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|refusal| refusal.doing(format!("create bridge {name}")))
    }

    /// Make the cable, and plug the host's end into the bridge; both ends stay down.
    ///
    /// Same as: `ip link add <host> mtu <mtu> txqueuelen 0 master <bridge> type veth peer name <inside> address <mac>
    /// mtu <mtu> txqueuelen 0 netns <netns>`
    /// Errors: `Os`; a taken name is one. veth(4), IFLA_LINKINFO "veth", VETH_INFO_PEER.
    pub(crate) fn add_cable(&mut self, cable: Cable<'_>, netns: BorrowedFd<'_>) -> Result<()> {
        let Cable { host, inside, bridge, mac, mtu_bytes } = cable;
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(inside.into()),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::Mtu(mtu_bytes),
            // shown as txqueuelen:0
            LinkAttribute::TxQueueLen(0),
            LinkAttribute::NetNsFd(netns.as_raw_fd()),
        ];
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(host.into()),
            LinkAttribute::Mtu(mtu_bytes),
            // shown without qlen
            LinkAttribute::TxQueueLen(0),
            LinkAttribute::Controller(bridge.0),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        let words = || {
            format!(
                "ip link add {host} mtu {mtu_bytes} txqueuelen 0 master {} type veth peer name {inside} address {mac} \
                 mtu {mtu_bytes} txqueuelen 0 netns <container>",
                bridge.1
            )
        };
        self.link(&steps::VETH, words, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|refusal| refusal.doing(format!("create link {host} to {inside} of the container")))
    }

    /// Make a link on top of another, here or in the network namespace `netns`; it stays down.
    ///
    /// Same as: `ip link add <name> link <parent> address <mac> mtu <mtu> [netns <netns>] type macvlan mode <mode>`
    /// Errors: `Os`; a taken name is one.
    pub(crate) fn add_sub_link(
        &mut self,
        (parent, parent_name): (u32, &str),
        link: SubLink<'_>,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let SubLink { name, driver, mode, mac, mtu_bytes } = link;
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::Link(parent),
            LinkAttribute::Mtu(mtu_bytes),
            LinkAttribute::LinkInfo(sub_link(mode)),
        ];
        message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        message.attributes.extend(netns.map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())));
        let words = || {
            let mac = mac.map(|mac| format!(" address {mac}")).unwrap_or_default();
            let netns = if netns.is_some() { " netns <container>" } else { "" };
            format!("ip link add {name} link {parent_name}{mac} mtu {mtu_bytes}{netns} type {driver} mode {mode}")
        };
        self.link(&steps::SUB_LINK, words, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|refusal| refusal.doing(format!("create {driver} link {name} on {parent_name}")))
    }

    /// Give a link that is down another name.
    ///
    /// Same as: `ip link set <name> name <to>`
    pub(crate) fn rename_link(&mut self, (index, name): (u32, &str), to: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::IfName(to.into())];
        let words = || format!("ip link set {name} name {to}");
        self.link(&steps::SUB_LINK, words, RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("give link {name} the name {to}")))
    }

    /// Make a link for one tag of another's VLANs, and switch it on.
    ///
    /// Same as: `ip link add <name> link <below> up type vlan id <tag>`
    pub(crate) fn add_vlan(&mut self, (below, below_name): (u32, &str), name: &str, tag: u16) -> Result<()> {
        let info = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(tag)]))];
        let attributes = vec![LinkAttribute::Link(below), LinkAttribute::LinkInfo(info)];
        let words = || format!("ip link add {name} link {below_name} up type vlan id {tag}");
        self.add_parent(name, attributes, words)
    }

    /// Make a link that leads nowhere, and switch it on.
    ///
    /// Same as: `ip link add <name> up type dummy`
    pub(crate) fn add_dummy(&mut self, name: &str) -> Result<()> {
        let attributes = vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)])];
        self.add_parent(name, attributes, || format!("ip link add {name} up type dummy"))
    }

    fn add_parent(&mut self, name: &str, attributes: Vec<LinkAttribute>, words: impl FnOnce() -> String) -> Result<()> {
        let mut message = switched_on();
        message.attributes = attributes;
        message.attributes.push(LinkAttribute::IfName(name.into()));
        self.link(&steps::PARENT, words, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|refusal| refusal.doing(format!("create link {name}")))
    }

    /// Let frames leave by the bridge port they came from; and with `isolated` by no other port that is isolated too. None is
    /// left to the port itself. Note `alias` at it.
    ///
    /// Same as: `ip link set <name> alias <alias> type bridge_slave hairpin on group_fwd_mask 0xfffd [isolated on]`
    pub(crate) fn set_port(&mut self, name: &str, isolated: bool, alias: Option<String>) -> Result<()> {
        let mut port = vec![InfoBridgePort::HairpinMode(true), InfoBridgePort::GroupFwdMask(ALL_GROUPS)];
        if isolated {
            port.push(InfoBridgePort::Isolated(true));
        }
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(port)),
            ]),
        ];
        let (row, more) = if isolated { (&steps::ISOLATED, " isolated on") } else { (&steps::HAIRPIN, "") };
        let noted = alias.iter().map(|alias| format!(" alias '{alias}'")).collect::<String>();
        message.attributes.extend(alias.map(LinkAttribute::IfAlias));
        let words =
            || format!("ip link set {name}{noted} type bridge_slave hairpin on group_fwd_mask {ALL_GROUPS:#x}{more}");
        self.link(row, words, RouteNetlinkMessage::NewLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("set up port {name} of the bridge")))
    }

    /// Switch a bridge port on, when there is nothing more to be changed of it: a change to a link that is up, and has no
    /// carrier yet, the kernel tells everybody, and its IPv6 looks through all routes for those that lead there
    /// (rt6_sync_down_dev).
    ///
    /// Same as: `ip link set <name> up`
    pub(crate) fn set_port_up(&mut self, name: &str) -> Result<()> {
        let mut message = switched_on();
        message.attributes = vec![LinkAttribute::IfName(name.into())];
        let words = || format!("ip link set {name} up");
        self.link(&steps::PORT_UP, words, RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("switch {name} on")))
    }

    /// Switch a link on.
    ///
    /// Same as: `ip link set <name> up`
    pub(crate) fn set_up(&mut self, row: &'static Row, index: u32, name: &str) -> Result<()> {
        let mut message = switched_on();
        message.header.index = index;
        let words = || format!("ip link set {name} up");
        self.link(row, words, RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("switch {name} on")))
    }

    /// Switch a container's card on. One that `announces` tells its IPv4 addresses to its neighbours from then on, whenever
    /// its hardware address is set.
    ///
    /// Same as: `ip link set <name> up`, `sysctl -w net.ipv4.conf.<name>.arp_notify=1` (IFLA_INET_CONF, which the kernel finds
    /// at once where it would have to look for the file among those of all namespaces)
    pub(crate) fn set_card_up(&mut self, index: u32, name: &str, announces: bool) -> Result<()> {
        if !announces {
            return self.set_up(&steps::LINK_UP, index, name);
        }
        let mut message = switched_on();
        message.header.index = index;
        let mut switches = InetDevConf::default();
        switches.arp_notify = 1;
        let switches = AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(switches)]);
        message.attributes = vec![LinkAttribute::AfSpecUnspec(vec![switches])];
        let words = || format!("ip link set {name} up; sysctl -w net.ipv4.conf.{name}.arp_notify=1");
        self.link(&steps::LINK_UP, words, RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("switch {name} on")))
    }

    /// Switch a bridge on, and note `alias` at it.
    ///
    /// Same as: `ip link set <name> up alias <alias>`
    pub(crate) fn set_bridge_up(&mut self, index: u32, name: &str, alias: Option<String>) -> Result<()> {
        let mut message = switched_on();
        message.header.index = index;
        let noted = alias.iter().map(|alias| format!(" alias '{alias}'")).collect::<String>();
        message.attributes = alias.map(LinkAttribute::IfAlias).into_iter().collect();
        let words = || format!("ip link set {name} up{noted}");
        self.link(&steps::BRIDGE_UP, words, RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("switch {name} on")))
    }

    /// Switch a link off.
    ///
    /// Same as: `ip link set <name> down`
    pub(crate) fn set_down(&mut self, index: u32, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Up;
        let words = || format!("ip link set {name} down");
        self.link(&steps::DEVICE, words, RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("switch {name} off")))
    }

    /// Give a link that is off another name.
    ///
    /// Same as: `ip link set <from> name <to>`
    pub(crate) fn rename(&mut self, index: u32, (from, to): (&str, &str)) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::IfName(to.into())];
        let words = || format!("ip link set {from} name {to}");
        self.link(&steps::DEVICE, words, RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("rename link {from} to {to}")))
    }

    /// Move a link into another network namespace, under another name.
    ///
    /// Same as: `ip link set <from> netns <netns> name <to>`
    pub(crate) fn move_link(&mut self, index: u32, (from, to): (&str, &str), netns: BorrowedFd<'_>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::NetNsFd(netns.as_raw_fd()), LinkAttribute::IfName(to.into())];
        let words = || format!("ip link set {from} netns <the other> name {to}");
        self.link(&steps::DEVICE, words, RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("move link {from}")))
    }

    /// List all links.
    ///
    /// Same as: `ip link show`
    pub(crate) fn links(&mut self) -> Result<Vec<LinkState>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answer = rbox_explain::step(&steps::LINK_SHOW, || "ip link show".to_owned(), || self.dump(&message));
        let answer = answer.map_err(|refusal: Refusal| refusal.doing("list the links"))?;
        let links = answer.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(read(link)),
            _ => None,
        });
        Ok(links.collect())
    }

    /// Find a link by its hardware address; of several that with one of these names, the first first.
    ///
    /// Same as: `ip link show`
    pub(crate) fn find_link_by_mac(&mut self, mac: Option<MacAddress>, names: [&str; 2]) -> Result<Option<LinkState>> {
        let mut found: Vec<LinkState> = self.links()?.into_iter().filter(|link| link.mac == mac).collect();
        found.sort_by_key(|link| names.iter().position(|name| link.name == *name).unwrap_or(names.len()));
        Ok(found.into_iter().next())
    }

    /// Set a link's hardware address. With `arp_notify` set, the kernel announces the link's addresses.
    ///
    /// Same as: `ip link set <name> address <mac>`
    pub(crate) fn set_mac(&mut self, index: u32, name: &str, mac: MacAddress) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::Address(mac.0.to_vec())];
        let words = || format!("ip link set {name} address {mac}");
        self.link(&steps::ANNOUNCE, words, RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("announce the address of {name}")))
    }

    /// Remove a link; a veth pair goes at both ends. One that is gone already is no error.
    ///
    /// Same as: `ip link delete <name>`
    pub(crate) fn delete_link(&mut self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.into())];
        let words = || format!("ip link delete {name}");
        match self.link(&steps::LINK_DELETE, words, RouteNetlinkMessage::DelLink(message), 0) {
            Err(refusal) if refusal.is_absence() => Ok(()),
            answer => answer.map_err(|refusal| refusal.doing(format!("delete link {name}"))),
        }
    }

    /// Look at a link by its name. Nothing when there is none.
    ///
    /// Same as: `ip -d link show <name>`
    pub(crate) fn show_link(&mut self, name: &str) -> Result<Option<LinkState>> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.into())];
        self.show(message, name)
    }

    /// Look at a link by its index. Nothing when there is none.
    pub(crate) fn show_link_by_index(&mut self, index: u32) -> Result<Option<LinkState>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.show(message, &format!("if{index}"))
    }

    fn show(&mut self, message: LinkMessage, name: &str) -> Result<Option<LinkState>> {
        let words = || format!("ip -d link show {name}");
        let ask = || match self.exchange(RouteNetlinkMessage::GetLink(message), 0) {
            Err(refusal) if refusal.is_absence() => Ok(None),
            answer => answer.map(Some),
        };
        let answer = rbox_explain::step(&steps::LINK_SHOW, words, ask)
            .map_err(|refusal: Refusal| refusal.doing(format!("look at link {name}")))?;
        let messages = answer.map(|answer| answer.messages).unwrap_or_default();
        Ok(messages.iter().find_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(read(link)),
            _ => None,
        }))
    }

    fn link(
        &mut self,
        row: &'static Row,
        words: impl FnOnce() -> String,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> std::result::Result<(), Refusal> {
        rbox_explain::step(row, words, || self.change(message, flags))
    }
}

/// The request that switches a link on, which is still to be named.
fn switched_on() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn sub_link(mode: SubMode) -> Vec<LinkInfo> {
    let macvlan = |mode| (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]));
    let ipvlan = |mode| (InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]));
    let (kind, data) = match mode {
        SubMode::Bridge => macvlan(MacVlanMode::Bridge),
        SubMode::Private => macvlan(MacVlanMode::Private),
        SubMode::Vepa => macvlan(MacVlanMode::Vepa),
        SubMode::Passthru => macvlan(MacVlanMode::Passthrough),
        SubMode::L2 => ipvlan(IpVlanMode::L2),
        SubMode::L3 => ipvlan(IpVlanMode::L3),
        SubMode::L3s => ipvlan(IpVlanMode::L3S),
    };
    vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]
}

fn read(link: &LinkMessage) -> LinkState {
    let mut state = LinkState {
        index: link.header.index,
        name: String::new(),
        is_up: link.header.flags.contains(LinkFlags::Up),
        mac: None,
        mtu_bytes: None,
        is_ready: link.header.flags.contains(LinkFlags::Running),
        forwards: false,
        is_virtual: false,
        has_ipv6: false,
        believes_routers: false,
        alias: None,
        master: None,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => state.mac = bytes.as_slice().try_into().ok().map(MacAddress),
            LinkAttribute::IfName(name) => state.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => state.alias = Some(alias.clone()),
            LinkAttribute::Controller(index) => state.master = Some(*index),
            LinkAttribute::Mtu(mtu) => state.mtu_bytes = Some(*mtu),
            LinkAttribute::Qdisc(name) => state.is_ready &= name != "noop",
            LinkAttribute::LinkInfo(infos) => {
                state.forwards = infos.iter().any(forwards);
                state.is_virtual = infos.iter().any(|info| matches!(info, LinkInfo::Kind(_)));
            }
            LinkAttribute::AfSpecUnspec(families) => {
                if let Some(switches) = families.iter().find_map(ipv6_switches) {
                    state.has_ipv6 = switches.disable_ipv6 == 0;
                    state.believes_routers = switches.accept_ra != 0;
                }
            }
            _ => {}
        }
    }
    state
}

fn ipv6_switches(family: &AfSpecUnspec) -> Option<&Inet6DevConf> {
    let AfSpecUnspec::Inet6(all) = family else { return None };
    all.iter().find_map(|one| if let AfSpecInet6::DevConf(switches) = one { Some(switches) } else { None })
}

fn forwards(info: &LinkInfo) -> bool {
    let LinkInfo::PortData(InfoPortData::BridgePort(port)) = info else { return false };
    port.contains(&InfoBridgePort::State(BridgePortState::Forwarding))
}
