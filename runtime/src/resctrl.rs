//! `linux.intelRdt`: shares of caches and of memory bandwidth, by the resctrl file system (runtime-spec
//! config-linux.md#intelrdt, kernel Documentation/filesystems/resctrl.rst).
//!
//! ```text
//!  /sys/fs/resctrl/             the group of all processes: closID "/"
//!     schemata  tasks  info/
//!     <closID or container>/    a class of service: schemata says its share, tasks who is in it
//!        mon_groups/<container> counts what the container alone uses: enableMonitoring
//! ```
//!
//! A group of the container's own name is made and removed with it. One that is named is kept: others may be in it.

use crate::error::{Doing, Error, Result};
use crate::steps;
use oci_spec::runtime::{LinuxIntelRdt, Spec};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where a container is in resctrl, as it is kept in the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resctrl {
    root: PathBuf,
    /// The class of service.
    group: PathBuf,
    /// Below that, what counts for the container alone.
    monitor: Option<PathBuf>,
    /// The group ends with the container.
    is_own: bool,
    /// It was not there before.
    #[serde(skip)]
    is_new: bool,
    /// For its schemata file.
    #[serde(skip)]
    lines: Vec<String>,
}

/// Names in resctrl that are no group.
const RESERVED: &[&str] = &["info", "mon_groups", "mon_data"];

impl Resctrl {
    /// What config.json asks for, checked against what is there. Nothing is changed.
    ///
    /// # Errors
    /// `InvalidSpec`, also where no resctrl is mounted.
    pub(crate) fn of(spec: &Spec, id: &str) -> Result<Option<Resctrl>> {
        let Some(wish) = spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref()) else { return Ok(None) };
        let mounts = fs::read_to_string("/proc/self/mountinfo").doing(|| "list the mounts".to_owned())?;
        let root = mount_point(&mounts);
        let root = root.ok_or_else(|| Error::spec("linux.intelRdt", "no resctrl file system is mounted here"))?;
        Resctrl::below(&root, wish, id).map(Some)
    }

    fn below(root: &Path, wish: &LinuxIntelRdt, id: &str) -> Result<Resctrl> {
        let lines = lines(wish)?;
        let class = wish.clos_id().as_deref().filter(|class| !class.is_empty());
        let group = match class {
            Some("/") => root.to_owned(),
            class => root.join(group_name(class.unwrap_or(id))?),
        };
        let is_there = group.is_dir();
        match class {
            None if is_there => {
                let why = format!("is missing, and the group {} is there already", group.display());
                return Err(Error::spec("linux.intelRdt.closID", why));
            }
            Some(class) if !is_there && lines.is_empty() => {
                let why = format!("the group {class} is not there, and no schema says what to make");
                return Err(Error::spec("linux.intelRdt.closID", why));
            }
            Some(_) if is_there => compare(&group, wish)?,
            _ => {}
        }
        Ok(Resctrl {
            root: root.to_owned(),
            monitor: wish.enable_monitoring().unwrap_or(false).then(|| group.join("mon_groups").join(id)),
            is_own: class.is_none(),
            is_new: !is_there,
            group,
            lines,
        })
    }

    /// Make the groups that are missing, and say what the class is worth.
    ///
    /// # Errors
    /// `Os`, with what resctrl says in info/last_cmd_status.
    pub(crate) fn make(&self) -> Result<()> {
        let make = |group: &Path| {
            self.told(
                || format!("mkdir {}", group.display()),
                || fs::create_dir(group),
                || format!("make the resctrl group {}", group.display()),
            )
        };
        if self.is_new {
            make(&self.group)?;
        }
        let furnished = self.write_schemata(&self.lines).and_then(|()| self.monitor.as_deref().map_or(Ok(()), make));
        if furnished.is_err() && self.is_new {
            // Also one that is named: nobody else can be in it yet.
            let _ = fs::remove_dir(&self.group);
        }
        furnished
    }

    /// Change what the class is worth.
    ///
    /// # Errors
    /// `InvalidSpec`; as [`Resctrl::make`].
    pub(crate) fn change(&self, wish: &LinuxIntelRdt) -> Result<()> {
        self.write_schemata(&lines(wish)?)
    }

    fn write_schemata(&self, lines: &[String]) -> Result<()> {
        match lines {
            [] => Ok(()),
            lines => self.write(&self.group.join("schemata"), &format!("{}\n", lines.join("\n"))),
        }
    }

    /// Put a process into it; its children are born there.
    ///
    /// # Errors
    /// As [`Resctrl::make`].
    pub(crate) fn join(&self, pid: i32) -> Result<()> {
        // The class first: only who is in it can be counted below it.
        for group in std::iter::once(&self.group).chain(&self.monitor) {
            self.write(&group.join("tasks"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Remove what ends with the container. Gone already is success.
    ///
    /// # Errors
    /// `Os`.
    pub(crate) fn remove(&self) -> Result<()> {
        for group in self.monitor.iter().chain(self.is_own.then_some(&self.group)) {
            match fs::remove_dir(group) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.doing(|| format!("remove the resctrl group {}", group.display()))?,
            }
        }
        Ok(())
    }

    fn write(&self, file: &Path, text: &str) -> Result<()> {
        self.told(
            || format!("echo {} > {}", text.trim_end().replace('\n', "; "), file.display()),
            || fs::write(file, text),
            || format!("write {} to {}", text.trim_end().replace('\n', "; "), file.display()),
        )
    }

    /// A request to resctrl, whose errno says less than its own last word.
    fn told(
        &self,
        request: impl FnOnce() -> String,
        act: impl FnOnce() -> io::Result<()>,
        doing: impl FnOnce() -> String,
    ) -> Result<()> {
        let done = rbox_explain::step(&steps::RESCTRL, request, act).map_err(|error| {
            let said = fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
            match said.trim() {
                "" | "ok" => error,
                said => io::Error::new(error.kind(), format!("{} ({said})", crate::cause(&error))),
            }
        });
        done.doing(doing)
    }
}

/// Of the first resctrl (proc_pid_mountinfo(5)).
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let place = mount.split(' ').nth(4)?;
        kind.starts_with("resctrl ").then(|| PathBuf::from(place.replace("\\040", " ")))
    })
}

/// A single part of a path, as in runc.
fn group_name(name: &str) -> Result<&str> {
    let odd = matches!(name, "." | "..") || name.contains(['/', '\n', '\0']) || RESERVED.contains(&name);
    if odd { Err(Error::spec("linux.intelRdt.closID", format!("{name:?} is no name for a group"))) } else { Ok(name) }
}

/// What is written into the schemata file, in this order.
fn lines(wish: &LinuxIntelRdt) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut add = |path: &str, line: String| {
        if line.contains('\n') {
            return Err(Error::spec(path, "contains a line break"));
        }
        all.push(line);
        Ok(())
    };
    if let Some(line) = given(wish.l3_cache_schema()) {
        add("linux.intelRdt.l3CacheSchema", line)?;
    }
    if let Some(line) = given(wish.mem_bw_schema()) {
        if !line.starts_with("MB:") {
            return Err(Error::spec("linux.intelRdt.memBwSchema", "does not begin with MB:"));
        }
        add("linux.intelRdt.memBwSchema", line)?;
    }
    for line in wish.schemata().iter().flatten() {
        add("linux.intelRdt.schemata", line.clone())?;
    }
    Ok(all)
}

/// A class that is there must be worth what the container expects of it: others are in it.
fn compare(group: &Path, wish: &LinuxIntelRdt) -> Result<()> {
    let fields = [("l3CacheSchema", wish.l3_cache_schema()), ("memBwSchema", wish.mem_bw_schema())];
    let given =
        fields.into_iter().filter_map(|(key, line)| Some((key, line.as_deref().filter(|line| !line.is_empty())?)));
    let mut there = None;
    for (key, line) in given {
        let file = group.join("schemata");
        if there.is_none() {
            there = Some(fs::read_to_string(&file).doing(|| format!("read {}", file.display()))?);
        }
        if !there.as_deref().is_some_and(|there| holds(there, line)) {
            let why = format!("differs from {}, which is in use", file.display());
            return Err(Error::spec(&format!("linux.intelRdt.{key}"), why));
        }
    }
    Ok(())
}

/// Whether each share of `line` stands in the text of a schemata file; the kernel writes numbers its own way.
fn holds(there: &str, line: &str) -> bool {
    let wanted = shares(line);
    !wanted.is_empty() && there.lines().map(shares).any(|shares| wanted.iter().all(|one| shares.contains(one)))
}

/// `L3:0=07f;1=1F` is (L3, 0, 7f), (L3, 1, 1f).
fn shares(line: &str) -> Vec<(String, String, String)> {
    let Some((kind, shares)) = line.trim().split_once(':') else { return vec![] };
    let plain = |value: &str| value.trim().trim_start_matches('0').to_ascii_lowercase();
    let share = |share: &str| {
        let (cache, value) = share.split_once('=').unwrap_or((share, ""));
        (kind.trim().to_owned(), plain(cache), plain(value))
    };
    shares.split(';').filter(|one| !one.trim().is_empty()).map(share).collect()
}

#[cfg(test)]
mod tests;
