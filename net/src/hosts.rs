//! The two files by which a container finds others: `/etc/hosts` and `/etc/resolv.conf`.
//!
//! hosts(5), resolv.conf(5); the rules are Docker 20.10's (libnetwork etchosts and resolvconf).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::error::{Error, Result};

/// The lines every container begins with, byte for byte.
const BASE: &str = "127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::0\tip6-localnet\n\
                    ff00::0\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n";

/// One line of a hosts file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The address.
    pub address: IpAddr,
    /// Its names; a reverse lookup gives the first.
    pub names: Vec<String>,
}

impl Entry {
    /// The container's own line: its host name, after its full name where it has a domain.
    pub fn own(address: IpAddr, hostname: &str, domainname: &str) -> Entry {
        let full = match domainname {
            "" => hostname.to_owned(),
            domain => format!("{hostname}.{domain}"),
        };
        let names = match full.split_once('.') {
            Some((short, _)) if !short.is_empty() => vec![full.clone(), short.to_owned()],
            _ => vec![full],
        };
        Entry { address, names }
    }
}

/// Write the hosts file of a container: the base lines, then `others` (`--add-host`, `--link`), then its own.
///
/// A container on the none network has no own line; one that has several addresses has one for each.
pub fn hosts_file(others: &[Entry], own: &[Entry]) -> String {
    extend_hosts(BASE, &others.iter().chain(own).cloned().collect::<Vec<_>>())
}

/// Put another container's line into a hosts file, in place of that by which `alias` was known before; where there was none,
/// before the last, which is the own one.
pub fn relink_hosts(hosts: &str, alias: &str, entry: &Entry) -> String {
    let line = format!("{}\t{}\n", entry.address, entry.names.join(" "));
    // Name, alias, host name, each once: what stands at the end is the host name, and at the beginning of three, another's
    // name. The base lines are no container's.
    let is_of_alias = |names: &[&str]| match names {
        [first] => *first == alias,
        [first, second] => [first, second].contains(&&alias),
        [_, second, ..] => *second == alias,
        [] => false,
    };
    let names = |line: &str| {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let address = words.first().and_then(|word| word.parse::<IpAddr>().ok());
        let is_base = BASE.contains(line.trim_end()) || address.is_some_and(|address| address.is_loopback());
        address.is_some() && !is_base && is_of_alias(&words[1..])
    };
    let mut lines: Vec<&str> = hosts.split_inclusive('\n').collect();
    let at = lines.iter().position(|line| names(line));
    let before_last = lines.len().saturating_sub(1);
    match at {
        Some(at) => lines[at] = &line,
        None => lines.insert(before_last, &line),
    }
    lines.concat()
}

/// Take these lines out of a hosts file. Others of the same address, which a person has written, stay.
pub fn shorten_hosts(hosts: &str, entries: &[Entry]) -> String {
    let is_meant = |line: &&str| {
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        let names: Vec<&str> = words.collect();
        entries.iter().any(|entry| address == Some(entry.address) && names == entry.names)
    };
    hosts.split_inclusive('\n').filter(|line| !is_meant(line)).collect()
}

/// Whether this resolv.conf names the container's own name server.
pub fn is_embedded(resolv_conf: &str) -> bool {
    servers(resolv_conf).contains(&NAME_SERVER.into())
}

/// Write the hosts file of a container on the host network: the host's own, then `others`.
pub fn extend_hosts(hosts: &str, others: &[Entry]) -> String {
    let mut text = hosts.to_owned();
    if !others.is_empty() && !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in others {
        writeln!(text, "{}\t{}", entry.address, entry.names.join(" ")).expect("a String takes everything");
    }
    text
}

/// `--add-host name:address`; `name=address` is understood too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddHost {
    /// The name.
    pub name: String,
    /// Its address; nothing means the host, as the container reaches it: `host-gateway`.
    pub address: Option<IpAddr>,
}

impl FromStr for AddHost {
    type Err = Error;

    /// Read one `--add-host`. Errors: `Invalid` with the reason.
    fn from_str(text: &str) -> Result<AddHost> {
        let invalid = |why: String| Error::Invalid { object: format!("--add-host {text}"), why };
        // The first of both: an IPv6 address is full of colons, a name has neither.
        let Some((name, address)) = text.split_once(['=', ':']).filter(|(name, _)| !name.is_empty()) else {
            return Err(invalid("not of the form name:address".into()));
        };
        if name.contains(|letter: char| letter.is_whitespace() || letter == '#') {
            return Err(invalid(format!("{name:?} is not a host name")));
        }
        if address == "host-gateway" {
            return Ok(AddHost { name: name.to_owned(), address: None });
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address =
            bare.parse().map_err(|_| invalid(format!("{address} is neither an IP address nor host-gateway")))?;
        Ok(AddHost { name: name.to_owned(), address: Some(address) })
    }
}

impl AddHost {
    /// Make it a line; `host` is the host's address for the container, the bridge's on a bridge network.
    pub fn entry(&self, host: IpAddr) -> Entry {
        Entry { address: self.address.unwrap_or(host), names: vec![self.name.clone()] }
    }
}

/// `--dns`, `--dns-search`, `--dns-option`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Name servers; none means the host's.
    pub servers: Vec<IpAddr>,
    /// Search domains; none means the host's, a single `.` means no search at all.
    pub search: Vec<String>,
    /// Options; none means the host's.
    pub options: Vec<String>,
}

impl Dns {
    fn is_default(&self) -> bool {
        self.servers.is_empty() && self.search.is_empty() && self.options.is_empty()
    }
}

/// The servers of last resort, when the host has none that a container can reach: Google's, as in Docker.
pub(crate) const FALLBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4))];

/// Where systemd-resolved writes the real name servers while `/etc/resolv.conf` names only its own 127.0.0.53.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Read the resolv.conf that containers start from: `/etc/resolv.conf`, or systemd-resolved's real one.
///
/// A host without any counts as one with an empty file.
pub fn host_resolv_conf() -> String {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if servers(&text) == [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53))] {
        return std::fs::read_to_string(RESOLVED).unwrap_or(text);
    }
    text
}

/// Write the resolv.conf of a container on a network of its own.
///
/// Without any option it is the host's text less the name servers a container cannot reach: the host's
/// loopback, and IPv6 ones (the network has no IPv6). When none is left, 8.8.8.8 and 8.8.4.4 stand in.
/// For a container on the host network see [`host_network_resolv_conf`].
pub fn resolv_conf(host: &str, dns: &Dns) -> String {
    if dns.is_default() {
        let mut text: String =
            host.split_inclusive('\n').filter(|line| server(line).is_none_or(is_reachable)).collect();
        if servers(&text).is_empty() {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            FALLBACK.iter().for_each(|ip| writeln!(text, "nameserver {ip}").expect("a String takes everything"));
        }
        return text;
    }
    let mut from_host: Vec<IpAddr> = servers(host).into_iter().filter(|ip| is_reachable(*ip)).collect();
    if from_host.is_empty() {
        from_host = FALLBACK.into();
    }
    compose(host, dns, &from_host)
}

/// Write the resolv.conf of a container on the host network: the host's own, with the options in its place.
pub fn host_network_resolv_conf(host: &str, dns: &Dns) -> String {
    if dns.is_default() { host.to_owned() } else { compose(host, dns, &servers(host)) }
}

/// Where a container of a user-defined network finds its name server.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Write the resolv.conf of a container of a user-defined network: it asks the name server of its own, which asks others
/// (libnetwork, `rebuildDNS`). A name without a dot is a container's, so it is asked for as it is.
pub fn embedded_resolv_conf(host: &str, dns: &Dns) -> String {
    let mut options = if dns.options.is_empty() { last_words(host, &["options"]) } else { dns.options.clone() };
    if !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".into());
    }
    let own = Dns { servers: vec![NAME_SERVER.into()], search: dns.search.clone(), options };
    compose(host, &own, &[])
}

fn compose(host: &str, dns: &Dns, from_host: &[IpAddr]) -> String {
    let mut text = String::new();
    let search = if dns.search.is_empty() { last_words(host, &["search", "domain"]) } else { dns.search.clone() };
    if !search.is_empty() && search != ["."] {
        writeln!(text, "search {}", search.join(" ")).expect("a String takes everything");
    }
    for ip in if dns.servers.is_empty() { from_host } else { &dns.servers } {
        writeln!(text, "nameserver {ip}").expect("a String takes everything");
    }
    let options = if dns.options.is_empty() { last_words(host, &["options"]) } else { dns.options.clone() };
    if !options.is_empty() {
        writeln!(text, "options {}", options.join(" ")).expect("a String takes everything");
    }
    text
}

pub(crate) fn servers(text: &str) -> Vec<IpAddr> {
    text.lines().filter_map(server).collect()
}

/// The address of a `nameserver` line; a zone (`fe80::1%eth0`) belongs to it.
fn server(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    let address = (words.next() == Some("nameserver")).then(|| words.next())??;
    match address.split_once('%') {
        Some((address, _zone)) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => address.parse().ok(),
    }
}

fn is_reachable(ip: IpAddr) -> bool {
    ip.is_ipv4() && !ip.is_loopback()
}

/// The words after the keyword on its last line: resolv.conf(5) says the last instance wins.
fn last_words(text: &str, keywords: &[&str]) -> Vec<String> {
    let of = |line: &str| {
        let mut words = line.split_whitespace();
        keywords.contains(&words.next()?).then(|| words.map(str::to_owned).collect())
    };
    text.lines().filter_map(of).next_back().unwrap_or_default()
}

#[cfg(test)]
mod written;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_is_the_seeds_byte_for_byte() {
        //
        let own = Entry::own(Ipv4Addr::new(172, 17, 0, 2).into(), "444b69a1b0fc", "");
        assert_eq!(
            hosts_file(&[], &[own]),
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
             ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n172.17.0.2\t444b69a1b0fc\n"
        );
    }

    #[test]
    fn others_stand_before_the_own_line() {
        // A-112, with the seed's order of names
        let link = Entry {
            address: "172.17.0.2".parse().unwrap(),
            names: ["tomcat1", "tomcat", "444b69a1b0fc"].map(str::to_owned).into(),
        };
        let own = Entry::own(Ipv4Addr::new(172, 17, 0, 4).into(), "2285ef816f2a", "");
        let text = hosts_file(&[link], &[own]);
        assert!(text.ends_with("ip6-allrouters\n172.17.0.2\ttomcat1 tomcat 444b69a1b0fc\n172.17.0.4\t2285ef816f2a\n"));
    }

    #[test]
    fn a_domain_gives_the_full_name_first() {
        let ip = Ipv4Addr::new(172, 17, 0, 2).into();
        assert_eq!(Entry::own(ip, "web", "example.org").names, ["web.example.org", "web"]);
        assert_eq!(Entry::own(ip, "web.example.org", "").names, ["web.example.org", "web"]);
    }

    #[test]
    fn hosts_to_add_are_read() {
        let read = |text: &str| text.parse::<AddHost>().map(|host| (host.name, host.address.map(|ip| ip.to_string())));
        let some = |name: &str, ip: &str| (name.to_owned(), Some(ip.to_owned()));
        assert_eq!(read("db:10.0.0.1").unwrap(), some("db", "10.0.0.1"));
        assert_eq!(read("db=10.0.0.1").unwrap(), some("db", "10.0.0.1"));
        assert_eq!(read("db:::1").unwrap(), some("db", "::1"));
        assert_eq!(read("db=::1").unwrap(), some("db", "::1"));
        assert_eq!(read("db:[2001:db8::1]").unwrap(), some("db", "2001:db8::1"));
        assert_eq!(read("me:host-gateway").unwrap(), ("me".into(), None));
        let why = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(why("db"), "--add-host db: not of the form name:address");
        assert_eq!(why(":1.2.3.4"), "--add-host :1.2.3.4: not of the form name:address");
        assert_eq!(why("db:1.2.3"), "--add-host db:1.2.3: 1.2.3 is neither an IP address nor host-gateway");
        assert_eq!(why("d b:1.2.3.4"), "--add-host d b:1.2.3.4: \"d b\" is not a host name");
        let gateway = read("me:host-gateway").map(|_| "me:host-gateway".parse::<AddHost>().unwrap()).unwrap();
        assert_eq!(gateway.entry("172.17.0.1".parse().unwrap()).address.to_string(), "172.17.0.1");
    }

    const HOST: &str = "# by hand\ndomain lan\nsearch corp.example lan\nnameserver 127.0.0.1\nnameserver 10.0.0.53\n\
                        nameserver fe80::1%eth0\nnameserver ::1\noptions ndots:2\n";

    #[test]
    fn without_options_only_unreachable_servers_go() {
        let text = resolv_conf(HOST, &Dns::default());
        assert_eq!(text, "# by hand\ndomain lan\nsearch corp.example lan\nnameserver 10.0.0.53\noptions ndots:2\n");
        assert_eq!(host_network_resolv_conf(HOST, &Dns::default()), HOST);
    }

    #[test]
    fn a_container_of_a_user_defined_network_asks_its_own_name_server() {
        let text = embedded_resolv_conf("search lan\nnameserver 10.0.0.53\noptions edns0\n", &Dns::default());
        assert_eq!(text, "search lan\nnameserver 127.0.0.11\noptions edns0 ndots:0\n");
        let dns = Dns {
            servers: vec!["1.1.1.1".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["ndots:2".into()],
        };
        assert_eq!(embedded_resolv_conf("search lan\n", &dns), "nameserver 127.0.0.11\noptions ndots:2\n");
    }

    #[test]
    fn a_link_is_put_in_the_place_of_its_line() {
        let entry =
            Entry { address: "10.0.0.9".parse().unwrap(), names: ["db", "store", "0123"].map(str::to_owned).into() };
        let text = "127.0.0.1\tlocalhost\n10.0.0.2\tdb store 4567\n10.0.0.3\tme\n";
        let now = "127.0.0.1\tlocalhost\n10.0.0.9\tdb store 0123\n10.0.0.3\tme\n";
        let relinked = |text: &str| relink_hosts(text, "store", &entry);
        assert_eq!(relinked(text), now);
        assert_eq!(relinked("127.0.0.1\tlocalhost\n10.0.0.3\tme\n"), now);
        assert_eq!(relinked(now), now);
    }

    #[test]
    fn a_link_does_not_take_the_place_of_another_container_of_its_name() {
        let entry =
            Entry { address: "10.0.0.9".parse().unwrap(), names: ["l2", "l1", "0123"].map(str::to_owned).into() };
        let text = "127.0.0.1\tlocalhost l1\n10.0.0.2\tl1 db 4567\n# 10.0.0.4 l1\n10.0.0.3\tme\n";
        let now = "127.0.0.1\tlocalhost l1\n10.0.0.2\tl1 db 4567\n# 10.0.0.4 l1\n10.0.0.9\tl2 l1 0123\n10.0.0.3\tme\n";
        assert_eq!(relink_hosts(text, "l1", &entry), now);
        assert_eq!(relink_hosts(now, "l1", &entry), now);
    }

    #[test]
    fn only_the_lines_that_are_meant_are_taken_out() {
        let text = "127.0.0.1\tlocalhost\n# mine\n10.0.0.2\tweb\n10.0.0.2 web www\n10.0.0.22\tweb\nfd00::2 web";
        let gone = ["10.0.0.2", "fd00::2"].map(|address| Entry::own(address.parse().unwrap(), "web", ""));
        assert_eq!(shorten_hosts(text, &gone), "127.0.0.1\tlocalhost\n# mine\n10.0.0.2 web www\n10.0.0.22\tweb\n");
    }

    #[test]
    fn without_a_reachable_server_the_fallback_stands_in() {
        let fallback = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
        assert_eq!(resolv_conf("", &Dns::default()), fallback);
        assert_eq!(resolv_conf("nameserver 127.0.0.53\n", &Dns::default()), fallback);
        assert_eq!(resolv_conf("search lan\nnameserver ::1", &Dns::default()), format!("search lan\n{fallback}"));
        let search = Dns { search: vec!["a".into()], ..Dns::default() };
        assert_eq!(resolv_conf("nameserver 127.0.0.53\n", &search), format!("search a\n{fallback}"));
    }

    #[test]
    fn options_replace_their_part_of_the_hosts_file() {
        let dns = Dns { servers: vec!["1.1.1.1".parse().unwrap(), "127.0.0.1".parse().unwrap()], ..Dns::default() };
        // What the user names is taken as it is: 127.0.0.1 is the container's own.
        let text = "search corp.example lan\nnameserver 1.1.1.1\nnameserver 127.0.0.1\noptions ndots:2\n";
        assert_eq!(resolv_conf(HOST, &dns), text);
        let dns = Dns { search: vec![".".into()], options: vec!["rotate".into(), "use-vc".into()], ..Dns::default() };
        assert_eq!(resolv_conf(HOST, &dns), "nameserver 10.0.0.53\noptions rotate use-vc\n");
        let on_host =
            "nameserver 127.0.0.1\nnameserver 10.0.0.53\nnameserver fe80::1\nnameserver ::1\noptions rotate use-vc\n";
        assert_eq!(host_network_resolv_conf(HOST, &dns), on_host);
    }
}
