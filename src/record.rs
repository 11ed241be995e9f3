//! What the engine remembers of a container, and who holds it.
//!
//! A [`Claim`] stands in the state directory from before the first thing is made until after the last is removed: it
//! names the process that answers for the container, so that the next command can tell a living one from what a
//! killed rbox left. A [`Record`] stands in the bundle and is what a person is shown.

mod claim;
mod intent;
pub(crate) mod register;
mod renaming;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use claim::{Claim, Purpose, boot_id, is_alive};
pub(crate) use intent::Intent;
pub(crate) use renaming::Renaming;

use crate::cli::value::RestartPolicy;
use crate::dirs::Dirs;
use crate::monitor::is_wanted;

/// By how much a record may grow between a program's begin and its end: its end's time and reason.
const ROOM_BYTES: usize = 1024;

/// A container as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// The image as it was typed, or the directory of `--rootfs`.
    pub(crate) image: String,
    /// The image's id; none with `--rootfs`.
    pub(crate) image_id: Option<String>,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    /// When the program began; none before.
    pub(crate) started: Option<String>,
    /// When it ended; none before.
    pub(crate) finished: Option<String>,
    /// When an earlier run of it ended.
    #[serde(default)]
    pub(crate) finished_before: Option<String>,
    /// The program's exit code, once it has ended.
    pub(crate) exit_code: Option<i32>,
    /// Whether the kernel killed one of its processes for want of memory.
    #[serde(default)]
    pub(crate) oom_killed: bool,
    /// Why there is no better exit code, and what else a person should know.
    pub(crate) error: Option<String>,
    /// What asks the program to end: the signal's name.
    pub(crate) stop_signal: String,
    /// Seconds until it is killed all the same; -1 waits for ever; none is the default, ten.
    pub(crate) stop_timeout: Option<i32>,
    /// Remove everything when the program has ended (`--rm`).
    pub(crate) remove: bool,
    /// The network's name.
    pub(crate) network: String,
    /// Published and exposed ports as `ps` prints them.
    pub(crate) ports: Vec<String>,
    /// Labels of the image and the command line.
    pub(crate) labels: BTreeMap<String, String>,
    /// What the flags mount.
    #[serde(default)]
    pub(crate) mounts: Vec<Mounted>,
    /// What the program has for input and output.
    #[serde(default)]
    pub(crate) streams: StreamsOf,
    /// When the program is started again.
    #[serde(default)]
    pub(crate) restart: RestartPolicy,
    /// How often it was, since a person started it.
    #[serde(default)]
    pub(crate) restart_count: u32,
    /// It has ended, and its monitor waits to start it again.
    #[serde(default)]
    pub(crate) restarting: bool,
    /// It was paused since it began. The kernel knows whether it still is; about others it is not asked.
    #[serde(default)]
    pub(crate) paused_once: bool,
    /// A person stopped or killed it: it is not started again.
    #[serde(default)]
    pub(crate) stopped_by_hand: bool,
    /// It has a monitor: its program outlives the rbox that started it.
    #[serde(default)]
    pub(crate) monitored: bool,
}

/// Something of `-v` or `--mount`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mounted {
    /// The path on the host; empty where it is memory.
    pub(crate) source: String,
    /// The path in the container.
    pub(crate) target: String,
}

impl Mounted {
    /// As `ps` prints it.
    pub(crate) fn shown(&self) -> &str {
        &self.source
    }
}

/// What a program has for input and output.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamsOf {
    /// A terminal, not pipes.
    pub(crate) terminal: bool,
    /// Its standard input is open (`-i`).
    pub(crate) input: bool,
    /// Its input ends with that of the first who is attached: not with `run -d -i`.
    #[serde(default)]
    pub(crate) input_once: bool,
    /// Its output is kept nowhere (`--log-driver none`).
    pub(crate) unlogged: bool,
}

/// The time now: RFC 3339 with nanoseconds, UTC.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Draw a container's id: 64 hexadecimal digits.
pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0_u8; 32];
    let mut random = OpenOptions::new().read(true).open("/dev/urandom").context("cannot open /dev/urandom")?;
    random.read_exact(&mut bytes).context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The first twelve digits, as a person sees an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

impl Record {
    /// Write the record into the container's bundle. Whoever holds the claim does; others call [`Record::update`].
    ///
    /// Errors: the directory cannot be written.
    pub(crate) fn save(&self, dirs: &Dirs) -> Result<()> {
        let path = dirs.container(&self.id).join("record.json");
        match write_whole(&path, self) {
            Err(error) if is_full(&error) => write_into(&reserve(&path), &path, self).map_err(|_| error),
            written => written,
        }
    }

    /// Keep room on the disk, so that the end can be noted when the disk is full by then.
    ///
    /// Errors: the disk is full now.
    fn keep_room(&self, dirs: &Dirs) -> Result<()> {
        let path = reserve(&dirs.container(&self.id).join("record.json"));
        let room = vec![b' '; serde_json::to_vec(self).map_or(0, |text| text.len()) + ROOM_BYTES];
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(&room)).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Change the record as it stands on disk, one process at a time: a name may be changed by a command while the
    /// monitor notes the end. Answers the record as it is now.
    ///
    /// Errors: it is gone, or cannot be written.
    pub(crate) fn update(dirs: &Dirs, id: &str, change: impl FnOnce(&mut Record)) -> Result<Record> {
        let directory = dirs.container(id);
        let doing = || format!("cannot change the record of container {}", short(id));
        let guard = File::open(&directory).with_context(doing)?;
        guard.lock().with_context(doing)?;
        let mut record = Record::load(dirs, id)?.with_context(|| format!("container {}: not found", short(id)))?;
        let had_begun = record.is_begun();
        change(&mut record);
        if record.is_begun() && !had_begun {
            record.keep_room(dirs)?;
        }
        record.save(dirs)?;
        Ok(record)
    }

    /// The record of `id`; nothing when there is none.
    ///
    /// Errors: it cannot be read, or is not a record.
    pub(crate) fn load(dirs: &Dirs, id: &str) -> Result<Option<Record>> {
        read(&dirs.container(id).join("record.json"))
    }

    /// All records, newest first. One that is no record (a disk that lost its power) does not hide the others: it is told
    /// of, once.
    ///
    /// Errors: the directory cannot be listed.
    pub(crate) fn all(dirs: &Dirs) -> Result<Vec<Record>> {
        static TOLD: AtomicBool = AtomicBool::new(false);
        let (mut records, mut broken) = (Vec::new(), Vec::new());
        for directory in files(&dirs.containers())? {
            match read::<Record>(&directory.join("record.json")) {
                Ok(record) => records.extend(record),
                Err(error) => broken.push(error),
            }
        }
        if !broken.is_empty() && !TOLD.swap(true, Ordering::Relaxed) {
            broken.iter().for_each(crate::report::warn);
        }
        records.sort_by(|a: &Record, b| b.created.cmp(&a.created));
        Ok(records)
    }

    /// The program begins: what is known of an earlier run is forgotten.
    pub(crate) fn begin(&mut self, ports: Vec<String>) {
        self.ports = ports;
        self.started = Some(now());
        self.finished_before = self.finished.take().or(self.finished_before.take());
        self.exit_code = None;
        self.error = None;
        self.oom_killed = false;
        self.restarting = false;
        self.paused_once = false;
    }

    /// The program has ended; `why` where there is more to say than the code. In the same moment it is known whether
    /// its monitor starts it again.
    pub(crate) fn end(&mut self, code: i32, why: Option<String>) {
        let wanted = is_wanted(self.restart, code, self.restart_count, self.stopped_by_hand);
        self.restarting = self.monitored && wanted;
        self.finished = Some(now());
        self.exit_code = Some(code);
        self.error = why;
    }

    /// Whether its program has begun and, as far as is known, not ended.
    pub(crate) fn is_begun(&self) -> bool {
        self.started.is_some() && self.finished.is_none()
    }
}

/// Make a directory, and those above it, that only its owner may enter.
pub(crate) fn make_private(directory: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("cannot create {}", directory.display()))
}

/// Remove a file; gone already is fine.
fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => {
            rbox_explain::mark("file-removed");
            removed.with_context(|| format!("cannot remove {}", path.display()))
        }
    }
}

/// The entries of a directory, hidden ones left out; none when it is not there.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    entries(directory, |name| !name.starts_with('.'))
}

fn entries(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", directory.display()))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
        if wanted(&entry.file_name().to_string_lossy()) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// This process, as one that works at what is another's: found dead, what it has begun is undone.
///
/// Errors: it cannot be told from others.
pub(crate) fn this_process() -> Result<rbox_net::Owner> {
    let pid = i32::try_from(std::process::id()).context("a pid that is none")?;
    let start_time = claim::start_time(pid).context("cannot read this process's start time")?;
    let (container, name) = (String::new(), "rbox network".to_owned());
    Ok(rbox_net::Owner { container, name, pid, start_time, boot_id: boot_id()?.to_owned(), netns: None })
}

/// Read a JSON file; nothing when it is not there, or went away in between.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    serde_json::from_slice(&text).map(Some).with_context(|| format!("{}: not what rbox wrote", path.display()))
}

/// Write a JSON file that a reader sees whole or not at all. Its temporary name is hidden.
pub(crate) fn write_whole(path: &Path, value: &impl Serialize) -> Result<()> {
    let doing = || format!("cannot write {}", path.display());
    let beside = path.with_file_name(format!(".{}", path.file_name().unwrap_or_default().to_string_lossy()));
    let text = serde_json::to_vec(value).with_context(doing)?;
    let put = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        rbox_explain::mark("file-beside");
        fs::rename(&beside, path)
    };
    put().inspect_err(|_| drop(fs::remove_file(&beside))).with_context(doing)?;
    rbox_explain::mark("file-written");
    Ok(())
}

/// The file that keeps room for another.
fn reserve(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.room", path.file_name().unwrap_or_default().to_string_lossy()))
}

fn is_full(error: &anyhow::Error) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| full.contains(&cause.kind()))
}

/// As [`write_whole`], into the room of a file that is there: what it has on the disk is written over. Then the two
/// change places (renameat2(2)), so that there is room for the next time.
fn write_into(room: &Path, path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    let mut file = OpenOptions::new().write(true).open(room)?;
    // Filled up with spaces, which JSON allows: a file that is cut short gives its room away.
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0).max(text.len());
    text.resize(length, b' ');
    file.write_all(&text)?;
    match renameat2(AT_FDCWD, room, AT_FDCWD, path, RenameFlags::RENAME_EXCHANGE) {
        // A file system that does not know how: then it is for once.
        Err(Errno::EINVAL) => fs::rename(room, path),
        done => Ok(done?),
    }
}
