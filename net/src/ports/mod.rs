//! Published ports: what the user asked for ([`Publish`]), what he got ([`PortMapping`]).
//!
//! ```text
//!   "8080:80/tcp" ──parse──▶ Publish ──reserve: lease, then hold a socket──▶ PortMapping ──▶ rules, relay
//! ```

mod expose;
mod hold;
mod holder;
mod lease;
mod mapping;
mod publish;
mod sockets;
mod squatter;

pub use expose::Expose;
pub(crate) use hold::{HELD_PORTS_MAX, Held, hold};
pub(crate) use lease::{Lease, Leased, Taken};
pub(crate) use mapping::HostPorts;
pub use mapping::{PortMapping, PortRange, Protocol};
pub use publish::Publish;
pub use squatter::Squatter;
