//! Layers become directories: the same that GNU tar and umoci make of them.

use std::fs::File;
use std::path::Path;

use rbox_images::{Sharing, Snapshot};

use crate::support::{assert_same_tree, busybox, scratch, sh, store, tree};

/// Make a docker-archive out of layer archives, lowest first.
#[expect(dead_code, reason = "used by the whiteout tests below")]
pub(crate) fn archive_of(dir: &Path, layers: &[&str]) -> std::path::PathBuf {
    let script = r#"
import hashlib, json, sys, tarfile, io
layers = sys.argv[1:]
digests = [hashlib.sha256(open(l, "rb").read()).hexdigest() for l in layers]
config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + d for d in digests]}}).encode()
name = hashlib.sha256(config).hexdigest() + ".json"
manifest = json.dumps([{"Config": name, "RepoTags": ["test/image:1"], "Layers": layers}]).encode()
with tarfile.open("image.tar", "w") as out:
    for member, content in [(name, config), ("manifest.json", manifest)]:
        info = tarfile.TarInfo(member); info.size = len(content)
        out.addfile(info, io.BytesIO(content))
    for l in layers:
        out.add(l)
"#;
    std::fs::write(dir.join("archive.py"), script).unwrap();
    sh(dir, &format!("python3 archive.py {}", layers.join(" ")));
    dir.join("image.tar")
}

fn lower_of(snapshot: Snapshot) -> Vec<std::path::PathBuf> {
    match snapshot {
        Snapshot::Overlay { lower, .. } => lower,
        Snapshot::Copy(_) => panic!("an overlay is to be had on this file system"),
    }
}

#[test]
fn a_loaded_image_is_found_listed_and_unpacked_as_gnu_tar_does() {
    let dir = scratch();
    let store = store(&dir);
    let loaded = store.load(File::open(busybox()).unwrap()).unwrap();
    assert_eq!(loaded[0].names[0].familiar(), "rbox-fixtures/busybox:latest");
    let image = store.find("rbox-fixtures/busybox").unwrap();
    assert_eq!(image.id, loaded[0].id);
    assert_eq!(image.config.config().as_ref().unwrap().cmd().as_ref().unwrap(), &["sh"]);
    assert_eq!(store.list().unwrap()[0].repository.as_deref(), Some("rbox-fixtures/busybox"));
    let lower = lower_of(store.snapshot(&image, "c1", Sharing::Auto).unwrap());
    sh(
        dir.path(),
        &format!(
            "mkdir x t; tar -xf {} -C x; tar -xpf x/*.tar -C t --xattrs --xattrs-include='*'",
            busybox().display()
        ),
    );
    assert_same_tree(&tree(&lower[0]), &tree(&dir.path().join("t")));
}

#[test]
fn two_containers_share_the_layers_and_write_apart() {
    let dir = scratch();
    let store = store(&dir);
    store.load(File::open(busybox()).unwrap()).unwrap();
    let image = store.find("rbox-fixtures/busybox").unwrap();
    let (one, two) =
        (store.snapshot(&image, "c1", Sharing::Auto).unwrap(), store.snapshot(&image, "c2", Sharing::Auto).unwrap());
    let Snapshot::Overlay { upper, .. } = &one else { panic!("{one:?}") };
    assert!(matches!(&two, Snapshot::Overlay { upper: other, .. } if other != upper));
    assert_eq!(store.find_snapshot("c1").unwrap(), one);
    assert_eq!(lower_of(one), lower_of(two));
    assert_eq!(store.snapshots().unwrap(), ["c1", "c2"]);
    store.remove_snapshot("c1").unwrap();
    store.remove_snapshot("c1").unwrap();
    assert_eq!(store.snapshots().unwrap(), ["c2"]);
}
