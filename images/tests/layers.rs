//! Layers become directories: the same that GNU tar and umoci make of them.

use std::fs::File;
use std::path::Path;

use rbox_images::{Sharing, Snapshot};

use crate::support::{assert_same_tree, busybox, scratch, sh, store, tree};

/// Make a docker-archive out of layer archives, lowest first.
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

/// Layers with everything that overlay, tar and umoci can disagree about.
fn make_layers(dir: &Path) {
    sh(
        dir,
        r#"
mkdir -p a/gone a/kept a/opaque/sub a/replaced a/usr/lib a/etc a/merged; cd a
echo x > gone/file; echo x > kept/file; echo x > kept/other; echo x > opaque/old; echo x > opaque/sub/old
echo x > replaced/file; ln -s usr/lib lib; echo secret > etc/shadow; chmod 640 etc/shadow; chgrp 42 etc/shadow
echo 1 > hard1; ln hard1 hard2; ln hard1 usr/hard3
cp /bin/true suid; chmod 6755 suid; chown 1000:1001 suid; chmod 2755 suid; chmod u+s suid
cp /bin/true cap; setcap cap_net_raw+ep cap
setfattr -n user.binary -v 0x0a000a3d20 kept/file; setfattr -n trusted.note -v yes merged
mkfifo fifo; chmod 622 fifo; mknod null c 1 3; chmod 666 null; mknod disk b 8 1; chown 0:6 disk
truncate -s 5M sparse; printf data | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none; printf end >> sparse
ln -s /nowhere/absolute dangling; chown -h 7:8 dangling; mkdir -m 1777 tmp; mkdir -m 700 root
long=$(printf 'n%.0s' $(seq 120)); mkdir -p $long/$long; echo long > $long/$long/$long; ln -s $long/$long/$long longlink
touch -d '1999-12-31 23:59:59.123456789 UTC' kept/other; touch -d '1969-01-02 UTC' hard1; touch -h -d '2001-02-03 UTC' dangling
touch -d '2000-01-01 UTC' kept merged tmp .; cd ..
mkdir -p b/kept b/opaque/sub b/replaced b/merged; cd b
touch .wh.gone; touch kept/.wh.other; touch opaque/.wh..wh..opq; echo new > opaque/new; echo new > opaque/sub/new
touch .wh.suid; rmdir replaced; echo now-a-file > replaced; echo more > merged/more; touch -d '2010-01-01 UTC' merged kept opaque opaque/sub .; cd ..
for l in a b; do tar --xattrs --xattrs-include='*' --format=pax --sparse --numeric-owner -C $l -cf $l.tar .; done
"#,
    );
}

/// The layers in one directory, without overlayfs's own records.
fn copied(store: &rbox_images::Store, name: &str) -> std::collections::BTreeMap<std::path::PathBuf, String> {
    let image = store.find(name).unwrap();
    match store.snapshot(&image, "copy", Sharing::Copy).unwrap() {
        Snapshot::Copy(rootfs) => tree(&rootfs),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_copy_of_all_layers_is_what_umoci_unpacks() {
    let dir = scratch();
    make_layers(dir.path());
    let archive = archive_of(dir.path(), &["a.tar", "b.tar"]);
    let store = store(&dir);
    store.load(File::open(archive).unwrap()).unwrap();
    sh(
        dir.path(),
        "skopeo copy -q --insecure-policy docker-archive:image.tar oci:layout:x; umoci unpack --image layout:x bundle",
    );
    let (mut ours, mut theirs) = (copied(&store, "test/image:1"), tree(&dir.path().join("bundle/rootfs")));
    // umoci 0.4.7 does not keep the times of directories that it changes later, nor those before 1970.
    for tree in [&mut ours, &mut theirs] {
        for line in tree.values_mut().filter(|line| line.starts_with('4')) {
            *line = line
                .split(' ')
                .enumerate()
                .filter(|(at, _)| *at != 2)
                .map(|(_, word)| word)
                .collect::<Vec<_>>()
                .join(" ");
        }
    }
    assert_same_tree(&ours, &theirs);
}

#[test]
fn an_overlay_of_the_layers_shows_what_a_copy_has() {
    let dir = scratch();
    make_layers(dir.path());
    let archive = archive_of(dir.path(), &["a.tar", "b.tar"]);
    let store = store(&dir);
    store.load(File::open(archive).unwrap()).unwrap();
    let image = store.find("test/image:1").unwrap();
    let Snapshot::Overlay { lower, upper, work } = store.snapshot(&image, "c", Sharing::Auto).unwrap() else {
        panic!()
    };
    let lower: Vec<_> = lower.iter().map(|path| path.display().to_string()).collect();
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    // In a mount namespace of its own the mount ends with the command. tar says what is there.
    let list = "tar --sort=name --xattrs --xattrs-include='*' --xattrs-exclude='trusted.overlay.*' --format=pax --pax-option=delete=atime,delete=ctime --numeric-owner -cf";
    let script =
        format!("mkdir m; unshare -m sh -euc 'mount -t overlay overlay -o {options} m; {list} merged.tar -C m .'");
    sh(dir.path(), &script);
    sh(dir.path(), "mkdir out; tar --xattrs --xattrs-include='*' -xpf merged.tar -C out");
    assert_same_tree(&tree(&dir.path().join("out")), &copied(&store, "test/image:1"));
}

#[test]
fn the_lowest_layer_is_as_gnu_tar_unpacks_it() {
    let dir = scratch();
    make_layers(dir.path());
    for (format, options) in
        [("gnu", "--format=gnu"), ("pax", "--format=pax"), ("pax01", "--format=pax --sparse-version=0.1")]
    {
        let sparse = "tar --xattrs --xattrs-include='*' --sparse --numeric-owner -C a";
        let xattrs =
            if format == "gnu" { sparse.replace("--xattrs --xattrs-include='*'", "") } else { sparse.to_owned() };
        sh(
            dir.path(),
            &format!(
                "{xattrs} {options} -cf {format}.tar .; mkdir {format}; tar -xpf {format}.tar --xattrs --xattrs-include='*' -C {format}"
            ),
        );
        let archive = archive_of(dir.path(), &[&format!("{format}.tar")]);
        let store = rbox_images::Store::open(&dir.path().join(format!("store-{format}"))).unwrap();
        store.load(File::open(archive).unwrap()).unwrap();
        assert_same_tree(&copied(&store, "test/image:1"), &tree(&dir.path().join(format)));
        let sparse = sh(dir.path(), &format!("stat -c %b store-{format}/snapshots/copy/rootfs/sparse"));
        assert!(sparse.trim().parse::<u64>().unwrap() < 100, "the holes are filled: {sparse} blocks");
    }
}

#[test]
fn a_layer_reaches_into_the_layers_below_as_the_container_would() {
    let dir = scratch();
    // Below: a link and a file; above: paths through the link, an implied directory, a hard link to the file.
    sh(
        dir.path(),
        r#"
mkdir -p a/usr/lib a/run a/deep/er a/var; ln -s usr/lib a/lib; ln -s /run a/var/run; echo old > a/usr/file
chmod 2750 a/deep/er; chown 5:6 a/deep/er; touch -d '2002-02-02 UTC' a/deep/er; setfattr -n user.x -v y a/deep/er
tar --xattrs --numeric-owner -C a -cf a.tar ."#,
    );
    let script = r#"
import io, tarfile
with tarfile.open("b.tar", "w") as out:
    for name in ["lib/through", "var/run/pid", "deep/er/implied", "brand/new/dir"]:
        entry = tarfile.TarInfo(name); entry.size = 3; out.addfile(entry, io.BytesIO(b"new"))
    link = tarfile.TarInfo("linked"); link.type = tarfile.LNKTYPE; link.linkname = "usr/file"; out.addfile(link)
"#;
    std::fs::write(dir.path().join("b.py"), script).unwrap();
    sh(dir.path(), "python3 b.py");
    let archive = archive_of(dir.path(), &["a.tar", "b.tar"]);
    let store = store(&dir);
    store.load(File::open(archive).unwrap()).unwrap();
    let ours = copied(&store, "test/image:1");
    let line = |name: &str| ours.get(Path::new(name)).unwrap_or_else(|| panic!("{name} is missing")).as_str();
    assert!(line("usr/lib/through").contains("3 bytes") && line("run/pid").contains("3 bytes"));
    assert!(line("lib").contains("-> usr/lib") && line("var/run").contains("-> /run"));
    assert!(line("deep/er").starts_with("42750 5:6 1012608000.0") && line("deep/er").contains("user.x="));
    assert!(line("brand/new").starts_with("40755 0:0"));
    assert!(line("usr/file").ends_with("is linked") && line("linked").ends_with("is linked"));
}
