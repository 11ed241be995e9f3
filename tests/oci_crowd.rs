//! A crowd of containers: nothing of them stays.

use crate::support::{Oci, make_rootfs, need, runtime};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Instant;

const CONTAINERS: usize = 500;
const AT_ONCE: usize = 8;
/// With two processors that others use too.
const AT_MOST_SECONDS: u64 = 60;

/// What one worker does with every eighth number: create, start, kill, wait for the end, delete. One shell for all of it:
/// to enter the host takes longer than to make a container.
fn worker(oci: &Oci, bundles: &Path, first: usize) -> String {
    let words = oci.words(&[]).join(" ");
    let call = format!("{} {words}", runtime().display());
    format!(
        "n={first}
         while [ $n -lt {CONTAINERS} ]; do
             {call} create --bundle {bundles}/{first} crowd-$n >/dev/null || exit 1
             {call} start crowd-$n && echo crowd-$n >>{bundles}/{first}/made || exit 2
             {call} kill crowd-$n KILL || exit 3
             until {call} delete crowd-$n 2>/dev/null; do
                 tries=$((tries + 1)); [ $tries -lt 5000 ] || exit 4; sleep 0.01
             done
             n=$((n + {AT_ONCE}))
         done",
        bundles = bundles.display()
    )
}

/// The number of open descriptors of every process of the host.
fn descriptors(oci: &Oci) -> String {
    oci.host.shell("for p in /proc/[0-9]*; do ls $p/fd 2>/dev/null | wc -l; done | sort -n | tail -n 1").ok().stdout
}

#[test]
fn five_hundred_containers_come_and_go_eight_at_a_time() {
    need!(Root);
    let oci = Oci::new();
    let bundles = oci.host.path("crowd");
    for number in 0..AT_ONCE {
        let dir = bundles.join(number.to_string());
        make_rootfs(&dir.join("rootfs"));
        let mut spec = crate::support::spec_template();
        spec["process"]["args"] = json!(["/probe", "sleep", "60"]);
        fs::write(dir.join("config.json"), spec.to_string()).unwrap();
    }
    // The first one leaves what is kept on purpose (the state folder itself).
    oci.host.shell(&worker(&oci, &bundles, 0).replace("-lt 500", "-lt 1")).ok();
    fs::remove_file(bundles.join("0/made")).unwrap();
    let (before, open) = (oci.host.snapshot(), descriptors(&oci));
    let begin = Instant::now();
    let workers: Vec<_> =
        (0..AT_ONCE).map(|number| oci.host.spawn("/bin/sh", &["-c", &worker(&oci, &bundles, number)])).collect();
    for worker in workers {
        worker.wait().ok();
    }
    let took = begin.elapsed();
    eprintln!("{CONTAINERS} containers took {took:?}");
    oci.host.assert_unchanged(&before);
    assert_eq!(descriptors(&oci), open);
    let made = oci.host.shell("cat crowd/*/made | wc -l").ok();
    assert_eq!(made.text(), CONTAINERS.to_string());
    let left: Vec<_> =
        fs::read_dir(oci.host.path("oci-state")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == ".seccomp"), "{left:?}");
    let mounts = oci.host.shell("cat /proc/mounts").ok();
    assert!(!mounts.stdout.contains("crowd"), "{mounts}");
    assert!(took.as_secs() < AT_MOST_SECONDS, "{took:?}");
}
