//! Interfaces, addresses and routes of the network namespace this process is in.

use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use serde_json::{Map, Value, json};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Every interface with its addresses, and the routing tables.
pub(crate) fn see() -> Value {
    json!({ "interfaces": interfaces(), "routes": routes4(), "routes6": routes6(), "listening": listening() })
}

fn interfaces() -> Value {
    let mut found: Map<String, Value> = Map::new();
    for address in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let name = address.interface_name.clone();
        let entry = found.entry(name.clone()).or_insert_with(|| interface(&name, address.flags));
        if let Some(storage) = address.address {
            note(entry, &storage, address.netmask.as_ref(), address.broadcast.as_ref());
        }
    }
    found.into()
}

fn interface(name: &str, flags: InterfaceFlags) -> Value {
    let number = |file: &str| {
        let text = fs::read_to_string(format!("/sys/class/net/{name}/{file}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let names: Vec<&str> = flags.iter_names().map(|(name, _)| name.trim_start_matches("IFF_")).collect();
    json!({
        "flags": names,
        "mtu_bytes": number("mtu"),
        "tx_queue_len": number("tx_queue_len"),
        "ifindex": number("ifindex"),
        "iflink": number("iflink"),
        "rx_packets": number("statistics/rx_packets"),
        "mac": Value::Null,
        "addresses": [],
    })
}

/// Add one answer of getifaddrs(3) to the interface: a hardware address or an IP address with its prefix.
fn note(
    entry: &mut Value,
    address: &SockaddrStorage,
    mask: Option<&SockaddrStorage>,
    broadcast: Option<&SockaddrStorage>,
) {
    if let Some(mac) = address.as_link_addr().and_then(|link| link.addr()) {
        let text: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        entry["mac"] = json!(text.join(":"));
    }
    let Some(ip) = ip_of(address) else { return };
    let prefix = mask.and_then(ip_of).map(|mask| match mask {
        IpAddr::V4(mask) => u32::from(mask).count_ones(),
        IpAddr::V6(mask) => u128::from(mask).count_ones(),
    });
    let broadcast = broadcast.and_then(ip_of).map(|ip| ip.to_string());
    if let Some(list) = entry["addresses"].as_array_mut() {
        list.push(json!({ "ip": ip.to_string(), "prefix": prefix, "broadcast": broadcast }));
    }
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    match address.family()? {
        nix::sys::socket::AddressFamily::Inet => Some(IpAddr::V4(address.as_sockaddr_in()?.ip())),
        nix::sys::socket::AddressFamily::Inet6 => Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())),
        _ => None,
    }
}

/// /proc/net/route: addresses are hexadecimal words in the machine's byte order.
fn routes4() -> Value {
    let text = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(|word| Ipv4Addr::from(word.to_le_bytes()));
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let prefix = u32::from(word(fields.get(7)?)?).count_ones();
        Some(json!({
            "device": fields.first()?,
            "to": format!("{}/{prefix}", word(fields.get(1)?)?),
            "via": word(fields.get(2)?)?.to_string(),
        }))
    };
    text.lines().skip(1).filter_map(route).collect()
}

fn routes6() -> Value {
    let text = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let address = |text: &str| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from);
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let prefix = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        Some(json!({
            "device": fields.last()?,
            "to": format!("{}/{prefix}", address(fields.first()?)?),
            "via": address(fields.get(4)?)?.to_string(),
        }))
    };
    text.lines().filter_map(route).collect()
}

/// Local ports of listening TCP sockets in this network namespace.
fn listening() -> Value {
    let mut ports = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, "0A", ..] = fields.as_slice() else { continue };
            let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            ports.extend(port);
        }
    }
    ports.sort_unstable();
    ports.dedup();
    json!(ports)
}
