//! A container's network, slower on purpose: `network shape`.
//!
//! ```text
//!   container: eth0 ──rate, delay, loss──▶ cable ──▶ bridge          what it sends, by a queue on its own card
//!   container: eth0 ◀── cable ◀──rate_in── bridge                    what it gets, by one on the host's end
//! ```

use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::driver::gone;
use crate::endpoint::{EndpointRecord, Link};
use crate::error::{Error, Result};
use crate::netlink::{Netlink, Queue};
use crate::networks::Networks;

/// How a container's packets go in one network. What is not said is as it would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Bytes that it may send in a second; at least 1.
    pub rate: Option<u64>,
    /// Bytes that it may get in a second; at least 1.
    pub rate_in: Option<u64>,
    /// How much later what it sends arrives.
    pub delay: Option<Duration>,
    /// How many of a million packets that it sends are lost.
    pub loss: Option<u32>,
}

impl Shape {
    /// Whether nothing is said.
    pub fn is_free(&self) -> bool {
        *self == Shape::default()
    }
}

impl Networks {
    /// Have a container's packets in the network of `endpoint` go so from now on; `netns` is its network namespace. Nothing is
    /// done where it has no card there.
    ///
    /// # Errors
    /// `Invalid` where its card has no end on the host, or the kernel no such queue; `Os`, what it refuses.
    pub fn shape(&self, netns: BorrowedFd<'_>, endpoint: &EndpointRecord, shape: &Shape) -> Result<()> {
        let Some(attachment) = &endpoint.attachment else { return Ok(()) };
        let host = match &attachment.link {
            Link::Cable { host, .. } => Some(host),
            Link::Sub { .. } => None,
        };
        if shape.rate_in.is_some() && host.is_none() {
            let why = format!("on network {} the container's card has no end on the host", endpoint.network);
            return Err(Error::Invalid { object: "--rate-in".into(), why });
        }
        let set = |netlink: &mut Netlink, name: &str, queue: Queue| {
            let index = netlink.show_link(name)?.ok_or_else(|| gone(name))?.index;
            netlink.set_queue((index, name), queue)
        };
        let out = Queue { rate: shape.rate, delay: shape.delay, loss: shape.loss };
        set(&mut Netlink::inside(netns, || Ok(()))?, &attachment.interface, out)?;
        match host {
            Some(host) => set(&mut Netlink::here()?, host, Queue { rate: shape.rate_in, ..Queue::default() }),
            None => Ok(()),
        }
    }
}
