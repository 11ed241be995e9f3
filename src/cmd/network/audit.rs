//! `rbox network audit`: every port that leads into a container, and who can reach it.

use std::process::ExitCode;

use anyhow::Result;
use rbox_net::{Networks, Opening};

use super::egress;
use crate::cli::NetworkAuditArgs;
use crate::cmd::print;
use crate::dirs::Dirs;
use crate::template::{List, Value, list};

const TITLES: [(&str, &str); 12] = [
    ("By", "BY"),
    ("Container", "CONTAINER"),
    ("ContainerID", "CONTAINER ID"),
    ("Containers", "CONTAINERS"),
    ("Firewall", "HOST FIREWALL"),
    ("Host", "HOST"),
    ("Network", "NETWORK"),
    ("Outside", "OUTSIDE"),
    ("Port", "PORT"),
    ("Reach", "REACHABLE FROM"),
    ("Remarks", "REMARKS"),
    ("Target", "TARGET"),
];

/// Print a line for each port, and below what a person should know of it; then what containers were kept from reaching.
///
/// Errors: the networks cannot be read, or the packet filter not be listed; the template is not understood.
pub(super) fn audit(dirs: &Dirs, networks: &Networks, args: &NetworkAuditArgs) -> Result<ExitCode> {
    let audit = networks.audit()?;
    let rows: Vec<Value> = audit.openings.iter().map(fields).collect();
    let has_firewall = audit.openings.iter().any(|opening| opening.firewall.is_some());
    let mut shown = vec!["Port", "Container", "Target", "Reach", "Firewall", "By"];
    shown.retain(|field| *field != "Firewall" || has_firewall);
    let mut text = list(&List { titles: &TITLES, shown: &shown, rows: &rows }, args.format.as_deref())?;
    if args.format.is_none() {
        text += &remarks(&audit.openings);
        text += &egress::overview(dirs)?;
    }
    print::text(&text)?;
    for what in &audit.unseen {
        eprintln!("rbox: {what}");
    }
    Ok(ExitCode::SUCCESS)
}

fn fields(opening: &Opening) -> Value {
    let target = match (opening.inside, opening.protocol) {
        (Some(ports), Some(protocol)) => format!("{ports}/{protocol}"),
        _ => "every port".into(),
    };
    Value::of_fields([
        ("By", without_owner(&opening.by)),
        ("Container", opening.container.clone()),
        ("ContainerID", opening.container_id.clone()),
        ("Containers", opening.reach.containers.to_string()),
        ("Firewall", opening.firewall.as_ref().map_or_else(|| "-".into(), ToString::to_string)),
        ("Host", opening.reach.host.to_string()),
        ("Network", opening.network.clone()),
        ("Outside", opening.reach.outside.to_string()),
        ("Port", opening.place()),
        ("Reach", opening.reach.to_string()),
        ("Remarks", opening.remarks.join("; ")),
        ("Target", target),
    ])
}

/// A rule without the comment that says whose it is: the line does.
fn without_owner(rule: &str) -> String {
    let mut words = rule.split(' ').peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match (word, words.peek()) {
            ("-m", Some(&"comment")) => drop(words.nth(2)),
            _ => kept.push(word),
        }
    }
    kept.join(" ")
}

fn remarks(openings: &[Opening]) -> String {
    let mut text = String::new();
    for opening in openings.iter().filter(|opening| !opening.remarks.is_empty()) {
        text += &format!("\n{} ({}):\n", opening.place(), opening.container);
        opening.remarks.iter().for_each(|remark| text += &format!("    {remark}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_shown_without_its_owner() {
        let rule =
            "iptables -t nat -A RBOX ! -i rbox0 -m comment --comment 0a-1b -j DNAT --to-destination 172.17.0.2:80";
        let shown = "iptables -t nat -A RBOX ! -i rbox0 -j DNAT --to-destination 172.17.0.2:80";
        assert_eq!(without_owner(rule), shown);
        assert_eq!(without_owner("relay: rbox, pid 7"), "relay: rbox, pid 7");
    }
}
