//! The container network model without a daemon: networks, endpoints, published ports.
//!
//! This library knows nothing of containers or images: it gets an open network namespace, a container's id and
//! name as text, and port mappings. The nouns are those of the Container Network Model:
//!
//! ```text
//!   Networks ── Network (bridge, host, none) ── Endpoint (one container in one network) ── sandbox: the netns
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
//! 4. [`Endpoint::leave`] and [`Leaving::finish`] take it apart; or [`Networks::disconnect`] does, in any process.
//!
//! What has been made stands on disk before it is made, so step 1 can undo step 3 after `kill -9` at any point.

#![forbid(unsafe_code)]

mod address;
mod driver;
mod endpoint;
mod error;
mod files;
mod firewall;
pub mod hosts;
mod ipam;
mod leases;
mod netlink;
mod netns;
mod network;
mod networks;
mod ports;
mod relay;
mod reservation;
mod sandbox;
mod steps;
mod sysctl;

pub use address::{MacAddress, Subnet};
pub use endpoint::{Attachment, Endpoint, EndpointRecord, Leaving, Owner};
pub use error::{Error, Result};
pub use firewall::{Rule, Table};
pub use network::{Bridged, Driver, Inspection, Network};
pub use networks::Networks;
pub use ports::{Expose, PortMapping, PortRange, Protocol, Publish};
pub use relay::Relay;
pub use reservation::{EPHEMERAL_PORTS, EndpointRequest, Reservation};
pub use sandbox::Sandbox;
