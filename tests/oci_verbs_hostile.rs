//! State files that nobody has written so: each verb gives an error and does nothing else, and `delete --force` removes them.

use crate::support::{Bundle, Dice, Host, Oci, Output, need};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// Every verb that takes a container, but the one that may remove what it cannot read.
const VERBS: &[&[&str]] = &[
    &["state"],
    &["start"],
    &["kill", "ID", "KILL"],
    &["kill", "--all", "ID", "KILL"],
    &["delete"],
    &["exec", "ID", "/bin/true"],
    &["pause"],
    &["resume"],
    &["update", "--pids-limit", "7"],
    &["ps"],
    &["events", "--stats"],
];

fn call(oci: &Oci, verb: &[&str], id: &str) -> Output {
    let mut words: Vec<&str> = verb.iter().map(|word| if *word == "ID" { id } else { word }).collect();
    if !verb.contains(&"ID") {
        words.push(id);
    }
    oci.call(&words)
}

/// A running container, whose state file a test spoils.
struct Victim {
    oci: Oci,
    bundle: Bundle,
    pid: String,
    folder: PathBuf,
}

impl Victim {
    fn new() -> Victim {
        let oci = Oci::new();
        let bundle = oci.running(|_| {});
        let pid = oci.state(&bundle)["pid"].to_string();
        let folder = oci.host.path("oci-state").join(&bundle.id);
        Victim { oci, bundle, pid, folder }
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    fn lives(&self) -> bool {
        self.oci.host.shell(&format!("test -e /proc/{}/exe", self.pid)).code == 0
    }

    /// One verb: an error in one line, no panic, and the process still runs.
    fn is_refused(&self, verb: &[&str], what: &str) {
        let output = call(&self.oci, verb, &self.bundle.id);
        assert!(output.code == 1 || output.code == 255, "{what}: {output}");
        assert!(!output.stderr.contains("panic"), "{what}: {output}");
        assert_eq!(output.stderr.lines().count(), 1, "{what}: {output}");
        assert_eq!(output.stdout, "", "{what}: {output}");
    }

    fn all_verbs_are_refused(&self, what: &str) {
        let before = files(&self.folder);
        for verb in VERBS {
            self.is_refused(verb, what);
        }
        let list = self.oci.call(&["list", "-q"]).ok();
        assert_eq!(list.stdout, "", "{what}: {list}");
        assert!(list.stderr.contains(&self.bundle.id), "{what}: {list}");
        assert!(self.lives(), "{what}: the process was ended");
        assert_eq!(files(&self.folder), before, "{what}");
    }

    fn force_removes(&self, what: &str) {
        let output = self.oci.call(&["delete", "--force", &self.bundle.id]);
        assert_eq!(output.code, 0, "{what}: {output}");
        assert!(fs::symlink_metadata(&self.folder).is_err(), "{what}: the name is still taken");
        let new = self.oci.call(&["state", &self.bundle.id]);
        assert!(new.stderr.contains("does not exist"), "{what}: {new}");
    }
}

fn files(folder: &PathBuf) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

/// Each length with one verb, since all with all would be ten thousand starts; a few lengths with all.
#[test]
fn a_state_that_is_torn_at_any_length_is_an_error() {
    need!(Root, OurRuntime);
    let victim = Victim::new();
    let whole = fs::read(victim.state()).unwrap();
    for length in 0..whole.len() {
        fs::write(victim.state(), &whole[..length]).unwrap();
        victim.is_refused(VERBS[length % VERBS.len()], &format!("{length} bytes"));
    }
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(victim.state(), &whole[..length]).unwrap();
        victim.all_verbs_are_refused(&format!("{length} bytes"));
    }
    // Whole again, it is as before.
    fs::write(victim.state(), &whole).unwrap();
    assert_eq!(victim.oci.state(&victim.bundle)["status"], "running");
    fs::write(victim.state(), &whole[..9]).unwrap();
    victim.force_removes("9 bytes");
    assert!(!victim.lives(), "its process was known, and must not outlive its name");
}

#[test]
fn a_state_of_random_bytes_is_an_error() {
    need!(Root, OurRuntime);
    let victim = Victim::new();
    let whole = fs::read(victim.state()).unwrap();
    let mut dice = Dice::new(0x0b5e_55ed);
    for round in 0..60 {
        let noise: Vec<u8> = (0..dice.below(700)).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        fs::write(victim.state(), noise).unwrap();
        victim.is_refused(VERBS[round % VERBS.len()], &format!("noise of round {round}"));
        // One byte of a real one: what is still JSON of the right form must at least not be obeyed elsewhere.
        let mut changed = whole.clone();
        let place = dice.below(changed.len());
        changed[place] = u8::try_from(dice.below(256)).unwrap();
        fs::write(victim.state(), changed).unwrap();
        let output = call(&victim.oci, &["ps"], &victim.bundle.id);
        assert!(output.code == 0 || output.code == 1, "byte {place}: {output}");
    }
    assert!(victim.lives());
}

/// A change that makes a state file a lie.
type Lie = (&'static str, fn(&mut Value));

const LIES: &[Lie] = &[
    ("no object", |state| *state = json!([1, 2, 3])),
    ("nothing", |state| *state = Value::Null),
    ("an empty object", |state| *state = json!({})),
    ("runc's", |state| *state = json!({ "id": state["id"], "init_process_pid": 1, "config": { "rootfs": "/" } })),
    ("one key more", |state| state["more"] = json!(1)),
    ("of another container", |state| state["id"] = json!("another")),
    ("a path out of the folder as id", |state| state["id"] = json!("../../etc")),
    ("a pid that is no number of this kernel", |state| state["creator"]["pid"] = json!(1_u64 << 40)),
    ("a pid with a fraction", |state| state["creator"]["pid"] = json!(1.5)),
    ("a time that has no end", |state| {
        state["creator"]["startTime"] = serde_json::from_str("1e400").unwrap_or(json!("x"))
    }),
    ("a bundle that is no path", |state| state["bundle"] = json!(7)),
    ("a cgroup that is everything", |state| every_path(state, |mount| mount.to_owned())),
    ("a cgroup above the top", |state| every_path(state, |mount| format!("{mount}/../../../etc"))),
    ("a cgroup elsewhere", |state| every_path(state, |_| "/etc".to_owned())),
    ("a cgroup that is no cgroup", |state| {
        for hierarchy in state["cgroup"]["hierarchies"].as_array_mut().unwrap() {
            hierarchy["mount"] = json!("/tmp");
            hierarchy["path"] = json!("/tmp/x");
        }
    }),
    ("no hierarchies", |state| state["cgroup"]["hierarchies"] = json!([])),
    ("a layout that nobody knows", |state| state["cgroup"]["layout"] = json!("v3")),
    ("deep", |state| {
        let deep = "[".repeat(100) + &"]".repeat(100);
        state["annotations"] = json!({ "a": serde_json::from_str::<Value>(&deep).unwrap() });
    }),
];

fn every_path(state: &mut Value, path: impl Fn(&str) -> String) {
    for hierarchy in state["cgroup"]["hierarchies"].as_array_mut().unwrap() {
        hierarchy["path"] = json!(path(hierarchy["mount"].as_str().unwrap()));
    }
}

#[test]
fn a_state_that_lies_is_an_error() {
    need!(Root, OurRuntime);
    let victim = Victim::new();
    let whole: Value = serde_json::from_slice(&fs::read(victim.state()).unwrap()).unwrap();
    for (what, change) in LIES {
        let mut state = whole.clone();
        change(&mut state);
        fs::write(victim.state(), state.to_string()).unwrap();
        victim.all_verbs_are_refused(what);
    }
    for (what, text) in [("too deep", "[".repeat(100_000)), ("too long", " ".repeat(17 << 20))] {
        fs::write(victim.state(), text).unwrap();
        victim.all_verbs_are_refused(what);
    }
    victim.force_removes("the last lie");
}

/// What stands in place of the file.
type Spoiler = (&'static str, fn(&Victim));

/// In place of the file: what opening it must not wait for, follow or read for ever.
#[test]
fn a_state_that_is_no_file_is_an_error() {
    need!(Root, OurRuntime);
    let kinds: &[Spoiler] = &[
        ("a directory", |victim| fs::create_dir(victim.state()).unwrap()),
        ("a link to a true one", |victim| symlink(victim.folder.join("kept"), victim.state()).unwrap()),
        ("a link to nothing", |victim| symlink("/nowhere", victim.state()).unwrap()),
        ("a link to a device without end", |victim| symlink("/dev/zero", victim.state()).unwrap()),
        ("a link to itself", |victim| symlink("state.json", victim.state()).unwrap()),
        ("a fifo", |victim| drop(shell(&victim.oci.host, &format!("mkfifo {}", victim.state().display())))),
    ];
    for (what, make) in kinds {
        let victim = Victim::new();
        fs::rename(victim.state(), victim.folder.join("kept")).unwrap();
        make(&victim);
        victim.all_verbs_are_refused(what);
        victim.force_removes(what);
        assert!(!victim.lives(), "{what}");
    }
}

fn shell(host: &Host, script: &str) -> Output {
    host.shell(script).ok()
}

#[test]
fn a_name_of_the_first_process_that_is_none_is_an_error() {
    need!(Root, OurRuntime);
    let victim = Victim::new();
    let init = victim.folder.join("init");
    let kept = fs::read_link(&init).unwrap();
    let huge = "9".repeat(400);
    for text in
        ["x", "1", "1.", ".1", "-1.7", "0.7", "1.2.3", "99999999999.1", "1.99999999999999999999999", &huge, "../../x"]
    {
        fs::remove_file(&init).unwrap();
        symlink(text, &init).unwrap();
        victim.all_verbs_are_refused(text);
    }
    fs::remove_file(&init).unwrap();
    fs::write(&init, "1.2").unwrap();
    victim.all_verbs_are_refused("a file");
    fs::remove_file(&init).unwrap();
    // A number that another process has by now: it is stopped, and nobody is killed.
    let other = victim.oci.host.spawn("/bin/sleep", &["1000"]);
    symlink(format!("{}.1", other.child.id()), &init).unwrap();
    assert_eq!(victim.oci.state(&victim.bundle)["status"], "stopped");
    fs::remove_file(&init).unwrap();
    symlink(kept, &init).unwrap();
    victim.oci.call(&["delete", "--force", &victim.bundle.id]).ok();
    assert!(!victim.lives());
}

/// Who was killed between making the folder and writing the file leaves a name that only force gives back.
#[test]
fn a_folder_without_a_state_is_removed_by_force() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle_of(&["/bin/true"]);
    let folder = oci.host.path("oci-state").join(&bundle.id);
    fs::create_dir_all(&folder).unwrap();
    oci.run(&bundle).fails().says("exist");
    oci.call(&["delete", "--force", &bundle.id]).ok();
    assert!(!folder.exists());
    oci.run(&bundle).ok();
}

/// `--force` removes what has the name, never what the name leads to.
#[test]
fn force_does_not_follow_a_link_out_of_the_state_folder() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let root = oci.host.path("oci-state");
    let treasure = oci.host.path("treasure");
    fs::create_dir_all(&root).unwrap();
    fs::create_dir(&treasure).unwrap();
    fs::write(treasure.join("gold"), "").unwrap();
    symlink(&treasure, root.join("linked")).unwrap();
    oci.call(&["state", "linked"]).code(1);
    oci.call(&["delete", "--force", "linked"]).ok();
    assert!(treasure.join("gold").exists());
    assert!(fs::symlink_metadata(root.join("linked")).is_err());
    for id in ["../treasure", "..", ".", "", "a/b"] {
        oci.call(&["delete", "--force", id]).code(1);
    }
    assert!(treasure.join("gold").exists());
}
