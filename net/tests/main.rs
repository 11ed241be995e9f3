//! rbox-net against the kernel, each test on a "host" of its own: a private network namespace with a neighbour.
//!
//! As root. Needs ip (iproute2) and iptables. Nothing of the machine's own network changes.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, helpers of tests too")]

mod bad_input;
mod crash;
mod parallel;
mod ports;
mod reach;
mod relay;
mod shape;
mod world;
