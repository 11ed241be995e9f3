//! config.json that is nearly right, before the real kernel: the program runs, or one line says why not; and in both cases
//! nothing is left behind.
//!
//! `RBOX_TEST_CASES=5000 RBOX_TEST_SEED=7 cargo nextest run -p rbox oci_spec_hostile::` takes other ones, and more.

use crate::support::mutate::{mutate, rich_spec, rich_spec_with_users, spoil};
use crate::support::{Bundle, Oci, Output, Snapshot, cases, need};
use serde_json::{Value, json};
use std::fs;

/// Programs that a hook may be, file systems that may be made, places of namespaces that may be joined: chance does not
/// choose for the machine that the test runs on.
const PROGRAMS: [&str; 3] = ["/bin/true", "bin/true", "/nowhere"];
const FILE_SYSTEMS: [&str; 8] = ["proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup", "bind", "nosuchfs"];
const NAMESPACES: [&str; 3] = ["/nowhere", "/etc/passwd", ""];
const ROOTS: [&str; 4] = ["rootfs", "nowhere", "rootfs/bin/busybox", ""];

/// Let a string be one of these, or take the place of the others.
fn restrict(value: &mut Value, allowed: &[&str]) {
    if value.as_str().is_some_and(|text| !allowed.contains(&text)) {
        *value = json!(allowed[0]);
    }
}

/// Take out of a changed config what would reach the machine: whatever its program, mounts, joins and roots are, they stay
/// in the test's own host and bundle.
fn tame(spec: &mut Value, dir: &str) {
    if !spec["root"].is_null() && !spec["root"].is_object() {
        spec["root"] = json!({ "path": spec["root"].is_string() });
    }
    restrict(field(field(spec, "root"), "path"), &ROOTS);
    for kind in each(field(spec, "hooks")) {
        for hook in each(kind) {
            restrict(field(hook, "path"), &PROGRAMS);
        }
    }
    for mount in each(field(spec, "mounts")) {
        restrict(field(mount, "type"), &FILE_SYSTEMS);
        // What is bound is of the bundle, also when it is named by a way that leads out of it.
        if mount.to_string().contains("bind") {
            *field(mount, "source") = json!(format!("{dir}/rootfs/tmp"));
        }
    }
    for namespace in each(field(field(spec, "linux"), "namespaces")) {
        if namespace.get("path").is_some() {
            restrict(field(namespace, "path"), &NAMESPACES);
        }
    }
}

/// What is inside a list or an object; nothing where it is neither.
fn each(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.iter_mut().map(|(_, value)| value).collect(),
        _ => vec![],
    }
}

/// A field; where there is none, what is there instead.
fn field<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    if value.get(key).is_some() { &mut value[key] } else { value }
}

/// A bundle whose config.json is written anew for each case, and what the host was like before.
struct Ground {
    oci: Oci,
    bundle: Bundle,
    before: (Snapshot, Vec<String>),
}

impl Ground {
    fn new() -> Ground {
        let oci = Oci::new();
        let bundle = oci.bundle(|_| {});
        // The folder of states, and of kept filters, is there from the first on.
        oci.run(&bundle).ok();
        let before = (oci.host.footprint(), states(&oci));
        Ground { oci, bundle, before }
    }

    /// The program has run, or one line of ours says why not; and all is as before.
    fn runs_or_says_why(&self, text: &[u8]) -> Output {
        fs::write(self.bundle.dir.join("config.json"), text).unwrap();
        let output = self.oci.run(&self.bundle);
        let text = String::from_utf8_lossy(text);
        let (warnings, errors): (Vec<&str>, Vec<&str>) =
            output.stderr.split('\n').filter(|line| !line.is_empty()).partition(|line| line.starts_with("time=\""));
        assert!(warnings.iter().all(|line| line.contains(" level=warning ")), "{output}\n{text}");
        match errors.as_slice() {
            // Whatever its end was: its profile may be one that kills.
            [] => {}
            [line] => {
                assert!(line.starts_with("rbox-runtime: ") && output.code == 1, "{output}\n{text}");
                assert!(!line.contains(char::is_control) && !line.contains("panicked"), "{output}\n{text}");
            }
            _ => panic!("more than one line: {output}\n{text}"),
        }
        assert_eq!((self.oci.host.footprint(), states(&self.oci)), self.before, "left behind: {output}\n{text}");
        output
    }
}

fn states(oci: &Oci) -> Vec<String> {
    let entries = fs::read_dir(oci.host.path("oci-state")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn a_config_that_is_nearly_right_runs_or_says_why_not_and_leaves_nothing() {
    need!(Root, OurRuntime);
    let ground = Ground::new();
    let before = ground.oci.host.snapshot();
    let templates = [rich_spec(), rich_spec_with_users()];
    for template in &templates {
        let output = ground.runs_or_says_why(&serde_json::to_vec(template).unwrap());
        assert_eq!((output.code, &*output.stderr), (0, ""), "{output}");
    }
    let mut ran = 0;
    for mut case in cases(150) {
        let mut document = templates[case.dice.below(2)].clone();
        for _ in 0..case.dice.pick(&[1, 1, 1, 2, 4]) {
            mutate(&mut document, &mut case.dice);
        }
        tame(&mut document, &ground.bundle.path());
        let output = ground.runs_or_says_why(&serde_json::to_vec(&document).unwrap());
        ran += usize::from(output.stderr.is_empty());
    }
    eprintln!("{ran} ran");
    ground.oci.host.assert_unchanged(&before);
}

#[test]
fn a_config_of_spoiled_bytes_runs_or_says_why_not_and_leaves_nothing() {
    need!(Root, OurRuntime);
    let ground = Ground::new();
    let before = ground.oci.host.snapshot();
    let templates = [rich_spec(), rich_spec_with_users()].map(|template| serde_json::to_vec_pretty(&template).unwrap());
    for mut case in cases(60) {
        let mut text = templates[case.dice.below(2)].clone();
        for _ in 0..case.dice.pick(&[1, 1, 3]) {
            spoil(&mut text, &mut case.dice);
            text.push(b'\n');
        }
        ground.runs_or_says_why(&text);
    }
    ground.oci.host.assert_unchanged(&before);
}
