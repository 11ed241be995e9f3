//! One entry of a layer's archive becomes a file, or a mark that one is gone.
//!
//! image-spec layer.md. `.wh.name` says that `name` of the lower layers is gone; overlayfs wants a character device
//! 0/0 there. `.wh..wh..opq` says that a directory hides all that lower layers have in it; overlayfs wants the attribute
//! trusted.overlay.opaque.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, futimens, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, linkat, symlinkat};

use super::lowers::{Found, file_type, is_whiteout};
use super::metadata;
use super::tar::{Entry, Kind};
use super::tree::{Place, Tree, components, refuse};

const WHITEOUT: &[u8] = b".wh.";
const AUFS_RECORD: &[u8] = b".wh..wh.";
const OPAQUE_MARK: &str = ".wh..wh..opq";
const COPY_BYTES: usize = 128 * 1024;

/// Put `entry` into `tree`; its data comes from `data`. Gives the number of bytes of file content.
pub(super) fn apply(tree: &mut Tree<'_>, entry: &Entry, data: &mut impl Read) -> io::Result<u64> {
    let mut parents = components(&entry.path)?;
    let Some(name) = parents.pop() else {
        return apply_root(tree, entry).map(|()| 0);
    };
    match mark_of(&parents, &name).map_err(|why| refuse(&entry.path, why))? {
        Mark::None => {}
        Mark::Record => return Ok(0),
        Mark::Opaque => return hide_all(tree, &parents).map(|()| 0),
        Mark::Gone(gone) => return hide(tree, &parents, &gone).map(|()| 0),
    }
    let place = tree.place(&parents)?;
    match entry.kind {
        Kind::Directory => directory(tree, &place, &name, entry)?,
        Kind::HardLink => hard_link(tree, &place, &name, entry)?,
        Kind::File => {
            vacate(tree, &place, &name)?;
            return file(&place, &name, entry, data);
        }
        Kind::Symlink => {
            vacate(tree, &place, &name)?;
            symlinkat(OsStr::from_bytes(&entry.link), &*place.fd, name.as_os_str())?;
            finish_by_name(&place, &name, entry)?;
        }
        Kind::Char | Kind::Block | Kind::Fifo => {
            vacate(tree, &place, &name)?;
            node(&place, &name, entry)?;
        }
    }
    Ok(0)
}

enum Mark {
    None,
    Opaque,
    /// What aufs kept for itself (`.wh..wh.plnk`): Docker skips it too.
    Record,
    Gone(OsString),
}

fn mark_of(parents: &[OsString], name: &OsStr) -> Result<Mark, &'static str> {
    let all = || parents.iter().map(OsString::as_os_str).chain([name]).map(OsStr::as_bytes);
    if name == OPAQUE_MARK && !parents.iter().any(|parent| parent.as_bytes().starts_with(WHITEOUT)) {
        return Ok(Mark::Opaque);
    }
    if all().any(|part| part.starts_with(AUFS_RECORD)) {
        return Ok(Mark::Record);
    }
    if parents.iter().any(|parent| parent.as_bytes().starts_with(WHITEOUT)) {
        return Err("a whiteout is no directory");
    }
    match name.as_bytes().strip_prefix(WHITEOUT) {
        None => Ok(Mark::None),
        Some(b"" | b"." | b"..") => Err("the whiteout names nothing"),
        Some(gone) => Ok(Mark::Gone(OsStr::from_bytes(gone).to_owned())),
    }
}

/// The archive's own word about the root directory (`./`).
fn apply_root(tree: &mut Tree<'_>, entry: &Entry) -> io::Result<()> {
    if entry.kind != Kind::Directory {
        return Err(refuse(&entry.path, "the root must be a directory"));
    }
    let root = tree.root()?.open(OsStr::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    finish_open(&root, entry)?;
    tree.remember_time(Default::default(), entry.mtime);
    Ok(())
}

/// `.wh.name`
fn hide(tree: &mut Tree<'_>, parents: &[OsString], gone: &OsStr) -> io::Result<()> {
    // In the lowest layer nothing can be gone; and a superfluous mark could show as a device in a listing.
    if tree.lowers.is_empty() {
        return Ok(());
    }
    let place = tree.place(parents)?;
    let path = place.path.join(gone);
    match place.stat(gone)? {
        // This layer's own entry is not meant, only what lies below: a directory must not let that through.
        Some(stat) if file_type(&stat) == SFlag::S_IFDIR => tree.make_opaque(&path),
        Some(_) => Ok(()),
        None if tree.below(&path)?.is_none() => Ok(()),
        None => Ok(mknodat(&*place.fd, gone, SFlag::S_IFCHR, Mode::empty(), 0)?),
    }
}

/// `.wh..wh..opq`
fn hide_all(tree: &mut Tree<'_>, parents: &[OsString]) -> io::Result<()> {
    if tree.lowers.is_empty() {
        return Ok(());
    }
    let path = tree.place(parents)?.path;
    tree.make_opaque(&path)
}

/// Remove what stands at `name`: of two entries with one name the later counts. Gives whether a whiteout stood there.
fn vacate(tree: &mut Tree<'_>, place: &Place, name: &OsStr) -> io::Result<bool> {
    let Some(stat) = place.stat(name)? else { return Ok(false) };
    tree.clear(place, name, &stat)?;
    Ok(is_whiteout(&stat))
}

fn directory(tree: &mut Tree<'_>, place: &Place, name: &OsStr, entry: &Entry) -> io::Result<()> {
    let path = place.path.join(name);
    let there = place.stat(name)?.is_some_and(|stat| file_type(&stat) == SFlag::S_IFDIR);
    if !there {
        let was_whiteout = vacate(tree, place, name)?;
        nix::sys::stat::mkdirat(&*place.fd, name, Mode::S_IRWXU)?;
        if was_whiteout {
            tree.make_opaque(&path)?;
        }
    }
    finish_open(&place.open(name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?, entry)?;
    tree.remember_time(path, entry.mtime);
    Ok(())
}

fn file(place: &Place, name: &OsStr, entry: &Entry, data: &mut impl Read) -> io::Result<u64> {
    let mut file = place.open(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
    let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(entry.size).unwrap_or(COPY_BYTES).max(1))];
    match &entry.pieces {
        None => copy(data, &mut file, entry.size, &mut buffer)?,
        Some(pieces) => {
            for (offset, length) in pieces {
                file.seek(SeekFrom::Start(*offset))?;
                copy(data, &mut file, *length, &mut buffer)?;
            }
            file.set_len(entry.size)?;
        }
    }
    finish_open(&file, entry)?;
    let time = TimeSpec::new(entry.mtime.0, entry.mtime.1);
    futimens(&file, &time, &time)?;
    Ok(entry.size)
}

fn copy(data: &mut impl Read, file: &mut File, mut length: u64, buffer: &mut [u8]) -> io::Result<()> {
    while length > 0 {
        let most = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
        let count = data.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all(&buffer[..count])?;
        length -= count as u64;
    }
    Ok(())
}

/// A second name for a file of this layer, or of one below: that is copied up first, as overlayfs would.
fn hard_link(tree: &mut Tree<'_>, place: &Place, name: &OsStr, entry: &Entry) -> io::Result<()> {
    let refuse =
        |why: &str| refuse(&entry.path, &format!("hard link to {:?}: {why}", String::from_utf8_lossy(&entry.link)));
    let start = entry.link.iter().position(|b| *b != b'/').unwrap_or(entry.link.len());
    let mut parents = components(&entry.link[start..]).map_err(|_| refuse("it leads out of the layer"))?;
    let Some(target) = parents.pop() else { return Err(refuse("it is the root")) };
    if parents.iter().any(|p| p.as_bytes().starts_with(WHITEOUT)) || target.as_bytes().starts_with(WHITEOUT) {
        return Err(refuse("it is a whiteout"));
    }
    let from = tree.place(&parents)?;
    match from.stat(&target)?.filter(|stat| !is_whiteout(stat)) {
        Some(stat) if file_type(&stat) == SFlag::S_IFDIR => return Err(refuse("it is a directory")),
        Some(stat) if is_same(place, name, &stat)? => return Ok(()),
        Some(_) => {}
        None => match tree.below(&from.path.join(&target))? {
            Some(found) if found.kind() == SFlag::S_IFREG => copy_up(&found, &from, &target)?,
            _ => return Err(refuse("there is no such file")),
        },
    }
    vacate(tree, place, name)?;
    linkat(&*from.fd, target.as_os_str(), &*place.fd, name, AtFlags::empty())?;
    Ok(())
}

fn is_same(place: &Place, name: &OsStr, target: &FileStat) -> io::Result<bool> {
    Ok(place.stat(name)?.is_some_and(|stat| (stat.st_dev, stat.st_ino) == (target.st_dev, target.st_ino)))
}

fn copy_up(found: &Found, to: &Place, name: &OsStr) -> io::Result<()> {
    let mut from = found.open()?;
    let mut file = to.open(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
    io::copy(&mut from, &mut file)?;
    metadata::copy(&from, &found.stat, &file)?;
    let time = metadata::mtime(&found.stat);
    Ok(futimens(&file, &time, &time)?)
}

/// A device or a fifo. As Docker, a device is made as the layer says; what may use it is for the device cgroup.
fn node(place: &Place, name: &OsStr, entry: &Entry) -> io::Result<()> {
    let (kind, device) = match entry.kind {
        Kind::Char => (SFlag::S_IFCHR, nix::sys::stat::makedev(entry.major.into(), entry.minor.into())),
        Kind::Block => (SFlag::S_IFBLK, nix::sys::stat::makedev(entry.major.into(), entry.minor.into())),
        _ => (SFlag::S_IFIFO, 0),
    };
    mknodat(&*place.fd, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, device)?;
    finish_by_name(place, name, entry)
}

/// Metadata of an open file or directory, times excepted.
fn finish_open(file: &File, entry: &Entry) -> io::Result<()> {
    metadata::set_owner_and_mode(file, entry.uid, entry.gid, entry.mode)?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| !metadata::is_overlay_record(name)) {
        metadata::set_xattr(file, name, value)?;
    }
    Ok(())
}

/// Metadata of a link, device or fifo, which must not or cannot be opened.
fn finish_by_name(place: &Place, name: &OsStr, entry: &Entry) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fchownat(&*place.fd, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if entry.kind != Kind::Symlink {
        // It is the node that was made a moment ago, in a directory that only we can enter.
        fchmodat(&*place.fd, name, Mode::from_bits_truncate(entry.mode), FchmodatFlags::FollowSymlink)?;
    }
    for (key, value) in entry.xattrs.iter().filter(|(key, _)| !metadata::is_overlay_record(key)) {
        metadata::set_xattr_at(&place.proc_path(name), key, value)?;
    }
    let time = TimeSpec::new(entry.mtime.0, entry.mtime.1);
    Ok(utimensat(&*place.fd, name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(path: &str) -> Result<Mark, &'static str> {
        let mut parents = components(path.as_bytes()).unwrap();
        let name = parents.pop().unwrap();
        mark_of(&parents, &name)
    }

    #[test]
    fn whiteouts_are_told_from_names() {
        assert!(matches!(mark("a/b"), Ok(Mark::None)));
        assert!(matches!(mark("a/.wh.b"), Ok(Mark::Gone(name)) if name == "b"));
        assert!(matches!(mark("a/.wh..wh..opq"), Ok(Mark::Opaque)));
        assert!(matches!(mark("a/.wh...x"), Ok(Mark::Gone(name)) if name == "..x"));
        assert!(matches!(mark(".wh..wh.plnk/12.34"), Ok(Mark::Record)));
        assert!(matches!(mark(".wh..wh.aufs"), Ok(Mark::Record)));
        for bad in ["a/.wh.", "a/.wh..", "a/.wh...", ".wh.a/b"] {
            assert!(mark(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_that_lead_outside_are_refused() {
        for bad in ["/etc/passwd", "../x", "a/../../x", "a/..", ".."] {
            assert!(components(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(components(b"./a//b/").unwrap(), ["a", "b"]);
        assert!(components(b"./").unwrap().is_empty());
        assert!(components(b"/").unwrap().is_empty());
    }
}
