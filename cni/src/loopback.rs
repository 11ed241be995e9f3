//! The reference plugin `loopback`, for engines that call it by this name beside every network: a link of that name to
//! rbox-cni is enough.

use rbox_net::raise_loopback;
use serde_json::Value;

use std::os::fd::AsFd;

use crate::answer;
use crate::call::{Call, Command};
use crate::conf::Basics;
use crate::failure::Outcome;

/// `ADD` and `CHECK` switch it on; it ends with its namespace.
pub(crate) fn raise(call: &Call, basics: &Basics) -> Outcome<Option<Value>> {
    let Some(command @ (Command::Add | Command::Check)) = call.command else { return Ok(None) };
    let (netns, _, path) = call.open_netns()?;
    let addresses = raise_loopback(netns.as_fd())?;
    Ok((command == Command::Add).then(|| answer::loopback(basics, &addresses, path)))
}
