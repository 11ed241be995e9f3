//! `rbox network egress`: what a container may open connections to, and what of it was refused.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use rbox_net::egress::{Policy, Refused, Resolved, Seen, seen};
use rbox_runtime::container::Container;
use serde_json::{Value as Json, json};

use crate::cli::NetworkEgressArgs;
use crate::cmd::print;
use crate::cmd::run::namespace;
use crate::creation;
use crate::dirs::Dirs;
use crate::find::find_running;
use crate::record::{Claim, Intent};
use crate::report::Problem;
use crate::template::{List, Value, list};

/// The overview shows no more of one container.
const SHOWN_MAX: usize = 10;

/// Print it.
///
/// Errors: there is no such container, it does not run, or may reach everything.
pub(super) fn egress(dirs: &Dirs, args: &NetworkEgressArgs) -> Result<ExitCode> {
    let (record, container) = find_running(dirs, &args.container, "look at the network of")?;
    let owner = creation::network_owner(dirs, &record.id)?;
    let policy = Intent::load(dirs, &owner)?.flags.network.egress();
    let Some(policy) = policy else {
        let problem = Problem::new(format!("container {}: it may reach everything", args.container));
        return Err(problem.hint("rbox run --egress allow=… makes one that may not").into());
    };
    let pid = container.pid().context("it has no process")?;
    let netns = namespace(pid).with_context(|| format!("cannot open the network of container {}", args.container))?;
    let seen = seen(netns.as_fd(), &policy)?;
    match &args.format {
        Some(_) => print::objects(vec![Value::of(&object(&policy, &seen))?], args.format.as_deref())?,
        None => print::text(&tables(&policy, &seen)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// For each container that runs and may not reach everything: what it may, and what was refused. Nothing where there is none.
///
/// Errors: the containers cannot be listed; nftables cannot be asked.
pub(super) fn overview(dirs: &Dirs) -> Result<String> {
    let mut text = String::new();
    for claim in Claim::all(dirs)? {
        // Of one that does not run there is nothing to say.
        let pid = Container::load(&dirs.runtime(), &claim.id).ok().and_then(|container| container.pid());
        let Some(Ok(netns)) = pid.map(namespace) else { continue };
        let policy = match Intent::load(dirs, &claim.id) {
            Ok(intent) => intent.flags.network.egress(),
            Err(error) => {
                text += &format!("\nwhat {} may reach is not known: {error:#}\n", claim.name);
                continue;
            }
        };
        let Some(policy) = policy else { continue };
        let seen = seen(netns.as_fd(), &policy)?;
        let allowed: Vec<String> = policy.allowed.iter().map(ToString::to_string).collect();
        let allowed = if allowed.is_empty() { "nobody".into() } else { format!("only {}", allowed.join(", ")) };
        text += &format!("\n{} may reach {allowed}; refused in the last day:\n", claim.name);
        if seen.refused.is_empty() {
            text += "    nothing\n";
        }
        for refused in seen.refused.iter().take(SHOWN_MAX) {
            let ago = seconds(refused.ago);
            text += &format!("    {} {}, {} packets, {ago} ago\n", refused.address, port(refused), refused.packets);
        }
        let more = seen.refused.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            text += &format!("    and {more} more: rbox network egress {}\n", claim.name);
        }
    }
    Ok(text)
}

fn object(policy: &Policy, seen: &Seen) -> Json {
    let resolved =
        |it: &Resolved| json!({ "Entry": it.entry, "Address": it.address, "Seconds": it.remaining.as_secs() });
    let refused = |it: &Refused| {
        json!({
            "Address": it.address, "Protocol": it.protocol, "Port": it.port,
            "Packets": it.packets, "SecondsAgo": it.ago.as_secs(),
        })
    };
    json!({
        "Allowed": policy.allowed,
        "Resolved": seen.resolved.iter().map(resolved).collect::<Vec<_>>(),
        "Refused": seen.refused.iter().map(refused).collect::<Vec<_>>(),
    })
}

/// Two tables: what is allowed, and the addresses that it means for now; what was refused.
fn tables(policy: &Policy, seen: &Seen) -> Result<String> {
    let mut allowed = Vec::new();
    for entry in &policy.allowed {
        let row = |address: String, time: String| {
            Value::of_fields([("Entry", entry.to_string()), ("Address", address), ("Time", time)])
        };
        let before = allowed.len();
        let of_entry = seen.resolved.iter().filter(|it| it.entry == *entry);
        allowed.extend(of_entry.map(|it| row(it.address.to_string(), seconds(it.remaining))));
        if allowed.len() == before {
            allowed.push(row(String::new(), String::new()));
        }
    }
    let refused: Vec<Value> = seen.refused.iter().map(refused_row).collect();
    let of_allowed = List {
        titles: &[("Address", "ADDRESS"), ("Entry", "ALLOWED"), ("Time", "FOR")],
        shown: &["Entry", "Address", "Time"],
        rows: &allowed,
    };
    let of_refused = List {
        titles: &[("Address", "REFUSED"), ("Last", "LAST"), ("Packets", "PACKETS"), ("Port", "PORT")],
        shown: &["Address", "Port", "Packets", "Last"],
        rows: &refused,
    };
    Ok(format!("{}\n{}", list(&of_allowed, None)?, list(&of_refused, None)?))
}

/// `53/udp`, `icmp`.
fn port(refused: &Refused) -> String {
    match refused.port {
        Some(port) => format!("{port}/{}", refused.protocol),
        None => refused.protocol.clone(),
    }
}

fn refused_row(refused: &Refused) -> Value {
    Value::of_fields([
        ("Address", refused.address.to_string()),
        ("Port", port(refused)),
        ("Packets", refused.packets.to_string()),
        ("Last", format!("{} ago", seconds(refused.ago))),
    ])
}

/// `45s`, `12m`, `3h`.
fn seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}
