//! The packet filter of a private host, whichever backend holds the rules.

use super::Host;

/// The backend that the private hosts are configured with: `RBOX_TEST_FIREWALL`, else what rbox takes by itself.
pub(crate) fn is_on_nftables() -> bool {
    std::env::var_os("RBOX_TEST_FIREWALL").is_some_and(|backend| backend == "nftables")
}

impl Host {
    /// Rules that a test takes out by hand stay away. Before anything is started.
    pub(crate) fn leave_rules_alone(&self) {
        std::fs::write(self.path("config.json"), r#"{ "firewall": { "repair": false } }"#).unwrap();
    }

    /// Nobody looks after the rules, on whichever backend they are. Before anything is started.
    pub(crate) fn without_repair(&self) {
        let backend = if is_on_nftables() { "nftables" } else { "iptables" };
        let config = format!(r#"{{ "firewall": {{ "backend": "{backend}", "repair": false }} }}"#);
        std::fs::write(self.path("config.json"), config).unwrap();
    }

    /// Take out, by hand, the rules of a table in whose line each of these words stands; at least one has to be there. See
    /// [`Host::leave_rules_alone`].
    #[track_caller]
    pub(crate) fn delete_rules(&self, table: &str, words: &[&str]) {
        let mut found = 0;
        for program in ["iptables", "ip6tables"] {
            let listed = self.shell(&format!("{program} -t {table} -S")).ok();
            for line in listed.stdout.lines().filter(|line| words.iter().all(|word| line.contains(word))) {
                self.shell(&format!("{program} -t {table} {}", line.replacen("-A ", "-D ", 1))).ok();
                found += 1;
            }
        }
        assert!(found > 0, "no rule with {words:?} in table {table}");
    }

    /// The IPv4 ports that the kernel translates one by one, and where they lead: `(8080, "172.17.0.2:80")`, in order.
    pub(crate) fn translated(&self) -> Vec<(u16, String)> {
        let mut all: Vec<(u16, String)> = if is_on_nftables() {
            let map = self.shell("nft -j list map ip rbox ports").ok().json();
            let entries = map["nftables"].as_array().unwrap().iter().filter_map(|it| it["map"]["elem"].as_array());
            let both = |entry: &serde_json::Value| {
                let key = if entry[0]["elem"].is_object() { &entry[0]["elem"]["val"] } else { &entry[0] };
                let (port, to) = (&key["concat"][1], &entry[1]["concat"]);
                let port = u16::try_from(port.as_u64().unwrap()).unwrap();
                (port, format!("{}:{}", to[0].as_str().unwrap(), to[1]))
            };
            entries.flatten().map(both).collect()
        } else {
            let lines = self.shell("iptables-save -t nat").ok().stdout;
            let both = |line: &str| {
                let word = |before: &str| Some(line.split_once(before)?.1.split(' ').next()?.to_owned());
                Some((word("--dport ")?.parse().ok()?, word("--to-destination ")?))
            };
            lines.lines().filter(|line| line.starts_with("-A RBOX ")).filter_map(both).collect()
        };
        all.sort();
        all
    }
}
