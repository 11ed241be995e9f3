//! Which Linux this is, where it must be known before asking: what an older one does not know, it may complain of.

use nix::sys::utsname::uname;

/// The running kernel's version, as uname(2) has it; (0, 0) if it calls itself by something else than numbers.
pub(crate) fn version() -> (u32, u32) {
    uname().map_or((0, 0), |name| numbers(&name.release().to_string_lossy()))
}

/// `6.1.0-44-amd64` is (6, 1).
fn numbers(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|other: char| !other.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        for (release, version) in [
            ("6.1.0-44-amd64", (6, 1)),
            ("5.10.0", (5, 10)),
            ("6.18", (6, 18)),
            ("6.7-rc1+", (6, 7)),
            ("7", (7, 0)),
            ("next-6.7", (0, 0)),
            ("", (0, 0)),
        ] {
            assert_eq!(numbers(release), version, "{release}");
        }
    }

    #[test]
    fn the_running_kernel_has_a_version() {
        let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let (major, minor) = version();
        assert!(text.starts_with(&format!("{major}.{minor}")), "{text}: {major}.{minor}");
    }
}
