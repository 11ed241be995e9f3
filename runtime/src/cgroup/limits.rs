//! Limits as lines for control files, and how they are written.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use rbox_explain::{Row, step};

use super::devices::Policy;
use super::error::invalid;
use super::file::{self, Pen, Purpose};
use super::{Cgroup, Error, Layout, filter, v1, v2};
use crate::sys;

static DEVICE_FILTER: Row = Row {
    key: "cgroup-devices",
    why: "cgroup v2 has no file for device rules: a small program in the kernel is asked at every open and mknod",
    see: "bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE",
};

/// One value for one control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: Cow<'static, str>,
    pub(super) file: Cow<'static, str>,
    pub(super) value: String,
    /// Nothing is lost where the file is missing.
    pub(super) optional: bool,
    /// The file that other kernels have in its place, with the value as that one takes it.
    pub(super) instead: Option<(&'static str, String)>,
}

impl Setting {
    pub(super) fn new(
        controller: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) -> Setting {
        let (controller, file, value) = (controller.into(), file.into(), value.to_string());
        Setting { controller, file, value, optional: false, instead: None }
    }

    pub(super) fn optional(self) -> Setting {
        Setting { optional: true, ..self }
    }

    pub(super) fn or(self, file: &'static str) -> Setting {
        let value = self.value.clone();
        self.or_converted(file, value)
    }

    pub(super) fn or_converted(self, file: &'static str, value: String) -> Setting {
        Setting { instead: Some((file, value)), ..self }
    }
}

impl Cgroup {
    /// Change the limits that `resources` names; the others stay as they are.
    ///
    /// # Errors
    /// `InvalidSpec`, `Set` and `NotMounted` for a limit; those before it are set.
    pub fn set(&self, resources: &LinuxResources) -> Result<(), Error> {
        self.check_memory_use(resources)?;
        let resources = self.complete(resources)?;
        self.set_unit(resources.as_ref())?;
        self.apply(resources.as_ref(), false)
    }

    /// As [`Cgroup::set`], for a group that nobody has set anything for.
    pub(super) fn set_fresh(&self, resources: &LinuxResources) -> Result<(), Error> {
        self.apply(resources, true)
    }

    /// The limits as lines for control files.
    pub(super) fn lines(&self, resources: &LinuxResources) -> Result<Vec<Setting>, Error> {
        match self.layout {
            Layout::V1 | Layout::Hybrid => v1::settings(resources),
            Layout::V2 => v2::settings(resources),
        }
    }

    pub(super) fn apply(&self, resources: &LinuxResources, fresh: bool) -> Result<(), Error> {
        let settings = self.lines(resources)?;
        let mut pen = Pen::default();
        let mut refused = Vec::new();
        for setting in &settings {
            match self.write(&mut pen, setting) {
                // It may contradict a value that one of the next lines replaces.
                Err(Error::Set { source: Errno::EINVAL, .. }) => refused.push(setting),
                outcome => outcome?,
            }
        }
        for setting in refused {
            self.write(&mut pen, setting)?;
        }
        match (self.layout, resources.devices()) {
            (Layout::V2, Some(rules)) => self.filter_devices(rules, fresh),
            _ => Ok(()),
        }
    }

    fn write(&self, pen: &mut Pen, setting: &Setting) -> Result<(), Error> {
        let Some(hierarchy) = self.hierarchy_of(&setting.controller) else {
            return match setting.optional {
                true => Ok(()),
                false => Err(Error::NotMounted {
                    file: setting.file.to_string(),
                    value: setting.value.clone(),
                    controller: setting.controller.to_string(),
                }),
            };
        };
        let mut outcome = pen.write(Purpose::Set, &hierarchy.path.join(&*setting.file), &setting.value);
        if let (Err(Errno::ENOENT), Some((file, value))) = (outcome, &setting.instead) {
            outcome = pen.write(Purpose::Set, &hierarchy.path.join(file), value);
        }
        match outcome {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) if setting.optional => Ok(()),
            Err(source) => Err(Error::Set {
                file: setting.file.to_string(),
                value: setting.value.clone(),
                directory: hierarchy.path.clone(),
                source,
            }),
        }
    }

    /// v1 refuses a limit below what is in use; v2 would kill for it, unless the Spec asks to check first.
    fn check_memory_use(&self, resources: &LinuxResources) -> Result<(), Error> {
        let Some(memory) = resources.memory().filter(|memory| memory.check_before_update() == Some(true)) else {
            return Ok(());
        };
        let (Layout::V2, Some(group), Some(limit @ 1..)) = (self.layout, self.unified(), memory.limit()) else {
            return Ok(());
        };
        let used: i64 = file::must_read(&group.path.join("memory.current"))?.trim().parse().unwrap_or(0);
        if limit < used {
            return Err(invalid("memory.limit", &format!("{limit} is less than the {used} bytes in use")));
        }
        Ok(())
    }

    /// Let the kernel ask a filter made of `rules`. A fresh group has none; else it takes the place of the one there.
    fn filter_devices(&self, rules: &[LinuxDeviceCgroup], fresh: bool) -> Result<(), Error> {
        let Some(group) = self.unified() else { return Ok(()) };
        let policy = Policy::of(rules)?;
        if fresh && policy.allows_everything() {
            return Ok(());
        }
        let directory = file::directory(&group.path)?;
        step(
            &DEVICE_FILTER,
            || format!("bpf(BPF_PROG_ATTACH, {}) with {} exceptions", group.path.display(), policy.exceptions.len()),
            || attach(&directory, &policy, fresh),
        )
        .map_err(|error| Error::Os {
            doing: format!("set the device filter of {}", group.path.display()),
            source: Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO)),
        })
    }
}

fn attach(directory: &OwnedFd, policy: &Policy, fresh: bool) -> io::Result<()> {
    let new = sys::bpf::load_device_filter(&filter::program(policy))?;
    let old = if fresh { Vec::new() } else { sys::bpf::device_filters(directory.as_fd())? };
    let old = old.into_iter().map(sys::bpf::program_of).collect::<io::Result<Vec<_>>>()?;
    if let [only] = old.as_slice()
        && sys::bpf::attach_device_filter(directory.as_fd(), new.as_fd(), Some(only.as_fd())).is_ok()
    {
        return Ok(());
    }
    // Several, or a kernel that cannot replace: all that are attached are asked, so the new one goes first and at no
    // moment is a device free that both refuse.
    sys::bpf::attach_device_filter(directory.as_fd(), new.as_fd(), None)?;
    old.iter().try_for_each(|old| sys::bpf::detach_device_filter(directory.as_fd(), old.as_fd()))
}
