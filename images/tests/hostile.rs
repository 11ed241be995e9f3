//! Layers that attack: each is refused for its reason, and nothing is written outside, or left inside.

use std::fs::File;
use std::path::Path;

use rbox_images::{Error, Limits, Sharing, Snapshot, Store};

use crate::layers::archive_of;
use crate::support::{assert_same_tree, fixtures, scratch, sh, tree};

/// Attack, and words of the refusal.
const REFUSALS: [(&str, &str); 34] = [
    ("path-with-dots", "climbs with .."),
    ("path-with-dots-inside", "climbs with .."),
    ("path-absolute", "the path is absolute"),
    ("pax-path-with-dots", "climbs with .."),
    ("symlink-absolute", "absolute link of the same layer"),
    ("symlink-climbing", "climbs above the root"),
    ("symlink-chain", "climbs above the root"),
    ("symlink-loop", "too many links"),
    ("symlink-over-directory", "absolute link of the same layer"),
    // In the lowest layer there is nothing that a mark could be about: it is passed over.
    ("whiteout-through-symlink", ""),
    ("opaque-through-symlink", ""),
    ("hardlink-absolute", "there is no such file"),
    ("hardlink-climbing", "leads out of the layer"),
    ("hardlink-through-symlink", "absolute link of the same layer"),
    ("hardlink-to-directory", "it is a directory"),
    ("whiteout-of-parent", "the whiteout names nothing"),
    ("whiteout-of-self", "the whiteout names nothing"),
    ("whiteout-of-nothing", "the whiteout names nothing"),
    ("whiteout-as-directory", "a whiteout is no directory"),
    ("name-with-nul", "contains a NUL byte"),
    ("root-is-a-symlink", "the root must be a directory"),
    ("file-as-directory", "both a file and a directory"),
    ("owner-without-number", "uid 4294967295 is out of range"),
    ("unknown-type", "unknown type 'Z'"),
    ("sparse-beyond-end", "broken sparse map"),
    ("extension-of-two-mebibytes", "an extension header of"),
    ("checksum-wrong", "wrong checksum"),
    ("archive-cut-short", "in the middle of a file"),
    ("size-beyond-measure", "ends in the middle of a file"),
    ("size-beyond-the-archive", "ends in the middle of a file"),
    ("diff-id-of-another-layer", "but the image says sha256:0000"),
    ("no-archive-at-all", "wrong checksum"),
    ("gzip-bomb", "unpacks to more than allowed"),
    ("gzip-cut-short", "incomplete"),
];

fn victim(dir: &Path) {
    sh(dir, "mkdir victim; echo untouched > victim/secret; touch -d '2001-01-01 UTC' victim/secret victim");
}

#[test]
fn every_attack_is_refused_and_nothing_is_written() {
    let dir = scratch();
    victim(dir.path());
    let before = tree(&dir.path().join("victim"));
    let names = sh(dir.path(), &format!("{}/hostile/generate attacks victim", fixtures().display()));
    let generated: Vec<&str> = names.lines().collect();
    assert_eq!(generated, REFUSALS.map(|(name, _)| name), "every attack has a row");
    for (name, words) in REFUSALS {
        let root = dir.path().join(name);
        let mut store = Store::open(&root).unwrap();
        store.limits = Limits { bytes: 32 << 20, entries: 1000 };
        let answer = store.load(File::open(dir.path().join(format!("attacks/{name}.tar"))).unwrap());
        assert_same_tree(&tree(&dir.path().join("victim")), &before);
        let through_link = name.ends_with("through-symlink") && !name.starts_with("hardlink");
        match answer {
            Ok(_) => assert!(through_link, "{name} is accepted"),
            Err(error) => {
                assert!(!through_link && error.to_string().contains(words), "{name}: {error}");
                assert!(store.list().unwrap().is_empty(), "{name}");
                for left in ["l", "images/tmp", "images/blobs"] {
                    assert_eq!(std::fs::read_dir(root.join(left)).unwrap().count(), 0, "{name}: {left}");
                }
            }
        }
    }
}

#[test]
fn a_mark_above_a_lower_layer_stays_inside_too() {
    let dir = scratch();
    victim(dir.path());
    let before = tree(&dir.path().join("victim"));
    let script = r#"
import os, sys, tarfile
with tarfile.open("low.tar", "w") as low:
    e = tarfile.TarInfo("link"); e.type = tarfile.SYMTYPE; e.linkname = os.path.abspath("victim"); low.addfile(e)
    e = tarfile.TarInfo("up"); e.type = tarfile.SYMTYPE; e.linkname = "../" * 30 + os.path.abspath("victim")[1:]; low.addfile(e)
for link in ["link", "up"]:
    with tarfile.open(link + ".tar", "w") as high:
        for name in ["/.wh.secret", "/.wh..wh..opq", "/pwned"]:
            high.addfile(tarfile.TarInfo(link + name))
"#;
    std::fs::write(dir.path().join("make.py"), script).unwrap();
    sh(dir.path(), "python3 make.py");
    // An absolute link of the lower layer is the container's own: its target is inside, where the container sees it.
    let archive = archive_of(dir.path(), &["low.tar", "link.tar"]);
    let store = Store::open(&dir.path().join("root")).unwrap();
    store.load(File::open(&archive).unwrap()).unwrap();
    let image = store.find("test/image:1").unwrap();
    let Snapshot::Overlay { lower, .. } = store.snapshot(&image, "c", Sharing::Auto).unwrap() else { panic!() };
    assert!(lower[0].join(dir.path().strip_prefix("/").unwrap()).join("victim/pwned").exists());
    let archive = archive_of(dir.path(), &["low.tar", "up.tar"]);
    let error = store.load(File::open(archive).unwrap()).unwrap_err().to_string();
    assert!(error.contains("climbs above the root"), "{error}");
    assert_same_tree(&tree(&dir.path().join("victim")), &before);
}

#[test]
fn of_two_entries_with_one_name_the_later_replaces_the_earlier_and_is_not_written_through() {
    let dir = scratch();
    victim(dir.path());
    let before = tree(&dir.path().join("victim"));
    let script = r#"
import io, os, tarfile
victim = os.path.abspath("victim")
with tarfile.open("twice.tar", "w", format=tarfile.PAX_FORMAT) as out:
    def add(name, kind=tarfile.REGTYPE, link="", **more):
        e = tarfile.TarInfo(name); e.type = kind; e.linkname = link
        if kind == tarfile.REGTYPE: e.size = 3
        for k, v in more.items(): setattr(e, k, v)
        out.addfile(e, io.BytesIO(b"new") if kind == tarfile.REGTYPE else None)
    add("file", tarfile.SYMTYPE, victim + "/secret"); add("file")
    add("other", tarfile.SYMTYPE, victim + "/secret"); add("hard", tarfile.LNKTYPE, "other"); add("hard")
    add("dir", tarfile.SYMTYPE, victim); add("dir", tarfile.DIRTYPE, mode=0o755); add("dir/inside")
    add("was-dir/deep/er"); add("was-dir")
    add("redirect", tarfile.DIRTYPE, mode=0o755,
        pax_headers={"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.trusted.overlay.opaque": "y"})
"#;
    std::fs::write(dir.path().join("make.py"), script).unwrap();
    sh(dir.path(), "python3 make.py");
    let store = Store::open(&dir.path().join("root")).unwrap();
    store.load(File::open(archive_of(dir.path(), &["twice.tar"])).unwrap()).unwrap();
    let image = store.find("test/image:1").unwrap();
    let Snapshot::Overlay { lower, .. } = store.snapshot(&image, "c", Sharing::Auto).unwrap() else { panic!() };
    let ours = tree(&lower[0]);
    for name in ["file", "hard", "dir/inside", "was-dir"] {
        assert!(ours[Path::new(name)].contains("3 bytes"), "{name}: {}", ours[Path::new(name)]);
    }
    // overlayfs's own records are not for an image to write.
    assert!(!ours[Path::new("redirect")].contains("overlay"), "{}", ours[Path::new("redirect")]);
    assert_same_tree(&tree(&dir.path().join("victim")), &before);
}

/// An OCI layout whose blob was exchanged, or whose manifest tells a wrong size.
#[test]
fn a_blob_that_is_not_what_the_layout_says_is_refused() {
    let dir = scratch();
    let busybox = crate::support::busybox();
    sh(dir.path(), &format!("skopeo copy -q --insecure-policy docker-archive:{} oci:good:x/y:1", busybox.display()));
    let manifest =
        "$(python3 -c 'import json; print(json.load(open(\"bad/index.json\"))[\"manifests\"][0][\"digest\"][7:])')";
    for (change, words) in [
        ("for f in bad/blobs/sha256/*; do printf x >> $f; done".to_owned(), "its content is sha256:"),
        (format!("rm $(ls -S bad/blobs/sha256/* | head -1); : {manifest}"), "is missing"),
        (format!("rm bad/blobs/sha256/{manifest}"), "no such file or directory"),
    ] {
        sh(dir.path(), &format!("rm -rf bad; cp -r good bad; {change}; tar -C bad -cf bad.tar ."));
        let store = Store::open(&dir.path().join("root")).unwrap();
        let from_dir = store.load_layout(&dir.path().join("bad")).unwrap_err();
        let from_tar = store.load(File::open(dir.path().join("bad.tar")).unwrap()).unwrap_err();
        assert!(from_dir.to_string().contains(words), "{change}: {from_dir}");
        assert!(from_tar.to_string().contains(words), "{change}: {from_tar}");
        assert!(matches!(from_dir, Error::Refused { .. } | Error::Os { .. }));
        assert!(store.list().unwrap().is_empty());
    }
}
