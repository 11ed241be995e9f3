//! What the engine remembers of a container, and who holds it.
//!
//! A [`Claim`] stands in the state directory from before the first thing is made until after the last is removed: it
//! names the process that answers for the container, so that the next command can tell a living one from what a
//! killed rbox left. A [`Record`] stands in the bundle and is what a person is shown.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dirs::Dirs;
use crate::report::Problem;

/// Who answers for a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// The container's name.
    pub(crate) name: String,
    /// The process.
    pub(crate) pid: i32,
    /// When it started: field 22 of /proc/PID/stat (proc_pid_stat(5)).
    pub(crate) start_time: u64,
    /// The boot of the kernel that it belongs to.
    pub(crate) boot_id: String,
}

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
    /// The program's exit code, once it has ended.
    pub(crate) exit_code: Option<i32>,
    /// Whether the kernel killed one of its processes for lack of memory.
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

/// Start time of a process, or nothing when it is gone or only waits to be collected.
fn start_time(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let alive = !matches!(*fields.first()?, "Z" | "X");
    if alive { fields.get(19)?.parse().ok() } else { None }
}

/// The id of this boot of the kernel.
fn boot_id() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the kernel's boot id")?;
    Ok(text.trim().to_owned())
}

impl Claim {
    /// Claim `id` and `name` for this process. Nothing of the container may be made before.
    ///
    /// Errors: the name is taken (with its holder); the directories cannot be written.
    pub(crate) fn make(dirs: &Dirs, id: String, name: String) -> Result<Claim> {
        let pid = std::process::id().cast_signed();
        let start_time = start_time(pid).context("cannot read this process's start time")?;
        let claim = Claim { id, name, pid, start_time, boot_id: boot_id()? };
        for directory in [dirs.claims(), dirs.names(), dirs.containers()] {
            make_private(&directory)?;
        }
        // The temporary name tells its writer, so that a sweep knows what a dead one left.
        let beside = dirs.claims().join(format!(".{pid}.{start_time}.{}", claim.id));
        write_beside(&claim.path(dirs), &beside, &claim)?;
        if let Err(error) = claim.take_name(dirs) {
            claim.release(dirs)?;
            return Err(error);
        }
        Ok(claim)
    }

    fn path(&self, dirs: &Dirs) -> PathBuf {
        dirs.claims().join(format!("{}.json", self.id))
    }

    fn take_name(&self, dirs: &Dirs) -> Result<()> {
        let link = dirs.names().join(&self.name);
        match symlink(&self.id, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let holder = fs::read_link(&link).map(|id| id.to_string_lossy().into_owned()).unwrap_or_default();
                let message =
                    format!("cannot name a container {}: name in use (by container {})", self.name, short(&holder));
                Err(Problem::new(message)
                    .hint(format!("remove that one with rbox rm {}, or take another name", self.name))
                    .into())
            }
            made => made.with_context(|| format!("cannot reserve the name {}", self.name)),
        }
    }

    /// A claim that nobody holds any more, for taking apart what stands in its name.
    pub(crate) fn of_nobody(id: &str, name: &str) -> Claim {
        Claim { id: id.to_owned(), name: name.to_owned(), pid: 0, start_time: 0, boot_id: String::new() }
    }

    /// The claim of container `id`; nothing when nobody makes or holds it.
    ///
    /// Errors: it cannot be read.
    pub(crate) fn load(dirs: &Dirs, id: &str) -> Result<Option<Claim>> {
        read(&dirs.claims().join(format!("{id}.json")))
    }

    /// Call the container otherwise; its old name is free then. The caller holds the lock of [`crate::sweep`].
    ///
    /// Errors: the name is taken (with its holder).
    pub(crate) fn rename(&mut self, dirs: &Dirs, name: &str, is_held: bool) -> Result<()> {
        let old = Claim::of_nobody(&self.id, &self.name);
        self.name = name.to_owned();
        self.take_name(dirs)?;
        if is_held {
            write_whole(&self.path(dirs), self)?;
        }
        old.release_name(dirs)
    }

    /// Give the name back, if it is ours.
    pub(crate) fn release_name(&self, dirs: &Dirs) -> Result<()> {
        let link = dirs.names().join(&self.name);
        match fs::read_link(&link) {
            Ok(holder) if holder == Path::new(&self.id) => remove_file(&link),
            _ => Ok(()),
        }
    }

    /// Give the claim back: nothing of the container is held any more.
    pub(crate) fn release(&self, dirs: &Dirs) -> Result<()> {
        remove_file(&self.path(dirs))
    }

    /// Whether the process that claims is still there.
    pub(crate) fn is_alive(&self) -> bool {
        is_alive(self.pid, self.start_time, &self.boot_id)
    }

    /// Remove what processes left that were killed while they wrote a claim.
    ///
    /// Errors: the directory cannot be listed, or a file not be removed.
    pub(crate) fn sweep_unfinished(dirs: &Dirs) -> Result<()> {
        for path in entries(&dirs.claims(), |name| name.starts_with('.'))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut parts = name.trim_start_matches('.').split('.');
            let writer =
                parts.next().and_then(|pid| pid.parse().ok()).zip(parts.next().and_then(|start| start.parse().ok()));
            let is_alive = writer.is_some_and(|(pid, start): (i32, u64)| start_time(pid) == Some(start));
            if !is_alive {
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// All claims.
    pub(crate) fn all(dirs: &Dirs) -> Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for path in files(&dirs.claims())? {
            claims.extend(read::<Claim>(&path)?);
        }
        Ok(claims)
    }
}

/// Whether the process of that number, start time and boot is still there.
pub(crate) fn is_alive(pid: i32, start: u64, boot: &str) -> bool {
    start_time(pid) == Some(start) && boot_id().is_ok_and(|now| now == boot)
}

impl Record {
    /// Write the record into the container's bundle.
    ///
    /// Errors: the directory cannot be written.
    pub(crate) fn save(&self, dirs: &Dirs) -> Result<()> {
        write_whole(&dirs.container(&self.id).join("record.json"), self)
    }

    /// The record of `id`; nothing when there is none.
    ///
    /// Errors: it cannot be read, or is not a record.
    pub(crate) fn load(dirs: &Dirs, id: &str) -> Result<Option<Record>> {
        read(&dirs.container(id).join("record.json"))
    }

    /// Take over the name that another rbox has given the container since this record was read.
    ///
    /// Errors: those of [`Record::load`].
    pub(crate) fn follow_name(&mut self, dirs: &Dirs) -> Result<()> {
        if let Some(now) = Record::load(dirs, &self.id)? {
            self.name = now.name;
        }
        Ok(())
    }

    /// All records, newest first.
    ///
    /// Errors: those of [`Record::load`].
    pub(crate) fn all(dirs: &Dirs) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for directory in files(&dirs.containers())? {
            records.extend(read::<Record>(&directory.join("record.json"))?);
        }
        records.sort_by(|a: &Record, b| b.created.cmp(&a.created));
        Ok(records)
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
        removed => removed.with_context(|| format!("cannot remove {}", path.display())),
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
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    write_beside(path, &path.with_file_name(format!(".{name}")), value)
}

/// As [`write_whole`], by a temporary file of that name.
fn write_beside(path: &Path, beside: &Path, value: &impl Serialize) -> Result<()> {
    let doing = || format!("cannot write {}", path.display());
    let text = serde_json::to_vec(value).with_context(doing)?;
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside).with_context(doing)?;
    file.write_all(&text).and_then(|()| fs::rename(beside, path)).with_context(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(place: &Path) -> Dirs {
        let global = crate::cli::Global { root: place.join("root"), state: place.join("state") };
        Dirs::new(&global).unwrap()
    }

    #[test]
    fn a_name_belongs_to_one_container_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let dirs = dirs(place.path());
        let first = Claim::make(&dirs, "a".repeat(64), "web".into()).unwrap();
        let taken = Claim::make(&dirs, "b".repeat(64), "web".into()).unwrap_err();
        assert_eq!(taken.to_string(), "cannot name a container web: name in use (by container aaaaaaaaaaaa)");
        assert_eq!(Claim::all(&dirs).unwrap().len(), 1, "a refused claim leaves nothing");
        first.release_name(&dirs).unwrap();
        Claim::make(&dirs, "b".repeat(64), "web".into()).unwrap();
        first.release_name(&dirs).unwrap();
        assert!(dirs.names().join("web").is_symlink(), "another's name is not given back");
    }

    #[test]
    fn a_claim_of_another_boot_or_start_is_dead() {
        let place = tempfile::tempdir().unwrap();
        let claim = Claim::make(&dirs(place.path()), "a".repeat(64), "web".into()).unwrap();
        assert!(claim.is_alive());
        assert!(!Claim { boot_id: "another".into(), ..claim.clone() }.is_alive());
        assert!(!Claim { start_time: claim.start_time + 1, ..claim }.is_alive());
    }
}
