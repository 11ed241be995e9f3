//! Mounts of config.json -> mounts of the Plan (runtime-spec config.md#mounts).

mod options;

pub(crate) use options::knows_option;

use super::{InodeVersions, Mount, Place, Said, Source};
use crate::child;
use crate::copy_up;
use crate::error::{Doing, Error, Result};
use crate::idmap::{self, Maps};
use crate::root::Root;
use crate::security;
use crate::steps;
use crate::sys;
use crate::sys::mount::Attributes;
use oci_spec::runtime::Linux;
use options::{Bind, Options, RDONLY, atime};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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
    let label = mount_label(linux)?;
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
        let bind = options.bind.or((kind == "bind").then_some(Bind::This));
        let is_new = bind.is_none() && !options.remount;
        if options.copy_up && !(is_new && kind == "tmpfs") {
            return Err(Error::spec(&path, "tmpcopyup is for a new tmpfs"));
        }
        if let Some(bind) = bind {
            refuse_options_of_a_file_system(&options, "bind mounts", &path)?;
            let mount = match options.remount {
                true => remount(&options, place, said),
                false => bind_mount(bind, &options, bundle, place, said)?,
            };
            if maps.is_some() || options.idmap.is_some() {
                map_ids(&mount, maps.as_ref(), options.idmap == Some(true), (linux, &path))?;
            }
            planned.push(mount);
        } else if maps.is_some() || options.idmap.is_some() {
            return Err(Error::spec(&path, "only a bind mount can be idmapped"));
        } else if options.remount {
            if options.counts_changes.is_some() {
                return Err(Error::spec(&path, "iversion and noiversion are for a new file system"));
            }
            planned.push(remount(&options, place, said));
        } else if kind == "cgroup" || kind == "cgroup2" {
            let what = if cgroup.controllers.is_empty() { "cgroup2" } else { "control groups of version 1" };
            refuse_options_of_a_file_system(&options, what, &path)?;
            if cgroup.lacking {
                let said = Said { source: "/sys/fs/cgroup".to_owned(), ..said };
                let readonly = Options { set_all: RDONLY, ..options };
                planned.push(bind_mount(Bind::Recursive, &readonly, bundle, place, said)?);
            } else {
                cgroup_mounts(&options, cgroup, &place, said, &mut planned)?;
            }
        } else {
            let copy_up = options.copy_up;
            let mut mount = filesystem(kind, options, (place, said), label.as_ref(), &path)?;
            if copy_up {
                self::copy_up(&mut mount, root)?;
            }
            planned.push(mount);
        }
    }
    Ok(planned)
}

/// Of what others have mounted, the kernel drops such an option without a word. As in runc since 1.2.
fn refuse_options_of_a_file_system(options: &Options, what: &str, path: &str) -> Result<()> {
    let versions = options.counts_changes.map(|_| "iversion".into());
    match options.data.first().map(|(key, _)| key.to_string_lossy()).or(versions) {
        Some(option) => Err(Error::spec(path, format!("option {option} is not for {what}"))),
        None => Ok(()),
    }
}

/// Other flags for what is mounted at `place` by then, and with `bind` for this one view of it alone. What is not named
/// stays as it is, as with mount(8).
fn remount(options: &Options, place: Place, said: Said) -> Mount {
    let change = |set, clear, recursive| {
        let propagation = options.propagation.filter(|(_, all)| *all == recursive).map_or(0, |(flag, _)| flag);
        Attributes { set, clear: clear | atime(set), propagation, ..Attributes::default() }
    };
    let source = Source::Remount {
        options: options.data.clone(),
        this: change(options.set, options.clear, false),
        all: change(options.set_all, options.clear_all, true),
    };
    Mount::new(source, place, said)
}

/// A directory or file of the host, to be seen inside too.
fn bind_mount(bind: Bind, options: &Options, bundle: &Path, place: Place, said: Said) -> Result<Mount> {
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

/// What SELinux's policy itself labels, file by file (as in runc).
static LABELLED_BY_POLICY: &[&str] = &["proc", "sysfs", "mqueue"];

/// `linux.mountLabel`, the SELinux context of all files of a mount.
fn mount_label(linux: &Linux) -> Result<Option<CString>> {
    let Some(label) = linux.mount_label().as_deref().filter(|label| !label.is_empty()) else { return Ok(None) };
    if !security::selinux() {
        return Err(Error::spec("linux.mountLabel", "SELinux does not run on this machine"));
    }
    CString::new(label).map(Some).map_err(|_| Error::spec("linux.mountLabel", "contains a zero byte"))
}

/// A new file system: proc, sysfs, tmpfs, devpts, mqueue …
fn filesystem(
    kind: &str,
    options: Options,
    (place, said): (Place, Said),
    label: Option<&CString>,
    path: &str,
) -> Result<Mount> {
    if kind.is_empty() {
        return Err(Error::spec(path, "has neither a type nor the option bind"));
    }
    let propagation = options.propagation_of_new();
    let own = options.of_one();
    let mut data = options.data;
    data.insert(0, (c"source".to_owned(), CString::new(said.source.as_str()).ok()));
    if let Some(label) = label.filter(|_| !LABELLED_BY_POLICY.contains(&kind)) {
        data.push((c"context".to_owned(), Some(label.clone())));
    }
    // tmpfs may still have to take mount points of later mounts: read-only at last
    let readonly_at_last = kind == "tmpfs" && own & RDONLY != 0;
    let attributes = if readonly_at_last { own & !RDONLY } else { own };
    let inode_versions = options.counts_changes.map(|counts| InodeVersions::new(counts, attributes, &data)).transpose();
    let kind = CString::new(kind).map_err(|_| Error::spec(path, "type contains a zero byte"))?;
    let source = Source::Filesystem { kind, options: data, attributes };
    let inode_versions = inode_versions.map_err(|_| Error::spec(path, "contains a zero byte"))?;
    Ok(Mount { readonly_at_last, propagation, inode_versions, ..Mount::new(source, place, said) })
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
    let attributes = options.of_one();
    let readonly = attributes & RDONLY;
    let propagation = options.propagation_of_new();
    if view.controllers.is_empty() {
        let source = Source::Filesystem {
            kind: c"cgroup2".to_owned(),
            options: vec![(c"source".to_owned(), Some(c"cgroup".to_owned()))],
            attributes,
        };
        let said = Said { kind: "cgroup2".to_owned(), ..said };
        planned.push(Mount { propagation, ..Mount::new(source, place.clone(), said) });
        return Ok(());
    }
    let links =
        view.links.iter().filter_map(|(name, text)| Some((CString::new(&**name).ok()?, CString::new(&**text).ok()?)));
    let links = links.collect();
    let mode = vec![(c"source".to_owned(), Some(c"tmpfs".to_owned())), (c"mode".to_owned(), Some(c"755".to_owned()))];
    let target = said.target.clone();
    let source = Source::Filesystem { kind: c"tmpfs".to_owned(), options: mode, attributes: attributes & !RDONLY };
    let said = Said { kind: "tmpfs".to_owned(), source: "tmpfs".to_owned(), ..said };
    planned.push(Mount {
        readonly_at_last: readonly != 0,
        propagation,
        links,
        ..Mount::new(source, place.clone(), said)
    });
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
            attributes,
            below,
            name: CString::new(name.as_str()).map_err(|_| odd())?,
        };
        planned.push(Mount::new(source, place, said));
    }
    Ok(())
}
