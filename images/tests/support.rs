//! A store of one's own for each test, and words for what is in a directory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rbox_images::Store;

/// A directory that goes with the test. Not in memory: trusted attributes and devices are needed.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub(crate) fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("root")).unwrap()
}

/// Run a shell script in `dir`; its output. Failure fails the test, with what it said.
pub(crate) fn sh(dir: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The image recipes' directory.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("rootfs-fixtures")
}

/// The busybox image as an archive, made once.
pub(crate) fn busybox() -> PathBuf {
    static ONCE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let made = || {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
        let script = format!("{}/build busybox {}", fixtures().display(), out.display());
        PathBuf::from(sh(Path::new("/"), &script).trim())
    };
    ONCE.get_or_init(made).clone()
}

/// Everything there is to know about every file below `root`, one line each, by path.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut lines = BTreeMap::new();
    let mut names_of_inode: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    let mut paths = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                todo.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        let meta = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let mut line =
            format!("{:o} {}:{} {}.{:09}", meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec());
        if meta.is_symlink() {
            write!(line, " -> {}", std::fs::read_link(&path).unwrap().display()).unwrap();
        } else if meta.is_file() {
            let content = std::fs::read(&path).unwrap();
            write!(line, " {} bytes {}", content.len(), rbox_images::Digest::of(&content)).unwrap();
            let first = names_of_inode.entry(meta.ino()).or_insert_with(|| name.clone());
            write!(line, " is {}", first.display()).unwrap();
        } else if !meta.is_dir() {
            write!(line, " dev {:x}", meta.rdev()).unwrap();
        }
        let mut attributes: Vec<_> = xattr::list(&path).unwrap().collect();
        attributes.sort();
        for attribute in attributes {
            let value = xattr::get(&path, &attribute).unwrap().unwrap();
            write!(line, " {}={value:?}", String::from_utf8_lossy(attribute.as_bytes())).unwrap();
        }
        lines.insert(name, line);
    }
    lines
}

/// Compare two trees, and show only what differs.
pub(crate) fn assert_same_tree(left: &BTreeMap<PathBuf, String>, right: &BTreeMap<PathBuf, String>) {
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let different: Vec<_> = names.into_iter().filter(|name| left.get(*name) != right.get(*name)).collect();
    let show = |name: &&&PathBuf| format!("{}\n  {:?}\n  {:?}", name.display(), left.get(**name), right.get(**name));
    let shown: Vec<_> = different.iter().take(20).map(|name| show(&name)).collect();
    assert!(different.is_empty(), "{} files differ:\n{}", different.len(), shown.join("\n"));
}
