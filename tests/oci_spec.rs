//! config.json: what is refused, and that a random but valid one is obeyed.

use crate::support::{Oci, need};
use serde_json::{Value, json};

/// A change that makes a valid config invalid.
type Breakage = (&'static str, fn(&mut Value));

const BROKEN: &[Breakage] = &[
    ("no process to run", |spec| drop(spec.as_object_mut().unwrap().remove("process"))),
    ("no arguments", |spec| spec["process"]["args"] = json!([])),
    ("a directory that is not absolute", |spec| spec["process"]["cwd"] = json!("tmp")),
    ("a root file system that is missing", |spec| spec["root"]["path"] = json!("nowhere")),
    ("a type that is wrong", |spec| spec["process"]["args"] = json!("sh")),
    ("a namespace that nobody knows", |spec| spec["linux"]["namespaces"][0]["type"] = json!("dream")),
    ("a namespace twice", |spec| spec["linux"]["namespaces"][1]["type"] = json!("pid")),
    ("a hostname without a uts namespace", |spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "uts");
    }),
    ("a mount of an unknown type", |spec| spec["mounts"][0]["type"] = json!("nosuchfs")),
    ("a propagation that nobody knows", |spec| spec["linux"]["rootfsPropagation"] = json!("upwards")),
    ("a limit type that nobody knows", |spec| spec["process"]["rlimits"][0]["type"] = json!("RLIMIT_DREAMS")),
];

#[test]
fn a_broken_config_is_refused_and_leaves_nothing() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    for (what, edit) in BROKEN {
        let bundle = oci.bundle(*edit);
        let output = oci.run(&bundle);
        assert_ne!(output.code, 0, "{what} was accepted:\n{output}");
        assert!(!output.stderr.trim().is_empty(), "{what}: no message");
        oci.call(&["state", &bundle.id]).fails();
    }
    oci.host.assert_unchanged(&before);
}

/// What is not there yet is said: a field must not be read and forgotten.
#[test]
fn what_is_not_supported_is_refused_by_its_path() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let mount_namespace = |spec: &mut Value, path: Option<&str>| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "mount");
        namespaces.extend(path.map(|path| json!({ "type": "mount", "path": path })));
    };
    type Edit<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, Edit<'_>); 5] = [
        ("linux.intelRdt: no resctrl file system is mounted here", &|spec| {
            spec["linux"]["intelRdt"] = json!({ "closID": "x" })
        }),
        ("linux.mountLabel: SELinux does not run on this machine", &|spec| {
            spec["linux"]["mountLabel"] = json!("system_u:object_r:x:s0")
        }),
        ("linux.personality.flags: ", &|spec| {
            spec["linux"]["personality"] = json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] });
        }),
        ("linux.namespaces: /proc/self/ns/mnt is the host's own mount namespace", &|spec| {
            mount_namespace(spec, Some("/proc/self/ns/mnt"));
        }),
        ("linux.namespaces: a mount namespace is required", &|spec| mount_namespace(spec, None)),
    ];
    for (words, edit) in cases {
        let bundle = oci.bundle(edit);
        oci.run(&bundle).fails().says(words);
    }
    oci.host.assert_unchanged(&before);
}

#[test]
fn a_config_without_linux_is_refused() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 makes the mounts among the host's
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec.as_object_mut().unwrap().remove("linux");
    });
    oci.run(&bundle).fails().says("linux: is missing");
}

#[test]
fn a_path_to_be_hidden_or_protected_is_absolute() {
    need!(Root, OurRuntime); // Debian's runc takes it from where it is.
    let oci = Oci::new();
    for key in ["maskedPaths", "readonlyPaths"] {
        let bundle = oci.bundle(|spec| spec["linux"][key] = json!(["proc/kcore"]));
        oci.run(&bundle).fails().says(&format!("linux.{key}: \"proc/kcore\" is not an absolute path"));
    }
}

#[test]
fn what_nobody_knows_is_ignored() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["novelty"] = json!(1);
        spec["process"]["novelty"] = json!({ "of": "tomorrow" });
        spec["linux"]["resources"]["novelty"] = json!([]);
        spec["windows"] = json!({ "layerFolders": ["C:\\\\x"] });
        spec["annotations"] = json!({ "org.example.novelty": "" });
    });
    oci.run(&bundle).ok();
}

#[test]
fn a_config_that_is_not_json_or_missing_is_named() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|_| {});
    std::fs::write(bundle.dir.join("config.json"), "{ not json").unwrap();
    oci.run(&bundle).fails();
    std::fs::remove_file(bundle.dir.join("config.json")).unwrap();
    oci.run(&bundle).fails().says("config.json");
}

#[test]
fn the_bundle_is_the_working_directory_unless_named() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle_of(&["/probe", "exit", "9"]);
    let root = oci.host.path("oci-state").display().to_string();
    let runtime = crate::support::runtime().display().to_string();
    oci.host.shell(&format!("cd {} && {runtime} --root {root} run {}", bundle.path(), bundle.id)).code(9);
}

/// xorshift: the same twenty configs in every run, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const CAPABILITIES: [&str; 5] = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW", "CAP_SYS_CHROOT"];

#[test]
fn twenty_random_configs_are_obeyed() {
    need!(Root);
    let oci = Oci::new();
    let mut dice = Dice(0x05ee_d0fa_b0c5);
    for round in 0..20 {
        let uid = dice.roll(3) * 1000;
        let gid = dice.roll(3) * 500;
        let groups: Vec<u64> = (0..dice.roll(4)).map(|n| 3000 + n).collect();
        let caps: Vec<&str> = CAPABILITIES.into_iter().filter(|_| dice.roll(2) == 0).collect();
        let nnp = dice.roll(2) == 0;
        let read_only = dice.roll(2) == 0;
        let nofile = 64 + dice.roll(900);
        let cwd = ["/", "/tmp", "/home/user"][usize::try_from(dice.roll(3)).unwrap()];
        let oom = 100 + dice.roll(800);
        let tmpfs = dice.roll(2) == 0;
        let host = format!("box{}", dice.roll(1000));
        let seen = oci.see(|spec| {
            spec["process"]["user"] = json!({ "uid": uid, "gid": gid, "additionalGids": groups });
            spec["process"]["capabilities"] = json!({ "bounding": caps, "effective": caps, "permitted": caps });
            spec["process"]["noNewPrivileges"] = json!(nnp);
            spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": nofile, "hard": nofile }]);
            spec["process"]["cwd"] = json!(cwd);
            spec["process"]["oomScoreAdj"] = json!(oom);
            spec["root"]["readonly"] = json!(read_only);
            spec["hostname"] = json!(host);
            if tmpfs {
                let mount = json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"] });
                spec["mounts"].as_array_mut().unwrap().push(mount);
            }
        });
        let context = format!("round {round}: {seen:#}");
        assert_eq!((&seen["uid"], &seen["gid"]), (&json!(uid), &json!(gid)), "{context}");
        assert_eq!(seen["groups"], json!(groups), "{context}");
        assert_eq!(seen["caps"]["bounding"], json!(caps), "{context}");
        let effective = if uid == 0 { caps.clone() } else { Vec::new() };
        assert_eq!(seen["caps"]["effective"], json!(effective), "{context}");
        assert_eq!(seen["no_new_privs"], nnp, "{context}");
        assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"]["hard"], nofile, "{context}");
        assert_eq!(seen["cwd"], cwd, "{context}");
        assert_eq!(seen["oom_score_adj"], oom, "{context}");
        assert_eq!(seen["hostname"], host, "{context}");
        let mounts = seen["mounts"].as_array().unwrap();
        assert_eq!(mounts.iter().any(|mount| mount["target"] == "/tmp"), tmpfs, "{context}");
        let root = mounts.iter().find(|mount| mount["target"] == "/").unwrap();
        assert_eq!(root["options"].as_array().unwrap().contains(&json!("ro")), read_only, "{context}");
    }
}
