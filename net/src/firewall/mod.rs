//! The host's packet filter: rules as values, and the backend that puts them in.
//!
//! ```text
//!   bridge.rs    what a network needs once (chains, jumps, masquerade)  ┐
//!   published.rs what one endpoint's ports need                         ┴─▶ Vec<Rule> ─▶ iptables.rs (one restore)
//!   nfnetlink.rs taking an endpoint's rules out again, in one transaction of the kernel's own
//! ```
//!
//! A [`Rule`]'s `Display` is its line in `iptables-save`, so what rbox says, what it sends, and what the kernel
//! lists are one text. The layout is Docker 20.10's, with additions; each is explained where it is made.

mod bridge;
mod iptables;
mod nfnetlink;
mod published;
mod rule;

pub(crate) use bridge::shared;
pub(crate) use iptables::Iptables;
pub(crate) use published::published;
pub use rule::{Rule, Table};
