//! A new container's control group: which one, with which limits, and when init gets into it.
//!
//! ```text
//!              before the clone                 the clone           while init makes its network
//!  files, v2   the group                        into the group      (nothing)
//!  files, v1   the unified group                into that one       the others; init goes through their doors
//!  systemd     (nothing)                        outside             the unit, with init in it; then as above
//! ```

use super::Container;
use super::create::Blueprint;
use crate::cgroup::{self, Cgroup, Driver, Start, Unit};
use crate::error::Result;
use crate::plan::{CgroupView, Place, Plan};
use oci_spec::runtime::{
    LinuxDeviceCgroupBuilder, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, LinuxResources, Spec,
};
use std::path::Path;

/// Where the group will be.
pub(super) fn locate(blueprint: &Blueprint<'_>) -> Result<Cgroup> {
    let linux = blueprint.spec.linux().as_ref();
    let wish = linux.and_then(|linux| linux.cgroups_path().clone()).filter(|path| !path.as_os_str().is_empty());
    Ok(match blueprint.driver {
        Driver::Files => {
            let path = wish.unwrap_or_else(|| Path::new("/").join(blueprint.id));
            Cgroup::refuse_unit(&path)?;
            let located = Cgroup::locate(&path)?;
            if blueprint.may_lack_cgroups { located.only_ours() } else { located }
        }
        Driver::Systemd => {
            let unit = Unit::parse(&wish.unwrap_or_default(), blueprint.id)?;
            Cgroup::locate_unit(unit, &blueprint.spec.annotations().clone().unwrap_or_default())?
        }
    })
}

/// Make what has to be there before the clone.
pub(super) fn before_clone(cgroup: &Cgroup, plan: &mut Plan, limits: &LinuxResources) -> Result<()> {
    if cgroup.is_made_by_systemd() {
        if plan.usher.is_some() {
            plan.doors.clear();
        }
        return Ok(());
    }
    cgroup.make_birthplace(Some(limits))?;
    if plan.usher.is_some() {
        // Inside a user namespace, init could not open the doors.
        cgroup.make_rest(Some(limits))?;
        plan.doors = Container::open_doors(cgroup)?;
    }
    Ok(())
}

/// Make the rest, with `pid` alive.
pub(super) fn after_clone(container: &Container, plan: &Plan, pid: i32, limits: &LinuxResources) -> Result<()> {
    let (cgroup, has_usher) = (&container.state.cgroup, plan.usher.is_some());
    if cgroup.is_made_by_systemd() {
        let annotations = &container.state.annotations;
        cgroup.start_unit(&Start { pid, resources: limits, annotations, by_doors: !has_usher })?;
    } else if !has_usher {
        cgroup.make_rest(Some(limits))?;
    }
    Ok(())
}

/// Whom on the host the group is handed to: the program's own user, when he will see it as his and can write there
/// (runtime-spec config-linux.md#cgroup-ownership).
pub(super) fn owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let user = spec.process().as_ref()?.user().uid();
    let namespaces = || linux.namespaces().iter().flatten();
    let is_new = |one: &LinuxNamespace| one.path().as_ref().is_none_or(|path| path.as_os_str().is_empty());
    let own_view = namespaces().any(|one| one.typ() == LinuxNamespaceType::Cgroup && is_new(one));
    // Within an ordinary user's namespace, what there is belongs to him already.
    if !own_view || !is_mounted_to_write(spec) || crate::rootless::in_user_namespace() {
        return None;
    }
    match namespaces().find(|one| one.typ() == LinuxNamespaceType::User) {
        None => Some(user),
        Some(own) if is_new(own) => host_user(linux.uid_mappings().iter().flatten(), user),
        // Another's: its maps are not told to us.
        Some(_) => None,
    }
}

/// By the specification's words.
fn is_mounted_to_write(spec: &Spec) -> bool {
    spec.mounts().iter().flatten().any(|mount| {
        let place = Place::new(&mount.destination().to_string_lossy());
        mount.source().as_ref().is_some_and(|source| source == Path::new("cgroup"))
            && place.is_some_and(|place| place.whole.as_c_str() == c"/sys/fs/cgroup")
            && !mount.options().iter().flatten().any(|option| option == "ro")
    })
}

fn host_user<'a>(mut maps: impl Iterator<Item = &'a LinuxIdMapping>, user: u32) -> Option<u32> {
    maps.find_map(|map| {
        let distance = user.checked_sub(map.container_id()).filter(|distance| *distance < map.size())?;
        map.host_id().checked_add(distance)
    })
}

/// What the container's own `/sys/fs/cgroup` will show.
pub(super) fn view(cgroup: &Cgroup, spec: &Spec) -> CgroupView {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let own_namespace =
        namespaces.into_iter().flatten().any(|one| one.typ() == LinuxNamespaceType::Cgroup && one.path().is_none());
    let own_users = namespaces.into_iter().flatten().any(|one| one.typ() == LinuxNamespaceType::User)
        || crate::rootless::in_user_namespace();
    let v2 = cgroup.layout() == cgroup::Layout::V2;
    let views = cgroup.views();
    let v1 = || views.iter().filter(|view| view.file_system == "cgroup");
    CgroupView {
        controllers: v1().map(|view| (view.name.clone(), view.path.clone())).collect(),
        links: v1().flat_map(|view| view.links.iter().map(|link| (link.clone(), view.name.clone()))).collect(),
        lacking: !(v2 && own_namespace) && (cgroup.paths().is_empty() || (v2 && own_users)),
        own_namespace,
        born_inside: !cgroup.is_made_by_systemd(),
    }
}

/// The limits of config.json, with the devices that every container may use added to its rules (as in runc): what no
/// rule allows is denied.
pub(super) fn resources(spec: &Spec) -> LinuxResources {
    let mut resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
    if crate::rootless::in_user_namespace() {
        // The kernel takes device rules from the host's root alone; and no device can be made here (mknod(2)).
        resources.set_devices(None);
        return resources;
    }
    let deny_all =
        LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().expect("every field has a default");
    let mut rules = vec![deny_all];
    rules.extend(resources.devices().iter().flatten().cloned());
    rules.extend(cgroup::default_rules());
    resources.set_devices(Some(rules));
    resources
}
