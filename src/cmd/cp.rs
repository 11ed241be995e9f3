//! `rbox cp`: files between a container and the host, in both directions.
//!
//! The container is hostile: its links lead where it likes, and it may change them while we walk. So every path of its
//! is looked up by openat2(2) with `RESOLVE_IN_ROOT`, below the root directory that its first process has; a tree is
//! then walked by descriptors, one name at a time, and no link is followed on the way. Only files, directories and
//! links are copied: a device of a container's making has no place on the host.
//!
//! Which name gets which place is Docker's rule (docker/cli `container/cp.go`, moby `pkg/archive/copy.go`), and cp(1)'s.

mod archive;
mod inside;
mod tree;

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use rbox_runtime::container::{Container, Status};

use crate::cli::{CopyArgs, Global};
use crate::creation::Creation;
use crate::dirs::Dirs;
use crate::find::find;
use crate::record::Record;
use crate::report::{self, Problem};
use crate::sweep;
use inside::Inside;
use tree::{Copying, Owners, Place, Tree};

/// `rbox cp`
///
/// Errors: neither or both sides are in a container; a path that is not there or of the wrong kind.
pub(crate) fn run(global: &Global, args: &CopyArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    sweep::sweep(&dirs, &dirs.networks()?).iter().for_each(report::warn);
    match (split(&args.from), split(&args.to)) {
        (Some((name, path)), None) => from_container(&dirs, name, path, args)?,
        (None, Some((name, path))) => into_container(&dirs, name, path, args)?,
        (Some(_), Some(_)) => {
            let problem = Problem::new("cannot copy between containers");
            return Err(problem.hint("copy to the host first, or pipe one rbox cp into another").into());
        }
        (None, None) => {
            let problem = Problem::new("cannot copy: neither side is in a container");
            return Err(problem.hint("write CONTAINER:PATH for the side that is").into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `CONTAINER:PATH`; a path of the host begins with `/` or `.`, or has no colon.
fn split(word: &str) -> Option<(&str, &str)> {
    if word.starts_with(['/', '.']) { None } else { word.split_once(':').filter(|(name, _)| !name.is_empty()) }
}

fn from_container(dirs: &Dirs, name: &str, path: &str, args: &CopyArgs) -> Result<()> {
    let inside = Inside::of(dirs, &find(dirs, name)?, name)?;
    let source = Source::find(&inside.tree, Path::new("/"), path, args.follow_link)
        .with_context(|| format!("cannot copy {}", args.from))?;
    if args.to == "-" {
        let doing = || format!("cannot copy {} to the standard output", args.from);
        return archive::write(&source.place, &source.name, io::stdout().lock()).with_context(doing);
    }
    let host = Tree::of_host().context("cannot open /")?;
    let here = std::env::current_dir().context("cannot find the current directory")?;
    let owners = if args.archive { Owners::Kept } else { Owners::Callers };
    put(&source, &Target { tree: &host, from: &here, typed: &args.to }, owners)
        .with_context(|| format!("cannot copy {} to {}", args.from, args.to))
}

fn into_container(dirs: &Dirs, name: &str, path: &str, args: &CopyArgs) -> Result<()> {
    let record = find(dirs, name)?;
    refuse_read_only(dirs, &record, name)?;
    let inside = Inside::of(dirs, &record, name)?;
    let doing = || format!("cannot copy {} to {}", args.from, args.to);
    if path.is_empty() {
        return Err(Problem::new(format!("{}: the path is missing", args.to)).hint("write CONTAINER:PATH").into());
    }
    if args.from == "-" {
        return archive::read(io::stdin().lock(), &inside.tree, &Path::new("/").join(path)).with_context(doing);
    }
    let host = Tree::of_host().context("cannot open /")?;
    let here = std::env::current_dir().context("cannot find the current directory")?;
    let source = Source::find(&host, &here, &args.from, args.follow_link);
    let source = source.with_context(|| format!("cannot copy {}", args.from))?;
    put(&source, &Target { tree: &inside.tree, from: Path::new("/"), typed: path }, Owners::Kept).with_context(doing)
}

/// While it runs, the kernel refuses by itself.
fn refuse_read_only(dirs: &Dirs, record: &Record, name: &str) -> Result<()> {
    let made = Creation::load(dirs, &record.id)?;
    let is_read_only = made.is_some_and(|made| made.host_config["ReadonlyRootfs"] == true);
    let runs = Container::load(&dirs.runtime(), &record.id).is_ok_and(|it| it.status() != Status::Stopped);
    if is_read_only && !runs {
        return Err(Problem::new(format!("cannot copy into container {name}: its files are read-only")).into());
    }
    Ok(())
}

/// What is to be copied.
struct Source {
    place: Place,
    /// What it is called; nothing when only what is in the directory is meant: `dir/.`, `/`.
    name: Option<OsString>,
}

impl Source {
    fn find(tree: &Tree, from: &Path, typed: &str, follow: bool) -> Result<Source> {
        let must_be_directory = typed.ends_with('/') || typed == "." || typed.ends_with("/.");
        let path = from.join(typed);
        let place = Place::of(tree.open(&path, follow || must_be_directory)?)?;
        if must_be_directory && !place.is_directory() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory).into());
        }
        if !place.is_directory() && !place.is_file() && !place.is_link() {
            return Err(Problem::new("it is neither a file, a directory nor a link").into());
        }
        let contents = typed == "." || typed.ends_with("/.");
        Ok(Source { place, name: if contents { None } else { last_name(&path) } })
    }
}

/// The last word of a path; nothing for `/` and `x/..`.
fn last_name(path: &Path) -> Option<OsString> {
    path.file_name().map(OsStr::to_owned)
}

/// Where something is to be copied to.
struct Target<'a> {
    tree: &'a Tree,
    from: &'a Path,
    typed: &'a str,
}

fn put(source: &Source, target: &Target<'_>, owners: Owners) -> Result<()> {
    let mut copying = Copying::new(owners);
    match spot(source, target)? {
        (directory, Some(name)) => copying.one(&source.place, &directory, &name),
        (directory, None) => copying.children(&source.place, &directory),
    }
}

/// The directory to write to, and the name there; no name where the contents go into the directory itself.
fn spot(source: &Source, target: &Target<'_>) -> Result<(OwnedFd, Option<OsString>)> {
    let typed = target.from.join(target.typed);
    let must_be_directory = target.typed.ends_with('/') || target.typed == "." || target.typed.ends_with("/.");
    match target.tree.open(&typed, true) {
        Ok(found) => {
            let found = Place::of(found)?;
            if found.is_directory() {
                return Ok((found.into_fd(), source.name.clone()));
            }
            if must_be_directory {
                return Err(io::Error::from(io::ErrorKind::NotADirectory).into());
            }
            if source.place.is_directory() {
                return Err(Problem::new("a directory cannot take the place of a file").into());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if must_be_directory && !source.place.is_directory() {
                return Err(Problem::new("there is no such directory").into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    // A link that leads to a file, or to nothing: what it leads to is written, not the link.
    let path: PathBuf = target.tree.follow(&typed)?;
    let name = last_name(&path).ok_or_else(|| Problem::new("the path names no file"))?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = target.tree.open(parent, true).with_context(|| format!("directory {}", parent.display()))?;
    Ok((directory, Some(name)))
}

/// A regular file behind an `O_PATH` descriptor, opened for reading: the very same file, whatever stands at its path now.
fn reopen(place: &Place) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY).open(place.proc_path())
}
