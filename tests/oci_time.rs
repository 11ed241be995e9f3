//! Time namespaces: clocks of its own since the boot (runtime-spec 1.1, config-linux.md#time-offsets).

use crate::support::{Oci, need};
use serde_json::json;

#[test]
fn clocks_run_with_their_offsets_and_an_exec_lives_by_them() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let uptime = |text: &str| text.split(['.', ' ']).next().unwrap().parse::<i64>().unwrap();
    let bundle = oci.running(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
        spec["linux"]["timeOffsets"] =
            json!({ "boottime": { "secs": 1_000_000, "nanosecs": 5 }, "monotonic": { "secs": 2_000_000 } });
    });
    let host = uptime(&oci.host.shell("cat /proc/uptime").ok().stdout);
    let pid = oci.state(&bundle)["pid"].to_string();
    let inside = oci.call(&["exec", &bundle.id, "/bin/cat", "/proc/uptime"]).ok();
    let ahead = uptime(&inside.stdout) - host;
    assert!((1_000_000..1_000_060).contains(&ahead), "{ahead}");
    let offsets = oci.host.shell(&format!("tr -s ' \\t' ' ' < /proc/{pid}/timens_offsets")).ok();
    assert_eq!(offsets.text(), "monotonic 2000000 0\nboottime 1000000 5");
    let link = oci.call(&["exec", &bundle.id, "/bin/readlink", "/proc/self/ns/time"]).ok();
    assert_eq!(link.text(), oci.host.shell(&format!("readlink /proc/{pid}/ns/time")).ok().text());
    assert_ne!(link.text(), oci.host.shell("readlink /proc/self/ns/time").ok().text());

    let second = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["/bin/readlink", "/proc/self/ns/time"]);
        let path = format!("/proc/{pid}/ns/time");
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time", "path": path }));
    });
    assert_eq!(oci.run(&second).ok().text(), link.text(), "joined by path");
}

#[test]
fn offsets_without_a_namespace_or_of_another_clock_are_refused() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| spec["linux"]["timeOffsets"] = json!({ "monotonic": { "secs": 1 } }));
    oci.run(&bundle).fails().says("linux.timeOffsets: needs a new time namespace");
    for (clock, secs, words) in [
        ("realtime", 1, "linux.timeOffsets.realtime: is neither monotonic nor boottime"),
        ("monotonic", -1_000_000_000, "cannot set the offsets of the clocks: a clock would stand before zero"),
    ] {
        let bundle = oci.bundle(|spec| {
            spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
            spec["linux"]["timeOffsets"] = json!({ clock: { "secs": secs } });
        });
        oci.run(&bundle).fails().says(words);
    }
}
