//! State files that nobody has written so: each verb gives an error and does nothing else, and `delete --force` removes them.

use crate::support::mutate::{mutate, spoil};
use crate::support::{Bundle, Dice, Host, Oci, Output, Running, cases, need};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
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

    /// In the same host, when the last one is gone or nobody can reach it any more.
    fn anew(self) -> Victim {
        self.oci.host.shell(&format!("kill -9 {}", self.pid));
        let bundle = self.oci.running(|_| {});
        let pid = self.oci.state(&bundle)["pid"].to_string();
        let folder = self.oci.host.path("oci-state").join(&bundle.id);
        Victim { oci: self.oci, bundle, pid, folder }
    }

    /// One verb on a state that may be good: it does its work or says in one line why not.
    fn says_one_line(&self, verb: &[&str], what: &str) {
        let output = call(&self.oci, verb, &self.bundle.id);
        assert!([0, 1, 255].contains(&output.code), "{what}: {output}");
        assert!(output.stderr.lines().count() <= 1 && !output.stderr.contains("panic"), "{what}: {output}");
        let raw = |letter: char| letter.is_control() && letter != '\n';
        assert!(!output.stderr.contains(raw), "{what}: {output}");
        assert_eq!(output.code == 0, output.stderr.is_empty(), "{what}: {output}");
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
    ("of a boot that was none", |state| state["bootId"] = json!("yesterday")),
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

/// What it says is obeyed, so it has to be from whoever obeys it.
#[test]
fn a_state_of_somebody_else_is_an_error() {
    need!(Root, OurRuntime);
    let victim = Victim::new();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(victim.state(), fs::Permissions::from_mode(mode)).unwrap();
        victim.all_verbs_are_refused(&format!("{mode:o}"));
    }
    fs::set_permissions(victim.state(), fs::Permissions::from_mode(0o600)).unwrap();
    chown(victim.state(), Some(1000), None).unwrap();
    victim.all_verbs_are_refused("of another user");
    // A process that another user has named is not killed when the name is given back.
    let other = victim.oci.host.spawn("/bin/sleep", &["1000"]);
    fs::remove_file(victim.folder.join("init")).unwrap();
    symlink(name_of(&other), victim.folder.join("init")).unwrap();
    chown(&victim.folder, Some(1000), None).unwrap();
    victim.force_removes("of another user");
    assert!(victim.lives() && is_alive(&other));
}

/// After another boot numbers are other processes', and a control group with processes in it somebody else's.
#[test]
fn a_state_of_another_boot_kills_nobody_and_gives_its_name_back() {
    need!(Root, OurRuntime);
    let victim = Victim::new();
    let mut state: Value = serde_json::from_slice(&fs::read(victim.state()).unwrap()).unwrap();
    state["bootId"] = json!("00000000-1111-2222-3333-444444444444");
    fs::write(victim.state(), state.to_string()).unwrap();
    for verb in VERBS.iter().filter(|verb| ["start", "kill", "exec", "pause", "resume", "update"].contains(&verb[0])) {
        victim.is_refused(verb, "of another boot");
    }
    assert_eq!(victim.oci.state(&victim.bundle)["status"], "stopped");
    victim.force_removes("of another boot");
    assert!(victim.lives(), "for this state it is somebody else's");
}

/// `PID.START-TIME` as the runtime in the host knows it.
fn name_of(running: &Running) -> String {
    let stat = fs::read_to_string(format!("/proc/{}/stat", running.child.id())).unwrap();
    let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().to_owned();
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
    format!("{}.{start}", inside.split_whitespace().last().unwrap())
}

fn is_alive(running: &Running) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", running.child.id())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// `RBOX_TEST_CASES=5000 RBOX_TEST_SEED=7 cargo nextest run -p rbox oci_verbs_hostile::` makes other changes, and more.
#[test]
fn a_state_changed_by_chance_reaches_nobody_else() {
    need!(Root, OurRuntime);
    let mut victim = Victim::new();
    let other = victim.oci.host.spawn("/bin/sleep", &["1000"]);
    let (pid, _) = name_of(&other).split_once('.').map(|(pid, start)| (pid.to_owned(), start.to_owned())).unwrap();
    let neighbour = victim.oci.running(|_| {});
    for mut case in cases(60) {
        let dice = &mut case.dice;
        let whole = fs::read(victim.state()).unwrap();
        let changed = if dice.one_in(2) {
            let mut state: Value = serde_json::from_slice(&whole).unwrap();
            (0..1 + dice.below(3)).for_each(|_| mutate(&mut state, dice));
            serde_json::to_vec(&state).unwrap()
        } else {
            let mut text = whole.clone();
            spoil(&mut text, dice);
            text
        };
        fs::write(victim.state(), &changed).unwrap();
        if dice.one_in(4) {
            // The number of another process, which began at another time.
            fs::remove_file(victim.folder.join("init")).unwrap();
            symlink(format!("{pid}.{}", dice.below(1 << 30)), victim.folder.join("init")).unwrap();
        }
        let what = String::from_utf8_lossy(&changed).into_owned();
        for _ in 0..3 {
            victim.says_one_line(dice.pick(VERBS), &what);
        }
        victim.says_one_line(&["delete", "--force"], &what);
        assert!(fs::symlink_metadata(&victim.folder).is_err(), "the name is still taken: {what}");
        assert!(is_alive(&other), "another process was ended: {what}");
        assert_eq!(victim.oci.state(&neighbour)["status"], "running", "{what}");
        victim = victim.anew();
    }
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
