//! Who has a port: the name and pid of the process behind a socket, as ss(8) finds it.
//!
//! A dump of the sockets gives the socket's inode, `/proc/PID/fd` the process that has it open. proc(5).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Protocol;
use super::sockets::{self, Bound};

/// Name the process that has `wanted`: `nginx, pid 812`. Nothing where it cannot be seen (another pid namespace).
pub(crate) fn find(protocol: Protocol, wanted: SocketAddr) -> Option<String> {
    let bound = sockets(protocol).into_iter().filter(|bound| bound.keeps_from(wanted));
    process_with(&bound.map(|bound| bound.inode).collect::<Vec<_>>())
}

/// Every socket of `protocol` that keeps a port; where the kernel has no dumps of sockets, what `/proc` tells of them.
pub(crate) fn sockets(protocol: Protocol) -> Vec<Bound> {
    sockets::dump(protocol).unwrap_or_else(|_| {
        let files: &[&str] = match protocol {
            Protocol::Tcp => &["tcp", "tcp6"],
            Protocol::Udp => &["udp", "udp6"],
            Protocol::Sctp => &[],
        };
        let tables: Vec<String> = files.iter().filter_map(table).collect();
        tables.iter().flat_map(|table| table.lines().skip(1).filter_map(line)).collect()
    })
}

/// "thread-self": `/proc/net` alone is the network of the process's first thread.
fn table(file: &&str) -> Option<String> {
    fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok()
}

/// One line of `/proc/net/tcp`: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
///
/// A socket that is bound and does not listen stands in none of these files, unless it is udp.
fn line(line: &str) -> Option<Bound> {
    let mut fields = line.split_ascii_whitespace();
    let (ip, port) = fields.nth(1)?.split_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    // 0A is TCP_LISTEN; 07 (TCP_CLOSE) is how an unconnected udp socket stands there.
    let at = SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?);
    // Whether "[::]" has the port in both families is not told there: perhaps it has.
    matches!(state, "0A" | "07").then_some(Bound { at, v6_only: false, inode })
}

/// An address as words of 32 bits in the machine's own byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
        part.copy_from_slice(&word(at * 8)?);
    }
    Some(Ipv6Addr::from(bytes).into())
}

/// The first process that has any of these sockets open.
pub(crate) fn process_with(inodes: &[u64]) -> Option<String> {
    let inodes: Vec<u64> = inodes.iter().copied().filter(|inode| *inode != 0).collect();
    if inodes.is_empty() {
        return None;
    }
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if sockets_of(pid).any(|inode| inodes.contains(&inode)) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{}, pid {pid}", name.trim_end()));
        }
    }
    None
}

/// The inodes of the sockets that a process has open; none where it is not there, or not to be looked at.
pub(crate) fn sockets_of(pid: i32) -> impl Iterator<Item = u64> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    fds.filter_map(|fd| {
        let link = fs::read_link(fd.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_net_tcp() {
        // 127.0.0.1:8080 listening, inode 12345, as a little-endian kernel prints it
        let text = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000 100 0 0 10 0";
        assert_eq!(line(text).map(|it| (it.at, it.inode)), Some(("127.0.0.1:8080".parse().unwrap(), 12345)));
        let established = text.replace(" 0A ", " 01 ");
        assert_eq!(line(&established), None);
    }

    #[test]
    fn an_ipv6_line() {
        let text =
            "0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 7 1";
        assert_eq!(line(text).map(|it| (it.at, it.inode)), Some(("[::1]:80".parse().unwrap(), 7)));
    }

    #[test]
    fn the_holder_of_a_listening_port_is_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = find(Protocol::Tcp, listener.local_addr().unwrap()).unwrap();
        assert!(holder.ends_with(&format!(", pid {}", std::process::id())), "{holder}");
    }
}
