//! On a directory that looks like a resctrl mount: what is written where, and what is refused.

use super::*;
use serde_json::json;

/// A mount with the group of all processes, and a class that an administrator has made.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new() -> Mount {
        let mount = Mount(tempfile::tempdir().unwrap());
        fs::create_dir_all(mount.path("info")).unwrap();
        fs::create_dir_all(mount.path("gold/mon_groups")).unwrap();
        fs::create_dir_all(mount.path("mon_groups")).unwrap();
        fs::write(mount.path("schemata"), "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n").unwrap();
        fs::write(mount.path("gold/schemata"), "    MB:0= 20;1= 70\n    L3:0=7f0;1=01f\n").unwrap();
        mount
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    fn plan(&self, wish: &serde_json::Value) -> Result<Resctrl> {
        Resctrl::below(self.0.path(), &serde_json::from_value(wish.clone()).unwrap(), "box")
    }

    /// Planned, made, and process 7 put into it.
    fn made(&self, wish: &serde_json::Value) -> Resctrl {
        let planned = self.plan(wish).unwrap();
        planned.make().unwrap();
        planned.join(7).unwrap();
        planned
    }

    #[track_caller]
    fn refuses(&self, wish: &serde_json::Value, words: &str) {
        let error = self.plan(wish).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }

    /// As the kernel does: the files of a group go with its directory.
    fn remove(&self, planned: &Resctrl, files: &[&str]) {
        files.iter().for_each(|file| fs::remove_file(self.path(file)).unwrap());
        planned.remove().unwrap();
    }
}

#[test]
fn without_a_class_the_group_is_the_containers_and_ends_with_it() {
    let mount = Mount::new();
    let planned = mount.made(&json!({ "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=1"] }));
    assert_eq!(mount.text("box/schemata").unwrap(), "L3:0=f\nMB:0=20\nL2:0=1\n", "in this order");
    assert_eq!(mount.text("box/tasks").unwrap(), "7");
    mount.remove(&planned, &["box/schemata", "box/tasks"]);
    assert!(!mount.path("box").exists());
    planned.remove().unwrap();
}

#[test]
fn without_a_schema_none_is_written() {
    let mount = Mount::new();
    mount.made(&json!({}));
    assert_eq!((mount.text("box/schemata"), mount.text("box/tasks")), (None, Some("7".to_owned())));
}

#[test]
fn a_class_that_is_there_is_joined_and_kept() {
    let mount = Mount::new();
    let before = mount.text("gold/schemata");
    let planned = mount.made(&json!({ "closID": "gold" }));
    assert_eq!((mount.text("gold/schemata"), mount.text("gold/tasks")), (before, Some("7".to_owned())));
    planned.remove().unwrap();
    assert!(mount.path("gold").exists());
    mount.made(&json!({ "closID": "/" }));
    assert_eq!(mount.text("tasks").unwrap(), "7", "the group of all");
}

#[test]
fn a_class_that_is_not_there_needs_a_schema_and_is_kept() {
    let mount = Mount::new();
    mount.refuses(&json!({ "closID": "silver" }), "linux.intelRdt.closID: the group silver is not there");
    for (class, wish) in [
        ("silver", json!({ "closID": "silver", "schemata": ["L3:0=1"] })),
        ("bronze", json!({ "closID": "bronze", "l3CacheSchema": "L3:0=1" })),
        ("tin", json!({ "closID": "tin", "memBwSchema": "MB:0=10" })),
    ] {
        mount.made(&wish).remove().unwrap();
        assert!(mount.path(class).join("schemata").exists() && mount.path(class).join("tasks").exists());
    }
}

#[test]
fn a_class_that_is_there_must_be_what_is_expected() {
    let mount = Mount::new();
    let class = |l3: &str, bandwidth: &str| json!({ "closID": "gold", "l3CacheSchema": l3, "memBwSchema": bandwidth });
    mount.made(&class("L3:0=7F0;1=1f", "MB:0=20;1=70"));
    mount.made(&json!({ "closID": "gold", "l3CacheSchema": "L3:1=1f" }));
    assert_eq!(mount.text("gold/schemata").unwrap(), "L3:1=1f\n");
    let mount = Mount::new();
    mount.refuses(&class("L3:0=7f0;1=f", "MB:0=20"), "linux.intelRdt.l3CacheSchema: differs from");
    mount.refuses(&class("L3:0=7f0", "MB:0=30"), "linux.intelRdt.memBwSchema: differs from");
    mount.refuses(&class("L3:2=7f0", ""), "linux.intelRdt.l3CacheSchema: differs from");
}

#[test]
fn a_share_can_be_changed_later() {
    let mount = Mount::new();
    let planned = mount.made(&json!({ "closID": "gold" }));
    let change = |wish| planned.change(&serde_json::from_value(wish).unwrap());
    change(json!({ "l3CacheSchema": "L3:0=3", "memBwSchema": "MB:0=30" })).unwrap();
    assert_eq!(mount.text("gold/schemata").unwrap(), "L3:0=3\nMB:0=30\n");
    change(json!({ "memBwSchema": "30" })).unwrap_err();
    assert_eq!(mount.text("gold/schemata").unwrap(), "L3:0=3\nMB:0=30\n");
}

#[test]
fn monitoring_has_a_group_of_its_own_below_the_class() {
    let mount = Mount::new();
    let planned = mount.made(&json!({ "closID": "gold", "enableMonitoring": true }));
    assert_eq!(mount.text("gold/tasks").unwrap(), "7");
    assert_eq!(mount.text("gold/mon_groups/box/tasks").unwrap(), "7");
    mount.remove(&planned, &["gold/mon_groups/box/tasks"]);
    assert!(mount.path("gold/mon_groups").exists() && !mount.path("gold/mon_groups/box").exists());
    let off = mount.made(&json!({ "closID": "gold", "enableMonitoring": false }));
    assert_eq!(off.monitor, None);
}

#[test]
fn a_monitoring_group_that_cannot_be_made_is_an_error_in_resctrls_words() {
    let mount = Mount::new();
    let planned = mount.plan(&json!({ "closID": "gold", "enableMonitoring": true })).unwrap();
    fs::write(mount.path("info/last_cmd_status"), "Out of RMIDs\n").unwrap();
    fs::remove_dir(mount.path("gold/mon_groups")).unwrap();
    let error = planned.make().unwrap_err().to_string();
    assert!(error.starts_with("cannot make the resctrl group ") && error.ends_with(" (Out of RMIDs)"), "{error}");
}

#[test]
fn what_cannot_be_is_refused_by_its_path() {
    let mount = Mount::new();
    for name in [".", "..", "a/b", "/a", "info", "mon_groups"] {
        mount.refuses(&json!({ "closID": name, "schemata": ["L3:0=1"] }), "linux.intelRdt.closID: ");
    }
    mount.refuses(&json!({ "memBwSchema": "0=1" }), "linux.intelRdt.memBwSchema: does not begin with MB:");
    for (key, value) in [
        ("l3CacheSchema", json!("L3:0=1\nMB:0=1")),
        ("memBwSchema", json!("MB:0=1\n")),
        ("schemata", json!(["L3:0=1", "x\n"])),
    ] {
        mount.refuses(&json!({ key: value }), &format!("linux.intelRdt.{key}: contains a line break"));
    }
    fs::create_dir(mount.path("box")).unwrap();
    mount.refuses(&json!({}), "linux.intelRdt.closID: is missing, and the group ");
}

#[test]
fn the_mount_is_found_by_its_kind() {
    let mounts =
        "22 1 0:20 / /proc rw - proc proc rw\n40 1 0:30 / /sys/fs/res\\040ctrl rw,nosuid - resctrl resctrl rw\n";
    assert_eq!(mount_point(mounts), Some(PathBuf::from("/sys/fs/res ctrl")));
    assert_eq!(mount_point("22 1 0:20 / /resctrl rw - proc resctrl rw\n"), None);
}

#[test]
fn the_state_file_knows_what_to_remove() {
    let mount = Mount::new();
    let planned = mount.made(&json!({ "enableMonitoring": false, "schemata": ["L3:0=1"] }));
    let text = serde_json::to_string(&planned).unwrap();
    let read: Resctrl = serde_json::from_str(&text).unwrap();
    mount.remove(&read, &["box/schemata", "box/tasks"]);
    assert!(!mount.path("box").exists());
}
