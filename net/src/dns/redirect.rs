//! Port 53 of 127.0.0.11 leads to the name server, which listens elsewhere: in the container's own nat table.
//!
//! ```text
//!   client ──127.0.0.11:53──▶ OUTPUT ──▶ RBOX_OUTPUT: DNAT ──▶ 127.0.0.11:41234  the name server
//!          ◀── from :53 ───── RBOX_POSTROUTING: SNAT ◀───────  its answers
//! ```
//!
//! As Docker does it; where it is not iptables that has the host's rules, by one rule and a map of nftables. So the container
//! may have a server of its own on port 53, on all its other addresses and on 0.0.0.0. The chains are the container's: nothing of the host changes.

use std::fmt::Write as _;
use std::io;
use std::os::fd::BorrowedFd;
use std::process::{Command, Stdio};

use crate::error::{Doing, Error, Result, words};
use crate::firewall::{Backend, Firewall, finish, program};
use crate::netns::inside;
use crate::steps;

const DOING: &str = "redirect 127.0.0.11:53 to the name server";

/// Lead 127.0.0.11:53 of the network namespace `netns` to a name server's ports there: udp, tcp.
///
/// What an earlier name server has left there is replaced.
///
/// Same as: `iptables-restore --noflush -w 5`, or `nft -f -`, inside the namespace.
///
/// # Errors
/// `Firewall` when iptables refuses or is not here; `Os` when the namespace cannot be entered, or nftables refuses.
pub fn redirect(netns: BorrowedFd<'_>, ports: (u16, u16), by: Backend) -> Result<()> {
    let Backend::Iptables(variant) = by else {
        return inside(netns, || Ok(Firewall::redirect_names(ports))).doing(|| DOING.into())?;
    };
    let name = variant.names(false);
    let error = |said| Error::Firewall { doing: DOING.into(), said };
    let step = |text: &str| {
        let words = || format!("{name}-restore --noflush -w 5 <<EOF\n{text}EOF");
        rbox_explain::step(&steps::RULES_REDIRECT, words, || restore(netns, name, text)).map_err(error)
    };
    // A namespace of a new container has none of this: one program, a transaction that refuses chains that are there.
    if step(&rules("-N RBOX_OUTPUT\n-N RBOX_POSTROUTING\n", &[], ports)).is_ok() {
        return Ok(());
    }
    // It had a name server before. Its chains are emptied, and the jumps to them put in only where they are missing.
    let there = list(netns, name).map_err(error)?;
    let jumps: Vec<String> = JUMPS.iter().map(|jump| format!("-A {jump}")).collect();
    let missing: Vec<bool> = jumps.iter().map(|jump| !there.lines().any(|line| line == jump)).collect();
    step(&rules(":RBOX_OUTPUT - [0:0]\n:RBOX_POSTROUTING - [0:0]\n", &missing, ports))
}

const JUMPS: [&str; 2] = ["OUTPUT -d 127.0.0.11/32 -j RBOX_OUTPUT", "POSTROUTING -d 127.0.0.11/32 -j RBOX_POSTROUTING"];

fn rules(chains: &str, missing: &[bool], (udp, tcp): (u16, u16)) -> String {
    let mut text = format!("*nat\n{chains}");
    let mut add = |rule: String| writeln!(text, "{rule}").expect("a String takes everything");
    for (at, jump) in JUMPS.iter().enumerate() {
        if missing.get(at).copied().unwrap_or(true) {
            // First: whatever the container itself translates, this is not meant.
            add(format!("-I {jump}"));
        }
    }
    for (protocol, port) in [("udp", udp), ("tcp", tcp)] {
        let of = format!("127.0.0.11/32 -p {protocol} -m {protocol}");
        add(format!("-A RBOX_OUTPUT -d {of} --dport 53 -j DNAT --to-destination 127.0.0.11:{port}"));
        add(format!("-A RBOX_POSTROUTING -s {of} --sport {port} -j SNAT --to-source :53"));
    }
    text.push_str("COMMIT\n");
    text
}

/// Run `iptables-restore` inside. Errors: its own words, in one line.
fn restore(netns: BorrowedFd<'_>, name: &str, text: &str) -> std::result::Result<(), String> {
    let mut command = command(&format!("{name}-restore"))?;
    command.args(["--noflush", "-w", "5"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // A program starts where the thread is that starts it.
    let child = inside(netns, || command.spawn()).map_err(|error| words(&error))?;
    finish(child, text)
}

fn list(netns: BorrowedFd<'_>, name: &str) -> std::result::Result<String, String> {
    let mut command = command(name)?;
    command.args(["-t", "nat", "-S", "--wait"]).stdin(Stdio::null());
    let output = inside(netns, || command.output()).map_err(|error| words(&error))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| words(&io::Error::other(error)))
}

fn command(name: &str) -> std::result::Result<Command, String> {
    program(name).map(Command::new).ok_or_else(|| format!("no program {name} in PATH or /usr/sbin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_dockers_with_our_names() {
        let text = rules("-N RBOX_OUTPUT\n", &[], (41234, 35001));
        assert_eq!(
            text,
            "*nat\n-N RBOX_OUTPUT\n-I OUTPUT -d 127.0.0.11/32 -j RBOX_OUTPUT\n\
             -I POSTROUTING -d 127.0.0.11/32 -j RBOX_POSTROUTING\n\
             -A RBOX_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:41234\n\
             -A RBOX_POSTROUTING -s 127.0.0.11/32 -p udp -m udp --sport 41234 -j SNAT --to-source :53\n\
             -A RBOX_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:35001\n\
             -A RBOX_POSTROUTING -s 127.0.0.11/32 -p tcp -m tcp --sport 35001 -j SNAT --to-source :53\nCOMMIT\n"
        );
        let again = rules(":RBOX_OUTPUT - [0:0]\n", &[false, true], (1, 2));
        assert!(again.contains("-I POSTROUTING ") && !again.contains("-I OUTPUT "), "{again}");
    }
}
