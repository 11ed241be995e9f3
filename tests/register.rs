//! The register of those at work: as long as nobody has died, nobody looks for what the dead left; and then the next does.

use crate::support::{BUSYBOX, Host, need};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

/// The file as `src/record/register.rs` describes it.
struct Seen {
    /// How often somebody has looked, and all was well.
    looks: u32,
    /// Seconds since the machine was started.
    looked: u64,
    words: Vec<u32>,
}

/// linux/futex.h
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;

fn seen(host: &Host) -> Seen {
    let bytes = fs::read(host.path("state/register")).unwrap();
    assert!(bytes.starts_with(b"rbox reg"));
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let words = (64..16384).step_by(4).map(word).filter(|word| *word != 0).collect();
    Seen { looks: word(12), looked: u64::from_ne_bytes(bytes[16..24].try_into().unwrap()), words }
}

fn uptime() -> u64 {
    fs::read_to_string("/proc/uptime").unwrap().split('.').next().unwrap().parse().unwrap()
}

/// How often somebody has looked during `act`: nothing where it took so long that a look was due anyway.
fn looks(host: &Host, act: impl FnOnce()) -> Option<u32> {
    let before = seen(host);
    act();
    let looks = seen(host).looks - before.looks;
    (uptime() - before.looked < 10).then_some(looks)
}

fn is_attended(host: &Host, name: &str) -> bool {
    !host.shown(name, "Status").contains("unattended")
}

#[test]
fn while_nobody_dies_nobody_looks() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["--network", "none"], &["true"]).ok();
    for _ in 0..5 {
        // An error is an end like any other: who has not done all that he began may have left something.
        host.rbox(&["rm", "nobody"]).fails();
        assert_eq!(seen(&host).words, [FUTEX_OWNER_DIED]);
        host.run(&["--network", "none"], &["true"]).ok();
        let looks = looks(&host, || {
            host.detached(&["--network", "none", "--name", "one"], &["sleep", "600"]);
            host.run(&["--network", "none"], &["false"]);
            host.rbox(&["stop", "-t", "0", "one"]).ok();
            host.rbox(&["rm", "one"]).ok();
        });
        // The monitor may not have ended yet; it holds nothing any more.
        assert!(!seen(&host).words.contains(&FUTEX_OWNER_DIED), "{:x?}", seen(&host).words);
        if let Some(looks) = looks {
            assert_eq!(looks, 0);
            return;
        }
    }
    panic!("four commands take ten seconds each time");
}

#[test]
fn a_monitor_stands_in_it_and_its_death_is_seen_to_at_once() {
    need!(Root);
    let host = Host::with_busybox();
    for name in ["one", "two"] {
        host.detached(&["--network", "none", "--name", name], &["sleep", "600"]);
    }
    let words = seen(&host).words;
    assert_eq!(words.len(), 2, "{words:x?}");
    host.kill_monitors();
    assert_eq!(seen(&host).words, [FUTEX_OWNER_DIED; 2]);
    assert!(!is_attended(&host, "one") && !is_attended(&host, "two"), "who only looks changes nothing");
    host.run(&["--network", "none"], &["true"]).ok();
    assert!(is_attended(&host, "one") && is_attended(&host, "two"));
    assert_eq!(seen(&host).words.len(), 2);
    host.rbox(&["rm", "-f", "one", "two"]).ok();
}

/// A host that rbox is upgraded on, or whose register was lost: who works already stands in none.
#[test]
fn without_a_register_or_with_one_that_says_nothing_everybody_looks() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "one"], &["sleep", "600"]);
    let path = host.path("state/register");
    let spoil: [&dyn Fn(); 3] = [
        &|| fs::remove_file(&path).unwrap(),
        &|| OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0xa5; 64], 0).unwrap(),
        &|| {
            fs::remove_file(&path).unwrap();
            fs::write(&path, "rbox").unwrap();
        },
    ];
    for spoil in spoil {
        spoil();
        host.run(&["--network", "none"], &["true"]).ok();
        host.kill_monitors();
        host.run(&["--network", "none"], &["true"]).ok();
        assert!(is_attended(&host, "one"));
        let looks = looks(&host, || drop(host.run(&["--network", "none"], &["true"]).ok()));
        assert!(looks.is_none_or(|looks| looks >= 1), "it is made anew, and says that it does not have everybody");
    }
    host.rbox(&["rm", "-f", "one"]).ok();
}

/// Links are not followed: what they lead to is not ours to write.
#[test]
fn a_link_in_its_place_is_not_followed() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["--network", "none"], &["true"]).ok();
    let (path, other) = (host.path("state/register"), host.path("other"));
    fs::write(&other, "mine").unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    host.run(&["--network", "none"], &["true"]).ok();
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
}

/// Twelve that begin at once have twelve words.
#[test]
fn everybody_has_a_word_of_his_own() {
    need!(Root);
    let host = Host::with_busybox();
    let names: Vec<String> = (0..12).map(|number| format!("c{number}")).collect();
    let runs: Vec<_> = names
        .iter()
        .map(|name| host.rbox_spawn(&["run", "-d", "--network", "none", "--name", name, BUSYBOX, "sleep", "600"]))
        .collect();
    runs.into_iter().for_each(|run| drop(run.wait().ok()));
    let mut words = seen(&host).words;
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), names.len(), "{words:x?}");
    host.rbox(&[&["rm", "-f"][..], &names.iter().map(String::as_str).collect::<Vec<_>>()].concat()).ok();
}
