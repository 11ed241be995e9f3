//! The defences against known attacks, by name: so that a test can switch one off and see the attack succeed without it.
//!
//! In an ordinary build every defence stands, the question is answered at compile time, and the code behind "no" is
//! not there. A build with the feature `weaken` (tests only) reads the one to be switched off from `RBOX_WEAKEN`.

/// A defence, named after what it ensures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defence {
    /// CVE-2019-5736: no container can write this program.
    OwnProgram,
    /// CVE-2024-21626: the working directory is a place of the container.
    WorkingDirectory,
    /// CVE-2021-30465: mount points are found from inside the new root.
    PlacesFromInside,
    /// CVE-2023-27561, CVE-2026-41579: /proc, /sys and /dev are no links.
    NoLinkedPlaces,
    /// CVE-2025-31133: masks are made of the host's own /dev/null.
    TrueNull,
    /// CVE-2025-52565: the console is the terminal that was made, not what a path says.
    TrueTerminal,
    /// CVE-2025-52881: settings are written to the kernel's own proc.
    TrueProc,
}

impl Defence {
    /// Whether it is in force.
    #[cfg(not(feature = "weaken"))]
    pub(crate) const fn stands(self) -> bool {
        true
    }

    /// Whether it is in force.
    #[cfg(feature = "weaken")]
    pub(crate) fn stands(self) -> bool {
        weakened::off() != Some(self)
    }
}

#[cfg(feature = "weaken")]
mod weakened {
    use super::Defence;
    use std::sync::OnceLock;

    static OFF: OnceLock<Option<Defence>> = OnceLock::new();

    /// Read once, by the first question: that is `seal`'s, long before the clone.
    pub(super) fn off() -> Option<Defence> {
        *OFF.get_or_init(|| match std::env::var("RBOX_WEAKEN").ok()?.as_str() {
            "CVE-2019-5736" => Some(Defence::OwnProgram),
            "CVE-2024-21626" => Some(Defence::WorkingDirectory),
            "CVE-2021-30465" => Some(Defence::PlacesFromInside),
            "CVE-2023-27561" | "CVE-2026-41579" => Some(Defence::NoLinkedPlaces),
            "CVE-2025-31133" => Some(Defence::TrueNull),
            "CVE-2025-52565" => Some(Defence::TrueTerminal),
            "CVE-2025-52881" => Some(Defence::TrueProc),
            _ => None,
        })
    }
}
