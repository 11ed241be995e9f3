//! All layers of an image in one directory, for hosts where they cannot be stacked.
//!
//! From the lowest to the topmost, each layer is laid over what is there already: a whiteout removes, an opaque
//! directory empties, everything else is copied with owner, mode, attributes, times, hard links and holes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::sendfile::sendfile64;
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstat, fstatat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::unistd::{Gid, Uid, Whence, fchownat, linkat, lseek64, symlinkat};

use crate::error::{Doing, Result};
use crate::layer::lowers::{Unpacked, file_type, is_whiteout};
use crate::layer::metadata;

/// Make the directory `to` and fill it with `layers` (topmost first).
pub(crate) fn layers(layers: &[Unpacked], to: &Path) -> Result<()> {
    let doing = || format!("copy the image's layers to {}", to.display());
    std::fs::create_dir(to).doing(doing)?;
    for layer in layers.iter().rev() {
        let directory = |path: &Path| File::open(path);
        let mut copy = Copy { layer, links: HashMap::new(), target: to };
        let (from, into) = (directory(&layer.tree).doing(doing)?, directory(to).doing(doing)?);
        copy.contents(&from, &into, Path::new("")).doing(doing)?;
    }
    Ok(())
}

/// One layer being laid over the target.
struct Copy<'a> {
    layer: &'a Unpacked,
    /// Where a file with several names was copied to, by its inode in the layer.
    links: HashMap<u64, PathBuf>,
    target: &'a Path,
}

impl Copy<'_> {
    fn contents(&mut self, from: &File, into: &File, path: &Path) -> io::Result<()> {
        if self.layer.opaque.contains(path) {
            for entry in std::fs::read_dir(proc_path(into, OsStr::new(".")))? {
                remove(into, &entry?.file_name())?;
            }
        }
        for entry in std::fs::read_dir(proc_path(from, OsStr::new(".")))? {
            let name = entry?.file_name();
            let stat = fstatat(from, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            self.entry(from, into, &path.join(&name), &stat)?;
        }
        // Of two directories that are merged the upper one's attributes count, and only those.
        metadata::remove_xattrs(into)?;
        let stat = fstat(from)?;
        metadata::copy(from, &stat, into)?;
        let time = metadata::mtime(&stat);
        Ok(futimens(into, &time, &time)?)
    }

    fn entry(&mut self, from: &File, into: &File, path: &Path, stat: &FileStat) -> io::Result<()> {
        let name = path.file_name().expect("an entry of a directory has a name");
        if file_type(stat) == SFlag::S_IFDIR {
            return self.directory(from, into, path);
        }
        remove(into, name)?;
        if is_whiteout(stat) {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&stat.st_ino) {
                let root = File::open(self.target)?;
                return Ok(linkat(&root, first.as_path(), into, name, AtFlags::empty())?);
            }
            self.links.insert(stat.st_ino, path.to_owned());
        }
        match file_type(stat) {
            SFlag::S_IFREG => copy_file(from, into, name, stat),
            SFlag::S_IFLNK => {
                symlinkat(readlinkat(from, name)?.as_os_str(), into, name)?;
                copy_metadata_by_name(from, into, name, stat)
            }
            kind => {
                mknodat(into, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, stat.st_rdev)?;
                copy_metadata_by_name(from, into, name, stat)?;
                // After chown, which takes setuid bits away.
                Ok(fchmodat(into, name, Mode::from_bits_truncate(stat.st_mode), FchmodatFlags::FollowSymlink)?)
            }
        }
    }

    fn directory(&mut self, from: &File, into: &File, path: &Path) -> io::Result<()> {
        let name = path.file_name().expect("an entry of a directory has a name");
        let there = fstatat(into, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        if !there.is_ok_and(|stat| file_type(&stat) == SFlag::S_IFDIR) {
            remove(into, name)?;
            mkdirat(into, name, Mode::S_IRWXU)?;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let from = File::from(openat(from, name, flags, Mode::empty())?);
        let into = File::from(openat(into, name, flags, Mode::empty())?);
        self.contents(&from, &into, path)
    }
}

fn proc_path(dir: &File, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name)
}

fn remove(dir: &File, name: &OsStr) -> io::Result<()> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(stat) if file_type(&stat) == SFlag::S_IFDIR => std::fs::remove_dir_all(proc_path(dir, name)),
        Ok(_) => std::fs::remove_file(proc_path(dir, name)),
    }
}

fn copy_file(from: &File, into: &File, name: &OsStr, stat: &FileStat) -> io::Result<()> {
    let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let source = File::from(openat(from, name, read, Mode::empty())?);
    let target = File::from(openat(into, name, write, Mode::S_IRUSR | Mode::S_IWUSR)?);
    copy_data(&source, &target, stat.st_size)?;
    metadata::copy(&source, stat, &target)?;
    let time = metadata::mtime(stat);
    Ok(futimens(&target, &time, &time)?)
}

/// Copy the parts of a file that hold data; holes stay holes.
fn copy_data(source: &File, target: &File, size: i64) -> io::Result<()> {
    target.set_len(size.unsigned_abs())?;
    let mut at = 0;
    while at < size {
        let data = match lseek64(source, at, Whence::SeekData) {
            Ok(data) => data,
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = lseek64(source, data, Whence::SeekHole)?;
        lseek64(source, data, Whence::SeekSet)?;
        lseek64(target, data, Whence::SeekSet)?;
        let mut left = usize::try_from(end - data).map_err(|_| io::ErrorKind::FileTooLarge)?;
        while left > 0 {
            match sendfile64(target, source, None, left)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => left -= count,
            }
        }
        at = end;
    }
    Ok(())
}

fn copy_metadata_by_name(from: &File, into: &File, name: &OsStr, stat: &FileStat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(into, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let source = proc_path(from, name);
    match xattr::list(&source) {
        Ok(names) => {
            for key in names.filter(|key| !metadata::is_overlay_record(key)) {
                if let Some(value) = xattr::get(&source, &key)? {
                    metadata::set_xattr_at(&proc_path(into, name), &key, &value)?;
                }
            }
        }
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => {}
        Err(error) => return Err(error),
    }
    let time = metadata::mtime(stat);
    Ok(utimensat(into, name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}
