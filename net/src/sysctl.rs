//! Kernel switches of a network namespace: files below `/proc/sys/net`, seen by the namespace of the calling thread.

use std::fs;
use std::io;

use rbox_explain::Row;

use crate::error::{Doing, Result};
use crate::steps;

/// Write `value` unless it stands there already. A kernel without the switch is no error: then there is nothing to switch.
///
/// Same as: `sysctl -w <name>=<value>`, with `/` for `.` in the name.
pub(crate) fn set(row: &'static Row, name: &str, value: &str) -> Result<()> {
    let file = format!("/proc/sys/{name}");
    match fs::read_to_string(&file) {
        Ok(now) if now.trim_end() == value => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    let words = || format!("sysctl -w {}={value}", name.replace('/', "."));
    rbox_explain::step(row, words, || fs::write(&file, value)).doing(|| format!("write {value} to {file}"))
}

/// Read a switch; nothing when the kernel has none of this name.
pub(crate) fn get(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim_end().to_owned())
}

/// Have the host not believe routers on a link of its own that a container's frames come to: else a container could say
/// there that it is one, and the host would send to it all that it has for the world (CVE-2020-13401).
pub(crate) fn believe_no_router(link: &str) -> Result<()> {
    set(&steps::SYSCTL_IPV6_SHUT, &format!("net/ipv6/conf/{link}/accept_ra"), "0")
}

/// Switch IPv6 off there, too: a host that forwards would pass on what no rule of ours looks at.
pub(crate) fn shut_ipv6(link: &str) -> Result<()> {
    // For the day when somebody switches IPv6 on everywhere.
    believe_no_router(link)?;
    set(&steps::SYSCTL_IPV6_SHUT, &format!("net/ipv6/conf/{link}/disable_ipv6"), "1")
}
