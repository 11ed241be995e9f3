//! The container network model without a daemon: networks, endpoints, published ports, names.
//!
//! This library knows nothing of containers or images: it gets an open network namespace, a container's id and
//! name as text, and port mappings. The nouns are those of the Container Network Model:
//!
//! ```text
//!   Networks ── Network (bridge, macvlan …) ── Endpoint (one container in one network) ── sandbox: the netns
//!
//!                      host                                      container
//!   ┌──────────────────────────────────────────────────┐     ┌──────────────────┐
//!   │  :8080 ──rules──▶ rbox0 172.17.0.1 ── veth3fa1c2b ┼─────┼ eth0 172.17.0.2  │
//!   │  [::]:8080 ──relay──▶ (the same)                  │     │ default via .0.1 │
//!   └──────────────────────────────────────────────────┘     └──────────────────┘
//! ```
//!
//! A container's way, in the order of the calls:
//!
//! 1. [`Networks::sweep`] undoes what the dead left.
//! 2. [`Networks::reserve`] checks everything and leases address and ports, under one lock. Nothing exists yet.
//! 3. [`Sandbox::new`] makes the namespace, [`Reservation::connect`] link, address, route and rules; on an error it
//!    takes all back.
//! 4. [`Endpoints::service`] is served while it lives: ports are kept, IPv6 callers relayed, names answered. Meanwhile
//!    [`Networks::connect`] and [`Networks::part`] change the networks that it is in, from any process.
//! 5. [`Endpoints::leave`] and [`Leaving::finish`] take it apart; or [`Networks::disconnect`] does, in any process.
//!
//! What has been made stands on disk before it is made, so step 1 can undo step 3 after `kill -9` at any point.

#![forbid(unsafe_code)]

mod address;
mod audit;
mod check;
mod connect;
mod create;
mod device;
#[cfg(test)]
#[path = "../../tests/support/dice.rs"]
mod dice;
pub mod dns;
mod driver;
pub mod egress;
mod endpoint;
mod error;
mod files;
mod firewall;
mod foreign;
mod gc;
pub mod hosts;
mod inspection;
mod ipam;
mod leases;
mod names;
mod netlink;
mod netns;
mod network;
mod networks;
mod options;
mod pod;
mod ports;
mod publishing;
mod records;
mod relay;
mod reservation;
mod rules;
mod sandbox;
mod service;
mod shape;
mod steps;
mod sweep;
mod sysctl;
mod watch;

pub use address::{MacAddress, Subnet};
pub use audit::{Audit, Belief, Opening, Outside, Reach, Who};
pub use connect::{Changes, Maker, Running};
pub use create::{NetworkRequest, is_name};
pub use device::Device;
pub use endpoint::{Attachment, Attachment6, EndpointRecord, Endpoints, Leaving, Link, Owner};
pub use error::{Error, Result};
pub use files::Lock;
pub use firewall::{Backend, HostFirewall, Rule, Table, Variant};
pub use gc::Leftover;
pub use inspection::Inspection;
pub use names::Named;
pub use network::{Bridge, Driver, Network, Parent, Passage, Pool, Shim, SubMode};
pub use networks::Networks;
pub use pod::{Joined, Joining, NetnsFile, Way, raise_loopback};
pub use ports::{Expose, PortMapping, PortRange, Protocol, Publish, Squatter};
pub use publishing::Kept;
pub use reservation::{EPHEMERAL_PORTS, EndpointRequest, Request, Reservation};
pub use rules::Line;
pub use sandbox::{Ioctls, Sandbox};
pub use service::{Naming, Service};
pub use shape::Shape;
pub use sweep::Swept;
