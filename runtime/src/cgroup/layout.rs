//! Which cgroup hierarchies this host has, and where: found from the mount table, never from fixed paths.
//!
//! ```text
//!  31 23 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup  cgroup  rw,memory      v1: one mount for each controller
//!  41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw            v2: one mount for all
//! ```
//!
//! Only cgroup2: [`Layout::V2`]. Only v1: [`Layout::V1`]. Both: [`Layout::Hybrid`], where the controllers are v1's and
//! the unified hierarchy only groups processes. proc_pid_mountinfo(5), cgroups(7).

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use serde::{Deserialize, Serialize};

use super::Error;

/// Which generation of cgroups the host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One hierarchy for each controller.
    V1,
    /// As V1, and a cgroup2 hierarchy beside it that groups processes without controllers.
    Hybrid,
    /// One hierarchy with all controllers.
    V2,
}

/// The controllers (and the one named hierarchy) in which runc makes a container's cgroup; other hierarchies are
/// somebody else's business.
const CONTROLLERS: [&str; 15] = [
    "cpuset",
    "cpu",
    "cpuacct",
    "blkio",
    "memory",
    "devices",
    "freezer",
    "net_cls",
    "perf_event",
    "net_prio",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
    "name=systemd",
];

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// `["cpu", "cpuacct"]`, `["name=systemd"]`; empty for cgroup2.
    pub(super) controllers: Vec<String>,
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// Which of its cgroups is at the mount point.
    root: PathBuf,
}

impl Mount {
    pub(super) fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    /// The directory of `wanted` in this hierarchy: from its top if absolute, else below our own cgroup.
    ///
    /// Below our own *parent* on cgroup2, as runc does it: a v2 cgroup that holds processes (ours holds at least
    /// us) cannot pass controllers on to its children. cgroups(7), "no internal processes".
    pub(super) fn directory_of(&self, wanted: &Path, own: Option<&str>) -> PathBuf {
        let mut path = self.point.clone();
        if wanted.is_relative()
            && let Some(own) = self.own_cgroup(own.unwrap_or_default())
        {
            let below_mount = own.strip_prefix(&self.root).unwrap_or(&own);
            path.push(contained(below_mount));
            if self.is_unified() && path != self.point {
                path.pop();
            }
        }
        path.push(contained(wanted));
        path
    }

    /// Our position in this hierarchy, from the text of /proc/self/cgroup (`4:memory:/user/1`, `0::/user/1`).
    fn own_cgroup(&self, own: &str) -> Option<PathBuf> {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let ours = match self.controllers.first() {
                None => controllers.is_empty(),
                Some(first) => controllers.split(',').any(|name| name == first),
            };
            ours.then(|| PathBuf::from(path))
        })
    }
}

/// Where below `group` the process is whose /proc/PID/cgroup says `text`; nothing where it is elsewhere. What stands
/// before the group's own path depends on which part of the hierarchy is mounted here.
pub(super) fn below(text: &str, group: &Path) -> Option<PathBuf> {
    let path = Path::new(text.lines().find_map(|line| line.strip_prefix("0::/"))?);
    let parts: Vec<Component<'_>> = path.components().collect();
    let group: Vec<Component<'_>> = group.components().collect();
    let at = parts.windows(group.len().max(1)).position(|window| window == group)?;
    let rest = &parts[at + group.len()..];
    rest.iter().all(|part| matches!(part, Component::Normal(_))).then(|| rest.iter().collect())
}

/// The hierarchies of this host in the order of the mount table, each once.
///
/// `from_the_top`: nobody will ask for our own position in them.
pub(super) fn mounts(from_the_top: bool) -> Result<(Layout, Vec<Mount>), Error> {
    // The mount table grows with every container; a file system says itself what it is. Only v2 has its own at the
    // place where v1 has a tmpfs with the hierarchies in it.
    let usual = Path::new("/sys/fs/cgroup");
    if from_the_top && statfs(usual).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC) {
        let mount = Mount { controllers: Vec::new(), point: usual.to_owned(), root: PathBuf::from("/") };
        return Ok((Layout::V2, vec![mount]));
    }
    let table = read_whole(Path::new("/proc/self/mountinfo"))?;
    let mounts = parse(&table);
    let unified = mounts.iter().any(Mount::is_unified);
    let split = mounts.iter().any(|mount| !mount.is_unified());
    match (split, unified) {
        (true, false) => Ok((Layout::V1, mounts)),
        (true, true) => Ok((Layout::Hybrid, mounts)),
        (false, true) => Ok((Layout::V2, mounts)),
        (false, false) => Err(Error::NoHierarchy),
    }
}

fn parse(table: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in table.lines().filter_map(parse_line) {
        // The same hierarchy may be mounted again (a bind mount, a chroot): the first one is the host's.
        let known = mounts.iter().any(|other| other.controllers == mount.controllers);
        if !known {
            mounts.push(mount);
        }
    }
    mounts
}

fn parse_line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - cgroup")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (unescaped(left.next()?), unescaped(left.next()?));
    if right.starts_with("2 ") {
        return Some(Mount { controllers: Vec::new(), point, root });
    }
    let options = right.strip_prefix(' ')?.rsplit(' ').next()?;
    let controllers: Vec<String> =
        options.split(',').filter(|option| CONTROLLERS.contains(option)).map(str::to_owned).collect();
    (!controllers.is_empty()).then_some(Mount { controllers, point, root })
}

/// Undo the mount table's `\040` for a space (also tab, newline and backslash).
fn unescaped(field: &str) -> PathBuf {
    if !field.contains('\\') {
        return PathBuf::from(field);
    }
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        match after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                text.push(char::from(byte));
                rest = &after[3..];
            }
            _ => {
                text.push('\\');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    PathBuf::from(text)
}

/// `path` without its leading slash, with `..` never climbing above the top.
fn contained(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// The text of /proc/self/cgroup, needed only where a relative path is asked for.
pub(super) fn own_cgroups() -> Result<String, Error> {
    read_whole(Path::new("/proc/self/cgroup"))
}

/// A file of /proc whole, in few reads: such files have no size, and a growing buffer would ask many times.
fn read_whole(path: &Path) -> Result<String, Error> {
    let failed = |source: std::io::Error| Error::Os {
        doing: format!("read {}", path.display()),
        source: Errno::from_raw(source.raw_os_error().unwrap_or(nix::libc::EIO)),
    };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = vec![0; 16 * 1024];
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
    }
    bytes.truncate(length);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
40 31 0:37 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:40 / /sys/fs/cgroup/elogind rw,relatime - cgroup cgroup rw,name=elogind
90 31 0:31 /x /somewhere/else rw,relatime - cgroup cgroup rw,cpuset
";

    #[test]
    fn each_hierarchy_is_found_once_with_its_controllers() {
        let mounts = parse(HYBRID);
        let found: Vec<_> =
            mounts.iter().map(|mount| (mount.controllers.join("+"), mount.point.to_str().unwrap())).collect();
        assert_eq!(
            found,
            [
                ("cpu+cpuacct".into(), "/sys/fs/cgroup/cpu,cpuacct"),
                ("cpuset".into(), "/sys/fs/cgroup/cpuset"),
                ("name=systemd".into(), "/sys/fs/cgroup/systemd"),
                (String::new(), "/sys/fs/cgroup/unified"),
            ]
        );
    }

    #[test]
    fn a_mount_point_with_a_space_is_read_back() {
        let mounts = parse("41 31 0:38 / /mnt/my\\040groups\\134x rw - cgroup2 cgroup2 rw\n");
        assert_eq!(mounts[0].point, Path::new("/mnt/my groups\\x"));
    }

    #[test]
    fn an_absolute_path_counts_from_the_top_and_cannot_climb_out() {
        let mount = &parse(HYBRID)[1];
        assert_eq!(mount.directory_of(Path::new("/rbox/a"), None), Path::new("/sys/fs/cgroup/cpuset/rbox/a"));
        assert_eq!(mount.directory_of(Path::new("/../../etc"), None), Path::new("/sys/fs/cgroup/cpuset/etc"));
    }

    #[test]
    fn a_relative_path_counts_from_our_own_cgroup() {
        let own = "9:cpu,cpuacct:/user/7\n3:cpuset:/\n0::/user.slice/session-1.scope\n";
        let mounts = parse(HYBRID);
        let cpu = mounts[0].directory_of(Path::new("rbox/a"), Some(own));
        assert_eq!(cpu, Path::new("/sys/fs/cgroup/cpu,cpuacct/user/7/rbox/a"));
        let cpuset = mounts[1].directory_of(Path::new("rbox/a"), Some(own));
        assert_eq!(cpuset, Path::new("/sys/fs/cgroup/cpuset/rbox/a"));
        let unified = mounts[3].directory_of(Path::new("rbox/a"), Some(own));
        assert_eq!(unified, Path::new("/sys/fs/cgroup/unified/user.slice/rbox/a"));
    }

    #[test]
    fn a_process_is_found_below_its_containers_group_and_nowhere_else() {
        let found = |text| below(text, Path::new("rbox/c1"));
        assert_eq!(found("1:cpu:/\n0::/rbox/c1/in/most\n"), Some(PathBuf::from("in/most")));
        assert_eq!(found("0::/seen/from/outside/rbox/c1/in\n"), Some(PathBuf::from("in")));
        assert_eq!(found("0::/rbox/c1\n"), Some(PathBuf::new()));
        for outside in ["0::/rbox/c1/../c2\n", "0::/rbox/c10\n", "0::/rbox\n", "1:cpu:/rbox/c1\n", "0::/\n", ""] {
            assert_eq!(found(outside), None, "{outside}");
        }
    }

    #[test]
    fn below_a_mount_that_shows_only_a_part_the_part_is_taken_off() {
        let mounts = parse("5 4 0:31 /docker/c1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
        let path = mounts[0].directory_of(Path::new("a"), Some("4:memory:/docker/c1/inner\n"));
        assert_eq!(path, Path::new("/sys/fs/cgroup/memory/inner/a"));
    }
}
