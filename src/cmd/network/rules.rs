//! `rbox network rules` and `reload`.

use std::process::ExitCode;

use anyhow::Result;
use rbox_net::{Network, Networks};

use crate::cli::NetworkNamesArgs;
use crate::cmd::print;
use crate::units;

fn named(networks: &Networks, args: &NetworkNamesArgs) -> Result<Vec<Network>> {
    match args.networks.is_empty() {
        true => Ok(networks.list()?),
        false => Ok(args.networks.iter().map(|name| networks.find(name)).collect::<Result<_, _>>()?),
    }
}

/// Print each rule, and below it what it is for, whose it is, and what it has seen. Where rbox has put in none, what is needed,
/// ready for `iptables-restore`.
///
/// Errors: there is no such network; iptables refuses.
pub(super) fn rules(networks: &Networks, args: &NetworkNamesArgs) -> Result<ExitCode> {
    let mut text = String::new();
    if networks.leaves_rules_to_others() {
        print::text(&networks.script(&named(networks, args)?)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in networks.rules(&named(networks, args)?)? {
        let owner = if line.owner.is_empty() { String::new() } else { format!(" ({})", line.owner) };
        let seen = match line.seen {
            Some((packets, bytes)) => format!("{packets} packets, {}", units::size(bytes)),
            None => "MISSING".to_owned(),
        };
        text += &format!("{}\n    {}{owner}; {seen}\n", line.text, line.why);
    }
    print::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Put back what is gone.
///
/// Errors: there is no such network; iptables refuses.
pub(super) fn reload(networks: &Networks, args: &NetworkNamesArgs) -> Result<ExitCode> {
    networks.reload(&named(networks, args)?)?;
    Ok(ExitCode::SUCCESS)
}
