//! rtnetlink(7), as little of it as `linux.netDevices` needs: links and addresses, one request and its answer at a time.
//!
//! ```text
//!  message    length u32 │ type u16 │ flags u16 │ sequence u32 │ port u32 │ body              netlink(7)
//!  body       ifinfomsg or ifaddrmsg, then attributes                                         rtnetlink(7)
//!  attribute  length u16 │ type u16 │ bytes, padded to 4
//! ```
//!
//! By hand: it is four requests, and a crate for all of rtnetlink would be a sixth of this program.

use crate::sys;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// IFNAMSIZ of netdevice(7), without the zero byte.
pub(crate) const NAME_MAX: usize = 15;

const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
/// linux/if_addr.h; libc lacks them.
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;
/// What may be asked for of the flags of an address: the others say what became of it.
const IFA_WISHES: u32 = libc::IFA_F_NODAD
    | libc::IFA_F_HOMEADDRESS
    | libc::IFA_F_MANAGETEMPADDR
    | libc::IFA_F_NOPREFIXROUTE
    | libc::IFA_F_MCAUTOJOIN;
/// linux/netlink.h: the kernel's sentence in an error.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A socket of one network namespace: that in which it was opened.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
}

/// A network device, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: i32,
    pub(crate) is_up: bool,
    /// Of the bridge or bond that it is a port of.
    pub(crate) master: Option<u32>,
}

/// An address of a device: what has to be said to give it to another device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    family: u8,
    prefix: u8,
    pub(crate) scope: u8,
    flags: u32,
    label: Option<Vec<u8>>,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A message under construction.
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: i32, body: &[u8]) -> Request {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = u16::try_from(libc::NLM_F_REQUEST | flags).unwrap_or(0);
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(body);
        Request(bytes)
    }

    fn with(mut self, kind: u16, value: &[u8]) -> Request {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn with_text(self, kind: u16, text: &str) -> Request {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.with(kind, &bytes)
    }

    fn into_bytes(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

impl Netlink {
    /// A socket of our own network namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub(crate) fn here() -> io::Result<Netlink> {
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        sys::socket::netlink_ext_ack(socket.as_fd())?;
        Ok(Netlink { socket })
    }

    /// A socket of another one. A thread goes there and ends: this program itself never leaves its own.
    ///
    /// # Errors
    /// Those of setns(2) and socket(2).
    pub(crate) fn inside(namespace: BorrowedFd<'_>) -> io::Result<Netlink> {
        let open = || {
            sys::process::setns(namespace, libc::CLONE_NEWNET)?;
            Netlink::here()
        };
        std::thread::scope(|scope| scope.spawn(open).join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    }

    /// The device that has this name, or this other name. Same as: `ip link show NAME`
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub(crate) fn link(&self, name: &str) -> io::Result<Link> {
        let name_kind = if name.len() > NAME_MAX { libc::IFLA_ALT_IFNAME } else { libc::IFLA_IFNAME };
        let found = self.ask(Request::new(libc::RTM_GETLINK, 0, &link_body(0, 0, 0)).with_text(name_kind, name));
        let found = match found {
            // As one of its other names: the kernel wants to be told which is meant.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                let request =
                    Request::new(libc::RTM_GETLINK, 0, &link_body(0, 0, 0)).with_text(libc::IFLA_ALT_IFNAME, name);
                self.ask(request)?
            }
            found => found?,
        };
        found.first().and_then(|message| Link::parse(message)).ok_or_else(unreadable)
    }

    /// Same as: `ip link set up` or `down`.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn set_up(&self, index: i32, up: bool) -> io::Result<()> {
        let up_flag = libc::IFF_UP.unsigned_abs();
        let body = link_body(index, if up { up_flag } else { 0 }, up_flag);
        self.change(Request::new(libc::RTM_NEWLINK, 0, &body))
    }

    /// Same as: `ip link set name NAME`; in a name with `%d` the kernel puts the first number that is free.
    ///
    /// # Errors
    /// EEXIST.
    pub(crate) fn rename(&self, index: i32, name: &str) -> io::Result<()> {
        self.change(Request::new(libc::RTM_NEWLINK, 0, &link_body(index, 0, 0)).with_text(libc::IFLA_IFNAME, name))
    }

    /// Same as: `ip link set netns NAMESPACE name NAME`.
    ///
    /// # Errors
    /// EINVAL for one that is bound to its namespace; EEXIST.
    pub(crate) fn send_away(&self, index: i32, namespace: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let request = Request::new(libc::RTM_NEWLINK, 0, &link_body(index, 0, 0))
            .with(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        self.change(request.with_text(libc::IFLA_IFNAME, name))
    }

    /// Same as: `ip link set master MASTER`.
    ///
    /// # Errors
    /// What the master says.
    pub(crate) fn enslave(&self, index: i32, master: u32) -> io::Result<()> {
        let request = Request::new(libc::RTM_NEWLINK, 0, &link_body(index, 0, 0));
        self.change(request.with(libc::IFLA_MASTER, &master.to_ne_bytes()))
    }

    /// All addresses of a device, in the order in which they are to be given to have the same one first. Same as: `ip
    /// address show`
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn addresses(&self, index: i32) -> io::Result<Vec<Address>> {
        // An interrupted list lacks something or has it twice.
        for _ in 0..8 {
            match self.ask(Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; ADDRESS_HEADER])) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                found => {
                    return Ok(in_order(found?.iter().filter_map(|message| Address::parse(message, index)).collect()));
                }
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Same as: `ip address add`. `old` and `new` are the device's names: a label begins with the name (ip-address(8)).
    ///
    /// # Errors
    /// EEXIST; EACCES where IPv6 is switched off.
    pub(crate) fn add_address(&self, index: i32, address: &Address, (old, new): (&str, &str)) -> io::Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let index = index.unsigned_abs().to_ne_bytes();
        let mut body = vec![address.family, address.prefix, 0, address.scope];
        body.extend_from_slice(&index);
        let mut request = Request::new(libc::RTM_NEWADDR, flags, &body)
            .with(libc::IFA_FLAGS, &(address.flags & IFA_WISHES).to_ne_bytes());
        for (kind, value) in &address.attributes {
            request = request.with(*kind, value);
        }
        if let Some(label) = address.label_on(old, new) {
            request = request.with_text(libc::IFA_LABEL, &label);
        }
        self.change(request)
    }

    fn change(&self, mut request: Request) -> io::Result<()> {
        request.0[6] |= u8::try_from(libc::NLM_F_ACK).unwrap_or(4);
        self.ask(request).map(drop)
    }

    /// Send a request and collect what is answered: the messages without their headers.
    fn ask(&self, request: Request) -> io::Result<Vec<Vec<u8>>> {
        let socket = self.socket.as_raw_fd();
        send(socket, &request.into_bytes(), MsgFlags::empty())?;
        let (mut found, mut interrupted) = (Vec::new(), false);
        // The kernel fits parts of a list into what is read at once: 32 KiB at most (net/netlink/af_netlink.c).
        let mut buffer = vec![0; 32 << 10];
        loop {
            let length = recv(socket, &mut buffer, MsgFlags::empty())?;
            let mut rest = &buffer[..length];
            while let Some(size) = number(rest, 0).map(|size| size as usize).filter(|size| *size >= HEADER) {
                let message = rest.get(..size).ok_or_else(unreadable)?;
                let (kind, flags) = (short(message, 4).unwrap_or(0), i32::from(short(message, 6).unwrap_or(0)));
                interrupted |= flags & libc::NLM_F_DUMP_INTR != 0;
                match i32::from(kind) {
                    libc::NLMSG_ERROR => return answer(message).map(|()| found),
                    libc::NLMSG_DONE if interrupted => return Err(io::ErrorKind::Interrupted.into()),
                    libc::NLMSG_DONE => return Ok(found),
                    _ => found.push(message[HEADER..].to_vec()),
                }
                if flags & libc::NLM_F_MULTI == 0 {
                    return Ok(found);
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or(&[]);
            }
        }
    }
}

/// An acknowledgement, or an error with the kernel's sentence (NETLINK_EXT_ACK).
fn answer(message: &[u8]) -> io::Result<()> {
    let errno = number(message, HEADER).ok_or_else(unreadable)?.cast_signed();
    if errno == 0 {
        return Ok(());
    }
    // nlmsgerr: the number, then the request itself, then attributes.
    let request = HEADER + 4;
    let size = number(message, request).map_or(HEADER, |size| (size as usize).next_multiple_of(4));
    let mut said = attributes(message.get(request + size..).unwrap_or(&[]));
    let error = io::Error::from_raw_os_error(-errno);
    match said.find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG) {
        Some((_, words)) => Err(io::Error::new(error.kind(), format!("{} ({})", crate::cause(&error), text(words)))),
        None => Err(error),
    }
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer of the kernel that cannot be read")
}

/// The kernel lists IPv4's in the order of their coming, and IPv6's the last one first.
fn in_order(all: Vec<Address>) -> Vec<Address> {
    let (v6, mut v4): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| i32::from(one.family) == libc::AF_INET6);
    v4.extend(v6.into_iter().rev());
    v4
}

fn link_body(index: i32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&flags.to_ne_bytes());
    body.extend_from_slice(&change.to_ne_bytes());
    body
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let size = usize::from(short(rest, 0)?);
        let (kind, value) = (short(rest, 2)?, rest.get(4..size)?);
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

impl Link {
    fn parse(body: &[u8]) -> Option<Link> {
        let (index, flags) = (number(body, 4)?.cast_signed(), number(body, 8)?);
        let master = attributes(body.get(LINK_HEADER..)?).find(|(kind, _)| *kind == libc::IFLA_MASTER);
        Some(Link {
            index,
            is_up: flags & libc::IFF_UP.unsigned_abs() != 0,
            master: master.and_then(|(_, value)| number(value, 0)),
        })
    }
}

impl Address {
    /// Of a message about the device `index`.
    fn parse(body: &[u8], index: i32) -> Option<Address> {
        let header = body.get(..ADDRESS_HEADER)?;
        if number(header, 4)?.cast_signed() != index {
            return None;
        }
        let mut address = Address {
            family: header[0],
            prefix: header[1],
            flags: u32::from(header[2]),
            scope: header[3],
            label: None,
            attributes: vec![],
        };
        for (kind, value) in attributes(&body[ADDRESS_HEADER..]) {
            match kind {
                libc::IFA_FLAGS => address.flags = number(value, 0)?,
                libc::IFA_LABEL => address.label = Some(value.to_vec()),
                libc::IFA_ADDRESS
                | libc::IFA_LOCAL
                | libc::IFA_BROADCAST
                | libc::IFA_CACHEINFO
                | IFA_RT_PRIORITY
                | IFA_PROTO => {
                    address.attributes.push((kind, value.to_vec()));
                }
                _ => {}
            }
        }
        Some(address)
    }

    /// Whether it is for good and for everywhere: `IFA_F_PERMANENT`, `RT_SCOPE_UNIVERSE`.
    pub(crate) fn is_lasting_and_global(&self) -> bool {
        self.flags & libc::IFA_F_PERMANENT != 0 && self.scope == libc::RT_SCOPE_UNIVERSE
    }

    /// Whether the kernel makes it by itself when the device comes up: IPv6's own of the link.
    pub(crate) fn is_kernels(&self) -> bool {
        i32::from(self.family) == libc::AF_INET6 && self.scope == libc::RT_SCOPE_LINK
    }

    /// `old:lab` becomes `new:lab`; the plain name is what the kernel takes by itself.
    fn label_on(&self, old: &str, new: &str) -> Option<String> {
        let label = text(self.label.as_ref()?);
        let rest = label.strip_prefix(old)?;
        Some(format!("{new}{rest}")).filter(|label| !rest.is_empty() && label.len() <= NAME_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of `ip -n … address show`: 10.7.0.2/24 label nic0:x on device 5.
    fn message(flags: u32) -> Vec<u8> {
        let body = [2, 24, 0x80, 0, 5, 0, 0, 0];
        let request = Request::new(libc::RTM_NEWADDR, 0, &body)
            .with(libc::IFA_LOCAL, &[10, 7, 0, 2])
            .with_text(libc::IFA_LABEL, "nic0:x")
            .with(libc::IFA_FLAGS, &flags.to_ne_bytes());
        request.into_bytes()[HEADER..].to_vec()
    }

    #[test]
    fn an_address_is_read_for_its_own_device_alone() {
        let address = Address::parse(&message(0x280), 5).unwrap();
        assert_eq!((address.family, address.prefix, address.flags), (2, 24, 0x280));
        assert_eq!(address.attributes, [(libc::IFA_LOCAL, vec![10, 7, 0, 2])]);
        assert!(address.is_lasting_and_global() && !address.is_kernels());
        assert!(!Address::parse(&message(0x200), 5).unwrap().is_lasting_and_global());
        assert_eq!(Address::parse(&message(0x80), 6), None);
    }

    #[test]
    fn a_label_follows_the_name() {
        let address = Address::parse(&message(0x80), 5).unwrap();
        assert_eq!(address.label_on("nic0", "eth0").as_deref(), Some("eth0:x"));
        assert_eq!(address.label_on("other", "eth0"), None);
        assert_eq!(address.label_on("nic0", "thirteen-byte"), Some("thirteen-byte:x".to_owned()));
        assert_eq!(address.label_on("nic0", "fourteen-bytes"), None);
    }

    #[test]
    fn torn_messages_are_no_panic() {
        let whole = message(0x80);
        for length in 0..whole.len() {
            let _ = Address::parse(&whole[..length], 5);
            let _ = Link::parse(&whole[..length]);
            let _ = answer(&whole[..length]);
            assert!(attributes(&whole[..length]).count() < 9);
        }
    }
}
