//! Two lists of lines -> the lines that only one of them has.

use super::known::Known;

/// One line that one engine alone has: `NAME: -LINE` is Docker's, `NAME: +LINE` is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) name: String,
    pub(super) line: String,
}

/// What stands in one of the two only; the order counts (longest common subsequence).
pub(super) fn differences(name: &str, theirs: &[String], ours: &[String]) -> Vec<Difference> {
    let mut longest = vec![vec![0_usize; ours.len() + 1]; theirs.len() + 1];
    for at in (0..theirs.len()).rev() {
        for other in (0..ours.len()).rev() {
            longest[at][other] = if theirs[at] == ours[other] {
                longest[at + 1][other + 1] + 1
            } else {
                longest[at + 1][other].max(longest[at][other + 1])
            };
        }
    }
    let (mut at, mut other, mut found) = (0, 0, Vec::new());
    let one = |sign: char, line: &String| Difference { name: name.to_owned(), line: format!("{sign}{line}") };
    while at < theirs.len() || other < ours.len() {
        if at < theirs.len() && other < ours.len() && theirs[at] == ours[other] {
            at += 1;
            other += 1;
        } else if other == ours.len() || (at < theirs.len() && longest[at + 1][other] >= longest[at][other + 1]) {
            found.push(one('-', &theirs[at]));
            at += 1;
        } else {
            found.push(one('+', &ours[other]));
            other += 1;
        }
    }
    found
}

/// Whether one line of the list of differences is about this one. A star ends a name of which only the beginning is given.
pub(super) fn is_listed(pattern: &str, found: &Difference) -> bool {
    let whole = format!("{}: {}", found.name, found.line);
    let begins = |(name, line): (&str, &str)| found.name.starts_with(name) && found.line == line;
    pattern == whole || pattern.split_once("*: ").is_some_and(begins)
}

/// What is not listed, and what is listed and did not occur.
pub(super) fn unexplained(known: &[&Known], found: &[Difference]) -> (Vec<String>, Vec<String>) {
    let listed: Vec<(&str, &str)> =
        known.iter().flat_map(|known| known.lines.iter().map(|line| (known.name, *line))).collect();
    let explained = |one: &&Difference| listed.iter().any(|(_, line)| is_listed(line, one));
    let unlisted = found.iter().filter(|one| !explained(one)).map(|one| format!("{}: {}", one.name, one.line));
    let occurs = |line: &str| found.iter().any(|one| is_listed(line, one));
    let gone = listed.iter().filter(|(_, line)| !occurs(line)).map(|(name, line)| format!("{name}: {line}"));
    (unlisted.collect(), gone.collect())
}
