//! What connection tracking remembers of datagrams, where a published port has come or gone.
//!
//! The kernel asks the rules of nat for the first packet of a flow alone. A client that goes on sending from one port is one
//! flow for as long as it does: published too late, the port is not there for it; and when the container has gone, its
//! datagrams go to whoever has the address by then. So these flows are forgotten, and the rules are asked again.
//!
//! ```text
//!   IPCTNL_MSG_CT_GET, udp ──▶ flows; those that are meant ──▶ IPCTNL_MSG_CT_DELETE, one by one
//! ```
//!
//! linux/netfilter/nfnetlink_conntrack.h; net/netfilter/nf_conntrack_netlink.c. (A connection of TCP ends by itself: to
//! whoever has the address now it is none.)

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use rtnetlink::sys::Socket;

use super::wire::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ERROR, answer, attribute, family, message, messages, nest, open,
    read_dump,
};
use crate::error::{Doing, Result};
use crate::ports::PortRange;
use crate::steps;

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_NEW: u16 = NFNL_SUBSYS_CTNETLINK << 8;
const IPCTNL_MSG_CT_GET: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 1;
const IPCTNL_MSG_CT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 2;
const NLA_F_NESTED: u16 = 1 << 15;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// Kernel `nf_internals.h`, CTA_FILTER_F_CTA_PROTO_NUM.
const FILTER_BY_PROTOCOL: u32 = 1 << 3;
const IPPROTO_UDP: u8 = 17;

/// Which flows of datagrams are meant.
pub(crate) enum Meant<'a> {
    /// What is translated to these addresses.
    To(&'a [IpAddr]),
    /// What comes for the host itself, or is translated already, at these ports; of IPv6 or not.
    At(&'a [(bool, PortRange)]),
}

/// One direction of a flow.
struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    destination_port: u16,
}

/// A flow, with the attributes by which it is named.
struct Flow {
    first: Tuple,
    reply: Tuple,
    name: Vec<(u16, Vec<u8>)>,
}

/// Have the rules asked again for datagrams. A kernel without connection tracking has nothing to forget.
///
/// Same as: `conntrack -D -p udp` for each of these flows.
///
/// Errors: `Os`.
pub(crate) fn forget(meant: &Meant<'_>) -> Result<()> {
    for ipv6 in [false, true].into_iter().filter(|ipv6| meant.has(*ipv6)) {
        let doing = || "forget the flows of a published port".to_owned();
        let socket = open().doing(doing)?;
        let own = own_addresses().doing(doing)?;
        let found = list(&socket, ipv6, true).or_else(|_| list(&socket, ipv6, false)).doing(doing)?;
        for flow in found.iter().filter(|flow| meant.is(flow, &own)) {
            let words = || format!("conntrack -D -p udp {}", flow.words());
            rbox_explain::step(&steps::FLOWS_FORGET, words, || delete(&socket, ipv6, flow)).doing(doing)?;
        }
    }
    Ok(())
}

impl Meant<'_> {
    fn has(&self, ipv6: bool) -> bool {
        match self {
            Meant::To(addresses) => addresses.iter().any(|address| address.is_ipv6() == ipv6),
            Meant::At(ports) => ports.iter().any(|(of_ipv6, _)| *of_ipv6 == ipv6),
        }
    }

    /// `own`: the addresses of this host.
    fn is(&self, flow: &Flow, own: &[IpAddr]) -> bool {
        match self {
            Meant::To(addresses) => flow.is_translated() && addresses.contains(&flow.reply.source),
            Meant::At(ports) => {
                let to = &flow.first;
                let is_at = |(ipv6, range): &(bool, PortRange)| {
                    *ipv6 == to.destination.is_ipv6() && range.contains(to.destination_port)
                };
                // What only passes through, to a port of that number somewhere else, is none of ours.
                ports.iter().any(is_at) && (flow.is_translated() || own.contains(&to.destination))
            }
        }
    }
}

impl Flow {
    /// Whether it goes elsewhere than to whom it was addressed.
    fn is_translated(&self) -> bool {
        self.reply.source != self.first.destination
    }

    fn words(&self) -> String {
        format!("-s {} -d {} --dport {}", self.first.source, self.first.destination, self.first.destination_port)
    }

    /// The body of a message, behind nfgenmsg; nothing where it is not understood.
    fn read(attributes: &[u8]) -> Option<Flow> {
        let named = [(CTA_TUPLE_ORIG, NLA_F_NESTED), (CTA_ID, 0), (CTA_ZONE, 0)];
        let name =
            named.into_iter().filter_map(|(kind, flag)| Some((kind | flag, attribute(attributes, kind)?.to_vec())));
        Some(Flow {
            first: Tuple::read(attribute(attributes, CTA_TUPLE_ORIG)?)?,
            reply: Tuple::read(attribute(attributes, CTA_TUPLE_REPLY)?)?,
            name: name.collect(),
        })
    }
}

impl Tuple {
    fn read(attributes: &[u8]) -> Option<Tuple> {
        let (ip, transport) = (attribute(attributes, CTA_TUPLE_IP)?, attribute(attributes, CTA_TUPLE_PROTO)?);
        if attribute(transport, CTA_PROTO_NUM)? != [IPPROTO_UDP] {
            return None;
        }
        let v4 = |kind| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(attribute(ip, kind)?).ok()?)));
        let v6 = |kind| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(attribute(ip, kind)?).ok()?)));
        Some(Tuple {
            source: v4(CTA_IP_V4_SRC).or_else(|| v6(CTA_IP_V6_SRC))?,
            destination: v4(CTA_IP_V4_DST).or_else(|| v6(CTA_IP_V6_DST))?,
            destination_port: u16::from_be_bytes(attribute(transport, CTA_PROTO_DST_PORT)?.try_into().ok()?),
        })
    }
}

fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let address = |it: nix::ifaddrs::InterfaceAddress| {
        let storage = it.address?;
        let v4 = storage.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
    };
    Ok(getifaddrs()?.filter_map(address).collect())
}

/// The flows of datagrams. `filters`: the kernel leaves the others out; before Linux 5.8 it does not know how.
fn list(socket: &Socket, ipv6: bool, filters: bool) -> io::Result<Vec<Flow>> {
    let mut request = Vec::new();
    let filter = [
        (CTA_FILTER | NLA_F_NESTED, nested(&[(CTA_FILTER_ORIG_FLAGS, FILTER_BY_PROTOCOL.to_ne_bytes().to_vec())])),
        (
            CTA_TUPLE_ORIG | NLA_F_NESTED,
            nested(&[(CTA_TUPLE_PROTO | NLA_F_NESTED, nested(&[(CTA_PROTO_NUM, vec![IPPROTO_UDP])]))]),
        ),
    ];
    let attributes = if filters { &filter[..] } else { &[] };
    message(&mut request, IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, (family(ipv6), 0), attributes);
    socket.send(&request, 0)?;
    let mut flows = Vec::new();
    let read = read_dump(socket, |kind, body| {
        if kind == IPCTNL_MSG_CT_NEW {
            flows.extend(body.get(4..).and_then(Flow::read));
        }
        ControlFlow::Continue(())
    });
    match read {
        // No connection tracking here, or not to be looked at.
        Err(error) if !filters && is_missing(&error) => Ok(Vec::new()),
        read => read.map(|_| flows),
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| [Errno::EINVAL, Errno::EOPNOTSUPP].contains(&Errno::from_raw(code)))
}

fn delete(socket: &Socket, ipv6: bool, flow: &Flow) -> io::Result<()> {
    let mut request = Vec::new();
    message(&mut request, IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, (family(ipv6), 0), &flow.name);
    socket.send(&request, 0)?;
    let (datagram, _) = socket.recv_from_full()?;
    let told = messages(&datagram).find(|(kind, ..)| *kind == NLMSG_ERROR).map(|(.., body)| answer(body));
    match told {
        // It has ended by itself.
        Some(Err(error)) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(()),
        told => told.unwrap_or(Ok(())),
    }
}

/// Attributes inside of an attribute.
fn nested(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    nest(&mut out, attributes);
    out
}
