//! A crowd of containers: nothing of them stays.

use crate::support::{Oci, make_rootfs, need, runtime};
use serde_json::json;
use std::fs;
use std::path::Path;

const CONTAINERS: usize = 500;
const AT_ONCE: usize = 8;

/// What one worker does with every eighth number: create, start, kill, wait for the end, delete. One shell for all of it:
/// to enter the host takes longer than to make a container. Each container's name is written down with the descriptors
/// that its program has: once it sleeps, for while it begins it has a file open for a moment (glibc reads /proc/self/maps).
fn worker(oci: &Oci, bundles: &Path, first: usize) -> String {
    let words = oci.words(&[]).join(" ");
    let call = format!("{} {words}", runtime().display());
    format!(
        "n={first}
         while [ $n -lt {CONTAINERS} ]; do
             {call} create --pid-file {bundles}/{first}/pid --bundle {bundles}/{first} crowd-$n >/dev/null || exit 1
             {call} start crowd-$n || exit 2
             looks=0
             while :; do
                 open=$(ls /proc/$(cat {bundles}/{first}/pid)/fd | tr '\\n' ' ')
                 looks=$((looks + 1)); [ \"$open\" != '0 1 2 ' ] && [ $looks -lt 20 ] || break; sleep 0.05
             done
             echo crowd-$n $open >>{bundles}/{first}/made
             {call} kill crowd-$n KILL || exit 3
             until {call} delete crowd-$n 2>/dev/null; do
                 tries=$((tries + 1)); [ $tries -lt 5000 ] || exit 4; sleep 0.01
             done
             n=$((n + {AT_ONCE}))
         done",
        bundles = bundles.display()
    )
}

/// What is open in the host while no container is there: the descriptors of the process that holds it, and sockets.
fn open_in(oci: &Oci) -> String {
    oci.host.shell("ls /proc/1/fd; cat /proc/net/unix").ok().stdout
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
    let (before, open) = (oci.host.snapshot(), open_in(&oci));
    let workers: Vec<_> =
        (0..AT_ONCE).map(|number| oci.host.spawn("/bin/sh", &["-c", &worker(&oci, &bundles, number)])).collect();
    for worker in workers {
        worker.wait().ok();
    }
    oci.host.assert_unchanged(&before);
    assert_eq!(open_in(&oci), open);
    let made = oci.host.shell("cat crowd/*/made").ok();
    assert_eq!(made.stdout.lines().count(), CONTAINERS);
    if oci.is_ours() {
        // runc's start does not wait for execve, which closes what is open until then.
        for line in made.stdout.lines() {
            assert!(line.ends_with(" 0 1 2"), "{line}");
        }
    }
    let left: Vec<_> =
        fs::read_dir(oci.host.path("oci-state")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == ".seccomp"), "{left:?}");
    let mounts = oci.host.shell("cat /proc/mounts").ok();
    assert!(!mounts.stdout.contains("crowd"), "{mounts}");
}
