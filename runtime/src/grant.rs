//! What of the capabilities that config.json names can be given.
//!
//! config.md#linux-process: "Any value which […] cannot be granted otherwise MUST be logged as a warning by the runtime.
//! Runtimes SHOULD NOT fail if the container configuration requests capabilities that cannot be granted".

use crate::capabilities::ALL;
use oci_spec::runtime::{Capabilities, Capability, Process};
use std::collections::BTreeSet;

/// The highest capability of this kernel. /proc/sys/kernel/cap_last_cap, Linux 3.2.
pub(crate) fn last_capability() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(40)
}

/// Take out of `process` what cannot be granted here; in a user namespace of the container's own, all of them can
/// (user_namespaces(7)). Answers a warning for each capability.
pub fn withhold(process: &mut Process, has_own_users: bool) -> Vec<String> {
    let Some(sets) = process.capabilities().clone() else { return vec![] };
    let ours = (!has_own_users).then(|| caps::read(None, caps::CapSet::Permitted).ok()).flatten();
    let last = last_capability() as usize;
    let grantable = |one: &Capability| {
        let number = ALL.iter().position(|known| known == one).unwrap_or(usize::MAX);
        let is_ours = |ours: &caps::CapsHashSet| ours.iter().any(|ours| usize::from(ours.index()) == number);
        number <= last && ours.as_ref().is_none_or(is_ours)
    };
    let mut withheld = BTreeSet::new();
    let mut left = |set: &Option<Capabilities>| {
        let mut kept = set.clone();
        kept.iter_mut().for_each(|kept| kept.retain(grantable));
        let lost = set.iter().flatten().filter(|one| !grantable(one));
        withheld
            .extend(lost.map(|one| format!("process.capabilities: CAP_{one} cannot be granted here and is left out")));
        kept
    };
    let mut kept = sets.clone();
    kept.set_bounding(left(sets.bounding()));
    kept.set_effective(left(sets.effective()));
    kept.set_permitted(left(sets.permitted()));
    kept.set_inheritable(left(sets.inheritable()));
    kept.set_ambient(left(sets.ambient()));
    process.set_capabilities(Some(kept));
    withheld.into_iter().collect()
}
