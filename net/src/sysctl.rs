//! Kernel switches of a network namespace: files below `/proc/sys/net`, seen by the namespace of the calling thread.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use rbox_explain::Row;

use crate::error::{Doing, Result};
use crate::steps;

/// More than any number that is a switch.
const VALUE_BYTES_MAX: usize = 32;

/// Write `value` unless it stands there already. A kernel without the switch is no error: then there is nothing to switch.
///
/// Same as: `sysctl -w <name>=<value>`, with `/` for `.` in the name.
pub(crate) fn set(row: &'static Row, name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    // Opened once: to find a switch takes the kernel the longer, the more network namespaces there are.
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // It cannot be written, so it is well if nothing has to be.
        Err(_) if get(name).is_some_and(|now| now == value) => return Ok(()),
        file => file,
    };
    let mut now = [0; VALUE_BYTES_MAX];
    let is_there = file.as_ref().is_ok_and(|file| {
        let length = file.read_at(&mut now, 0).unwrap_or(0);
        now[..length].trim_ascii_end() == value.as_bytes()
    });
    if is_there {
        return Ok(());
    }
    let words = || format!("sysctl -w {}={value}", name.replace('/', "."));
    rbox_explain::step(row, words, || file?.write_at(value.as_bytes(), 0).map(drop))
        .doing(|| format!("write {value} to {path}"))
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
