//! Everything a command could leave behind on a host, as text: taken before and after, and compared.

use super::host::Host;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What can be left behind, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<&'static str, String>);

/// What rbox keeps on purpose after the first container: its bridge and its base chains.
const KEPT: &str = "rbox0";

impl Host {
    /// Links, addresses, routes, rules, mounts, cgroups, processes and state files of this host.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut found = BTreeMap::new();
        for (kind, script) in SCRIPTS {
            found.insert(*kind, self.shell(script).stdout);
        }
        let mut cgroups = Vec::new();
        for folder in self.cgroup_folders() {
            list_folders(&folder, &mut cgroups);
        }
        found.insert("cgroups", cgroups.join("\n"));
        let mut state = Vec::new();
        list_files(&self.path("state"), &mut state);
        found.insert("state", state.join("\n"));
        Snapshot(found)
    }

    /// What one container leaves in files alone, quickly found: control groups, state, bundles, root file systems, names.
    pub(crate) fn footprint(&self) -> Snapshot {
        let mut cgroups = Vec::new();
        for folder in self.cgroup_folders() {
            list_folders(&folder, &mut cgroups);
        }
        let mut files = Vec::new();
        for folder in ["state", "data/containers", "data/names", "data/snapshots", "data/images/tmp"] {
            list_entries(&self.path(folder), &mut files);
        }
        Snapshot(BTreeMap::from([("cgroups", cgroups.join("\n")), ("files", files.join("\n"))])).without_kept()
    }

    /// Fail, showing what differs, unless the host is as `before`. The bridge rbox0 and the base chains are let be.
    #[track_caller]
    pub(crate) fn assert_unchanged(&self, before: &Snapshot) {
        // Processes that were told to end may need a moment; what is still there after 3 s was left behind.
        for _ in 0..60 {
            if self.snapshot().without_kept() == before.without_kept() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let after = self.snapshot().without_kept();
        let before = before.without_kept();
        let mut report = String::new();
        for (kind, was) in &before.0 {
            let is = &after.0[kind];
            if was != is {
                report += &format!("== {kind}, before:\n{was}\n== {kind}, after:\n{is}\n");
            }
        }
        panic!("the host is not as before:\n{report}");
    }
}

impl Snapshot {
    /// The text of one kind.
    pub(crate) fn kind(&self, kind: &str) -> &str {
        &self.0[kind]
    }

    fn without_kept(&self) -> Snapshot {
        let keep = |kind: &str, text: &str| -> String {
            let lines = text.lines().filter(|line| match kind {
                "rules" => !is_base_rule(line),
                "sysctl" => !line.contains(KEPT) && !line.contains("ip_forward"),
                "nft" => {
                    !line.contains(KEPT) && !line.starts_with("table ip rbox") && !line.starts_with("table ip6 rbox")
                }
                "state" | "files" => !is_base_state(line),
                _ => !line.contains(KEPT),
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        Snapshot(self.0.iter().map(|(kind, text)| (*kind, keep(kind, text))).collect())
    }
}

/// A line of iptables-save that belongs to the base chains and the bridge, not to one container.
fn is_base_rule(line: &str) -> bool {
    let names_a_container = line.contains("/32") || line.contains("--dport") || line.contains("--to-destination");
    let ours = line.contains("RBOX") || line.contains(KEPT) || line.contains("172.17.0.0/16");
    let frame = line.starts_with([':', '*', '#']) || line == "COMMIT";
    frame || (ours && !names_a_container)
}

/// What of the state folder is kept with the bridge: locks, the network's own description, what was read of leases, and the
/// place of networks that are being made; where the rules are, and who looks after them.
fn is_base_state(line: &str) -> bool {
    let kept =
        [".lock", "/lock", "/net/changes", "/net/rules", "/net/leases", "/net/making", "/net/watcher", "/net/backend"];
    kept.iter().any(|end| line.ends_with(end)) || line.contains("network")
}

const SCRIPTS: &[(&str, &str)] = &[
    ("links", "ip -o link | sed -E 's/^[0-9]+: //; s/ (qlen|state|link-netnsid) [^ ]+//g; s/\\\\.*//'"),
    ("addresses", "ip -o addr | sed -E 's/^[0-9]+: //' | grep -v ' fe80:'"),
    ("routes", "ip -4 route show table all; ip -6 route show table all | grep -v -e fe80 -e ff00 | sort"),
    ("ip rules", "ip rule; ip -6 rule"),
    ("neighbours", "ip neigh show nud permanent"),
    (
        "rules",
        "for t in raw mangle filter nat; do iptables-save -t $t 2>/dev/null; ip6tables-save -t $t 2>/dev/null; done",
    ),
    (
        "nft",
        "nft list tables 2>/dev/null | grep -v -E '^table ip6? (raw|mangle|filter|nat)$'
         for f in ip ip6; do nft list table $f rbox 2>/dev/null | grep -E 'comment \"[0-9a-f]{64}|network-'; done",
    ),
    ("sysctl", "sysctl -a -r 'net.ipv4.(ip_forward|conf.*route_localnet)' 2>/dev/null"),
    // New ones alone: a copy of the machine's own mounts came with the namespace, and may vanish when the machine does.
    (
        "mounts",
        "awk 'NR == FNR { born[$1]; next } !($1 in born)' mounts.born /proc/self/mountinfo | cut -d' ' -f5- |
         sed -E 's/(shared|master|propagate_from):[0-9]+//g' | sort",
    ),
    ("netns names", "ls /run/netns 2>/dev/null"),
    // Listed before the filters exist: a list that holds its own filters differs from one time to the next.
    ("processes", "all=$(ps -e -o args=); printf '%s\\n' \"$all\" | grep -v -E '^(ps -e|/bin/sh -c all=|\\[)' | sort"),
];

fn list_folders(folder: &Path, found: &mut Vec<String>) {
    let mut inside: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    inside.retain(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    inside.sort_by_key(fs::DirEntry::file_name);
    for entry in inside {
        found.push(entry.path().display().to_string());
        list_folders(&entry.path(), found);
    }
}

/// Folders too, and what cannot be looked into: links, sockets.
fn list_entries(folder: &Path, found: &mut Vec<String>) {
    let mut inside: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    inside.sort_by_key(fs::DirEntry::file_name);
    for entry in inside {
        found.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list_entries(&entry.path(), found);
        }
    }
}

fn list_files(folder: &Path, found: &mut Vec<String>) {
    let mut inside: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    inside.sort_by_key(fs::DirEntry::file_name);
    for entry in inside {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list_files(&entry.path(), found);
        } else {
            found.push(entry.path().display().to_string());
        }
    }
}
