//! The iptables backend, one for each family: one `iptables-restore --noflush` for each change, the `iptables` crate to look.
//!
//! A restore is a transaction for each table (raw, filter, nat, in this order), so a change that stops
//! half-way is closed rather than open. There is no `-C` probe anywhere: on a long chain it costs more than
//! the rule (13 to 24 ms at 1000 rules). That the shared rules are gone shows by the restore's failure.
//!
//! Rules leave through [`super::nfnetlink`] where iptables is the nft variant: `iptables-restore` with `-D`
//! lines waits for an RCU grace period for each table, 22 to 45 ms seen.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use iptables::IPTables;

use super::backend::{Variant, is_nft};
use super::bridge::{Shared, USER_CHAIN};
use super::{Rule, Seen, Table};
use crate::error::{Error, Result};
use crate::steps;

/// The host's iptables, or ip6tables.
pub(super) struct Iptables {
    name: &'static str,
    look: IPTables,
    restore: PathBuf,
    /// Locked by every `iptables-restore` that runs, also by one whose caller was killed.
    running: PathBuf,
    /// Whether the rules are really nftables'.
    pub(super) is_nft: bool,
}

/// What a table holds, as `iptables -S` lists it.
struct Listing {
    chains: Vec<String>,
    rules: HashMap<String, Vec<String>>,
}

impl Iptables {
    /// Find the programs of a variant, in `PATH` and where system programs are. `running` is a file for a lock.
    ///
    /// Errors: `Firewall` when there are none.
    pub(super) fn find(variant: Variant, ipv6: bool, running: PathBuf) -> Result<Iptables> {
        let name = variant.names(ipv6);
        let missing = |name: &str| Error::Firewall {
            doing: "set up the firewall".into(),
            said: format!("no program {name} in PATH or /usr/sbin"),
        };
        let look = program(name).ok_or_else(|| missing(name))?;
        let restore = program(&format!("{name}-restore")).ok_or_else(|| missing(&format!("{name}-restore")))?;
        let is_nft = is_nft(&restore);
        // The crate wants the name for ever; this runs once in a process's life.
        let cmd: &'static str = Box::leak(look.to_string_lossy().into_owned().into_boxed_str());
        let look = IPTables { cmd, has_check: true, has_wait: true, is_numeric: false };
        Ok(Iptables { name, look, restore, running, is_nft })
    }

    /// Put in what is missing of a network's shared rules. Says whether anything was.
    ///
    /// Same as: `iptables-restore --noflush -w 5` with `-I` and `-A` lines.
    pub(super) fn ensure(&self, shared: &Shared) -> Result<bool> {
        let mut change = Change::default();
        let mut listings = HashMap::new();
        for table in [Table::Raw, Table::Filter, Table::Nat] {
            listings.insert(table, self.list(table)?);
        }
        for (table, chain) in &shared.chains {
            // A ":CHAIN" line empties a chain that is there, so only a missing one may be named.
            if !listings[table].chains.iter().any(|have| have == chain) {
                change.add(*table, format!(":{chain} - [0:0]"));
            }
        }
        let mut next: HashMap<(Table, &str), usize> = HashMap::new();
        for rule in &shared.before {
            let have = listings[&rule.table].rules.get(&rule.chain);
            if let Some(index) = have.and_then(|lines| lines.iter().position(|line| *line == rule.to_string())) {
                next.insert((rule.table, &rule.chain), index + 1);
            }
        }
        for rule in &shared.first {
            let have = listings.get_mut(&rule.table).expect("all three are listed");
            let have = have.rules.entry(rule.chain.clone()).or_default();
            let at = next.entry((rule.table, &rule.chain)).or_default();
            match have.iter().position(|line| *line == rule.to_string()) {
                Some(index) => *at = index + 1,
                None => {
                    change.add(rule.table, format!("-I {} {} {}", rule.chain, *at + 1, rule.body()));
                    have.insert(*at, rule.to_string());
                    *at += 1;
                }
            }
        }
        for rule in &shared.last {
            if !listings[&rule.table].has(rule) {
                change.add(rule.table, rule.to_string());
            }
        }
        if change.is_empty() {
            return Ok(false);
        }
        self.commit(&steps::RULES_BASE, "install the shared rules", &change)?;
        Ok(true)
    }

    /// Put in a network's own rules, where all that networks have in common is there, and none of them: those that belong
    /// to the head of a chain before all that is there. No line has a number, since for one the program reads all rules.
    ///
    /// Same as: `iptables-restore --noflush -w 5` with `-I` and `-A` lines.
    pub(super) fn add_own(&self, shared: &Shared) -> Result<()> {
        let mut change = Change::default();
        for rule in shared.first.iter().rev().filter(|rule| Shared::is_of_one_network(rule)) {
            change.add(rule.table, format!("-I {} {}", rule.chain, rule.body()));
        }
        for rule in shared.last.iter().filter(|rule| Shared::is_of_one_network(rule)) {
            change.add(rule.table, rule.to_string());
        }
        self.commit(&steps::RULES_BASE, "install the network's rules", &change)
    }

    /// Add rules at the ends of their chains.
    ///
    /// Same as: `iptables-restore --noflush -w 5` with `-A` lines.
    /// Errors: `Firewall`, also when a chain is missing: somebody emptied the tables.
    pub(super) fn append(&self, rules: &[&Rule]) -> Result<()> {
        let mut change = Change::default();
        for rule in rules {
            change.add(rule.table, rule.to_string());
        }
        self.commit(&steps::RULES_ADD, "add the rules of the published ports", &change)
    }

    /// Take out these rules. A rule or chain that is gone already is no error.
    pub(super) fn delete(&self, rules: &[&Rule]) -> Result<()> {
        let delete = |rules: &[&Rule]| {
            let mut change = Change::default();
            for rule in rules {
                change.add(rule.table, format!("-D {} {}", rule.chain, rule.body()));
            }
            self.commit(&steps::RULES_DELETE, "delete the rules of the published ports", &change)
        };
        if delete(rules).is_ok() {
            return Ok(());
        }
        // One of them is gone already, and a table's lines are done all or none: look, and delete what is there.
        for rule in rules {
            if self.list(rule.table)?.has(rule) {
                delete(std::slice::from_ref(rule))?;
            }
        }
        Ok(())
    }

    /// Take out lines as [`Iptables::show`] has them, without the program's name: `-t nat -A RBOX …`.
    pub(super) fn delete_lines(&self, lines: &[&str]) -> Result<()> {
        let mut change = Change::default();
        for table in [Table::Raw, Table::Filter, Table::Nat] {
            let head = format!("-t {table} -A ");
            let of_table = lines.iter().filter_map(|line| line.strip_prefix(&head));
            of_table.for_each(|line| change.add(table, format!("-D {line}")));
        }
        self.commit(&steps::RULES_DELETE, "delete rules that are nobody's", &change)
    }

    /// Take out a network's shared rules; with the last network the chains go too.
    ///
    /// The user's chain stays when it holds any rule of the user's.
    pub(super) fn remove(&self, shared: &Shared) -> Result<()> {
        let mut listings = HashMap::new();
        for table in [Table::Raw, Table::Filter, Table::Nat] {
            listings.insert(table, self.list(table)?);
        }
        let there = |rule: &&Rule| listings[&rule.table].has(rule);
        let mut change = Change::default();
        let own = || shared.rules().filter(|rule| Shared::is_of_one_network(rule));
        for rule in own().filter(there) {
            change.add(rule.table, format!("-D {} {}", rule.chain, rule.body()));
        }
        let own: Vec<String> = own().map(Rule::to_string).collect();
        let others =
            listings[&Table::Nat].rules.get("RBOX").is_some_and(|lines| lines.iter().any(|l| !own.contains(l)));
        if !others {
            let users = listings[&Table::Filter].rules.get(USER_CHAIN).is_some_and(|lines| lines.len() > 1);
            self.remove_chains(shared, users, &listings, &mut change);
        }
        if change.is_empty() { Ok(()) } else { self.commit(&steps::RULES_BASE, "remove the shared rules", &change) }
    }

    fn remove_chains(&self, shared: &Shared, users: bool, listings: &HashMap<Table, Listing>, change: &mut Change) {
        let goes = |chain: &str| !(users && chain == USER_CHAIN);
        let jumps = shared.rules().filter(|rule| !Shared::is_of_one_network(rule));
        for rule in jumps.filter(|rule| listings[&rule.table].has(rule)) {
            let to_user_chain = rule.to_string().ends_with(&format!("-j {USER_CHAIN}"));
            let inside = shared.chains.iter().any(|(_, chain)| *chain == rule.chain);
            let stays = users && to_user_chain;
            if !inside && !stays {
                change.add(rule.table, format!("-D {} {}", rule.chain, rule.body()));
            }
        }
        let mine = || {
            shared
                .chains
                .iter()
                .filter(|(table, chain)| goes(chain) && listings[table].chains.iter().any(|c| c == chain))
        };
        // All are emptied before any is deleted: they jump to one another.
        mine().for_each(|(table, chain)| change.add(*table, format!("-F {chain}")));
        mine().for_each(|(table, chain)| change.add(*table, format!("-X {chain}")));
    }

    /// Have a chain of ours hold these rules and no others, all at once. Says whether it was otherwise.
    ///
    /// Same as: `iptables-restore --noflush -w 5` with a `:CHAIN` line, which empties it.
    pub(super) fn rewrite(&self, (table, chain): (Table, &str), rules: &[Rule]) -> Result<bool> {
        let listing = self.list(table)?;
        let there = listing.rules.get(chain).map(Vec::as_slice).unwrap_or_default();
        if listing.chains.iter().any(|have| have == chain)
            && there.iter().eq(&rules.iter().map(Rule::to_string).collect::<Vec<_>>())
        {
            return Ok(false);
        }
        let mut change = Change::default();
        change.add(table, format!(":{chain} - [0:0]"));
        rules.iter().for_each(|rule| change.add(table, rule.to_string()));
        self.commit(&steps::RULES_BASE, "write down what the host's own firewall allows", &change)?;
        Ok(true)
    }

    /// Whether a chain is there.
    pub(super) fn has_chain(&self, (table, chain): (Table, &str)) -> Result<bool> {
        Ok(self.list(table)?.chains.iter().any(|have| have == chain))
    }

    /// Take out a chain of ours that nothing leads to any more. One that is gone already is no error.
    pub(super) fn remove_chain(&self, (table, chain): (Table, &str)) -> Result<()> {
        if !self.has_chain((table, chain))? {
            return Ok(());
        }
        let mut change = Change::default();
        change.add(table, format!("-F {chain}"));
        change.add(table, format!("-X {chain}"));
        self.commit(&steps::RULES_BASE, "remove the shared rules", &change)
    }

    /// List our rules as the kernel has them, and what each has seen.
    pub(super) fn show(&self, is_ours: impl Fn(&str) -> bool) -> Result<Vec<Seen>> {
        let mut found = Vec::new();
        for table in [Table::Raw, Table::Filter, Table::Nat] {
            let lines = self.lines(table, &["-v"])?;
            let counted = lines.iter().filter_map(|line| counted(line)).filter(|(line, ..)| is_ours(line));
            found.extend(counted.map(|(line, packets, bytes)| {
                let text = format!("{} -t {table} {line}", self.name);
                Seen { id: text.clone(), text, packets, bytes }
            }));
        }
        Ok(found)
    }

    fn lines(&self, table: Table, more: &[&str]) -> Result<Vec<String>> {
        let words = || format!("{} -t {table} -S {} --wait", self.name, more.join(" "));
        let ask = || match more {
            [] => self.look.list_table(&table.to_string()),
            _ => {
                let output = self.look.execute(&table.to_string(), &format!("-S {}", more.join(" ")))?;
                Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
            }
        };
        rbox_explain::step(&steps::RULES_LIST, words, ask).map_err(|error| Error::Firewall {
            doing: format!("list table {table}"),
            said: error.to_string().trim().to_owned(),
        })
    }

    /// All rules of all tables as `iptables-save` has them, without times and counters.
    pub(super) fn image(&self) -> Result<String> {
        let doing = || format!("list the rules of {}", self.name);
        let refused = |said: String| Error::Firewall { doing: doing(), said };
        let save = format!("{}-save", self.name);
        let save = program(&save).ok_or_else(|| refused(format!("no program {save} in PATH or /usr/sbin")))?;
        let output = Command::new(save).output().map_err(|error| refused(crate::error::words(&error)))?;
        if !output.status.success() {
            return Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let lines = said.lines().filter(|line| !line.starts_with('#'));
        Ok(lines.map(without_counts).collect::<Vec<_>>().join("\n"))
    }

    fn list(&self, table: Table) -> Result<Listing> {
        let lines = self.lines(table, &[])?;
        let mut listing = Listing { chains: Vec::new(), rules: HashMap::new() };
        for line in lines {
            let mut words = line.split(' ');
            match (words.next(), words.next()) {
                (Some("-P" | "-N"), Some(chain)) => listing.chains.push(chain.to_owned()),
                (Some("-A"), Some(chain)) => listing.rules.entry(chain.to_owned()).or_default().push(line.clone()),
                _ => {}
            }
        }
        if listing.chains.is_empty() {
            // The crate does not look at the exit code. Every table has chains of its own, so this was an error;
            // taken for an empty table it would make us write every chain anew, and so empty those of others.
            return Err(Error::Firewall {
                doing: format!("list table {table}"),
                said: format!("{} lists nothing", self.name),
            });
        }
        Ok(listing)
    }

    fn commit(&self, row: &'static rbox_explain::Row, doing: &str, change: &Change) -> Result<()> {
        let text = change.to_string();
        let words = || format!("{}-restore --noflush -w 5 <<EOF\n{text}EOF", self.name);
        rbox_explain::step(row, words, || self.run(&text))
            .map_err(|said| Error::Firewall { doing: doing.to_owned(), said })
    }

    /// Errors: the program's own words, in one line.
    fn run(&self, text: &str) -> std::result::Result<(), String> {
        // It says nothing on its standard output, so that is where it holds the lock, for as long as it lives.
        let running = super::lock_file(&self.running).and_then(|file| file.lock_shared().map(|()| file));
        let running = running.map_err(|error| crate::error::words(&error))?;
        let child = Command::new(&self.restore)
            .args(["--noflush", "-w", "5"])
            .stdin(Stdio::piped())
            .stdout(Stdio::from(running))
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {}", self.restore.display(), crate::error::words(&error)))?;
        finish(child, text)
    }
}

/// Give a started `iptables-restore` its lines, and wait for its end.
///
/// Errors: the program's own words, in one line.
pub(crate) fn finish(mut child: Child, text: &str) -> std::result::Result<(), String> {
    let mut input = child.stdin.take().expect("every caller asks for it");
    // A program that ends early has said why on its standard error.
    let _ = input.write_all(text.as_bytes());
    drop(input);
    let output = child.wait_with_output().map_err(|error| crate::error::words(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(if lines.is_empty() { output.status.to_string() } else { lines.join("; ") })
}

impl Listing {
    fn has(&self, rule: &Rule) -> bool {
        self.rules.get(&rule.chain).is_some_and(|lines| lines.contains(&rule.to_string()))
    }
}

/// Read `-A RBOX -i rbox0 -c 5 300 -j RETURN`, as `iptables -S -v` prints it: the line of `iptables-save`, packets, bytes.
/// Nothing for a chain.
fn counted(line: &str) -> Option<(String, u64, u64)> {
    let (before, after) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(" -c "))?;
    let mut words = after.splitn(3, ' ');
    let (packets, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let rest = words.next().map(|rest| format!(" {rest}")).unwrap_or_default();
    Some((format!("-A {before}{rest}"), packets, bytes))
}

/// Lines for `iptables-restore`, by table.
#[derive(Default)]
struct Change {
    lines: Vec<(Table, String)>,
}

impl Change {
    fn add(&mut self, table: Table, line: String) {
        self.lines.push((table, line));
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for table in [Table::Raw, Table::Filter, Table::Nat] {
            let mut lines = String::new();
            for (_, line) in self.lines.iter().filter(|(of, _)| *of == table) {
                writeln!(lines, "{line}")?;
            }
            if !lines.is_empty() {
                write!(f, "*{table}\n{lines}COMMIT\n")?;
            }
        }
        Ok(())
    }
}

/// Find a program in `PATH`, and where system programs are.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|file| runs(file))
}

fn runs(file: &Path) -> bool {
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// A line of iptables-save: a chain's ends with what it has counted. In a rule `[fd00::2]:80` is an address.
fn without_counts(line: &str) -> &str {
    if line.starts_with(':') { line.split(" [").next().unwrap_or_default() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_taken_out_of_a_line() {
        assert_eq!(
            counted("-A RBOX -i rbox0 -m comment --comment network-0a -c 358 26776 -j RETURN"),
            Some(("-A RBOX -i rbox0 -m comment --comment network-0a -j RETURN".into(), 358, 26776))
        );
        assert_eq!(counted("-P INPUT ACCEPT -c 0 0"), None);
        assert_eq!(counted("-N RBOX"), None);
    }

    #[test]
    fn tables_are_written_from_closed_to_open() {
        let mut change = Change::default();
        change.add(Table::Nat, "-A RBOX -j RETURN".into());
        change.add(Table::Raw, "-A PREROUTING -j DROP".into());
        assert_eq!(change.to_string(), "*raw\n-A PREROUTING -j DROP\nCOMMIT\n*nat\n-A RBOX -j RETURN\nCOMMIT\n");
    }
}
