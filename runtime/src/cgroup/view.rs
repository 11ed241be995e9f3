//! What a container sees of its own cgroup.

use std::path::PathBuf;

use super::{Cgroup, Hierarchy, Layout};

/// What the container's own /sys/fs/cgroup shows of one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The name of the directory below /sys/fs/cgroup; empty on v2, where the group is /sys/fs/cgroup itself.
    pub name: String,
    /// The container's directory on the host, for a bind mount.
    pub path: PathBuf,
    /// The file system's name, `cgroup` or `cgroup2`, for a mount of its own in a new cgroup namespace.
    pub file_system: &'static str,
    /// The mount's options for that, as `cpu,cpuacct` or `none,name=systemd`.
    pub options: String,
    /// Links to make beside it: `cpu` and `cpuacct` for `cpu,cpuacct`.
    pub links: Vec<String>,
}

impl Cgroup {
    /// What a container's /sys/fs/cgroup is to show: on v1 and hybrid each v1 hierarchy in a tmpfs, on v2 the one.
    pub fn views(&self) -> Vec<View> {
        if self.layout == Layout::V2 {
            let view = |group: &Hierarchy| View {
                name: String::new(),
                path: group.path.clone(),
                file_system: "cgroup2",
                options: String::new(),
                links: Vec::new(),
            };
            return self.unified().map(view).into_iter().collect();
        }
        self.hierarchies.iter().filter(|hierarchy| !hierarchy.is_unified()).map(view_of_v1).collect()
    }
}

fn view_of_v1(hierarchy: &Hierarchy) -> View {
    let name = hierarchy.mount.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let options = match hierarchy.controllers.as_slice() {
        [only] if only.starts_with("name=") => format!("none,{only}"),
        controllers => controllers.join(","),
    };
    let links = match hierarchy.controllers.as_slice() {
        [_] => Vec::new(),
        controllers => controllers.iter().filter(|controller| **controller != name).cloned().collect(),
    };
    View { name, path: hierarchy.path.clone(), file_system: "cgroup", options, links }
}
