//! What each rule is for, in one line: `network rules` and the reader's first question.

use super::respect::HOST;
use super::rule::{Is, Rule, Table, Verdict};

/// Say what a rule is for, by where it stands and what it does.
pub(crate) fn why(rule: &Rule) -> &'static str {
    match (rule.table, rule.chain.as_str(), &rule.verdict) {
        (Table::Raw, _, _) if rule.destination_type.is_none() => "containers never reach the host's own 127.0.0.1",
        (Table::Raw, ..) => "nobody outside reaches the containers' own addresses: ports are published or closed",
        (Table::Filter, "FORWARD", Verdict::Jump(to)) => match to.as_str() {
            "RBOX-USER" => "your own rules come first; rbox never touches that chain again",
            "RBOX-ISOLATION-STAGE-1" => "networks are kept apart",
            _ => "what comes for a container is let through if a published port says so",
        },
        (Table::Filter, "FORWARD", verdict) => forward(rule, verdict),
        (Table::Filter, "RBOX-ISOLATION-STAGE-1", verdict) => match verdict {
            Verdict::Return if rule.connection_state.is_some() => {
                "a published port is for the other networks' containers, too"
            }
            Verdict::Jump(_) => "what leaves this network for elsewhere must not come in to another one",
            Verdict::Drop if matches!(rule.input, Some(Is::Not(_))) => "nothing comes into an internal network",
            Verdict::Drop => "nothing leaves an internal network",
            _ => "all else goes on",
        },
        (Table::Filter, "RBOX-ISOLATION-STAGE-2", Verdict::Drop) => "what comes from another network stops here",
        (Table::Filter, "RBOX", _) => "this published port is let through to its container",
        (Table::Filter, ..) => "all else goes on",
        (Table::Nat, "PREROUTING", Verdict::Jump(to)) if to == "RBOX-INNER" => {
            "a container that asks for a published port of the host"
        }
        (Table::Nat, "PREROUTING", Verdict::Jump(to)) if to == HOST => {
            "somebody outside asks for a published port of the host: first the host's own firewall is asked"
        }
        (Table::Nat, HOST, Verdict::Return) => "the host's own firewall denies this, so it is not translated",
        (Table::Nat, HOST, _) => "the host's own firewall allows this, so it is looked for among the published ports",
        (Table::Nat, "PREROUTING", _) => "somebody outside asks for a published port of the host",
        (Table::Nat, "OUTPUT", Verdict::Jump(to)) if to == "RBOX-INNER" => {
            "the host asks for a published port at 127.0.0.1"
        }
        (Table::Nat, "OUTPUT", _) => "the host asks for a published port at its own address",
        (Table::Nat, "POSTROUTING", _) => masquerade(rule),
        (Table::Nat, _, Verdict::Return) => "containers of this network were served before",
        (Table::Nat, ..) => "this published port leads to its container",
    }
}

fn forward(rule: &Rule, verdict: &Verdict) -> &'static str {
    let has_input = rule.input.is_some();
    match (verdict, has_input, &rule.connection_state) {
        (Verdict::Accept, true, Some(_)) => "a published port is for the network's own containers, too",
        (Verdict::Accept, false, _) => "answers come back to the containers",
        (Verdict::Drop, true, _) => "containers of this network do not speak to each other",
        (Verdict::Drop, false, _) => "of a routed network only published ports are open",
        _ if matches!(rule.output, Some(Is::Not(_))) => "containers reach the world outside",
        _ => "containers of this network reach each other",
    }
}

fn masquerade(rule: &Rule) -> &'static str {
    match (&rule.source, &rule.destination, &rule.connection_state) {
        (_, Some(_), _) => "a container that asks itself by its published port: the answer must come by the host",
        (_, _, Some(_)) => "a container that asks another by a published port: the answer must come by the host",
        (Some(Is::This(subnet)), ..) if subnet.first().is_loopback() => {
            "the host asks from 127.0.0.1, where no container could answer to"
        }
        _ => "containers reach the world with the host's address, for nobody knows theirs",
    }
}
