//! What is remembered of a container between two commands: `<root>/<id>/state.json`, private to root.
//!
//! ```text
//!  <root>/<id>/            made first: its mkdir(2) is what reserves the id
//!     state.json           written before anything else is made, so that what a killed rbox leaves can be found
//!     init                 its first process, once there is one: a link whose text is `PID.START-TIME`
//!     start.sock           the gate; gone when the container has been started
//! ```

use crate::cgroup::Cgroup;
use crate::error::{Doing, Error, Result};
use crate::hooks::LaterHooks;
use crate::listener::Listener;
use crate::resctrl::Resctrl;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The state file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339 with nanoseconds, UTC.
    pub(crate) created: String,
    /// The container's first process; none while it is being created. In a link of its own: the file is written once.
    #[serde(skip)]
    pub(crate) init: Option<ProcessName>,
    /// Who creates it: with it gone and no init, the creation was cut short.
    pub(crate) creator: ProcessName,
    pub(crate) boot_id: String,
    pub(crate) cgroup: Cgroup,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resctrl: Option<Resctrl>,
    #[serde(default, skip_serializing_if = "LaterHooks::is_empty")]
    pub(crate) hooks: LaterHooks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<Listener>,
    #[serde(default)]
    pub(crate) annotations: HashMap<String, String>,
}

/// A process that is not mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessName {
    pub(crate) pid: i32,
    /// Field 22 of /proc/PID/stat, in clock ticks since boot (proc_pid_stat(5)).
    pub(crate) start_time: u64,
}

impl ProcessName {
    /// The process that has this number now.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub(crate) fn of(pid: i32) -> io::Result<ProcessName> {
        Ok(ProcessName { pid, start_time: stat(pid)?.1 })
    }

    /// This process itself.
    pub(crate) fn this() -> io::Result<ProcessName> {
        ProcessName::of(std::process::id().cast_signed())
    }

    /// Write it down beside the state file: made whole by one request, where replacing a file takes four and, on ext4,
    /// waits for its data (`auto_da_alloc`).
    ///
    /// # Errors
    /// `Os`.
    pub(crate) fn save(self, directory: &Path) -> Result<()> {
        let path = directory.join("init");
        symlink(format!("{}.{}", self.pid, self.start_time), &path).doing(|| format!("write {}", path.display()))?;
        rbox_explain::mark("init-named");
        Ok(())
    }

    /// What [`ProcessName::save`] wrote, if it has.
    pub(crate) fn load(directory: &Path) -> Result<Option<ProcessName>> {
        let path = directory.join("init");
        let text = match std::fs::read_link(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.doing(|| format!("read {}", path.display()))?,
        };
        let numbers = text.to_str().and_then(|text| text.split_once('.'));
        let name = numbers.and_then(|(pid, start_time)| {
            let pid = pid.parse().ok().filter(|pid| *pid > 0)?;
            Some(ProcessName { pid, start_time: start_time.parse().ok()? })
        });
        let odd = || Error::InvalidSpec { path: path.display().to_string(), why: "is not a process's name".to_owned() };
        name.map(Some).ok_or_else(odd)
    }

    /// When it began, in seconds since 1970, if it is of this boot.
    ///
    /// # Errors
    /// Those of reading /proc/stat; `InvalidData`.
    pub(crate) fn began(self) -> io::Result<i64> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let boot = text.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<i64>().ok());
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
        let since =
            ticks.and_then(|ticks| self.start_time.checked_div(ticks)).and_then(|time| i64::try_from(time).ok());
        boot.zip(since).map(|(boot, since)| boot.saturating_add(since)).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Whether it still runs. A zombie does not: it only waits to be collected.
    pub(crate) fn is_alive(self) -> bool {
        matches!(stat(self.pid), Ok((state, start_time)) if start_time == self.start_time && state != 'Z' && state != 'X')
    }

    /// Whether it runs, and has not been killed: one that is frozen stays as it is with that.
    pub(crate) fn is_meant_to_live(self) -> bool {
        self.is_alive() && !is_killed(self.pid).unwrap_or(true)
    }
}

/// Whether SIGKILL is on its way to a process: proc_pid_status(5), `SigPnd` and `ShdPnd`.
fn is_killed(pid: i32) -> io::Result<bool> {
    const KILL: u64 = 1 << (libc::SIGKILL - 1);
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let pending = text.lines().filter_map(|line| line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:")));
    Ok(pending.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & KILL != 0))
}

/// Whether a process is process 1 of its pid namespace, all of which dies with it (pid_namespaces(7)). Yes where nobody knows.
pub(crate) fn is_first_of_namespace(pid: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_none_or(|numbers| numbers.split_whitespace().next_back() == Some("1"))
}

/// State letter and start time (clock ticks since the boot) of a process. proc_pid_stat(5): the name may contain anything,
/// so read behind its `)`.
///
/// # Errors
/// Those of open(2) and read(2): it is gone.
pub fn stat(pid: i32) -> io::Result<(char, u64)> {
    // What is wanted stands at the front, so one read is enough: a list of containers asks for hundreds.
    let mut buffer = [0; 1024];
    let length = File::open(format!("/proc/{pid}/stat"))?.read(&mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    let fields: Vec<&str> = text.rsplit_once(')').ok_or_else(odd)?.1.split_whitespace().collect();
    let state = fields.first().and_then(|field| field.chars().next()).ok_or_else(odd)?;
    let start_time = fields.get(19).and_then(|field| field.parse().ok()).ok_or_else(odd)?;
    Ok((state, start_time))
}

/// The id of this boot of the kernel; a state of another boot describes processes that are gone. Read once: no process
/// outlives it.
pub(crate) fn boot_id() -> io::Result<String> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(id) = BOOT.get() {
        return Ok(id.clone());
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT.get_or_init(|| text.trim().to_owned()).clone())
}

/// An id is a file name: letters, digits, `_ + - .` (as in runc), and not `.` or `..`.
///
/// # Errors
/// `InvalidSpec`.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || id.len() > 255 || !id.chars().all(fits) {
        let why = "invalid: letters, digits and _ + - . are allowed".to_owned();
        return Err(Error::InvalidSpec { path: format!("container id {id:?}"), why });
    }
    Ok(())
}

/// Reserve `id` by making its directory.
///
/// # Errors
/// `AlreadyExists`; `Os` when the state directory cannot be written.
pub(crate) fn reserve(root: &Path, id: &str) -> Result<PathBuf> {
    check_id(id)?;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    let directory = root.join(id);
    match builder.create(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            builder.recursive(true).create(root).doing(|| format!("create {}", root.display()))?;
            reserve(root, id)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::AlreadyExists { id: id.to_owned() }),
        made => made.doing(|| format!("create {}", directory.display())).map(|()| directory),
    }
}

impl State {
    /// Read the state of `id`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidSpec` for a file that is torn or not ours.
    pub(crate) fn load(root: &Path, id: &str) -> Result<State> {
        check_id(id)?;
        let directory = root.join(id);
        let path = directory.join("state.json");
        let (text, metadata) = match read_own(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NotFound { id: id.to_owned() }),
            found => found.doing(|| format!("read {}", path.display()))?,
        };
        let odd = |why: String| Error::InvalidSpec { path: path.display().to_string(), why };
        // What it says is obeyed: processes are killed by it, control groups removed, hooks run.
        if !is_ours(&metadata) {
            return Err(odd("is another user's, or others may write it".to_owned()));
        }
        let state: State = serde_json::from_slice(&text).map_err(|error| odd(error.to_string()))?;
        // Not for an enemy, who would have to be root already: for a file that came here by mistake.
        if state.id != id {
            return Err(odd(format!("is of container {:?}", state.id)));
        }
        // Of another boot it describes what is gone: that is not to be believed of a file that is spoiled.
        if state.boot_id.len() != 36 || !state.boot_id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            return Err(odd("bootId is no boot's".to_owned()));
        }
        if let Some(why) = state.cgroup.oddity() {
            return Err(odd(format!("cgroup: {why}")));
        }
        Ok(State { init: ProcessName::load(&directory)?, ..state })
    }

    /// Write the state; a reader sees the old one or the new one, never a half.
    ///
    /// # Errors
    /// `Os`.
    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        let path = directory.join("state.json");
        write_whole(&path, &serde_json::to_vec(self).expect("a state is plain data"))
            .doing(|| format!("write {}", path.display()))
    }
}

/// Far more than any state: annotations are the only part without a bound of its own.
const LONGEST_STATE: u64 = 16 << 20;

/// A file that we have written: no link, nothing that would keep a reader waiting or never end.
fn read_own(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > LONGEST_STATE {
        return Err(io::Error::from_raw_os_error(if found.is_file() { libc::EFBIG } else { libc::EINVAL }));
    }
    let mut text = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0) + 1);
    file.take(LONGEST_STATE).read_to_end(&mut text)?;
    Ok((text, found))
}

/// Owned by us, and nobody else may write.
pub(crate) fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == nix::unistd::geteuid().as_raw() && metadata.mode() & 0o022 == 0
}

/// Replace `path` by a file with these bytes: written beside it, then renamed over it.
///
/// # Errors
/// Those of open, write and rename.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    rbox_explain::mark("state-beside");
    std::fs::rename(&beside, path)?;
    rbox_explain::mark("state-written");
    Ok(())
}
