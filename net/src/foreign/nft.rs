//! nftables' rules, as `nft -j list ruleset` prints them: libnftables-json(5).

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::Command;
use std::rc::Rc;

use serde_json::Value;

use super::{Base, Foreign, Hook, Match, Verdict};
use crate::address::Subnet;
use crate::firewall::{Is, program};
use crate::ports::{PortRange, Protocol};

/// rbox's own table: what that does is known.
const OWN: &str = "rbox";

/// The priority of what translates receivers: linux/netfilter_ipv4.h, NF_IP_PRI_NAT_DST.
const TRANSLATION: i64 = -100;

/// Read what of a family `nft list WHAT` prints, but for iptables' tables, `not`.
///
/// Errors: why they cannot be read, in words.
pub(super) fn read(ipv6: bool, what: &[&str], not: &[&str]) -> Result<Vec<Base>, String> {
    let nft = program("nft").ok_or("there is no program nft, so nftables' rules are not known")?;
    let output = Command::new(nft).args(["-j", "list"]).args(what).output();
    let output = output.map_err(|error| format!("cannot run nft: {}", crate::error::words(&error)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("nft: {}", said.lines().next().unwrap_or("it fails")));
    }
    let listing: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("nft: {error}"))?;
    Ok(bases(&listing, ipv6, not))
}

/// Understand a listing.
pub(super) fn bases(listing: &Value, ipv6: bool, not: &[&str]) -> Vec<Base> {
    let own_family = if ipv6 { "ip6" } else { "ip" };
    let objects = listing["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |kind: &str| -> Vec<&Value> { objects.iter().filter_map(|object| object.get(kind)).collect() };
    let table_of = |object: &Value| format!("{} {}", word(object, "family"), word(object, "table"));
    let is_asked = |object: &Value| {
        let (family, table) = (word(object, "family"), word(object, "table"));
        let is_other = table == OWN && family != "inet" || family == own_family && not.contains(&table.as_str());
        !is_other && (family == "inet" || family == own_family)
    };
    let mut sets: HashMap<(String, String), &Value> = HashMap::new();
    for set in of("set").into_iter().chain(of("map")) {
        sets.insert((table_of(set), word(set, "name")), &set["elem"]);
    }
    let mut tables: HashMap<String, HashMap<String, Vec<Foreign>>> = HashMap::new();
    for one in of("rule").into_iter().filter(|one| is_asked(one)) {
        let table = table_of(one);
        let context = Context { ipv6, elements: &|name| sets.get(&(table.clone(), name.to_owned())).copied() };
        let chain = word(one, "chain");
        let text = format!("nft list chain {table} {chain}: rule of handle {}", one["handle"]);
        let rule = context.rule(text, one["expr"].as_array().map(Vec::as_slice).unwrap_or_default());
        tables.entry(table).or_default().entry(chain).or_default().push(rule);
    }
    let tables: HashMap<String, Rc<HashMap<String, Vec<Foreign>>>> =
        tables.into_iter().map(|(name, chains)| (name, Rc::new(chains))).collect();
    let base = |chain: &&Value| {
        let hook = Hook::of_word(chain["hook"].as_str()?)?;
        let priority = chain["prio"].as_i64().unwrap_or(0);
        let begins = matches!(hook, Hook::Prerouting | Hook::Output);
        Some(Base {
            table: format!("nft {}", table_of(chain)),
            chain: word(chain, "name"),
            hook,
            translates: chain["type"] == "nat",
            sees_translated: !begins || priority > TRANSLATION,
            passes: chain["policy"] != "drop",
            chains: tables.get(&table_of(chain)).cloned().unwrap_or_default(),
        })
    };
    of("chain").iter().filter(|chain| is_asked(chain)).filter_map(base).collect()
}

fn word(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

/// What the words of a rule stand for.
struct Context<'a> {
    ipv6: bool,
    elements: &'a dyn Fn(&str) -> Option<&'a Value>,
}

impl Context<'_> {
    fn rule(&self, text: String, statements: &[Value]) -> Foreign {
        let mut matches = Vec::new();
        let mut verdict = Verdict::Nothing;
        for (key, value) in statements.iter().filter_map(Value::as_object).flatten() {
            let chain = || value["target"].as_str().unwrap_or_default().to_owned();
            match key.as_str() {
                "match" => matches.extend(self.matching(value).unwrap_or_else(|| vec![Match::Unknown])),
                "accept" => verdict = Verdict::Accept,
                "drop" | "reject" => verdict = Verdict::Drop,
                "return" => verdict = Verdict::Return,
                "jump" => verdict = Verdict::Jump(chain()),
                "goto" => verdict = Verdict::Goto(chain()),
                "dnat" | "redirect" | "tproxy" => verdict = Verdict::Translate,
                "counter" | "log" | "mangle" | "masquerade" | "snat" | "ct helper" | "notrack" | "set" | "map"
                | "ct timeout" | "ct expectation" | "flow" | "dup" => {}
                "limit" | "quota" | "ct count" => matches.push(Match::Unknown),
                "vmap" | "queue" | "fwd" | "synproxy" => verdict = Verdict::Unknown,
                // iptables' own, as nft sees them, and what is newer than this.
                _ => {
                    matches.push(Match::Unknown);
                    verdict = Verdict::Unknown;
                }
            }
        }
        Foreign { text, matches, verdict }
    }

    /// What one comparison asks for, all of it; nothing for one that is not known here.
    fn matching(&self, value: &Value) -> Option<Vec<Match>> {
        let is = match value["op"].as_str()? {
            "==" | "in" => true,
            "!=" => false,
            _ => return None,
        };
        let (left, right) = (&value["left"], &value["right"]);
        let all = match right.as_str().and_then(|name| name.strip_prefix('@')) {
            Some(name) => (self.elements)(name)?.as_array().cloned().unwrap_or_default(),
            // A set, a list of flags, or one value.
            None => right["set"].as_array().or(right.as_array()).cloned().unwrap_or_else(|| vec![right.clone()]),
        };
        let bare = |one: &Value| one.get("elem").map_or(one, |elem| elem.get("val").unwrap_or(elem)).clone();
        let all: Vec<Value> = all.iter().map(bare).collect();
        if let Some(key) = left["ct"]["key"].as_str().filter(|key| ["state", "status"].contains(key)) {
            let words = all.iter().map(|one| state(key, one)).collect::<Option<Vec<_>>>()?;
            return Some(vec![Match::State(is, words)]);
        }
        let mut each = all.iter().map(|one| self.one(is, left, one)).collect::<Option<Vec<_>>>()?;
        let asked = match (each.len(), is) {
            (1, _) => each.remove(0),
            (_, true) => Match::Any(each),
            // "None of them" is more than can be said here.
            (..) => return None,
        };
        // `tcp dport 80` asks for the protocol, too.
        let protocol = left["payload"]["protocol"].as_str().and_then(|name| Protocol::read(name).ok());
        let protocol = protocol.map(|protocol| Match::Protocol(Is::This(protocol.number())));
        Some(protocol.into_iter().chain([asked]).collect())
    }

    fn one(&self, is: bool, left: &Value, right: &Value) -> Option<Match> {
        if let Some(field) = left["payload"]["field"].as_str() {
            return match (left["payload"]["protocol"].as_str()?, field) {
                (ip @ ("ip" | "ip6"), _) if (ip == "ip6") != self.ipv6 => Some(Match::Never),
                (_, "saddr") => Some(Match::Source(turn(is, subnet(right)?))),
                (_, "daddr") => Some(Match::Destination(turn(is, subnet(right)?))),
                (_, "protocol" | "nexthdr") => Some(Match::Protocol(turn(is, protocol(right)?))),
                ("icmp" | "icmpv6", _) => Some(Match::Never),
                (_, "dport") => Some(Match::Port(turn(is, ports(right)?))),
                _ => None,
            };
        }
        if left["ct"]["dir"] == "original" {
            return match left["ct"]["key"].as_str()? {
                "proto-dst" => Some(Match::OriginalPort(turn(is, ports(right)?))),
                "ip daddr" | "ip6 daddr" => Some(Match::OriginalDestination(turn(is, subnet(right)?))),
                _ => None,
            };
        }
        if left["fib"]["result"] == "type" && left["fib"]["flags"].as_array()? == &["daddr"] {
            return Some(Match::DestinationType(is, vec![right.as_str()?.to_owned()]));
        }
        if left["fib"]["result"] == "oif" && *right == Value::Bool(false) {
            // Of callers who cannot be answered none are in question.
            return Some(if is { Match::Never } else { ALWAYS });
        }
        match left["meta"]["key"].as_str()? {
            "iifname" | "iif" => Some(Match::Input(turn(is, right.as_str()?.to_owned()))),
            "oifname" | "oif" => Some(Match::Output(turn(is, right.as_str()?.to_owned()))),
            "l4proto" => Some(Match::Protocol(turn(is, protocol(right)?))),
            "nfproto" => Some(if is == ((right.as_str()? == "ipv6") == self.ipv6) { ALWAYS } else { Match::Never }),
            _ => None,
        }
    }
}

/// What every packet has.
const ALWAYS: Match = Match::State(false, Vec::new());

fn turn<T>(is: bool, value: T) -> Is<T> {
    if is { Is::This(value) } else { Is::Not(value) }
}

/// `new`, `established`; of a status only whether the receiver was translated.
fn state(key: &str, word: &Value) -> Option<String> {
    let word = word.as_str()?;
    (key == "state" || word == "dnat").then(|| word.to_owned())
}

/// `"192.0.2.1"`, `{"prefix": {"addr": "192.0.2.0", "len": 24}}`
fn subnet(value: &Value) -> Option<Subnet> {
    let (address, prefix) = match value.get("prefix") {
        Some(prefix) => (prefix["addr"].as_str()?, u8::try_from(prefix["len"].as_u64()?).ok()?),
        None => (value.as_str()?, u8::MAX),
    };
    Some(Subnet::around(address.parse::<IpAddr>().ok()?, prefix))
}

/// `80`, `{"range": [8000, 8010]}`
fn ports(value: &Value) -> Option<PortRange> {
    let (first, last) = match value["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => (first, last),
        Some(_) => return None,
        None => (value, value),
    };
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    // No packet that is for a published port is for port 0.
    PortRange::new(port(first)?.max(1), port(last)?)
}

/// `"tcp"`, `"ipv6-icmp"`, 6
fn protocol(value: &Value) -> Option<u8> {
    match value.as_str() {
        Some(name) => super::protocol(name),
        None => u8::try_from(value.as_u64()?).ok(),
    }
}
