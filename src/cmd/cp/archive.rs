//! The side of `rbox cp` that is `-`: a tar archive.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::AtFlags;
use nix::sys::time::TimeSpec;
use nix::unistd::linkat;
use tar::{Archive, Builder, Entry, EntryType, Header};

use super::reopen;
use super::tree::{Attributes, Copying, Owners, Place, Tree, clear, make_directory, parts};
use crate::report::{self, Problem};

/// Write `place`, and all below it, as an archive; without a name its contents alone, as `./…`.
///
/// Errors: the output, or a file that cannot be read.
pub(super) fn write(place: &Place, name: &Option<OsString>, out: impl Write) -> Result<()> {
    let mut archive = Builder::new(out);
    let name = name.as_ref().map_or_else(|| PathBuf::from("."), PathBuf::from);
    append(&mut archive, place, &name)?;
    archive.into_inner()?.flush()?;
    Ok(())
}

fn append(archive: &mut Builder<impl Write>, place: &Place, path: &Path) -> Result<()> {
    let at = || path.display().to_string();
    let mut header = Header::new_gnu();
    header.set_mode(place.stat.st_mode & 0o7777);
    header.set_uid(place.stat.st_uid.into());
    header.set_gid(place.stat.st_gid.into());
    header.set_mtime(u64::try_from(place.stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    match () {
        () if place.is_directory() => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, path.join(""), io::empty()).with_context(at)?;
            for (name, child) in place.children().with_context(at)? {
                append(archive, &child, &path.join(name))?;
            }
            Ok(())
        }
        () if place.is_file() => {
            let size = u64::try_from(place.stat.st_size).unwrap_or(0);
            header.set_entry_type(EntryType::Regular);
            header.set_size(size);
            // The header has told the size: a file that shrinks meanwhile is filled up, one that grows is cut.
            let bytes = reopen(place).with_context(at)?.chain(io::repeat(0)).take(size);
            archive.append_data(&mut header, path, bytes).with_context(at)
        }
        () if place.is_link() => {
            header.set_entry_type(EntryType::Symlink);
            let target = place.target().with_context(at)?;
            archive.append_link(&mut header, path, target).with_context(at)
        }
        () => {
            report::note(&format!("{} is left out: neither a file, a directory nor a link", at()));
            Ok(())
        }
    }
}

/// Unpack an archive into the directory `base` of a container.
///
/// Errors: `base` is no directory; the archive is none, or names what is outside of it; the disk.
pub(super) fn read(input: impl Read, inside: &Tree, base: &Path) -> Result<()> {
    if !Place::of(inside.open(base, true)?)?.is_directory() {
        return Err(Problem::new("the destination is not a directory").into());
    }
    let unpacking = Unpacking { inside, base, copying: Copying::new(Owners::Kept) };
    let mut finish = Vec::new();
    for entry in Archive::new(input).entries().context("the standard input")? {
        let mut entry = entry.context("the standard input is no tar archive")?;
        let path = entry.path().context("the archive")?.into_owned();
        unpacking.put(&mut entry, &path, &mut finish).with_context(|| path.display().to_string())?;
    }
    // A directory's time and rights come last: what is unpacked below would change or need them.
    finish
        .iter()
        .rev()
        .try_for_each(|(directory, attributes)| unpacking.copying.finish_directory(directory, attributes))
}

struct Unpacking<'a> {
    inside: &'a Tree,
    base: &'a Path,
    copying: Copying,
}

impl Unpacking<'_> {
    fn put(
        &self,
        entry: &mut Entry<'_, impl Read>,
        path: &Path,
        finish: &mut Vec<(OwnedFd, Attributes)>,
    ) -> Result<()> {
        let Some((directory, name)) = self.spot(path)? else { return Ok(()) };
        let header = entry.header();
        let number = |number: u64| u32::try_from(number).unwrap_or(0);
        let attributes = Attributes {
            mode: header.mode()? & 0o7777,
            uid: number(header.uid()?),
            gid: number(header.gid()?),
            modified: TimeSpec::new(i64::try_from(header.mtime()?).unwrap_or(0), 0),
        };
        match header.entry_type() {
            EntryType::Directory => {
                let (made, is_new) = make_directory(directory.as_fd(), &name)?;
                finish.extend(is_new.then_some((made, attributes)));
                Ok(())
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.copying.file(entry, directory.as_fd(), &name, &attributes)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                self.copying.link(std::ffi::OsStr::from_bytes(&target), directory.as_fd(), &name, &attributes)
            }
            EntryType::Link => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                let (from, linked) = self.spot(&target)?.context("it is linked to nothing")?;
                clear(directory.as_fd(), &name)?;
                Ok(linkat(&from, linked.as_os_str(), &directory, name.as_os_str(), AtFlags::empty())?)
            }
            _ => {
                report::note(&format!("{} is left out: neither a file, a directory nor a link", path.display()));
                Ok(())
            }
        }
    }

    /// The directory that a path of the archive is in, made if need be, and the name there. Nothing for the base itself.
    fn spot(&self, path: &Path) -> Result<Option<(OwnedFd, OsString)>> {
        let parts = parts(path).ok_or_else(|| Problem::new("it leads out of the destination"))?;
        let Some((name, above)) = parts.split_last() else { return Ok(None) };
        let mut at = self.base.to_owned();
        let mut directory = self.inside.open(&at, true)?;
        for part in above {
            at.push(part);
            // Links of the container are followed, as its own programs would: inside of it.
            directory = match self.inside.open(&at, true) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_above(&directory, part)?,
                found => found?,
            };
        }
        Ok(Some((directory, name.clone())))
    }

    /// A directory that the archive does not mention: root's, for everybody to enter.
    fn make_above(&self, directory: &OwnedFd, name: &OsString) -> Result<OwnedFd> {
        let (made, _) = make_directory(directory.as_fd(), name)?;
        let attributes = Attributes { mode: 0o755, uid: 0, gid: 0, modified: TimeSpec::UTIME_NOW };
        self.copying.finish_directory(&made, &attributes)?;
        Ok(made)
    }
}
