//! `network ls --filter`: of several with the same key one has to hold, of each key; of labels all (moby
//! `daemon/network/filter.go`).

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use rbox_net::{Network, Networks};
use regex::Regex;

use crate::report::Problem;

const KEYS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// All filters, by their keys.
pub(super) struct Filters<'a> {
    by_key: BTreeMap<&'a str, Vec<&'a str>>,
    /// The networks that a container is in; read where that is asked for.
    in_use: HashSet<String>,
}

impl<'a> Filters<'a> {
    /// Errors: a key or a value that there is not; the networks cannot be read.
    pub(super) fn new(networks: &Networks, typed: &'a [(String, String)]) -> Result<Filters<'a>> {
        let mut by_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, value) in typed {
            let wrong = |why: &str| Err(Problem::new(format!("--filter {key}={value}: {why}")));
            match (key.as_str(), value.as_str()) {
                (key, _) if !KEYS.contains(&key) => wrong("there is no such filter")?,
                ("type", kind) if !["builtin", "custom"].contains(&kind) => wrong("neither builtin nor custom")?,
                ("dangling", value) if is_true(value).is_none() => wrong("neither true nor false")?,
                ("dangling", _) if by_key.contains_key("dangling") => wrong("it is there already")?,
                _ => {}
            }
            by_key.entry(key).or_default().push(value);
        }
        let mut in_use = HashSet::new();
        if by_key.contains_key("dangling") {
            in_use.extend(networks.endpoints()?.into_iter().map(|endpoint| endpoint.network_id));
        }
        Ok(Filters { by_key, in_use })
    }

    /// Whether the network is wanted.
    pub(super) fn take(&self, network: &Network) -> bool {
        let any = |key: &str, holds: &dyn Fn(&str) -> bool| {
            self.by_key.get(key).is_none_or(|values| values.iter().any(|value| holds(value)))
        };
        let kind = if network.is_predefined() { "builtin" } else { "custom" };
        let is_dangling = !network.is_predefined() && !self.in_use.contains(&network.id);
        any("driver", &|value| network.driver.to_string() == value)
            && any("id", &|value| fits(&network.id, value))
            && any("name", &|value| fits(&network.name, value))
            && any("scope", &|value| value == "local")
            && any("type", &|value| value == kind)
            && any("dangling", &|value| is_true(value) == Some(is_dangling))
            && self.by_key.get("label").is_none_or(|values| values.iter().all(|value| has_label(network, value)))
    }
}

/// Whether a regular expression fits any part of a text. One that is none means the text itself.
fn fits(text: &str, wanted: &str) -> bool {
    text == wanted || Regex::new(wanted).is_ok_and(|pattern| pattern.is_match(text))
}

fn is_true(value: &str) -> Option<bool> {
    match value {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Whether it has a label of this name, and with `NAME=VALUE` of this value.
pub(super) fn has_label(network: &Network, typed: &str) -> bool {
    match typed.split_once('=') {
        Some((name, value)) => network.labels.get(name).is_some_and(|label| label == value),
        None => network.labels.contains_key(typed),
    }
}
