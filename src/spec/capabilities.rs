//! What root inside may do: capabilities(7), as moby's `oci/caps` reckons them.

use oci_spec::runtime::{Capabilities, LinuxCapabilities};
use rbox_runtime::capabilities::{ALL, DEFAULT};

use super::Host;
use crate::cli::RunArgs;
use crate::cli::value::CapabilityFlag;

/// The capabilities of the container's program.
pub(super) fn of(flags: &RunArgs, host: &Host) -> Capabilities {
    let security = &flags.security;
    let all = || all(host.capabilities).into_iter();
    if security.privileged {
        return all().collect();
    }
    let (add, drop) = (&security.cap_add, &security.cap_drop);
    let named = |flags: &[CapabilityFlag]| -> Capabilities {
        flags.iter().filter_map(|flag| if let CapabilityFlag::One(cap) = flag { Some(*cap) } else { None }).collect()
    };
    // moby TweakCapabilities: `--cap-add ALL` wins over `--cap-drop ALL`; added is stronger than dropped otherwise.
    if add.contains(&CapabilityFlag::All) {
        let dropped = named(drop);
        return all().filter(|cap| !dropped.contains(cap)).collect();
    }
    if drop.contains(&CapabilityFlag::All) {
        return named(add);
    }
    let dropped = named(drop);
    DEFAULT.into_iter().filter(|cap| !dropped.contains(cap)).chain(named(add)).collect()
}

/// The capabilities of a mask: a bit for each number.
pub(super) fn all(mask: u64) -> Capabilities {
    (0_u32..).zip(ALL).filter(|(number, _)| mask >> number & 1 == 1).map(|(_, cap)| cap).collect()
}

/// The five sets: bounding, effective and permitted are the same; nothing is inheritable (CVE-2022-24769).
pub(super) fn sets(capabilities: &Capabilities) -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(capabilities.clone()));
    sets.set_effective(Some(capabilities.clone()));
    sets.set_permitted(Some(capabilities.clone()));
    sets.set_inheritable(None);
    sets.set_ambient(None);
    sets
}
