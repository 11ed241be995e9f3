//! A name for a container that was given none: a quality and a maker of operating systems or networks.

use anyhow::{Result, bail};

use crate::dirs::Dirs;
use crate::record::{self, Claim};

static QUALITIES: &[&str] = &[
    "able", "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "clear", "clever", "crisp", "deft",
    "eager", "early", "fair", "fleet", "fond", "frank", "free", "gentle", "glad", "golden", "grand", "happy", "hardy",
    "honest", "ideal", "jolly", "keen", "kind", "light", "lively", "lucid", "merry", "mild", "modest", "neat",
    "nimble", "noble", "plain", "proud", "quick", "quiet", "rapid", "ready", "serene", "sharp", "silent", "simple",
    "sober", "solid", "steady", "sunny", "swift", "tidy", "true", "vivid", "warm", "wise", "witty", "young", "zesty",
];

static MAKERS: &[&str] = &[
    "allen",
    "baran",
    "bartik",
    "borg",
    "cerf",
    "clark",
    "corbato",
    "crowther",
    "dijkstra",
    "engelbart",
    "estrin",
    "feinler",
    "gelernter",
    "hamilton",
    "hoare",
    "holberton",
    "hopper",
    "johnson",
    "joy",
    "kahn",
    "kay",
    "kernighan",
    "kleinrock",
    "knuth",
    "lamport",
    "lampson",
    "licklider",
    "liskov",
    "lovelace",
    "mcilroy",
    "metcalfe",
    "mockapetris",
    "perlman",
    "pike",
    "pouzin",
    "postel",
    "rashid",
    "ritchie",
    "roberts",
    "satyanarayanan",
    "sutherland",
    "tanenbaum",
    "thacker",
    "thompson",
    "turing",
    "wilkes",
    "wirth",
    "yannakakis",
    "zimmermann",
];

/// Claim `id` by a name that no container has.
///
/// Errors: a hundred draws were all taken; those of [`Claim::make`].
pub(crate) fn claim(dirs: &Dirs, id: &str) -> Result<Claim> {
    for _ in 0..100 {
        let name = draw()?;
        // Seen as taken, or taken by another rbox in this moment: draw again.
        if dirs.names().join(&name).is_symlink() {
            continue;
        }
        match Claim::make(dirs, id.to_owned(), name.clone()) {
            Err(_) if dirs.names().join(&name).is_symlink() => {}
            made => return made,
        }
    }
    bail!("cannot find a free name for the container: give it one with --name")
}

fn draw() -> Result<String> {
    let digits = record::random_id()?;
    let number = |from: usize| usize::from_str_radix(&digits[from..from + 8], 16).unwrap_or(0);
    Ok(format!("{}_{}", QUALITIES[number(0) % QUALITIES.len()], MAKERS[number(8) % MAKERS.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_drawn_from_lists_without_doubles() {
        for list in [QUALITIES, MAKERS] {
            let distinct: std::collections::BTreeSet<_> = list.iter().collect();
            assert_eq!(distinct.len(), list.len());
        }
    }
}
