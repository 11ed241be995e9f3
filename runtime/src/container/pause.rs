//! A container that stands still, and one whose limits change while it runs.

use super::{Container, Status};
use crate::error::{Error, Result};
use crate::state::ProcessName;
use oci_spec::runtime::LinuxResources;

impl Container {
    /// Let all its processes stand still; before the gate too, as in runc.
    ///
    /// # Errors
    /// `WrongStatus` unless it is created or runs; `Cgroup` where there is no freezer.
    pub fn pause(&self) -> Result<()> {
        self.expect("pause", &[Status::Created, Status::Running])?;
        self.cgroup().freeze()?;
        // Who kills lets die after it; one that was killed before it was frozen would stand between life and death.
        if !self.state.init.is_some_and(ProcessName::is_meant_to_live) {
            self.cgroup().let_die()?;
            return Err(Error::WrongStatus { id: self.id().to_owned(), verb: "pause", have: Status::Stopped });
        }
        Ok(())
    }

    /// Let them go on.
    ///
    /// # Errors
    /// `WrongStatus` unless it is paused.
    pub fn resume(&self) -> Result<()> {
        self.expect("resume", &[Status::Paused])?;
        Ok(self.cgroup().thaw()?)
    }

    /// Change the limits that `resources` names; the others stay.
    ///
    /// # Errors
    /// `WrongStatus` when it is stopped; `Cgroup` naming the limit that the kernel refuses.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        match self.status() {
            have @ (Status::Stopped | Status::Creating) => {
                Err(Error::WrongStatus { id: self.id().to_owned(), verb: "update", have })
            }
            _ => Ok(self.cgroup().set(resources)?),
        }
    }

    fn expect(&self, verb: &'static str, wanted: &[Status]) -> Result<()> {
        match self.status() {
            have if wanted.contains(&have) => Ok(()),
            have => Err(Error::WrongStatus { id: self.id().to_owned(), verb, have }),
        }
    }
}
