//! Which of the kernel's packet filters holds the rules of one state directory. All of them, or none: never two at once.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;

use super::program;
use crate::error::{Doing, Result};

/// Where the rules go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Backend {
    /// To the programs iptables-restore(8) and ip6tables-restore(8), beside the rules of others.
    Iptables(Variant),
    /// To a table of rbox's own in nftables, by netlink alone.
    Nftables,
    /// Nowhere: whoever looks after this host's packet filter puts them in.
    None,
}

/// There are two packet filters that are called iptables, in one kernel. What one of them lets pass the other may drop, so
/// the rules go to the one that has rules already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// What this host calls iptables.
    Usual,
    /// iptables-nft: the rules are nftables', in tables of its own.
    Nft,
    /// iptables-legacy: tables of an older kind.
    Legacy,
}

impl Backend {
    const ALL: [(Backend, &'static str); 5] = [
        (Backend::Iptables(Variant::Usual), "iptables"),
        (Backend::Iptables(Variant::Nft), "iptables-nft"),
        (Backend::Iptables(Variant::Legacy), "iptables-legacy"),
        (Backend::Nftables, "nftables"),
        (Backend::None, "none"),
    ];

    /// The one that this host is made for: iptables where it is installed, since others look at its rules; then that of its
    /// variants which has rules.
    #[must_use]
    pub fn of_this_host() -> Backend {
        match program("iptables").and(program("iptables-restore")) {
            Some(_) => Backend::Iptables(Variant::Usual).settled(),
            None => Backend::Nftables,
        }
    }

    /// Of iptables the variant that has rules, where only one has; else what this host calls so.
    pub(crate) fn settled(self) -> Backend {
        if self != Backend::Iptables(Variant::Usual) {
            return self;
        }
        let legacy = Path::new("/proc/thread-self/net/ip_tables_names");
        let legacy6 = Path::new("/proc/thread-self/net/ip6_tables_names");
        // Where no such table was ever looked at the program is not run: that alone would make some.
        let names = [legacy, legacy6].map(|file| fs::read_to_string(file).unwrap_or_default());
        let has_legacy = names.iter().any(|names| !names.is_empty()) && has_rules("iptables-legacy-save");
        let is_legacy = program("iptables").is_some_and(|file| !is_nft(&file));
        match (is_legacy, has_legacy) {
            (false, true) if !has_rules("iptables-nft-save") => Backend::Iptables(Variant::Legacy),
            (true, false) if has_rules("iptables-nft-save") => Backend::Iptables(Variant::Nft),
            _ => self,
        }
    }

    /// Whether rules that are in `self` are where `wanted` has them: `iptables` is any variant.
    #[must_use]
    pub fn is(self, wanted: Backend) -> bool {
        self == wanted || wanted == Backend::Iptables(Variant::Usual) && matches!(self, Backend::Iptables(_))
    }

    /// Read its name in the configuration; nothing for any other.
    fn of_word(word: &str) -> Option<Backend> {
        Backend::ALL.into_iter().find(|(_, own)| *own == word).map(|(backend, _)| backend)
    }
}

impl Variant {
    /// What its program is called.
    pub(crate) fn names(self, ipv6: bool) -> &'static str {
        match (self, ipv6) {
            (Variant::Usual, false) => "iptables",
            (Variant::Usual, true) => "ip6tables",
            (Variant::Nft, false) => "iptables-nft",
            (Variant::Nft, true) => "ip6tables-nft",
            (Variant::Legacy, false) => "iptables-legacy",
            (Variant::Legacy, true) => "ip6tables-legacy",
        }
    }
}

/// Whether a program called iptables, or one of its relatives, writes to nftables.
pub(super) fn is_nft(program: &Path) -> bool {
    program.canonicalize().is_ok_and(|path| path.to_string_lossy().contains("nft"))
}

/// Whether any rule, or a policy that drops, is listed by this program, or by the same for IPv6.
fn has_rules(save: &str) -> bool {
    [save.to_owned(), save.replacen("ip", "ip6", 1)].iter().filter_map(|name| program(name)).any(|program| {
        let listed = Command::new(program).output().map(|output| output.stdout).unwrap_or_default();
        let is_one = |line: &str| line.starts_with("-A ") || line.starts_with(':') && line.contains(" DROP ");
        String::from_utf8_lossy(&listed).lines().any(is_one)
    })
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, word) = Backend::ALL.iter().find(|(backend, _)| backend == self).expect("all of them are there");
        f.write_str(word)
    }
}

impl std::str::FromStr for Backend {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Backend, String> {
        let words = Backend::ALL.map(|(_, word)| word).join(", ");
        Backend::of_word(word).ok_or_else(|| format!("no packet filter {word}: one of {words}"))
    }
}

impl TryFrom<String> for Backend {
    type Error = String;

    fn try_from(word: String) -> std::result::Result<Backend, String> {
        word.parse()
    }
}

/// The choice, and the file that tells other processes of it.
pub(super) struct Chosen {
    file: PathBuf,
    /// Where it stands in [`Backend::ALL`].
    now: AtomicUsize,
}

const UNKNOWN: usize = usize::MAX;

impl Chosen {
    pub(super) fn kept_in(file: PathBuf) -> Chosen {
        Chosen { file, now: AtomicUsize::new(UNKNOWN) }
    }

    pub(super) fn get(&self) -> Backend {
        if let Some((backend, _)) = Backend::ALL.get(self.now.load(Ordering::Relaxed)) {
            return *backend;
        }
        let kept = fs::read_to_string(&self.file).ok();
        let backend = kept.and_then(|word| Backend::of_word(word.trim())).unwrap_or_else(Backend::of_this_host);
        self.remember(backend);
        backend
    }

    pub(super) fn set(&self, backend: Backend) -> Result<()> {
        let write = || -> io::Result<()> {
            let beside = self.file.with_extension("new");
            fs::write(&beside, backend.to_string())?;
            fs::rename(&beside, &self.file)
        };
        write().doing(|| format!("write {}", self.file.display()))?;
        self.remember(backend);
        Ok(())
    }

    fn remember(&self, backend: Backend) {
        let at = Backend::ALL.iter().position(|(one, _)| *one == backend).unwrap_or(UNKNOWN);
        self.now.store(at, Ordering::Relaxed);
    }
}
