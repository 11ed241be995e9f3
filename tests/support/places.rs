//! Which container is in which network, as everybody tells it who knows: `ps`, `inspect`, `network inspect`, the kernel in the
//! container and on the host, the container's files, its name server, the packet filter, and what is on disk.

use super::host::Host;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Network → the container's address there; none where it does not run.
pub(crate) type Places = BTreeMap<String, Option<String>>;

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) places: Places,
    /// Its published ports: on the host, in the container.
    pub(crate) ports: BTreeSet<(u16, u16)>,
    gateways: BTreeMap<String, String>,
    hostname: String,
}

impl Placed {
    pub(crate) fn runs(&self) -> bool {
        self.state == "running"
    }

    /// The network that leads out: of those with a gateway the first by name (docker, where no priority was given).
    fn way_out(&self) -> Option<&String> {
        self.gateways.iter().find(|(_, gateway)| !gateway.is_empty()).map(|(network, _)| network)
    }

    /// Whether others know it by name in one of its networks.
    fn is_named(&self) -> bool {
        self.places.keys().any(|network| network != "bridge")
    }

    fn addresses(&self) -> BTreeSet<&str> {
        self.places.values().flatten().map(String::as_str).collect()
    }
}

impl Host {
    /// Every container by its name, after everybody who can tell of its networks has told the same.
    #[track_caller]
    pub(crate) fn agreed_places(&self, told: &str) -> BTreeMap<String, Placed> {
        let all = self.places(told);
        self.check_listed(&all, told);
        self.check_networks(&all, told);
        self.check_links(&all, told);
        self.check_disk(&all, told);
        self.check_rules(&all, told);
        for (name, one) in all.iter().filter(|(_, one)| one.runs()) {
            self.check_inside(&all, (name, one), told);
        }
        all
    }

    /// Every container by its name, as `inspect` tells of it.
    #[track_caller]
    pub(crate) fn places(&self, told: &str) -> BTreeMap<String, Placed> {
        let ids = self.rbox(&["ps", "-aq", "--no-trunc"]).ok();
        let ids: Vec<&str> = ids.stdout.lines().collect();
        if ids.is_empty() {
            return BTreeMap::new();
        }
        let inspected = self.rbox(&[&["inspect"], &ids[..]].concat());
        assert!(inspected.code == 0 && inspected.stderr.is_empty(), "{told}: {inspected}");
        inspected.json().as_array().unwrap().iter().map(placed).collect()
    }

    /// What the next start will use, as `ps` shows it.
    #[track_caller]
    fn check_listed(&self, all: &BTreeMap<String, Placed>, told: &str) {
        let listed = self.rbox(&["ps", "-a", "--format", "{{.Names}} {{.Networks}}"]).ok().stdout;
        let listed: BTreeMap<String, BTreeSet<String>> = listed
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, networks)| (name.into(), networks.split(',').map(str::to_owned).collect()))
            .collect();
        for (name, one) in all {
            let mut networks: BTreeSet<String> = one.places.keys().cloned().collect();
            if networks.is_empty() {
                networks.insert(String::new());
            }
            assert_eq!(listed.get(name), Some(&networks), "{told}: what ps and inspect tell of {name}");
        }
    }

    #[track_caller]
    fn check_networks(&self, all: &BTreeMap<String, Placed>, told: &str) {
        let names = self.rbox(&["network", "ls", "--format", "{{.Name}}"]).ok().stdout;
        let names: Vec<&str> = names.lines().collect();
        let inspected = self.rbox(&[&["network", "inspect"], &names[..]].concat()).ok().json();
        let mut told_there = BTreeSet::new();
        for network in inspected.as_array().unwrap() {
            for container in network["Containers"].as_object().into_iter().flat_map(|all| all.values()) {
                let address = text(container, "/IPv4Address");
                let address = address.split('/').next().unwrap_or_default().to_owned();
                told_there.insert((text(network, "/Name"), text(container, "/Name"), address));
            }
        }
        let told_here: BTreeSet<_> = all
            .iter()
            .filter(|(_, one)| one.runs())
            .flat_map(|(name, one)| {
                let place = |(network, address): (&String, &Option<String>)| {
                    (network.clone(), name.clone(), address.clone().unwrap_or_default())
                };
                one.places.iter().map(place).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(told_there, told_here, "{told}: network inspect and inspect");
    }

    /// One cable for each place, at the bridge of its network; and a bridge for each network of our own.
    #[track_caller]
    fn check_links(&self, all: &BTreeMap<String, Placed>, told: &str) {
        let ids = self.rbox(&["network", "ls", "--no-trunc", "--format", "{{.Name}} {{.ID}} {{.Driver}}"]).ok().stdout;
        let bridges: BTreeMap<&str, String> = ids
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .filter(|words| words[2] == "bridge")
            .map(|words| {
                (words[0], if words[0] == "bridge" { "rbox0".into() } else { format!("rb-{}", &words[1][..12]) })
            })
            .collect();
        let mut wanted: Vec<&str> = Vec::new();
        for one in all.values().filter(|one| one.runs()) {
            wanted.extend(one.places.keys().filter_map(|network| bridges.get(network.as_str())).map(String::as_str));
        }
        wanted.sort_unstable();
        let there =
            self.shell("ip -o link show type veth | sed -n 's/.* master \\([^ ]*\\) .*/\\1/p' | sort").ok().stdout;
        assert_eq!(there.lines().collect::<Vec<_>>(), wanted, "{told}: cables by their bridges");
        let made = self.shell("ip -o link show type bridge | sed 's/^[0-9]*: //; s/:.*//' | sort").ok().stdout;
        let made: BTreeSet<&str> = made.lines().filter(|name| *name != "rbox0").collect();
        let known: BTreeSet<&str> = bridges.values().map(String::as_str).filter(|name| *name != "rbox0").collect();
        assert_eq!(made, known, "{told}: bridges");
    }

    /// No endpoint is half, none is nobody's, no network is half made, and nobody is known who is not there.
    #[track_caller]
    fn check_disk(&self, all: &BTreeMap<String, Placed>, told: &str) {
        let net = self.path("state").join("net");
        let files = |folder: &str| -> BTreeSet<String> {
            let entries = std::fs::read_dir(net.join(folder)).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let mut endpoints: BTreeMap<String, usize> = BTreeMap::new();
        for container in files("endpoints") {
            let records = files(&format!("endpoints/{container}"));
            assert!(records.iter().all(|file| file.ends_with(".json")), "{told}: {container} has {records:?}");
            endpoints.insert(container, records.len());
        }
        let running = || all.values().filter(|one| one.runs());
        let wanted: BTreeMap<String, usize> =
            running().filter(|one| !one.places.is_empty()).map(|one| (one.id.clone(), one.places.len())).collect();
        assert_eq!(endpoints, wanted, "{told}: endpoints on disk");
        assert_eq!(files("making"), BTreeSet::new(), "{told}: networks half made");
        let mut known = BTreeSet::new();
        for file in files("names") {
            assert!(!file.starts_with('.'), "{told}: names/{file} is left");
            let names: Value = serde_json::from_slice(&std::fs::read(net.join("names").join(&file)).unwrap()).unwrap();
            for one in names["known"].as_array().into_iter().flatten() {
                known.insert((text(&names, "/network"), text(one, "/container"), text(one, "/v4")));
            }
        }
        let mut wanted = BTreeSet::new();
        for one in running() {
            for (network, address) in one.places.iter().filter(|(network, _)| *network != "bridge") {
                wanted.insert((network.clone(), one.id.clone(), address.clone().unwrap_or_default()));
            }
        }
        assert_eq!(known, wanted, "{told}: who is known by name");
    }

    /// Nothing is missing, nothing is nobody's, and published ports lead to the way out.
    #[track_caller]
    fn check_rules(&self, all: &BTreeMap<String, Placed>, told: &str) {
        let rules = self.rbox(&["network", "rules"]);
        assert!(rules.code == 0 && rules.stderr.is_empty(), "{told}: {rules}");
        let lines: Vec<&str> = rules.stdout.lines().collect();
        let is_wrong = |pair: &&[&str]| pair[1].contains("MISSING") || pair[1].contains("nobody's");
        let wrong: Vec<&[&str]> = lines.chunks(2).filter(is_wrong).collect();
        assert!(wrong.is_empty(), "{told}: rules that are missing, or nobody's: {wrong:#?}");
        let there: BTreeSet<(u16, String)> = lines.iter().flat_map(|line| translated(line)).collect();
        let mut wanted = BTreeSet::new();
        for one in all.values().filter(|one| one.runs()) {
            if let Some(address) = one.way_out().and_then(|network| one.places[network].as_ref()) {
                wanted.extend(one.ports.iter().map(|(outside, inside)| (*outside, format!("{address}:{inside}"))));
            }
        }
        assert_eq!(there, wanted, "{told}: where ports lead");
    }

    /// Addresses, way out, files, and whom its name server knows.
    #[track_caller]
    fn check_inside(&self, all: &BTreeMap<String, Placed>, (name, one): (&String, &Placed), told: &str) {
        // What nobody has ever been called would be asked of the host's name server.
        let is_named = |(_, it): &(&String, &Placed)| it.runs() && it.is_named();
        let others: BTreeMap<&String, &Placed> = all.iter().filter(is_named).collect();
        let asked: Vec<&str> = others.keys().map(|name| name.as_str()).filter(|_| one.is_named()).collect();
        let script = format!(
            "ip -o -4 addr | sed 's/^/addr /'; ip route | sed 's/^/route /'; sed 's/^/hosts /' /etc/hosts
             sed 's/^/resolv /' /etc/resolv.conf
             if grep -q 127.0.0.11 /etc/resolv.conf; then
                 nc -w 1 127.0.0.11 53 < /dev/null && echo served
                 for one in {}; do nslookup -type=a $one. 127.0.0.11 2>&1 | sed \"1,3d; s/^/dns $one /\"; done
             fi",
            asked.join(" ")
        );
        let said = self.rbox(&["exec", name, "sh", "-c", &script]);
        let lines = |kind: &str| -> Vec<Vec<&str>> {
            let of_kind = said.stdout.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
            of_kind.map(|line| line.split_whitespace().collect()).collect()
        };
        let wanted = one.addresses();
        let addresses: BTreeSet<&str> = lines("addr")
            .into_iter()
            .filter(|words| words.len() > 3 && words[1] != "lo")
            .map(|words| words[3].split('/').next().unwrap())
            .collect();
        assert_eq!(addresses, wanted, "{told}: addresses in {name}: {said}");
        let routes = lines("route");
        let ways_out: Vec<&str> =
            routes.iter().filter(|words| words.first() == Some(&"default")).map(|words| words[2]).collect();
        let gateway: Vec<&str> = one.way_out().map(|network| one.gateways[network].as_str()).into_iter().collect();
        assert_eq!(ways_out, gateway, "{told}: way out of {name}: {said}");
        let hosts = lines("hosts");
        let own: Vec<&str> =
            hosts.iter().filter(|words| words.get(1) == Some(&one.hostname.as_str())).map(|words| words[0]).collect();
        assert_eq!(own.iter().copied().collect::<BTreeSet<_>>(), wanted, "{told}: hosts of {name}: {said}");
        assert!(own.len() == wanted.len() && hosts.len() == own.len() + 6, "{told}: hosts of {name}: {said}");
        let asks_us = lines("resolv").iter().any(|words| words[..] == ["nameserver", "127.0.0.11"]);
        assert!(asks_us || !one.is_named(), "{told}: resolv.conf of {name}: {said}");
        assert!(!asks_us || said.stdout.contains("\nserved\n"), "{told}: {name} has no name server: {said}");
        if one.is_named() {
            let known = lines("dns");
            for (other, it) in others {
                let heard: BTreeSet<&str> = known
                    .iter()
                    .filter(|words| words.len() > 2 && words[0] == other && words[1] == "Address:")
                    .map(|words| words[2])
                    .collect();
                let shared =
                    it.places.iter().filter(|(network, _)| *network != "bridge" && one.places.contains_key(*network));
                let wanted: BTreeSet<&str> = shared.filter_map(|(_, address)| address.as_deref()).collect();
                assert_eq!(heard, wanted, "{told}: what {name} hears of {other}: {said}");
            }
        }
    }
}

/// Where a rule leads which ports of the host: to `10.1.0.2:80`; of a run of ports, `10.1.0.2:80-81/8080`, each. In nftables it
/// is an entry, `tcp . 8080 : 10.1.0.2 . 80`.
fn translated(rule: &str) -> Vec<(u16, String)> {
    let words: Vec<&str> = rule.split(' ').collect();
    if let Some(entry) = words.windows(5).find(|words| words[1] == ":" && words[3] == ".") {
        return vec![(entry[0].parse().unwrap(), format!("{}:{}", entry[2], entry[4]))];
    }
    let after = |word: &str| rule.split(&format!(" {word} ")).nth(1)?.split(' ').next();
    let (Some(outside), Some(to)) = (after("--dport"), after("--to-destination")) else { return Vec::new() };
    let (address, inside) = to.rsplit_once(':').unwrap();
    let run = |text: &str, between: char| {
        let (first, last) = text.split_once(between).unwrap_or((text, text));
        first.parse::<u16>().unwrap()..=last.parse().unwrap()
    };
    let inside = run(inside.split('/').next().unwrap(), '-').map(|port| format!("{address}:{port}"));
    run(outside, ':').zip(inside).collect()
}

/// `HostConfig.PortBindings`.
fn published(bindings: &serde_json::Map<String, Value>) -> BTreeSet<(u16, u16)> {
    let mut ports = BTreeSet::new();
    for (inside, places) in bindings {
        let inside = inside.split('/').next().unwrap().parse().unwrap();
        let outside = places.as_array().unwrap().iter().map(|place| text(place, "/HostPort").parse().unwrap());
        ports.extend(outside.map(|outside: u16| (outside, inside)));
    }
    ports
}

fn placed(inspected: &Value) -> (String, Placed) {
    let (mut places, mut gateways) = (Places::new(), BTreeMap::new());
    for (network, place) in inspected.pointer("/NetworkSettings/Networks").and_then(Value::as_object).unwrap() {
        places.insert(network.clone(), Some(text(place, "/IPAddress")).filter(|address| !address.is_empty()));
        gateways.insert(network.clone(), text(place, "/Gateway"));
    }
    let bound = inspected.pointer("/HostConfig/PortBindings").and_then(Value::as_object);
    let placed = Placed {
        id: text(inspected, "/Id"),
        state: text(inspected, "/State/Status"),
        places,
        ports: bound.map(published).unwrap_or_default(),
        gateways,
        hostname: text(inspected, "/Config/Hostname"),
    };
    (text(inspected, "/Name").trim_start_matches('/').to_owned(), placed)
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
