//! A network interface of this thread's network namespace, by ioctl(2) on a TCP socket: netdevice(7).
//!
//! Of all sockets that can be asked, a TCP socket without a connection is the one that the kernel frees with its close. One
//! of netlink holds its namespace for an RCU grace period longer, 8 to 20 ms (netlink_release in net/netlink/af_netlink.c).

use super::{descriptor, done};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

/// linux/sockios.h; libc has them for other targets than this.
const SIOCADDRT: libc::Ioctl = 0x890B;
const SIOCSIFADDR: libc::Ioctl = 0x8916;
const SIOCSIFNETMASK: libc::Ioctl = 0x891C;

/// linux/route.h: a route that is used, through a gateway.
const RTF_UP_GATEWAY: libc::c_ushort = 0x1 | 0x2;

/// netdevice(7): the flags fit the field, which is 16 bits wide.
const IFF_UP: libc::c_short = 0x1;

/// Switch an interface on. netdevice(7) `SIOCGIFFLAGS`, `SIOCSIFFLAGS`. Same as: `ip link set <name> up`.
///
/// # Errors
/// `EINVAL` for a name that cannot be one; `ENODEV`; `EPERM`.
pub fn set_up(name: &str) -> io::Result<()> {
    let socket = socket()?;
    let mut request = request(name)?;
    ask(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: flags are what the kernel has just put there.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | IFF_UP;
    ask(&socket, libc::SIOCSIFFLAGS, &mut request)
}

/// Give an interface that is off its first address. netdevice(7) `SIOCSIFADDR`, `SIOCSIFNETMASK`.
///
/// Same as: `ip address add <address>/<prefix> broadcast + dev <name>`
///
/// # Errors
/// `EINVAL` for a name that cannot be one, or a prefix over 32; `ENODEV`; `EPERM`.
pub fn set_address(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let mask = match prefix {
        0 => 0,
        1..=32 => u32::MAX << (32 - prefix),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let socket = socket()?;
    let mut request = request(name)?;
    // With the mask of its class (RFC 791), and the broadcast address of that; both change with the mask.
    request.ifr_ifru.ifru_addr = socket_address(address);
    ask(&socket, SIOCSIFADDR, &mut request)?;
    request.ifr_ifru.ifru_addr = socket_address(mask.into());
    ask(&socket, SIOCSIFNETMASK, &mut request)
}

/// Send all that is for nobody on a link to `gateway`. `SIOCADDRT`, as of route(8). Same as: `ip route add default via
/// <gateway>`.
///
/// # Errors
/// `ENETUNREACH` where the gateway is on no link; `EEXIST`; `EPERM`.
pub fn add_default_gateway(gateway: Ipv4Addr) -> io::Result<()> {
    let socket = socket()?;
    // SAFETY: rtentry is plain numbers and a pointer, for which all zero is "no interface is named".
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = RTF_UP_GATEWAY;
    // SAFETY: the route outlives the call and is what SIOCADDRT takes.
    done(i64::from(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCADDRT, ptr::from_ref(&route)) }))
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: numbers, no memory.
    descriptor(i64::from(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) }))
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero, and ends it.
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn ask(socket: &OwnedFd, what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the request outlives the call and is what all of netdevice(7) take.
    done(i64::from(unsafe { libc::ioctl(socket.as_raw_fd(), what, ptr::from_mut(request)) }))
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut of = libc::sockaddr { sa_family: 0, sa_data: [0; 14] };
    of.sa_family = libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default();
    // sockaddr_in, ip(7): a port of two bytes, then the address in network order.
    for (to, from) in of.sa_data[2..6].iter_mut().zip(address.octets()) {
        *to = from.cast_signed();
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_name_or_a_prefix_is_refused() {
        for name in ["", "sixteen-letters-", "zero\0inside"] {
            assert_eq!(set_up(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
        let refused = set_address("lo", Ipv4Addr::LOCALHOST, 33).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let absent = set_up("fifteen-letters").unwrap_err();
        assert_eq!(absent.raw_os_error(), Some(libc::ENODEV));
    }
}
