//! Killed in the middle, and several at once: the store stays whole.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rbox_images::{Sharing, Store};

use crate::support::{busybox, scratch, sh, store, tree};

/// Not a test of its own: loads an archive again and again in a process that the tests below kill.
#[test]
#[ignore = "run by the tests below"]
fn child_loads() {
    let var = |name: &str| std::env::var(name).unwrap();
    for _ in 0..var("RBOX_TEST_TIMES").parse().unwrap() {
        let store = Store::open(Path::new(&var("RBOX_TEST_STORE"))).unwrap();
        store.load(File::open(var("RBOX_TEST_ARCHIVE")).unwrap()).unwrap();
        let image = store.find("rbox-fixtures/busybox").unwrap();
        let id = format!("c{}", std::process::id());
        store.snapshot(&image, &id, Sharing::Auto).unwrap();
        store.remove_snapshot(&id).unwrap();
        // Somebody else may have been faster.
        let _ = store.remove("rbox-fixtures/busybox", false, &|_| None);
    }
}

fn child(dir: &Path, times: u32) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child_loads", "--ignored"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("RBOX_TEST_STORE", dir.join("root")).env("RBOX_TEST_ARCHIVE", busybox());
    command.env("RBOX_TEST_TIMES", times.to_string()).spawn().unwrap()
}

/// Load once more, and compare with a store that was never disturbed.
fn assert_works(dir: &Path) {
    let store = Store::open(&dir.join("root")).unwrap();
    let count = |path: &str| std::fs::read_dir(dir.join("root").join(path)).unwrap().count();
    assert_eq!(count("images/tmp"), 0, "opening sweeps");
    store.load(File::open(busybox()).unwrap()).unwrap();
    let image = store.find("rbox-fixtures/busybox").unwrap();
    let name = &image.references[0].familiar();
    for id in store.snapshots().unwrap() {
        store.remove_snapshot(&id).unwrap();
    }
    assert!(tree(&dir.join("root/l")).keys().any(|path| path.ends_with("d/bin/busybox")));
    store.remove(name, false, &|_| None).unwrap();
    assert_eq!((count("l"), count("images/blobs/sha256"), count("snapshots")), (0, 0, 0));
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn kill_9_at_any_moment_leaves_a_store_that_works() {
    let dir = scratch();
    busybox();
    for round in 0..25u64 {
        let mut child = child(dir.path(), 1000);
        std::thread::sleep(Duration::from_millis(30 + 17 * round));
        child.kill().unwrap();
        // It has not ended by itself, which it would where nothing is loaded.
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_works(dir.path());
    }
}

#[test]
fn two_loads_and_a_removal_at_once_do_not_disturb_each_other() {
    let dir = scratch();
    store(&dir).load(File::open(busybox()).unwrap()).unwrap();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let root = dir.path().join("root");
            scope.spawn(move || {
                for round in 0..6 {
                    let store = Store::open(&root).unwrap();
                    let loaded = store.load(File::open(busybox()).unwrap()).unwrap();
                    // The image may be gone again, but never half.
                    if let Ok(image) = store.by_id(&loaded[0].id) {
                        let id = format!("c{number}-{round}");
                        if store.snapshot(&image, &id, Sharing::Auto).is_ok() {
                            assert!(store.find_snapshot(&id).is_ok());
                            store.remove_snapshot(&id).unwrap();
                        }
                    }
                    if number == 0 {
                        let _ = store.remove("rbox-fixtures/busybox", false, &|_| None);
                    }
                }
            });
        }
    });
    assert_works(dir.path());
}

#[test]
fn a_live_load_is_not_swept_by_another_opening() {
    let dir = scratch();
    let store = store(&dir);
    // An archive that comes slowly: one end of a pipe, half of it written.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let content = std::fs::read(busybox()).unwrap();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| store.load(reader));
        std::io::Write::write_all(&mut writer, &content[..content.len() / 2]).unwrap();
        Store::open(&dir.path().join("root")).unwrap();
        std::io::Write::write_all(&mut writer, &content[content.len() / 2..]).unwrap();
        drop(writer);
        load.join().unwrap().unwrap();
    });
    assert!(store.find("rbox-fixtures/busybox").is_ok());
    sh(dir.path(), "test -z \"$(ls root/images/tmp)\"");
}
