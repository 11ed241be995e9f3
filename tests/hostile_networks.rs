//! Records of networks that are damaged: every command ends soon and names the file, what is whole beside it is still
//! there, and nothing outside of the two directories is touched.

use crate::support::{Host, Output, need};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const DEFINED: &str = "data/networks/broken.json";

/// How a file is damaged: it holds this, or it is no file.
enum Damage {
    Text(Vec<u8>),
    Folder,
    Fifo,
    Link(&'static str),
}

/// A host with a network `broken` and a network `whole`, and a container in each.
fn host() -> Host {
    let host = Host::with_busybox();
    for (name, number) in [("broken", 1), ("whole", 2)] {
        host.rbox(&["network", "create", "--subnet", &format!("10.{number}.0.0/24"), name]).ok();
        host.detached(&["--name", &format!("in-{name}"), "--network", name], &["sleep", "1000"]);
    }
    host
}

/// Every command that reads the records, for ten seconds at most: it works, or it says in words of its own what is wrong.
#[track_caller]
fn all_commands(host: &Host, what: &str, file: &Path) {
    let run = ["run", "--rm", "--network", "broken", crate::support::BUSYBOX, "true"];
    for words in [
        &["network", "ls"][..],
        &["network", "ls", "-q"],
        &["network", "inspect", "broken"],
        &["network", "inspect", "bridge", "whole"],
        &["network", "rules", "broken"],
        &["network", "reload", "broken"],
        &["network", "create", "broken"],
        &run,
        &["ps"],
        &["inspect", "in-broken"],
        &["port", "in-broken"],
        &["info"],
        &["network", "connect", "broken", "in-whole"],
        &["network", "disconnect", "broken", "in-whole"],
        &["network", "rm", "broken"],
        &["network", "prune", "-f"],
    ] {
        told(&bounded(host, words), what, file);
    }
}

fn bounded(host: &Host, words: &[&str]) -> Output {
    let all = host.rbox_words(words);
    let rbox = crate::support::rbox().display().to_string();
    let all: Vec<&str> = ["-k", "1", "10", &rbox].into_iter().chain(all.iter().map(String::as_str)).collect();
    host.exec("/usr/bin/timeout", &all)
}

/// It worked, or it said why in one line and a hint; where the record is what is wrong, by the name of the file.
#[track_caller]
fn told(output: &Output, what: &str, file: &Path) {
    assert!([0, 1, 125].contains(&output.code), "{what}: {output}");
    assert!(!output.stderr.contains("panicked"), "{what}: {output}");
    let begins = |line: &str| line.starts_with("rbox: ") || line.starts_with("hint: ");
    assert!(output.stderr.lines().all(begins), "{what}: {output}");
    assert!(output.code == 0 || output.stderr.starts_with("rbox: "), "{what}: {output}");
    let names = output.stderr.contains(&file.display().to_string());
    // What is done all the same may be done with a word about the file.
    assert!(output.code != 0 || output.stderr.is_empty() || names, "{what}: {output}");
    // What the kernel says of a folder in a file's place needs no advice.
    if names && !output.stderr.trim_end().ends_with(": is a directory") {
        assert!(output.stderr.contains("hint: remove that file"), "{what}: {output}");
    }
}

/// What has to be there whatever happens to the other.
#[track_caller]
fn the_whole_one_is_well(host: &Host, what: &str) {
    let listed = bounded(host, &["network", "ls", "--format", "{{.Name}}"]).stdout;
    assert!(
        ["bridge", "host", "none", "whole"].iter().all(|name| listed.lines().any(|it| it == *name)),
        "{what}: {listed}"
    );
    let pings =
        ["run", "--rm", "--network", "whole", crate::support::BUSYBOX, "ping", "-c", "1", "-W", "5", "in-whole"];
    let output = bounded(host, &pings);
    assert_eq!(output.code, 0, "{what}: {output}");
    assert_eq!(bounded(host, &["exec", "in-broken", "true"]).code, 0, "{what}");
}

/// The record as it is, and what is wrong with it once it is changed.
fn changed(record: &Value, pointer: &str, value: Value) -> Damage {
    let mut record = record.clone();
    *record.pointer_mut(pointer).expect("it is there") = value;
    Damage::Text(record.to_string().into_bytes())
}

fn damages(text: &[u8]) -> Vec<(String, Damage)> {
    let mut all: Vec<(String, Damage)> = [0, 1, text.len() / 3, text.len() / 2, text.len() - 1]
        .into_iter()
        .map(|length| (format!("cut at {length}"), Damage::Text(text[..length].to_vec())))
        .collect();
    for (what, other) in [
        ("garbage", &b"\xff\xfe\x00\x01garbage"[..]),
        ("null", b"null"),
        ("a list", b"[]"),
        ("an object", b"{}"),
        ("a number", b"18446744073709551616"),
        ("deep", &[b'['; 100_000]),
    ] {
        all.push((what.to_owned(), Damage::Text(other.to_vec())));
    }
    all.push(("a folder".to_owned(), Damage::Folder));
    all.push(("a FIFO".to_owned(), Damage::Fifo));
    all.push(("a link to nothing".to_owned(), Damage::Link("/nowhere/at/all")));
    all.push(("a link to a device".to_owned(), Damage::Link("/dev/zero")));
    all
}

fn put(host: &Host, file: &Path, damage: &Damage) {
    clear(file);
    match damage {
        Damage::Text(text) => fs::write(file, text).unwrap(),
        Damage::Folder => fs::create_dir(file).unwrap(),
        Damage::Fifo => drop(host.shell(&format!("mkfifo {}", file.display())).ok()),
        Damage::Link(to) => symlink(to, file).unwrap(),
    }
}

fn clear(file: &Path) {
    if file.is_dir() && !file.is_symlink() {
        fs::remove_dir_all(file).unwrap();
    } else {
        let _ = fs::remove_file(file);
    }
}

/// A file beside the directories, which a name with `../` in it leads to.
fn bait(host: &Host) -> PathBuf {
    let bait = host.path("bait.json");
    fs::write(&bait, "not yours").unwrap();
    bait
}

#[test]
fn a_damaged_network_harms_no_other_and_its_file_is_named() {
    need!(Root);
    let host = host();
    let (file, bait) = (host.path(DEFINED), bait(&host));
    let text = fs::read(&file).unwrap();
    let record: Value = serde_json::from_slice(&text).unwrap();
    let mut all = damages(&text);
    for (pointer, value) in [
        ("/name", json!("../../bait")),
        ("/name", json!("whole")),
        ("/name", json!("a\0b\nc")),
        ("/name", json!(7)),
        ("/id", json!("../../bait")),
        ("/id", json!("")),
        ("/id", json!("ä".repeat(32))),
        ("/pools/0/subnet", json!("10.1.0.0/99")),
        ("/pools/0/subnet", json!("10.9.0.0/24")),
        ("/pools/0/gateway", json!("fd00::1")),
        ("/pools/0/range", json!("10.9.0.0/24")),
        ("/mtu_bytes", json!(1_u64 << 40)),
        ("/bridge/name", json!("../../../bait")),
        ("/bridge/name", json!("x".repeat(5000))),
        ("/created", json!([1, 2])),
        ("/driver", json!("container\n")),
    ] {
        let what = format!("{pointer} is {value}").chars().take(80).collect();
        all.push((what, changed(&record, pointer, value)));
    }
    for (what, damage) in &all {
        put(&host, &file, damage);
        let output = bounded(&host, &["network", "inspect", "broken"]);
        let is_gone = matches!(damage, Damage::Link("/nowhere/at/all"));
        let names = if is_gone { "rbox: network broken: not found" } else { "data/networks/broken.json: " };
        assert!(output.code == 1 && output.stderr.contains(names), "{what}: {output}");
        all_commands(&host, what, &file);
        the_whole_one_is_well(&host, what);
        assert_eq!(fs::read(&bait).unwrap(), b"not yours", "{what}");
        assert!(is_gone || fs::symlink_metadata(&file).is_ok(), "{what}: nobody but a person removes it");
    }
    // As the hint says.
    clear(&file);
    fs::write(&file, &text).unwrap();
    host.rbox(&["rm", "-f", "in-broken"]).ok();
    host.rbox(&["network", "rm", "broken"]).ok();
    assert!(!file.exists());
}

/// The file of `in-broken`'s endpoint.
fn endpoint_of(host: &Host, container: &str) -> PathBuf {
    let id = host.rbox(&["inspect", "-f", "{{.Id}}", container]).ok().text().to_owned();
    let files = fs::read_dir(host.path("state/net/endpoints").join(id)).unwrap().flatten().map(|entry| entry.path());
    files.into_iter().next().unwrap()
}

/// What an endpoint's record says that cannot be.
fn wrong_endpoints() -> Vec<(&'static str, Value)> {
    vec![
        ("/owner/container", json!("../../../bait")),
        ("/owner/container", json!("")),
        ("/owner/pid", json!(u64::MAX)),
        ("/network_id", json!("../../../bait")),
        ("/id", json!("\n")),
        ("/attachment/address", json!("10.77.0.1")),
        ("/attachment/address", json!("999.0.0.1")),
        ("/attachment/subnet", json!("10.1.0.0/-1")),
        ("/attachment/address", json!("10.2.0.2")),
        ("/attachment/interface", json!("../eth0")),
        ("/ports", json!({})),
        ("/rules", json!([[]])),
    ]
}

#[test]
fn a_damaged_endpoint_keeps_nobody_from_removing_its_container() {
    need!(Root);
    let host = host();
    let bait = bait(&host);
    let change =
        |(pointer, value): &(&'static str, Value)| (format!("{pointer} is {value}"), Some((*pointer, value.clone())));
    let mut all: Vec<(String, Option<(&str, Value)>)> = wrong_endpoints().iter().map(change).collect();
    let many = damages(b"{}{}").len();
    all.extend((0..many).map(|_| (String::new(), None)));
    for (number, (what, change)) in all.iter().enumerate() {
        if bounded(&host, &["inspect", "in-broken"]).code != 0 {
            host.detached(&["--name", "in-broken", "--network", "broken"], &["sleep", "1000"]);
        }
        let file = endpoint_of(&host, "in-broken");
        let text = fs::read(&file).unwrap();
        let (what, damage) = match change {
            Some((pointer, value)) => {
                (what.clone(), changed(&serde_json::from_slice(&text).unwrap(), pointer, value.clone()))
            }
            None => damages(&text).swap_remove(number + many - all.len()),
        };
        put(&host, &file, &damage);
        // Where the file of an endpoint of a container `../../../bait` would be.
        let other_bait = host.path("bait").join(file.file_name().unwrap());
        fs::create_dir_all(host.path("bait")).unwrap();
        fs::write(&other_bait, "not yours").unwrap();
        for words in [
            &["network", "inspect", "whole"][..],
            &["network", "rules"],
            &["network", "reload"],
            &["ps"],
            &["inspect", "in-broken"],
            &["port", "in-broken"],
            &["rename", "in-broken", "renamed"],
            &["rename", "renamed", "in-broken"],
            &["network", "disconnect", "broken", "in-broken"],
            &["network", "connect", "whole", "in-broken"],
            &["stop", "-t", "0", "in-broken"],
            &["rm", "-f", "in-broken"],
        ] {
            told(&bounded(&host, words), &what, &file);
        }
        // What a command cannot take away itself it has named.
        clear(&file);
        bounded(&host, &["rm", "-f", "in-broken"]);
        assert!(!bounded(&host, &["ps", "-a", "--format", "{{.Names}}"]).stdout.contains("in-broken"), "{what}");
        let pings =
            ["run", "--rm", "--network", "whole", crate::support::BUSYBOX, "ping", "-c", "1", "-W", "5", "in-whole"];
        let output = bounded(&host, &pings);
        assert_eq!(output.code, 0, "{what}: {output}");
        for bait in [&bait, &other_bait] {
            assert_eq!(fs::read_to_string(bait).unwrap_or_default(), "not yours", "{what}: {}", bait.display());
        }
    }
}

#[test]
fn what_is_only_remembered_may_be_damaged() {
    need!(Root);
    let host = host();
    let bait = bait(&host);
    let id = host.rbox(&["network", "inspect", "-f", "{{.Id}}", "whole"]).ok().text().to_owned();
    fs::create_dir_all(host.path("state/net/making")).unwrap();
    let names = host.path(&format!("state/net/names/{id}.json"));
    let making = json!({ "maker": {}, "network": { "name": "../../../bait", "id": "../../../bait" } });
    for (file, text) in [
        (names.clone(), fs::read(&names).unwrap()),
        (host.path("state/net/leases"), b"leases\n+0123456789ab 0123456789ab 10.77.0.2 -\n".to_vec()),
        (host.path("state/net/making/other.json"), making.to_string().into_bytes()),
    ] {
        for (what, damage) in damages(&text) {
            let what = format!("{}: {what}", file.display());
            put(&host, &file, &damage);
            for words in [
                &["network", "ls"][..],
                &["network", "inspect", "whole"],
                &["network", "rules"],
                &["network", "reload"],
                &["run", "--rm", "--network", "whole", crate::support::BUSYBOX, "true"],
                &["ps"],
                &["network", "prune", "-f"],
            ] {
                told(&bounded(&host, words), &what, &file);
            }
            if matches!(damage, Damage::Folder) {
                // The one thing that no command takes away.
                clear(&file);
            }
            host.rbox(&["network", "create", "other"]).ok();
            host.rbox(&["network", "rm", "other"]).ok();
            assert_eq!(fs::read(&bait).unwrap(), b"not yours", "{what}");
            clear(&file);
            // The names are written anew with the next one who comes or goes.
            host.rbox(&["restart", "-t", "0", "in-whole"]).ok();
            the_whole_one_is_well(&host, &what);
        }
    }
}
