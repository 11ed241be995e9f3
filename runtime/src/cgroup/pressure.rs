//! Being told when the kernel kills for lack of memory.
//!
//! v2 marks `memory.events` as changed, which poll(2) sees; v1 writes to an eventfd(2) that is registered in
//! `cgroup.event_control` (kernel Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control").

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::file::{self, Purpose};
use super::stats::field;
use super::{Cgroup, Error, Layout};

/// A watch on a group's memory.
#[derive(Debug)]
pub struct OutOfMemory {
    source: Source,
}

#[derive(Debug)]
enum Source {
    V1 { counter: EventFd, control: PathBuf },
    V2 { events: File, killed: u64 },
}

impl Cgroup {
    /// Begin to watch. Nothing where this host does not count memory.
    ///
    /// # Errors
    /// `Os` if the group is gone.
    pub fn out_of_memory(&self) -> Result<Option<OutOfMemory>, Error> {
        let Some(group) = self.hierarchy_of("memory") else { return Ok(None) };
        let source = match self.layout {
            Layout::V2 => watch_v2(&group.path.join("memory.events"))?,
            Layout::V1 | Layout::Hybrid => Some(watch_v1(&group.path)?),
        };
        Ok(source.map(|source| OutOfMemory { source }))
    }
}

fn watch_v2(path: &Path) -> Result<Option<Source>, Error> {
    let failed = |error: std::io::Error| Error::Os {
        doing: format!("read {}", path.display()),
        source: Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO)),
    };
    let mut events = match File::open(path) {
        // The controller is not handed down to here.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let killed = read_killed(&mut events).map_err(failed)?;
    Ok(Some(Source::V2 { events, killed }))
}

fn read_killed(events: &mut File) -> std::io::Result<u64> {
    let mut text = String::new();
    events.rewind()?;
    events.read_to_string(&mut text)?;
    Ok(field(&text, "oom_kill").unwrap_or(0))
}

fn watch_v1(group: &Path) -> Result<Source, Error> {
    let doing = || format!("watch the memory of cgroup {}", group.display());
    let counter = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|source| Error::Os { doing: doing(), source })?;
    let control = group.join("memory.oom_control");
    let opened = file::open_to_read(&control)?;
    let line = format!("{} {}", counter.as_fd().as_raw_fd(), opened.as_raw_fd());
    file::write(Purpose::Watch, &group.join("cgroup.event_control"), &line)
        .map_err(|source| Error::Os { doing: doing(), source })?;
    Ok(Source::V1 { counter, control })
}

impl OutOfMemory {
    /// What poll(2) is to wait for.
    #[must_use]
    pub fn watched(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.source {
            Source::V1 { counter, .. } => (counter.as_fd(), PollFlags::POLLIN),
            Source::V2 { events, .. } => (events.as_fd(), PollFlags::POLLPRI),
        }
    }

    /// How often it has happened since the last call.
    pub fn take(&mut self) -> u64 {
        match &mut self.source {
            // Its removal is told as well, and is no lack of memory.
            Source::V1 { counter, control } => counter.read().ok().filter(|_| file::exists(control)).unwrap_or(0),
            Source::V2 { events, killed } => {
                let now = read_killed(events).unwrap_or(*killed);
                now.saturating_sub(std::mem::replace(killed, now))
            }
        }
    }
}
