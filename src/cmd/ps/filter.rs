//! `ps --filter`: of several with the same key one has to hold, of each key (moby `daemon/list.go`).

use std::collections::BTreeMap;

use regex::Regex;

use super::Seen;
use crate::record::Record;
use crate::report::Problem;

const KEYS: [&str; 13] = [
    "ancestor", "before", "exited", "expose", "id", "label", "name", "network", "publish", "since", "status", "volume",
    "is-task",
];
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

/// All filters, by their keys.
pub(super) struct Filters<'a> {
    by_key: BTreeMap<&'a str, Vec<&'a str>>,
    /// Created before these, and after these.
    before: Option<String>,
    since: Option<String>,
}

impl<'a> Filters<'a> {
    /// Errors: a key or a value that there is not.
    pub(super) fn new(typed: &'a [(String, String)], all: &[Seen]) -> Result<Filters<'a>, Problem> {
        let mut by_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, value) in typed {
            let wrong = |why: &str| Problem::new(format!("--filter {key}={value}: {why}")).code(1);
            match key.as_str() {
                "is-task" | "health" | "isolation" => return Err(wrong("not supported")),
                key if !KEYS.contains(&key) => return Err(wrong("there is no such filter")),
                "status" if !STATES.contains(&value.as_str()) => {
                    return Err(wrong(&format!("not one of {}", STATES.join(", "))));
                }
                "exited" if value.parse::<i32>().is_err() => return Err(wrong("not an exit code")),
                "publish" | "expose" if ports(value).is_none() => return Err(wrong("not a port")),
                _ => {}
            }
            by_key.entry(key).or_default().push(value);
        }
        let created = |key: &str| -> Result<Option<String>, Problem> {
            let Some(name) = by_key.get(key).and_then(|values| values.last()) else { return Ok(None) };
            let found = all.iter().find(|seen| is_named(&seen.record, name));
            let missing = || Problem::new(format!("--filter {key}={name}: there is no such container")).code(1);
            Ok(Some(found.ok_or_else(missing)?.record.created.clone()))
        };
        let (before, since) = (created("before")?, created("since")?);
        Ok(Filters { by_key, before, since })
    }

    /// Whether a state is asked for: then those that do not run are listed too. An exit code does not do that.
    pub(super) fn name_a_state(&self) -> bool {
        self.by_key.contains_key("status")
    }

    /// Whether the container is wanted.
    pub(super) fn take(&self, seen: &Seen) -> bool {
        let record = &seen.record;
        let any = |key: &str, holds: &dyn Fn(&str) -> bool| {
            self.by_key.get(key).is_none_or(|values| values.iter().any(|value| holds(value)))
        };
        // Of one that does not run no port is open. Either filter is enough.
        let ports = || record.ports.iter().filter(|_| seen.status.is_running());
        let has_port = |key: &str, covers: fn(&str, &str) -> bool| {
            self.by_key
                .get(key)
                .is_some_and(|values| ports().any(|port| values.iter().any(|value| covers(port, value))))
        };
        let no_port_is_asked_for = !self.by_key.contains_key("publish") && !self.by_key.contains_key("expose");
        any("id", &|value| record.id.starts_with(value))
            && any("name", &|value| has_name(record, value))
            && self.by_key.get("label").is_none_or(|values| values.iter().all(|value| has_label(record, value)))
            && any("status", &|value| seen.status.name() == value)
            && any("exited", &|value| {
                record.finished.is_some() && !seen.status.is_running() && record.exit_code == value.parse().ok()
            })
            && any("ancestor", &|value| is_of_image(record, value))
            && any("network", &|value| record.network.split(',').any(|network| network == value))
            && any("volume", &|value| {
                record.mounts.iter().any(|mount| [&mount.source, &mount.target].contains(&&value.to_owned()))
            })
            && (no_port_is_asked_for || has_port("publish", is_published_at) || has_port("expose", is_open_at))
            && self.before.as_ref().is_none_or(|before| record.created < *before)
            && self.since.as_ref().is_none_or(|since| record.created > *since)
    }
}

fn is_named(record: &Record, name: &str) -> bool {
    record.name == name || !name.is_empty() && record.id.starts_with(name)
}

/// Whether a name is meant by a pattern: a regular expression for any part of it, with or without Docker's slash before.
/// One that is none means the name itself.
fn has_name(record: &Record, wanted: &str) -> bool {
    let is_match = |pattern: &Regex| pattern.is_match(&record.name) || pattern.is_match(&format!("/{}", record.name));
    record.name == wanted || Regex::new(wanted).is_ok_and(|pattern| is_match(&pattern))
}

fn has_label(record: &Record, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => record.labels.get(key).is_some_and(|found| found == value),
        None => record.labels.contains_key(wanted),
    }
}

fn is_of_image(record: &Record, wanted: &str) -> bool {
    let id = record.image_id.as_deref().unwrap_or_default();
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    let tagged = |name: &str| match name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => name.to_owned(),
        _ => format!("{name}:latest"),
    };
    record.image == wanted
        || tagged(&record.image) == tagged(wanted)
        || id == wanted
        || wanted.len() >= 4 && digits.starts_with(wanted)
}

/// The ports of a filter: `80`, `80/udp`, `8000-8010/tcp`.
fn ports(text: &str) -> Option<(u16, u16, &str)> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let known = ["tcp", "udp", "sctp"].contains(&protocol);
    let range = (first.parse().ok()?, last.parse().ok()?, protocol);
    (known && range.0 <= range.1).then_some(range)
}

/// Whether the container's port, as `ps` shows it (`0.0.0.0:8080->80/tcp`, `53/udp`), is among those of a filter.
fn is_open_at(shown: &str, wanted: &str) -> bool {
    overlaps(shown.rsplit_once("->").map_or(shown, |(_, inside)| inside), wanted)
}

/// The same of the host's port.
fn is_published_at(shown: &str, wanted: &str) -> bool {
    let Some((outside, inside)) = shown.rsplit_once("->") else { return false };
    let numbers = outside.rsplit_once(':').map_or(outside, |(_, numbers)| numbers);
    inside.split_once('/').is_some_and(|(_, protocol)| overlaps(&format!("{numbers}/{protocol}"), wanted))
}

fn overlaps(one: &str, other: &str) -> bool {
    match (ports(one), ports(other)) {
        (Some((first, last, protocol)), Some((low, high, wanted))) => {
            protocol == wanted && first <= high && low <= last
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_published_on_the_host_and_open_in_the_container() {
        for (shown, wanted, published, open) in [
            ("0.0.0.0:8080->80/tcp", "80", false, true),
            ("0.0.0.0:8080->80/tcp", "8080", true, false),
            ("0.0.0.0:8080->80/tcp", "8080/udp", false, false),
            ("53/udp", "50-60/udp", false, true),
            (":::8000-8010->8000-8010/tcp", "8005", true, true),
        ] {
            assert_eq!(
                (is_published_at(shown, wanted), is_open_at(shown, wanted)),
                (published, open),
                "{shown} {wanted}"
            );
        }
        assert!(ports("x").is_none() && ports("9-8").is_none() && ports("80/icmp").is_none());
    }
}
