//! Everything that is done to a group's processes as one: list, freeze, kill.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::file::{self, Purpose};
use super::{Cgroup, Error, Hierarchy};

/// How long a group may take to stand still: it waits for processes in the kernel, for a slow disk at worst.
const FREEZE_WITHIN: Duration = Duration::from_secs(10);
/// How often processes are killed that were born while the others were: only where there is no freezer and no cgroup.kill.
const KILL_ROUNDS: usize = 1000;

impl Cgroup {
    /// The processes in the group and in those that the container made below it, by the host's numbers.
    ///
    /// # Errors
    /// `Os` if the group cannot be read; a group that is gone has no processes.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        let mut pids = Vec::new();
        // Hierarchies agree but for a moment; the one that can be frozen is the one that counts.
        if let Some(hierarchy) = self.freezer().or(self.hierarchies.first()) {
            collect(&hierarchy.path, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Stop every process of the group, and wait until they stand.
    ///
    /// # Errors
    /// `Os`: no freezer here, or a process that does not come to rest (ETIMEDOUT; the group is then thawed again).
    pub fn freeze(&self) -> Result<(), Error> {
        self.set_frozen(true)?;
        let deadline = Instant::now() + FREEZE_WITHIN;
        let mut pause = Duration::from_micros(50);
        while !self.is_frozen()? {
            if Instant::now() >= deadline {
                self.thaw()?;
                return Err(Error::Os { doing: self.doing("freeze"), source: Errno::ETIMEDOUT });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
            if self.freezer().is_some_and(|hierarchy| !hierarchy.is_unified()) {
                // v1: a process born meanwhile is found only when it is asked for again.
                self.set_frozen(true)?;
            }
        }
        Ok(())
    }

    /// Let the processes go on.
    ///
    /// # Errors
    /// `Os`: no freezer here, or the group is gone.
    pub fn thaw(&self) -> Result<(), Error> {
        self.set_frozen(false)
    }

    /// Whether every process of the group stands still.
    ///
    /// # Errors
    /// `Os` if the group is gone.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        match self.freezer() {
            None => Ok(false),
            Some(group) if group.is_unified() => {
                let events = file::must_read(&group.path.join("cgroup.events"))?;
                Ok(super::stats::field(&events, "frozen") == Some(1))
            }
            Some(group) => Ok(file::must_read(&group.path.join("freezer.state"))?.trim() == "FROZEN"),
        }
    }

    /// Kill every process of the group, also those being born and those that are frozen. Does not wait for their end.
    ///
    /// # Errors
    /// `Os` if the kernel refuses; a group that is gone or empty is success.
    pub fn kill(&self) -> Result<(), Error> {
        match self.kill_at_once() {
            Err(Errno::ENOENT) => self.kill_one_by_one()?,
            Err(source) => return Err(Error::Os { doing: self.doing("kill"), source }),
            Ok(()) => {}
        }
        self.let_die()
    }

    /// Let what was killed die, also where somebody has frozen it: with v1 it dies only when it runs again.
    ///
    /// # Errors
    /// `Os` if the kernel refuses; a group that is gone is success.
    pub fn let_die(&self) -> Result<(), Error> {
        match self.freezer() {
            Some(group) if !group.is_unified() => self.thaw_if_there(),
            _ => Ok(()),
        }
    }

    fn thaw_if_there(&self) -> Result<(), Error> {
        match self.thaw() {
            Err(Error::Os { source: Errno::ENOENT, .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// cgroup.kill, Linux 5.14; on a hybrid host the unified hierarchy has it too.
    fn kill_at_once(&self) -> Result<(), Errno> {
        let group = self.unified().ok_or(Errno::ENOENT)?;
        file::write(Purpose::Kill, &group.path.join("cgroup.kill"), "1")
    }

    fn kill_one_by_one(&self) -> Result<(), Error> {
        // Frozen, nobody is born and no number is given to another process. Without a freezer: again, until all are gone.
        let frozen = self.freezer().is_some_and(|group| file::exists(&group.path)) && self.freeze().is_ok();
        for _ in 0..KILL_ROUNDS {
            let pids = self.pids()?;
            for &pid in &pids {
                match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(source) => return Err(Error::Os { doing: format!("kill process {pid}"), source }),
                }
            }
            if frozen || pids.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if frozen { self.thaw_if_there() } else { Ok(()) }
    }

    /// v1's freezer if it is mounted, else the unified hierarchy.
    fn freezer(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.has("freezer")).or_else(|| self.unified())
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), Error> {
        let doing = || self.doing(if frozen { "freeze" } else { "thaw" });
        let group = self.freezer().ok_or_else(|| Error::Os { doing: doing(), source: Errno::ENOTSUP })?;
        let (name, value) = match (group.is_unified(), frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        file::write(Purpose::Freeze, &group.path.join(name), value)
            .map_err(|source| Error::Os { doing: doing(), source })
    }

    fn doing(&self, verb: &str) -> String {
        let path = self.hierarchies.first().map(|hierarchy| hierarchy.path.display().to_string());
        format!("{verb} cgroup {}", path.unwrap_or_default())
    }
}

fn collect(path: &Path, pids: &mut Vec<i32>) -> Result<(), Error> {
    let failed = |source| Error::Os { doing: format!("list the processes of cgroup {}", path.display()), source };
    match file::read(&path.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid != 0)),
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
        // A threaded group has no list of its own: its processes are in the one above.
        Err(Errno::EOPNOTSUPP) => {}
        Err(source) => return Err(failed(source)),
    }
    for child in file::children(path).unwrap_or_default() {
        collect(&child, pids)?;
    }
    Ok(())
}
