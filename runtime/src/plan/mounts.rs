//! Mounts of config.json -> mounts of the Plan (runtime-spec config.md#mounts).

use super::{Mount, Place, Said, Source};
use crate::child;
use crate::copy_up;
use crate::error::{Doing, Error, Result};
use crate::idmap::{self, Maps};
use crate::root::Root;
use crate::steps;
use crate::sys;
use crate::sys::mount::Attributes;
use oci_spec::runtime::Linux;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

/// Options of a mount, sorted by who acts on them.
#[derive(Debug, Default)]
struct Options {
    set: u64,
    clear: u64,
    /// `MOUNT_ATTR_*` for the whole tree: `rro`, `rnosuid` …
    set_all: u64,
    clear_all: u64,
    /// `MS_PRIVATE` … and whether for the whole tree.
    propagation: Option<(u64, bool)>,
    bind: Option<Bind>,
    remount: bool,
    /// `idmap`, `ridmap`: whether for the whole tree.
    idmap: Option<bool>,
    /// A tmpfs that begins with what the image has there.
    copy_up: bool,
    /// For the file system: `size=64m`, `newinstance`.
    data: Vec<(CString, Option<CString>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bind {
    This,
    Recursive,
}

/// The flags that mean the same for every file system: (option, attributes to set, to clear), from mount(8).
static FLAGS: &[(&str, u64, u64)] = &[
    ("ro", RDONLY, 0),
    ("rw", 0, RDONLY),
    ("nosuid", libc::MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, libc::MOUNT_ATTR_NOSUID),
    ("nodev", libc::MOUNT_ATTR_NODEV, 0),
    ("dev", 0, libc::MOUNT_ATTR_NODEV),
    ("noexec", libc::MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, libc::MOUNT_ATTR_NOEXEC),
    ("noatime", libc::MOUNT_ATTR_NOATIME, ATIME),
    ("atime", 0, ATIME),
    ("strictatime", libc::MOUNT_ATTR_STRICTATIME, ATIME),
    ("nostrictatime", 0, ATIME),
    ("relatime", 0, ATIME),
    ("norelatime", 0, ATIME),
    ("nodiratime", libc::MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, libc::MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", libc::MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, libc::MOUNT_ATTR_NOSYMFOLLOW),
    ("defaults", 0, 0),
    ("async", 0, 0),
    ("iversion", 0, 0),
    ("silent", 0, 0),
    ("loud", 0, 0),
    ("nomand", 0, 0),
    ("quiet", 0, 0),
];

/// Options that runc knows and we have not: refused by name, for a flag must not be parsed and ignored.
static UNSUPPORTED: &[&str] = &["copy-symlink", "dest-nofollow", "src-nofollow"];

fn propagation(option: &str) -> Option<(u64, bool)> {
    Some(match option {
        "private" => (libc::MS_PRIVATE, false),
        "rprivate" => (libc::MS_PRIVATE, true),
        "slave" => (libc::MS_SLAVE, false),
        "rslave" => (libc::MS_SLAVE, true),
        "shared" => (libc::MS_SHARED, false),
        "rshared" => (libc::MS_SHARED, true),
        "unbindable" => (libc::MS_UNBINDABLE, false),
        "runbindable" => (libc::MS_UNBINDABLE, true),
        _ => return None,
    })
}

impl Options {
    fn parse(options: &[String], path: &str) -> Result<Options> {
        let mut parsed = Options::default();
        for option in options {
            if UNSUPPORTED.contains(&option.as_str()) {
                return Err(Error::spec(path, format!("mount option {option} is not supported")));
            }
            parsed.take(option, path)?;
        }
        Ok(parsed)
    }

    fn take(&mut self, option: &str, path: &str) -> Result<()> {
        if let Some((_, set, clear)) = FLAGS.iter().find(|(name, _, _)| *name == option) {
            // The last word wins, as with mount(8).
            self.set = self.set & !clear | set;
            self.clear = self.clear & !set | clear;
        } else if let Some(change) = propagation(option) {
            self.propagation = Some(change);
        } else if let Some((_, set, clear)) = option
            .strip_prefix('r')
            .and_then(|plain| FLAGS.iter().find(|(name, set, clear)| *name == plain && (set | clear) != 0))
        {
            self.set_all = self.set_all & !clear | set;
            self.clear_all = self.clear_all & !set | clear;
        } else {
            match option {
                "bind" => self.bind = Some(Bind::This),
                "rbind" => self.bind = Some(Bind::Recursive),
                "remount" => self.remount = true,
                "tmpcopyup" => self.copy_up = true,
                "idmap" => self.idmap = Some(false),
                "ridmap" => self.idmap = Some(true),
                _ => self.data.push(data(option, path)?),
            }
        }
        Ok(())
    }
}

/// Whether `option` is done here, for every kind of mount; the others are words for one file system, or refused.
pub(crate) fn knows_option(option: &str) -> bool {
    Options::parse(&[option.to_owned()], "").is_ok_and(|parsed| parsed.data.is_empty())
}

fn data(option: &str, path: &str) -> Result<(CString, Option<CString>)> {
    let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
    let c = |text: &str| CString::new(text).map_err(|_| Error::spec(path, "contains a zero byte"));
    Ok((c(key)?, value.map(c).transpose()?))
}

/// The part of the cgroup tree that a container's `/sys/fs/cgroup` shows.
pub(crate) struct CgroupView {
    /// cgroup v1: name below /sys/fs/cgroup and the container's own directory on the host. Empty with cgroup v2.
    pub(crate) controllers: Vec<(String, PathBuf)>,
    /// (name, text of the link): `cpu -> cpu,cpuacct`.
    pub(crate) links: Vec<(String, String)>,
    /// The container has no group of its own, or may not mount it: cgroup2 is mounted anew only in a cgroup namespace of
    /// the same user namespace. It sees what its maker sees, and may not write.
    pub(crate) lacking: bool,
    /// A cgroup namespace is made, so that a fresh cgroup2 shows the container's own part.
    pub(crate) own_namespace: bool,
    /// clone3 puts init into its cgroup; else it is put there before the parent says Go.
    pub(crate) born_inside: bool,
}

/// All mounts of config.json, in its order.
pub(super) fn mounts(
    specs: &[oci_spec::runtime::Mount],
    linux: &Linux,
    (bundle, root): (&Path, &Root),
    cgroup: &CgroupView,
) -> Result<Vec<Mount>> {
    let mut planned = Vec::with_capacity(specs.len() + cgroup.controllers.len() + 1);
    for (number, spec) in specs.iter().enumerate() {
        let path = format!("mounts[{number}]");
        let options = Options::parse(spec.options().as_deref().unwrap_or(&[]), &path)?;
        let maps = Maps::of(spec.uid_mappings(), spec.gid_mappings(), &format!("{path}."))?;
        let kind = spec.typ().as_deref().unwrap_or("");
        let place = Place::new(&spec.destination().to_string_lossy())
            .ok_or_else(|| Error::spec(&path, "destination contains a zero byte"))?;
        if place.parts.is_empty() {
            return Err(Error::spec(&path, "destination / is the root itself"));
        }
        let said = Said {
            kind: if options.bind.is_some() { "bind".to_owned() } else { kind.to_owned() },
            source: spec.source().as_ref().map_or_else(|| kind.to_owned(), |source| source.display().to_string()),
            target: place.text(),
            options: spec.options().as_deref().unwrap_or(&[]).join(","),
        };
        if let Some(bind) = options.bind.or((kind == "bind").then_some(Bind::This)) {
            let mount = bind_mount(bind, &options, bundle, place, said)?;
            if maps.is_some() || options.idmap.is_some() {
                map_ids(&mount, maps.as_ref(), options.idmap == Some(true), (linux, &path))?;
            }
            planned.push(mount);
        } else if maps.is_some() || options.idmap.is_some() {
            return Err(Error::spec(&path, "only a bind mount can be idmapped"));
        } else if kind == "cgroup" || kind == "cgroup2" {
            if cgroup.lacking {
                let said = Said { source: "/sys/fs/cgroup".to_owned(), ..said };
                let readonly = Options { set_all: RDONLY, ..options };
                planned.push(bind_mount(Bind::Recursive, &readonly, bundle, place, said)?);
            } else {
                cgroup_mounts(&options, cgroup, &place, said, &mut planned)?;
            }
        } else if options.copy_up && kind != "tmpfs" {
            return Err(Error::spec(&path, "tmpcopyup is for tmpfs"));
        } else {
            let copy_up = options.copy_up;
            let mut mount = filesystem(kind, options, place, said, &path)?;
            if copy_up {
                self::copy_up(&mut mount, root)?;
            }
            planned.push(mount);
        }
    }
    Ok(planned)
}

/// A directory or file of the host, to be seen inside too.
fn bind_mount(bind: Bind, options: &Options, bundle: &Path, place: Place, said: Said) -> Result<Mount> {
    if options.remount {
        let recursive = bind == Bind::Recursive;
        let attributes =
            Attributes { set: options.set, clear: options.clear | atime(options.set), ..Attributes::default() };
        let source = Source::Remount { attributes, recursive };
        return Ok(Mount::new(source, place, said));
    }
    let source = bundle.join(&said.source);
    let tree = open_bind(&source, bind == Bind::Recursive)?;
    let is_file = !is_directory(&tree).doing(|| format!("look at {}", source.display()))?;
    let whole = options.set_all | options.clear_all != 0;
    // mounts of the container's tree get the host's later mounts only where that is asked for
    let (propagation, all) = options.propagation.unwrap_or((libc::MS_PRIVATE, true));
    let change = Attributes { set: options.set, clear: options.clear | atime(options.set), ..Attributes::default() };
    let everywhere =
        Attributes { set: options.set_all, clear: options.clear_all | atime(options.set_all), ..Attributes::default() };
    set_attributes(&tree, all, Attributes { propagation, ..Attributes::default() }, &said)?;
    if change != Attributes::default() {
        set_attributes(&tree, false, change, &said)?;
    }
    if whole {
        set_attributes(&tree, true, everywhere, &said)?;
    }
    Ok(Mount { is_file, made: Some(tree), ..Mount::new(Source::Bind, place, said) })
}

/// Let users of the file system appear as others: by maps of the mount's own, else by those of the container.
/// runtime-spec config.md#linux-mount-options `idmap`, mount_setattr(2) `MOUNT_ATTR_IDMAP`, Linux 5.12.
fn map_ids(mount: &Mount, maps: Option<&Maps>, recursive: bool, (linux, path): (&Linux, &str)) -> Result<()> {
    let Some(tree) = &mount.made else { return Err(Error::spec(path, "a remount cannot be idmapped")) };
    let users = match maps {
        Some(maps) => maps.namespace()?,
        None => idmap::namespace_of(linux)?
            .ok_or_else(|| Error::spec(path, "has neither maps for idmap, nor has the container a user namespace"))?,
    };
    let userns = u64::from(users.as_raw_fd().unsigned_abs());
    let change = Attributes { set: libc::MOUNT_ATTR_IDMAP, userns, ..Attributes::default() };
    set_attributes(tree, recursive, change, &mount.said)
}

/// mount_setattr(2) wants the access time bits cleared whenever one of them is set.
fn atime(set: u64) -> u64 {
    if set & ATIME != 0 { ATIME } else { 0 }
}

fn open_bind(source: &Path, recursive: bool) -> Result<OwnedFd> {
    let doing = || format!("bind {}", source.display());
    let path = CString::new(source.as_os_str().as_bytes())
        .map_err(|_| Error::spec("mounts", format!("source {} contains a zero byte", source.display())))?;
    rbox_explain::step(
        &steps::BIND,
        || format!("open_tree({:?}, OPEN_TREE_CLONE{})", source, if recursive { " | AT_RECURSIVE" } else { "" }),
        || sys::mount::open_tree(sys::file::here(), &path, recursive),
    )
    .doing(doing)
}

fn set_attributes(tree: &OwnedFd, recursive: bool, change: Attributes, said: &Said) -> Result<()> {
    rbox_explain::step(
        &steps::SETATTR,
        || {
            let all = if recursive { ", AT_RECURSIVE" } else { "" };
            format!("mount_setattr({}{all}, {})", said.source, super::words::attributes(&change))
        },
        || sys::mount::mount_setattr(tree.as_fd(), recursive, &change),
    )
    .doing(|| format!("set options {} of the mount of {}", said.options, said.source))
}

fn is_directory(tree: &OwnedFd) -> std::io::Result<bool> {
    Ok(sys::file::fstat(tree.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// A new file system: proc, sysfs, tmpfs, devpts, mqueue …
fn filesystem(kind: &str, options: Options, place: Place, said: Said, path: &str) -> Result<Mount> {
    if kind.is_empty() {
        return Err(Error::spec(path, "has neither a type nor the option bind"));
    }
    let propagation = match options.propagation {
        Some((libc::MS_PRIVATE, _)) | None => 0,
        Some((propagation, _)) => propagation,
    };
    let mut data = options.data;
    data.insert(0, (c"source".to_owned(), CString::new(said.source.as_str()).ok()));
    // tmpfs may still have to take mount points of later mounts: read-only at last
    let readonly_at_last = kind == "tmpfs" && options.set & RDONLY != 0;
    let attributes = if readonly_at_last { options.set & !RDONLY } else { options.set };
    let kind = CString::new(kind).map_err(|_| Error::spec(path, "type contains a zero byte"))?;
    if options.set_all | options.clear_all != 0 {
        return Err(Error::spec(path, "recursive options are for bind mounts"));
    }
    let source = Source::Filesystem { kind, options: data, attributes };
    Ok(Mount { readonly_at_last, propagation, ..Mount::new(source, place, said) })
}

/// Make the tmpfs now, and fill it with what the image has at its place. Where that is nothing, init makes it as ever.
fn copy_up(mount: &mut Mount, root: &Root) -> Result<()> {
    let Source::Filesystem { kind, options, attributes } = &mount.source else { return Ok(()) };
    let Some(from) = copy_up::source(root, &mount.place.whole)? else { return Ok(()) };
    let doing = || format!("make a tmpfs for {}", mount.said.target);
    let made = child::filesystem(kind, options, *attributes).doing(doing)?;
    copy_up::copy(&from, &made, &mount.said.target)?;
    mount.made = Some(made);
    Ok(())
}

/// `/sys/fs/cgroup`: cgroup2 itself, or with cgroup v1 a tmpfs with one bind for each hierarchy.
fn cgroup_mounts(
    options: &Options,
    view: &CgroupView,
    place: &Place,
    said: Said,
    planned: &mut Vec<Mount>,
) -> Result<()> {
    let readonly = options.set & RDONLY;
    if view.controllers.is_empty() {
        let source = Source::Filesystem {
            kind: c"cgroup2".to_owned(),
            options: vec![(c"source".to_owned(), Some(c"cgroup".to_owned()))],
            attributes: options.set,
        };
        let said = Said { kind: "cgroup2".to_owned(), ..said };
        planned.push(Mount::new(source, place.clone(), said));
        return Ok(());
    }
    let links =
        view.links.iter().filter_map(|(name, text)| Some((CString::new(&**name).ok()?, CString::new(&**text).ok()?)));
    let links = links.collect();
    let mode = vec![(c"source".to_owned(), Some(c"tmpfs".to_owned())), (c"mode".to_owned(), Some(c"755".to_owned()))];
    let target = said.target.clone();
    let source = Source::Filesystem { kind: c"tmpfs".to_owned(), options: mode, attributes: options.set & !RDONLY };
    let said = Said { kind: "tmpfs".to_owned(), source: "tmpfs".to_owned(), ..said };
    planned.push(Mount { readonly_at_last: readonly != 0, links, ..Mount::new(source, place.clone(), said) });
    let below = planned.len() - 1;
    for (name, directory) in &view.controllers {
        let at = format!("{target}/{name}");
        let odd = || Error::spec("mounts", "a cgroup path contains a zero byte");
        let place = Place::new(&at).ok_or_else(odd)?;
        let said = Said {
            kind: "bind".to_owned(),
            source: directory.display().to_string(),
            target: at,
            options: if readonly == 0 { "bind".to_owned() } else { "bind,ro".to_owned() },
        };
        let source = Source::Cgroup {
            directory: CString::new(directory.as_os_str().as_bytes()).map_err(|_| odd())?,
            attributes: options.set,
            below,
            name: CString::new(name.as_str()).map_err(|_| odd())?,
        };
        planned.push(Mount::new(source, place, said));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Options {
        Options::parse(&options.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(), "mounts[0]").unwrap()
    }

    #[test]
    fn the_last_of_two_opposite_options_wins() {
        let options = parse(&["ro", "nosuid", "rw"]);
        assert_eq!((options.set, options.clear), (libc::MOUNT_ATTR_NOSUID, RDONLY));
    }

    #[test]
    fn recursive_forms_are_told_from_propagation_and_from_relatime() {
        let options = parse(&["rro", "rprivate", "relatime", "rbind"]);
        assert_eq!(options.set_all, RDONLY);
        assert_eq!(options.propagation, Some((libc::MS_PRIVATE, true)));
        assert_eq!((options.set, options.clear), (0, ATIME));
        assert_eq!(options.bind, Some(Bind::Recursive));
    }

    #[test]
    fn what_no_flag_knows_goes_to_the_file_system() {
        let options = parse(&["newinstance", "gid=5"]);
        assert_eq!(options.data, [(c"newinstance".to_owned(), None), (c"gid".to_owned(), Some(c"5".to_owned()))]);
    }
}
