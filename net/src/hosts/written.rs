//! What a person may have written into a hosts file, hosts(5): it survives what is done to our lines, byte for byte.

use super::*;
use crate::dice::{Dice, cases};

const PARTS: [&str; 22] = [
    "10.9.9.1",
    "fd00:9::1",
    "::1",
    "127.0.0.1",
    "999.1.1.1",
    "localhost",
    "mine",
    "db.example.org",
    "#",
    "# store was here",
    "#10.9.9.2 store",
    " ",
    "\t",
    "\t\t  ",
    "\r\n",
    "\n",
    "\n\n",
    "\u{b}",
    "\u{a0}",
    "\u{2028}",
    "\u{fffd}ä",
    "storeroom",
];

/// Lines that never name what is ours outside of a remark.
fn written(dice: &mut Dice) -> String {
    let mut text: String = (0..dice.below(40)).map(|_| dice.pick(&PARTS)).collect();
    if dice.one_in(2) {
        text.push('\n');
    }
    text
}

fn ours(dice: &mut Dice) -> Entry {
    let address = dice.pick(&["10.0.0.2", "172.17.0.3", "fd00::2"]).parse().unwrap();
    Entry { address, names: ["web", "store", "0123456789ab"].map(str::to_owned).into() }
}

fn relinked(text: &str, entry: &Entry) -> String {
    relink_hosts(text, "store", entry)
}

#[test]
fn lines_that_come_and_go_leave_the_others_as_they_were() {
    for mut case in cases(20_000) {
        let dice = &mut case.dice;
        let (text, entry) = (written(dice), ours(dice));
        let with = extend_hosts(&text, std::slice::from_ref(&entry));
        assert!(with.ends_with(&format!("{}\t{}\n", entry.address, entry.names.join(" "))), "{with:?}");
        assert_eq!(with.matches('\n').count(), with.lines().count(), "the last line has its end: {with:?}");
        // Only the end of a last line that had none is more than there was.
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        assert_eq!(shorten_hosts(&with, std::slice::from_ref(&entry)), format!("{text}{end}"));
        assert_eq!(extend_hosts(&text, &[]), text);
        assert_eq!(shorten_hosts(&text, std::slice::from_ref(&entry)), text, "nothing of it is ours");
    }
}

#[test]
fn a_link_changes_its_own_line_alone() {
    for mut case in cases(20_000) {
        let dice = &mut case.dice;
        let (mut text, entry, later) = (written(dice), ours(dice), ours(dice));
        let bytes = text.as_bytes();
        let begins: Vec<usize> = (0..text.len()).filter(|at| *at == 0 || bytes[at - 1] == b'\n').collect();
        let at = if begins.is_empty() { 0 } else { dice.pick(&begins) };
        text.insert_str(at, "#\u{e4}\u{ff} store\n");
        let once = relinked(&text, &entry);
        let line = format!("{}\t{}\n", entry.address, entry.names.join(" "));
        let place = once.find(&line).expect("the line is there");
        let rest = [&once[..place], &once[place + line.len()..]].concat();
        assert_eq!(rest, text, "what was there is there, and nothing else");
        assert!(place == 0 || once[..place].ends_with('\n'), "it is a line of its own");
        assert_eq!(relinked(&once, &entry), once, "once is enough");
        assert_eq!(relinked(&once, &later), relinked(&text, &later), "the next takes its place");
    }
}
