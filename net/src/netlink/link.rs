//! `ip link`: the bridge, and the cable between a container and it.

use std::os::fd::{AsRawFd, BorrowedFd};

use rbox_explain::Row;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    BridgePortState, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};

use super::{Netlink, Refusal};
use crate::address::MacAddress;
use crate::error::Result;
use crate::steps;

/// A bridge to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bridge<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: MacAddress,
    pub(crate) mtu_bytes: u32,
}

/// A veth pair to be made: `host` stays here as a port of bridge `bridge`, `eth0` is born in the container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cable<'a> {
    pub(crate) host: &'a str,
    pub(crate) bridge: (u32, &'a str),
    pub(crate) mac: MacAddress,
    pub(crate) mtu_bytes: u32,
}

/// What RTM_GETLINK says of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkState {
    pub(crate) index: u32,
    pub(crate) is_up: bool,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) mtu_bytes: Option<u32>,
    /// Its carrier has been noticed, so frames leave: before that its queue (`noop`) drops them.
    pub(crate) is_ready: bool,
    /// It is a port of a bridge, and the bridge passes its frames.
    pub(crate) forwards: bool,
}

impl Netlink {
    /// Make a bridge; it stays down.
    ///
    /// Same as: `ip link add <name> address <mac> mtu <mtu> txqueuelen 0 type bridge`
    /// Errors: `Os`; the name being taken is one.
    pub(crate) fn add_bridge(&mut self, bridge: Bridge<'_>) -> Result<()> {
        let Bridge { name, mac, mtu_bytes } = bridge;
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

    /// Make the cable: plug the host's end into the bridge and switch it on; the container's end stays down.
    ///
    /// Same as: `ip link add <host> up mtu <mtu> txqueuelen 0 master <bridge> type veth peer name eth0 address <mac>
    /// mtu <mtu> txqueuelen 0 netns <netns>`
    /// Errors: `Os`; a taken name is one. veth(4), IFLA_LINKINFO "veth", VETH_INFO_PEER.
    pub(crate) fn add_cable(&mut self, cable: Cable<'_>, netns: BorrowedFd<'_>) -> Result<()> {
        let Cable { host, bridge, mac, mtu_bytes } = cable;
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName("eth0".into()),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::Mtu(mtu_bytes),
            // shown as txqueuelen:0
            LinkAttribute::TxQueueLen(0),
            LinkAttribute::NetNsFd(netns.as_raw_fd()),
        ];
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
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
                "ip link add {host} up mtu {mtu_bytes} txqueuelen 0 master {} type veth peer name eth0 address {mac} \
                 mtu {mtu_bytes} txqueuelen 0 netns <container>",
                bridge.1
            )
        };
        self.link(&steps::VETH, words, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|refusal| refusal.doing(format!("create link {host} to eth0 of the container")))
    }

    /// Let frames leave by the bridge port they came from.
    ///
    /// Same as: `bridge link set dev <name> hairpin on`
    pub(crate) fn set_hairpin(&mut self, index: u32, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ])];
        let words = || format!("bridge link set dev {name} hairpin on");
        self.link(&steps::HAIRPIN, words, RouteNetlinkMessage::NewLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("switch hairpin on for {name}")))
    }

    /// Switch a link on.
    ///
    /// Same as: `ip link set <name> up`
    pub(crate) fn set_up(&mut self, row: &'static Row, index: u32, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        let words = || format!("ip link set {name} up");
        self.link(row, words, RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refusal| refusal.doing(format!("switch {name} on")))
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

fn read(link: &LinkMessage) -> LinkState {
    let mut state = LinkState {
        index: link.header.index,
        is_up: link.header.flags.contains(LinkFlags::Up),
        mac: None,
        mtu_bytes: None,
        is_ready: link.header.flags.contains(LinkFlags::Running),
        forwards: false,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => state.mac = bytes.as_slice().try_into().ok().map(MacAddress),
            LinkAttribute::Mtu(mtu) => state.mtu_bytes = Some(*mtu),
            LinkAttribute::Qdisc(name) => state.is_ready &= name != "noop",
            LinkAttribute::LinkInfo(infos) => state.forwards = infos.iter().any(forwards),
            _ => {}
        }
    }
    state
}

fn forwards(info: &LinkInfo) -> bool {
    let LinkInfo::PortData(InfoPortData::BridgePort(port)) = info else { return false };
    port.contains(&InfoBridgePort::State(BridgePortState::Forwarding))
}
