//! Groups that systemd makes, as containerd (`SystemdCgroup = true`), Docker and Podman ask for by `--systemd-cgroup`:
//! systemd then is the only one who writes above a container's group, and knows the container by name.
//!
//! ```text
//!  init is born outside ──▶ StartTransientUnit(PIDs=[init], limits) ──▶ the job is done: init is in the group
//!                           what systemd leaves: its other files and hierarchies, by the same code as ever
//!  update ──▶ SetUnitProperties, then the files          delete ──▶ StopUnit, ResetFailedUnit, then what is left
//! ```
//!
//! A scope cannot be without a process, so init is there before its group: it makes its network meanwhile.
//! systemd.scope(5), <https://systemd.io/CGROUP_DELEGATION>.

mod annotation;
mod bus;
mod properties;
mod unit;
mod wire;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use oci_spec::runtime::LinuxResources;
use rbox_explain::{Row, step};

use self::bus::{Bus, Failure};
use self::properties::Property;
use self::wire::Value;
use super::devices::Policy;
use super::tree::{enable_controllers, ensure_directory, fill_cpuset, refuse_inhabited};
use super::{Cgroup, Error, Layout, file};

pub(crate) use self::annotation::PREFIX as ANNOTATION_PREFIX;
pub use self::unit::Unit;

static START: Row = Row {
    key: "unit-start",
    why: "systemd makes the group and puts init into it: nobody else writes above it",
    see: "systemd.scope(5), org.freedesktop.systemd1(5) StartTransientUnit",
};
static CHANGE: Row = Row {
    key: "unit-set",
    why: "systemd must know of a limit, or it would set its own idea of it again",
    see: "org.freedesktop.systemd1(5) SetUnitProperties",
};
static STOP: Row = Row {
    key: "unit-stop",
    why: "systemd forgets the unit, also one that failed",
    see: "org.freedesktop.systemd1(5) StopUnit, ResetFailedUnit",
};

/// Who makes a container's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// We, by directories and files.
    Files,
    /// systemd, as a unit.
    Systemd,
}

/// What a unit is started with.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The container's first process.
    pub pid: i32,
    /// Its limits.
    pub resources: &'a LinuxResources,
    /// Of the container: some are properties.
    pub annotations: &'a HashMap<String, String>,
    /// The process enters the v1 hierarchies itself, by [`Cgroup::doors`].
    pub by_doors: bool,
}

impl Cgroup {
    /// Say where the group of `unit` is on this host, without touching it. What `annotations` want of it is looked at too.
    ///
    /// # Errors
    /// `Systemd` where it does not run; `InvalidSpec` for an annotation; those of [`Cgroup::locate`].
    pub fn locate_unit(unit: Unit, annotations: &HashMap<String, String>) -> Result<Cgroup, Error> {
        // sd_booted(3).
        if !Path::new("/run/systemd/system").is_dir() {
            let why = "systemd does not run on this host (let the engine use the cgroupfs driver)".to_owned();
            return Err(Error::Systemd { doing: "use --systemd-cgroup".to_owned(), why });
        }
        annotation::properties(annotations)?;
        let cgroup = Cgroup::locate(&unit.path())?;
        Ok(Cgroup { unit: Some(unit), ..cgroup })
    }

    /// Refuse a path that only systemd's driver can read.
    ///
    /// # Errors
    /// `InvalidSpec`.
    pub fn refuse_unit(cgroups_path: &Path) -> Result<(), Error> {
        if unit::looks_like_unit(cgroups_path) {
            let why = format!("{:?} is for --systemd-cgroup, which is not given", cgroups_path.display().to_string());
            return Err(unit::invalid(why));
        }
        Ok(())
    }

    /// Whether systemd makes the group, around a process that lives already.
    #[must_use]
    pub fn is_made_by_systemd(&self) -> bool {
        self.unit.is_some()
    }

    /// Let systemd make the group around a process, and write what it leaves to us. Nothing to do for a group of ours.
    ///
    /// # Errors
    /// `Inhabited`; `Systemd`; those of [`Cgroup::make`]. The caller removes the group.
    pub fn start_unit(&self, start: &Start<'_>) -> Result<(), Error> {
        let Some(unit) = &self.unit else { return Ok(()) };
        for hierarchy in self.hierarchies.iter().filter(|hierarchy| file::exists(&hierarchy.path)) {
            refuse_inhabited(&hierarchy.path)?;
        }
        let lines = self.lines(start.resources)?;
        let mut properties = properties::of_unit(unit, self.layout, start.pid);
        properties.extend(annotation::properties(start.annotations)?);
        if let Some(rules) = start.resources.devices() {
            properties.extend(properties::of_devices(&Policy::of(rules)?));
        }
        properties.extend(properties::of_limits(&lines)?);
        step(&START, || format!("StartTransientUnit({})", unit.name), || start_job(&unit.name, properties))
            .map_err(|failure| refused("start", unit, &failure))?;
        self.take_over(start)
    }

    /// What systemd has not made or set: controllers that it does not know, and the exact values. The device filter takes the
    /// place of systemd's, which cannot say all that ours can.
    fn take_over(&self, start: &Start<'_>) -> Result<(), Error> {
        for hierarchy in &self.hierarchies {
            ensure_directory(hierarchy)?;
            if hierarchy.has("cpuset") {
                fill_cpuset(&hierarchy.mount, &hierarchy.path)?;
            }
            if self.layout == Layout::V2 {
                enable_controllers(&hierarchy.mount, &hierarchy.path)?;
            }
        }
        self.apply(start.resources, false)?;
        let left = self.hierarchies.iter().filter(|hierarchy| hierarchy.is_unified() || !start.by_doors);
        for hierarchy in left {
            let pid = start.pid.to_string();
            let inside = file::must_read(&hierarchy.path.join("cgroup.procs"))?;
            if !inside.lines().any(|line| line == pid) {
                self.join_one(hierarchy, &pid)?;
            }
        }
        Ok(())
    }

    /// Tell systemd of limits that change.
    pub(super) fn set_unit(&self, resources: &LinuxResources) -> Result<(), Error> {
        let Some(unit) = &self.unit else { return Ok(()) };
        let properties = properties::of_limits(&self.lines(resources)?)?;
        if properties.is_empty() {
            return Ok(());
        }
        let body = [Value::text(&unit.name), Value::Bool(true), properties::array(properties)];
        step(
            &CHANGE,
            || format!("SetUnitProperties({})", unit.name),
            || Bus::connect(&unit.name)?.call("SetUnitProperties", &body).map(drop),
        )
        .map_err(|failure| refused("change", unit, &failure))
    }

    /// Let systemd forget the unit; gone already is success. While a process is in it, it may be somebody else's.
    pub(super) fn stop_unit(&self, until: Instant) -> Result<(), Error> {
        let Some(unit) = &self.unit else { return Ok(()) };
        let mut pause = Duration::from_micros(100);
        while !self.pids()?.is_empty() {
            if Instant::now() >= until {
                return Err(Error::Os { doing: format!("stop unit {}", unit.name), source: Errno::EBUSY });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        step(&STOP, || format!("StopUnit({})", unit.name), || stop_job(&unit.name))
            .map_err(|failure| refused("stop", unit, &failure))
    }
}

fn refused(verb: &str, unit: &Unit, failure: &Failure) -> Error {
    Error::Systemd { doing: format!("{verb} unit {}", unit.name), why: failure.to_string() }
}

fn start_job(name: &str, properties: Vec<Property>) -> Result<(), Failure> {
    let none = Value::Array("(sa(sv))".to_owned(), vec![]);
    let body = [Value::text(name), Value::text("replace"), properties::array(properties), none];
    let mut bus = Bus::connect(name)?;
    match bus.work("StartTransientUnit", &body) {
        // What is left of one that failed: forgotten, it makes room.
        Err(failure) if failure.is("UnitExists") => {
            bus.call("ResetFailedUnit", &[Value::text(name)])?;
            bus.work("StartTransientUnit", &body)
        }
        answer => answer,
    }
}

fn stop_job(name: &str) -> Result<(), Failure> {
    // Without systemd there is no unit either.
    let Ok(mut bus) = Bus::connect(name) else { return Ok(()) };
    match bus.work("StopUnit", &[Value::text(name), Value::text("replace")]) {
        Err(failure @ Failure::Os(_)) => return Err(failure),
        Err(failure) if failure.is("NoSuchUnit") => return Ok(()),
        // However it ended: nobody is in it, so it has.
        _ => {}
    }
    match bus.call("ResetFailedUnit", &[Value::text(name)]) {
        Err(failure @ Failure::Os(_)) => Err(failure),
        // It did not fail, so it is gone.
        _ => Ok(()),
    }
}
