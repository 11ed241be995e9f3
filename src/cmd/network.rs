//! `rbox network …`: what there is of networks. What changes them is in the files beside.

mod audit;
mod change;
mod connect;
mod egress;
mod filter;
pub(super) mod hold;
mod rules;
pub(crate) mod settle;
mod shape;

use std::process::ExitCode;

use anyhow::Result;
use rbox_net::{Network, Networks, Owner};

use super::print;
use crate::cli::{Global, NetworkGcArgs, NetworkInspectArgs, NetworkListArgs, NetworkVerb};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::report;
use crate::template::{List, NETWORK, Value, list};
use crate::{record, sweep, units};
use filter::Filters;
pub(crate) use shape::shape_of;

const TITLES: [(&str, &str); 8] = [
    ("CreatedAt", "CREATED AT"),
    ("Driver", "DRIVER"),
    ("ID", "NETWORK ID"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("Name", "NAME"),
    ("Scope", "SCOPE"),
];

/// Do a verb about networks.
pub(crate) fn run(global: &Global, verb: &NetworkVerb) -> ExitCode {
    act(global, verb).unwrap_or_else(|error| report::print_refusal(&error))
}

fn act(global: &Global, verb: &NetworkVerb) -> Result<ExitCode> {
    match verb {
        NetworkVerb::Connect(args) => return connect::connect(global, args),
        NetworkVerb::Disconnect(args) => return connect::disconnect(global, args),
        NetworkVerb::Shape(args) => return shape::shape(&Engine::open(global)?, args),
        _ => {}
    }
    let dirs = Dirs::new(global)?;
    let networks = match verb {
        // It can move the rules elsewhere.
        NetworkVerb::Reset => dirs.networks_to_reset()?,
        _ => dirs.networks()?,
    };
    if !matches!(verb, NetworkVerb::Ls(_) | NetworkVerb::Inspect(_)) {
        sweep::sweep(&dirs, &networks).iter().for_each(report::warn);
    }
    match verb {
        NetworkVerb::Ls(args) => ls(&networks, args),
        NetworkVerb::Inspect(args) => inspect(&networks, args),
        NetworkVerb::Audit(args) => audit::audit(&dirs, &networks, args),
        NetworkVerb::Create(args) => change::create(&networks, args),
        NetworkVerb::Rm(args) => change::remove(&networks, args),
        NetworkVerb::Prune(args) => change::prune(&networks, args),
        NetworkVerb::Gc(args) => gc(&dirs, &networks, args),
        NetworkVerb::Egress(args) => egress::egress(&dirs, args),
        NetworkVerb::Rules(args) => rules::rules(&networks, args),
        NetworkVerb::Reload(args) => rules::reload(&networks, args),
        NetworkVerb::Reset => {
            let is_alive = |owner: &Owner| record::is_alive(owner.pid, owner.start_time, &owner.boot_id);
            networks.reset(&is_alive, dirs.backend()?)?;
            Ok(ExitCode::SUCCESS)
        }
        NetworkVerb::Connect(_) | NetworkVerb::Disconnect(_) | NetworkVerb::Shape(_) => unreachable!("done above"),
    }
}

/// Remove what is nobody's, after the sweep has removed what the dead left by their records. Prints each.
fn gc(dirs: &Dirs, networks: &Networks, args: &NetworkGcArgs) -> Result<ExitCode> {
    let leftovers = networks.leftovers(&|owner| sweep::is_alive(dirs, owner), !args.dry_run)?;
    print::text(&leftovers.iter().map(|leftover| format!("{}\n", leftover.text)).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

fn ls(networks: &Networks, args: &NetworkListArgs) -> Result<ExitCode> {
    let (mut rows, damaged) = networks.list_all()?;
    let filters = Filters::new(networks, &args.filter)?;
    rows.retain(|network| filters.take(network));
    let id = |network: &Network| if args.no_trunc { network.id.clone() } else { network.short_id().to_owned() };
    if args.quiet && args.format.is_none() {
        print::text(&rows.iter().map(|network| format!("{}\n", id(network))).collect::<String>())?;
        return Ok(refused(damaged));
    }
    let rows: Vec<Value> = rows.iter().map(|network| fields(network, id(network))).collect();
    let shown = List { titles: &TITLES, shown: &["ID", "Name", "Driver", "Scope"], rows: &rows };
    print::text(&list(&shown, args.format.as_deref())?)?;
    Ok(refused(damaged))
}

fn fields(network: &Network, id: String) -> Value {
    let labels: Vec<String> = network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Value::of_fields([
        ("CreatedAt", units::local(&network.created)),
        ("Driver", network.driver.to_string()),
        ("ID", id),
        ("IPv6", network.ipv6.to_string()),
        ("Internal", network.internal.to_string()),
        ("Labels", labels.join(",")),
        ("Name", network.name.clone()),
        ("Scope", "local".into()),
    ])
}

/// Say what could not be shown, after what could.
fn refused(errors: Vec<rbox_net::Error>) -> ExitCode {
    errors.into_iter().map(|error| report::print_refusal(&error.into())).last().unwrap_or(ExitCode::SUCCESS)
}

/// Those that there are are printed, also when others are not.
fn inspect(networks: &Networks, args: &NetworkInspectArgs) -> Result<ExitCode> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &args.networks {
        match networks.find(name).and_then(|network| networks.inspect(&network)) {
            Ok(object) => found.push(NETWORK.told_of(Value::of(&object)?)),
            Err(error) => missing.push(error),
        }
    }
    print::objects(found, args.format.as_deref())?;
    Ok(refused(missing))
}
