//! Which of the kernel's packet filters holds the rules of one state directory. All of them, or none: never two at once.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Deserialize;

use super::program;
use crate::error::{Doing, Result};

/// A way to put rules into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Backend {
    /// The programs iptables-restore(8) and ip6tables-restore(8), beside the rules of others.
    Iptables,
    /// A table of rbox's own in nftables, by netlink alone.
    Nftables,
}

impl Backend {
    /// The one that this host is made for: iptables where it is installed, since others look at its rules.
    pub fn of_this_host() -> Backend {
        static FOUND: OnceLock<Backend> = OnceLock::new();
        *FOUND.get_or_init(|| match program("iptables").and(program("iptables-restore")) {
            Some(_) => Backend::Iptables,
            None => Backend::Nftables,
        })
    }

    /// Its name in the configuration.
    fn word(self) -> &'static str {
        match self {
            Backend::Iptables => "iptables",
            Backend::Nftables => "nftables",
        }
    }

    /// Read such a name; nothing for any other.
    fn of_word(word: &str) -> Option<Backend> {
        [Backend::Iptables, Backend::Nftables].into_iter().find(|backend| backend.word() == word)
    }
}

impl TryFrom<String> for Backend {
    type Error = String;

    fn try_from(word: String) -> std::result::Result<Backend, String> {
        Backend::of_word(&word).ok_or_else(|| format!("no packet filter {word}: iptables or nftables"))
    }
}

/// The choice, and the file that tells other processes of it.
pub(super) struct Chosen {
    file: PathBuf,
    now: AtomicU8,
}

const UNKNOWN: u8 = 0;

impl Chosen {
    pub(super) fn kept_in(file: PathBuf) -> Chosen {
        Chosen { file, now: AtomicU8::new(UNKNOWN) }
    }

    pub(super) fn get(&self) -> Backend {
        match self.now.load(Ordering::Relaxed) {
            1 => return Backend::Iptables,
            2 => return Backend::Nftables,
            _ => {}
        }
        let kept = fs::read_to_string(&self.file).ok();
        let backend = kept.and_then(|word| Backend::of_word(word.trim())).unwrap_or_else(Backend::of_this_host);
        self.remember(backend);
        backend
    }

    pub(super) fn set(&self, backend: Backend) -> Result<()> {
        let write = || -> io::Result<()> {
            let beside = self.file.with_extension("new");
            fs::write(&beside, backend.word())?;
            fs::rename(&beside, &self.file)
        };
        write().doing(|| format!("write {}", self.file.display()))?;
        self.remember(backend);
        Ok(())
    }

    fn remember(&self, backend: Backend) {
        self.now.store(if backend == Backend::Iptables { 1 } else { 2 }, Ordering::Relaxed);
    }
}
