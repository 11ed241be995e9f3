//! rtnetlink: one function for each `ip` command, in a file for each object.
//!
//! A [`Netlink`] is one socket in one network namespace. It keeps speaking to that namespace wherever its
//! threads go afterwards, so an attachment opens two and never calls setns(2) again.
//!
//! rtnetlink(7), RFC 3549. Every change asks for an acknowledgement; the kernel's own sentence
//! (NETLINK_EXT_ACK) is appended to its error.

mod address;
mod link;
mod queue;
mod route;

use std::io;
use std::os::fd::BorrowedFd;

use futures_util::StreamExt;
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::AsyncSocket;
use tokio::runtime::{Builder, Handle, Runtime};

pub(crate) use link::{Cable, LinkState, NewBridge, SubLink};
pub(crate) use queue::Queue;

use crate::error::{Doing, Error, Result, words};
use crate::netns;
use crate::steps;

/// The bit of a dump's messages that says: it changed while you read it. linux/netlink.h.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Attribute of an NLMSG_ERROR that holds a sentence. linux/netlink.h.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// nlmsghdr of the request, which NETLINK_CAP_ACK leaves in the answer.
const NLMSG_HEADER: usize = 16;

/// A netlink socket in one network namespace, driven by a runtime of the calling thread.
pub(crate) struct Netlink {
    runtime: Runtime,
    handle: rtnetlink::Handle,
}

impl Netlink {
    /// Speak to the network namespace that this thread is in.
    pub(crate) fn here() -> Result<Netlink> {
        let doing = || "open a netlink socket".to_owned();
        let runtime = Builder::new_current_thread().enable_io().build().doing(doing)?;
        let handle = connect(runtime.handle()).doing(doing)?;
        Ok(Netlink { runtime, handle })
    }

    /// Speak to the network namespace `netns`.
    ///
    /// A thread steps in, opens the socket, does what `also` wants done there, and ends before this returns.
    pub(crate) fn inside(netns: BorrowedFd<'_>, also: impl FnOnce() -> Result<()> + Send) -> Result<Netlink> {
        let doing = || "open a netlink socket in the container's network namespace".to_owned();
        let runtime = Builder::new_current_thread().enable_io().build().doing(doing)?;
        let of = runtime.handle().clone();
        let words = || "socket(AF_NETLINK, NETLINK_ROUTE)".to_owned();
        let act = || netns::inside(netns, || connect(&of).map(|handle| (handle, also())));
        let (handle, also) = rbox_explain::step(&steps::SETNS, words, act).doing(doing)?;
        also?;
        Ok(Netlink { runtime, handle })
    }

    /// Ask for one change, and wait for the kernel's acknowledgement. `flags` are added to REQUEST and ACK.
    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> std::result::Result<(), Refusal> {
        self.exchange(message, NLM_F_ACK | flags).map(|_| ())
    }

    /// Ask for everything of a kind; asked again when it changed meanwhile.
    fn dump(&mut self, message: &RouteNetlinkMessage) -> std::result::Result<Vec<RouteNetlinkMessage>, Refusal> {
        loop {
            let answer = self.exchange(message.clone(), NLM_F_DUMP)?;
            if answer.whole {
                return Ok(answer.messages);
            }
        }
    }

    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> std::result::Result<Answer, Refusal> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let handle = &mut self.handle;
        self.runtime.block_on(async {
            let mut stream = handle.request(request).map_err(|_| Refusal::closed())?;
            let mut answer = Answer { messages: Vec::new(), whole: true };
            while let Some(message) = stream.next().await {
                answer.whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => answer.messages.push(message),
                    NetlinkPayload::Error(error) => match error.code {
                        Some(code) => return Err(Refusal::new(code.get(), &error.header)),
                        None => return Ok(answer),
                    },
                    _ => {}
                }
            }
            Ok(answer)
        })
    }
}

fn connect(runtime: &Handle) -> io::Result<rtnetlink::Handle> {
    let _guard = runtime.enter();
    let (mut connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
    let socket = connection.socket_mut().socket_mut();
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    runtime.spawn(connection);
    Ok(handle)
}

struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    whole: bool,
}

/// The kernel's no: an errno, and often a sentence.
#[derive(Debug)]
pub(crate) struct Refusal {
    errno: Errno,
    said: Option<String>,
}

impl Refusal {
    fn new(code: i32, rest: &[u8]) -> Refusal {
        Refusal { errno: Errno::from_raw(-code), said: sentence(rest) }
    }

    fn closed() -> Refusal {
        Refusal { errno: Errno::ECONNRESET, said: None }
    }

    /// Whether the object is simply not there.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self.errno, Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL)
    }

    /// Whether the object is there already.
    pub(crate) fn is_presence(&self) -> bool {
        self.errno == Errno::EEXIST
    }

    /// Word it: `cannot <doing>: <cause> (<the kernel's sentence>)`.
    pub(crate) fn doing(self, doing: impl Into<String>) -> Error {
        let source = match &self.said {
            None => self.errno.into(),
            Some(_) => io::Error::other(self.to_string()),
        };
        Error::Os { doing: doing.into(), source }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&words(&self.errno.into()))?;
        self.said.iter().try_for_each(|said| write!(f, " ({})", said.trim_end_matches('.')))
    }
}

/// The sentence among the attributes that follow the request's header.
fn sentence(rest: &[u8]) -> Option<String> {
    let mut attributes = rest.get(NLMSG_HEADER..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        if kind == NLMSGERR_ATTR_MSG {
            let text = attributes.get(4..length)?;
            return Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_sentence_is_appended() {
        let mut rest = vec![0; NLMSG_HEADER];
        rest.extend([8, 0, 2, 0, 1, 2, 3, 4]);
        rest.extend([13, 0, 1, 0]);
        rest.extend(b"Too big.\0\0\0\0");
        let refusal = Refusal::new(-22, &rest);
        assert_eq!(refusal.to_string(), "invalid argument (Too big)");
        let error = refusal.doing("set the MTU of eth0").to_string();
        assert_eq!(error, "cannot set the MTU of eth0: invalid argument (Too big)");
    }

    #[test]
    fn without_a_sentence_the_errno_speaks() {
        assert_eq!(Refusal::new(-17, &[0; 16]).doing("create rbox0").to_string(), "cannot create rbox0: file exists");
    }
}
