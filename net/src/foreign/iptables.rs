//! iptables' rules, as `iptables -S` prints them: iptables(8), iptables-extensions(8).

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::Command;
use std::rc::Rc;

use super::{Base, Foreign, Hook, Match, Verdict};
use crate::address::Subnet;
use crate::firewall::{Is, Variant, program};
use crate::ports::PortRange;

/// The tables that have anything to say, in the order in which a packet meets them.
const TABLES: [&str; 4] = ["raw", "mangle", "nat", "filter"];

/// Read every table that is there: of the usual iptables, and of the other variant where somebody has used that, too.
pub(super) fn read(ipv6: bool) -> Vec<(&'static str, Vec<Base>)> {
    let usual = Variant::Usual.names(ipv6);
    let mut all: Vec<(&str, Vec<Base>)> =
        TABLES.into_iter().filter_map(|table| Some((table, read_table(usual, table)?))).collect();
    // Where no such table was ever looked at, the program is not run: that alone would make some.
    let names = if ipv6 { "ip6_tables_names" } else { "ip_tables_names" };
    let names = std::fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
    let legacy = Variant::Legacy.names(ipv6);
    if program(usual).is_some_and(|file| file.canonicalize().is_ok_and(|file| !file.ends_with("xtables-legacy-multi")))
    {
        let made = TABLES.into_iter().filter(|table| names.lines().any(|name| name == *table));
        all.extend(made.filter_map(|table| Some((table, read_table(legacy, table)?))));
    }
    all
}

/// Read table filter of the usual iptables.
pub(super) fn read_filter(ipv6: bool) -> Vec<Base> {
    read_table(Variant::Usual.names(ipv6), "filter").unwrap_or_default()
}

/// Read one; nothing where it is not iptables', or there is no iptables.
fn read_table(name: &str, table: &str) -> Option<Vec<Base>> {
    let output = Command::new(program(name)?).args(["-w", "5", "-t", table, "-S"]).output().ok()?;
    let listing = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| bases(&format!("{name} -t {table}"), &listing))
}

/// Understand a listing.
pub(super) fn bases(table: &str, listing: &str) -> Vec<Base> {
    let mut chains: HashMap<String, Vec<Foreign>> = HashMap::new();
    let mut policies = Vec::new();
    for line in listing.lines() {
        let words = words(line);
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["-P", chain, policy] => policies.push((chain.to_owned(), policy == "ACCEPT")),
            ["-A", chain, ref rest @ ..] => {
                let rule = rule(format!("{table} {line}"), rest);
                chains.entry(chain.to_owned()).or_default().push(rule);
            }
            _ => {}
        }
    }
    let chains = Rc::new(chains);
    let base = |(chain, passes): (String, bool)| {
        let hook = Hook::of_word(&chain)?;
        let translates = table.ends_with(" nat");
        // Tables raw and mangle come before nat where packets come in: iptables(8), TABLES.
        let begins = matches!(hook, Hook::Prerouting | Hook::Output);
        let sees_translated = !begins || table.ends_with(" filter");
        Some(Base { table: table.to_owned(), chain, hook, translates, sees_translated, passes, chains: chains.clone() })
    };
    policies.into_iter().filter_map(base).collect()
}

/// The words of a line: in quotes there may be blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => words.last_mut().into_iter().for_each(|word| word.extend(letters.next())),
            ' ' if !is_quoted => words.push(String::new()),
            _ => words.last_mut().into_iter().for_each(|word| word.push(letter)),
        }
    }
    words
}

fn rule(text: String, words: &[&str]) -> Foreign {
    let mut matches = Vec::new();
    let mut verdict = Verdict::Nothing;
    let mut words = words.iter().copied().peekable();
    let mut module = "";
    while let Some(word) = words.next() {
        let is = word != "!";
        let option = if is { word } else { words.next().unwrap_or_default() };
        match option {
            "-j" => {
                verdict = target(words.next().unwrap_or_default());
                // What follows are the words of the target.
                break;
            }
            "-g" => verdict = Verdict::Goto(words.next().unwrap_or_default().to_owned()),
            "-m" => module = words.next().unwrap_or_default(),
            // Those that say nothing of the packet.
            "--comment" => drop(words.next()),
            _ => {
                let mut value = Vec::new();
                while let Some(word) = words.next_if(|word| !word.starts_with('-') && *word != "!") {
                    value.push(word);
                }
                matches.push(matching(is, (module, option), &value).unwrap_or(Match::Unknown));
            }
        }
    }
    Foreign { text, matches, verdict }
}

fn target(name: &str) -> Verdict {
    match name {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        "DNAT" | "REDIRECT" | "TPROXY" | "NETMAP" => Verdict::Translate,
        "QUEUE" | "NFQUEUE" | "SYNPROXY" => Verdict::Unknown,
        "LOG" | "NFLOG" | "ULOG" | "MARK" | "CONNMARK" | "CT" | "TCPMSS" | "MASQUERADE" | "SNAT" | "TRACE" | "SET"
        | "CHECKSUM" | "TOS" | "DSCP" | "TTL" | "HL" | "NOTRACK" | "CLASSIFY" | "AUDIT" | "SECMARK" | "CONNSECMARK"
        | "TEE" => Verdict::Nothing,
        chain => Verdict::Jump(chain.to_owned()),
    }
}

fn turn<T>(is: bool, value: T) -> Is<T> {
    if is { Is::This(value) } else { Is::Not(value) }
}

/// What an option asks for; nothing for one that is not known here.
fn matching(is: bool, (module, option): (&str, &str), value: &[&str]) -> Option<Match> {
    let first = value.first().copied();
    let list = || -> Vec<String> { first.unwrap_or_default().split(',').map(str::to_owned).collect() };
    Some(match (module, option) {
        (_, "-i") => Match::Input(turn(is, link(first?))),
        (_, "-o") => Match::Output(turn(is, link(first?))),
        (_, "-s") => Match::Source(turn(is, subnet(first?)?)),
        (_, "-d") => Match::Destination(turn(is, subnet(first?)?)),
        (_, "-p") => Match::Protocol(turn(is, super::protocol(first?)?)),
        ("tcp" | "udp" | "sctp", "--dport") => Match::Port(turn(is, ports(first?)?)),
        ("multiport", "--dports") if is => {
            let each = list().iter().map(|one| Some(Match::Port(Is::This(ports(one)?)))).collect::<Option<Vec<_>>>()?;
            Match::Any(each)
        }
        ("conntrack", "--ctstate") | ("state", "--state") => Match::State(is, list()),
        ("conntrack", "--ctorigdstport") => Match::OriginalPort(turn(is, ports(first?)?)),
        ("conntrack", "--ctorigdst") => Match::OriginalDestination(turn(is, subnet(first?)?)),
        // The kernel itself drops packets with such a header: RFC 5095.
        ("rt", "--rt-type") if is && first? == "0" => Match::Never,
        // Of callers who cannot be answered none are in question.
        ("rpfilter", "--invert") => Match::Never,
        ("addrtype", "--dst-type") => Match::DestinationType(is, list()),
        _ => return None,
    })
}

fn link(name: &str) -> String {
    name.strip_suffix('+').map_or_else(|| name.to_owned(), |begin| format!("{begin}*"))
}

fn subnet(text: &str) -> Option<Subnet> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, "128"));
    // A mask that is no prefix stands there as an address.
    let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    Some(Subnet::around(address, prefix))
}

/// `80`, `8000:8010`
fn ports(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    // No packet that is for a published port is for port 0.
    PortRange::new(first.parse::<u16>().ok()?.max(1), last.parse().ok()?)
}
