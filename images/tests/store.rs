//! Names, saving, importing, inspecting and removing.

use std::fs::File;

use rbox_images::{Error, Format, Removed, Sharing, Snapshot, Store};
use serde_json::{Value, json};

use crate::layers::archive_of;
use crate::support::{assert_same_tree, busybox, scratch, sh, store, tree};

const NAME: &str = "rbox-fixtures/busybox:latest";

#[test]
fn what_is_saved_is_read_by_skopeo_and_umoci_and_loaded_again() {
    let dir = scratch();
    let first = store(&dir);
    first.load(File::open(busybox()).unwrap()).unwrap();
    let image = first.find(NAME).unwrap();
    let file = |name: &str| File::create_new(dir.path().join(name)).unwrap();
    first.save(&["rbox-fixtures/busybox".into()], file("docker.tar"), Format::Docker).unwrap();
    first.save(&[NAME.into()], file("oci.tar"), Format::Oci).unwrap();
    first.save_layout(&[NAME.into()], &dir.path().join("layout")).unwrap();
    for source in ["docker-archive:docker.tar", "oci-archive:oci.tar", "oci:layout"] {
        let seen: Value = serde_json::from_str(&sh(dir.path(), &format!("skopeo inspect --config {source}"))).unwrap();
        assert_eq!(seen["config"]["Cmd"], json!(["sh"]), "{source}");
    }
    sh(dir.path(), "umoci unpack --image layout:latest bundle; gzip -k oci.tar");
    let Snapshot::Overlay { lower, .. } = first.snapshot(&image, "c", Sharing::Auto).unwrap() else { panic!() };
    let times_of_root = |mut tree: std::collections::BTreeMap<_, String>| {
        tree.remove(std::path::Path::new(""));
        tree
    };
    assert_same_tree(&times_of_root(tree(&lower[0])), &times_of_root(tree(&dir.path().join("bundle/rootfs"))));
    for (number, source) in ["docker.tar", "oci.tar", "oci.tar.gz"].iter().enumerate() {
        let again = Store::open(&dir.path().join(format!("again{number}"))).unwrap();
        again.load(File::open(dir.path().join(source)).unwrap()).unwrap();
        assert_eq!(again.find(NAME).unwrap().id, image.id, "{source}");
    }
    let again = Store::open(&dir.path().join("again")).unwrap();
    again.load_layout(&dir.path().join("layout")).unwrap();
    assert_eq!(again.find(NAME).unwrap().manifest, image.manifest);
    let repositories: Value = serde_json::from_str(&sh(dir.path(), "tar -xOf docker.tar repositories")).unwrap();
    assert!(repositories["rbox-fixtures/busybox"]["latest"].is_string(), "{repositories}");
}

#[test]
fn an_imported_root_file_system_is_an_image() {
    let dir = scratch();
    let store = store(&dir);
    sh(dir.path(), "mkdir -p t/bin; echo hi > t/bin/tool; chmod 755 t/bin/tool; tar -C t -czf t.tar.gz .");
    let changes = ["CMD [\"/bin/tool\"]".to_owned(), "EXPOSE 80".to_owned(), "ENV A=b".to_owned()];
    let name = "mine:1".parse().unwrap();
    let id = store.import(File::open(dir.path().join("t.tar.gz")).unwrap(), Some(&name), &changes).unwrap();
    let image = store.find("mine:1").unwrap();
    assert_eq!(image.id, id);
    assert_eq!(image.config.config().as_ref().unwrap().exposed_ports().as_ref().unwrap(), &["80/tcp"]);
    let Snapshot::Copy(rootfs) = store.snapshot(&image, "c", Sharing::Copy).unwrap() else { panic!() };
    assert_eq!(std::fs::read_to_string(rootfs.join("bin/tool")).unwrap(), "hi\n");
    store.import(File::open(dir.path().join("t.tar.gz")).unwrap(), None, &[]).unwrap();
    assert_eq!(store.list().unwrap().iter().filter(|row| row.repository.is_none()).count(), 1);
    assert!(store.import(&b"no archive"[..], None, &[]).is_err());
    assert!(store.import(&b""[..], None, &["RUN ls".into()]).is_err());
}

#[test]
fn inspect_has_the_keys_of_docker() {
    let dir = scratch();
    let store = store(&dir);
    store.load(File::open(busybox()).unwrap()).unwrap();
    let seen = store.inspect("rbox-fixtures/busybox").unwrap();
    // The order is Docker's where serde_json keeps orders, which is for the whole program to say.
    let mut keys: Vec<&str> = seen.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    // `docker image inspect` of docker.io 20.10, sorted; Variant only where there is one.
    let docker = [
        "Architecture",
        "Author",
        "Comment",
        "Config",
        "Container",
        "ContainerConfig",
        "Created",
        "DockerVersion",
        "GraphDriver",
        "Id",
        "Metadata",
        "Os",
        "Parent",
        "RepoDigests",
        "RepoTags",
        "RootFS",
        "Size",
        "VirtualSize",
    ];
    assert_eq!(keys, docker);
    assert_eq!(seen["RepoTags"], json!([NAME]));
    assert_eq!(seen["Config"]["Cmd"], json!(["sh"]));
    assert_eq!(seen["Config"]["Volumes"], Value::Null);
    assert!(seen["Size"].as_u64().unwrap() > 500_000);
}

#[test]
fn the_image_goes_with_its_last_name_and_takes_its_layers_along() {
    let dir = scratch();
    let store = store(&dir);
    let id = store.load(File::open(busybox()).unwrap()).unwrap().remove(0).id;
    store.tag(NAME, &"other/name:2".parse().unwrap()).unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
    let nobody = |_: &rbox_images::Digest| None;
    assert!(matches!(store.remove(id.short(), false, &nobody), Err(Error::InUse { .. })), "two repositories");
    assert_eq!(store.remove(NAME, false, &nobody).unwrap(), [Removed::Untagged(NAME.into())]);
    let somebody = |_: &rbox_images::Digest| Some("container web".to_owned());
    let error = store.remove("other/name:2", false, &somebody).unwrap_err().to_string();
    assert_eq!(error, "cannot remove image other/name:2: in use by container web");
    let gone = store.remove("other/name:2", false, &nobody).unwrap();
    let words: Vec<String> = gone.iter().map(ToString::to_string).collect();
    assert_eq!(words[..2], ["Untagged: other/name:2".to_owned(), format!("Deleted: {id}")]);
    assert!(words.len() == 3 && words[2].starts_with("Deleted: sha256:"), "{words:?}");
    for left in ["l", "images/blobs/sha256", "images/tmp"] {
        assert_eq!(std::fs::read_dir(dir.path().join("root").join(left)).unwrap().count(), 0, "{left}");
    }
}

#[test]
fn a_container_keeps_its_layers_when_the_image_is_forced_away() {
    let dir = scratch();
    let store = store(&dir);
    store.load(File::open(busybox()).unwrap()).unwrap();
    let snapshot = store.snapshot(&store.find(NAME).unwrap(), "web", Sharing::Auto).unwrap();
    store.remove(NAME, true, &|_| Some("container web".into())).unwrap();
    let Snapshot::Overlay { lower, .. } = &snapshot else { panic!() };
    assert!(lower[0].join("bin/busybox").exists());
    assert_eq!(store.find_snapshot("web").unwrap(), snapshot);
    store.remove_snapshot("web").unwrap();
    assert!(!lower[0].exists());
}

#[test]
fn shared_layers_stay_while_an_image_needs_them() {
    let dir = scratch();
    let store = store(&dir);
    sh(
        dir.path(),
        "mkdir a b c; echo a > a/a; echo b > b/b; echo c > c/c; for l in a b c; do tar -C $l -cf $l.tar .; done",
    );
    let load = |layers: &[&str], name: &str| {
        store.load(File::open(archive_of(dir.path(), layers)).unwrap()).unwrap();
        store.tag("test/image:1", &name.parse().unwrap()).unwrap();
    };
    load(&["a.tar", "b.tar"], "ab");
    load(&["a.tar", "c.tar"], "ac");
    let layers = || std::fs::read_dir(dir.path().join("root/l")).unwrap().count();
    assert_eq!(layers(), 3);
    store.remove("ab", false, &|_| None).unwrap();
    assert_eq!(layers(), 2);
    let image = store.find("ac").unwrap();
    let Snapshot::Copy(rootfs) = store.snapshot(&image, "c", Sharing::Copy).unwrap() else { panic!() };
    assert_eq!(sh(&rootfs, "ls"), "a\nc\n");
}

#[test]
fn a_name_that_is_not_here_says_so() {
    let dir = scratch();
    let store = store(&dir);
    store.load(File::open(busybox()).unwrap()).unwrap();
    match store.find("rbox-fixtures/busbox").unwrap_err() {
        Error::NotFound { name, similar, registry: None } => {
            assert_eq!((name.as_str(), similar), ("rbox-fixtures/busbox", vec![NAME.to_owned()]));
        }
        other => panic!("{other}"),
    }
    assert!(matches!(store.find("UPPER"), Err(Error::InvalidReference { .. })));
    assert!(matches!(store.snapshot(&store.find(NAME).unwrap(), "../c", Sharing::Auto), Err(Error::Refused { .. })));
}
