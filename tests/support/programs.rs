//! Where the programs are, and what the machine can do.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `rbox` of this build.
pub(crate) fn rbox() -> PathBuf {
    built("rbox")
}

/// The OCI runtime: ours, or the one that `RBOX_TEST_RUNTIME` names (`runc`), to prove a test fair.
pub(crate) fn runtime() -> PathBuf {
    match env::var("RBOX_TEST_RUNTIME") {
        Ok(name) => find_program(&name).unwrap_or_else(|| panic!("RBOX_TEST_RUNTIME={name}: no such program")),
        Err(_) => built("rbox-runtime"),
    }
}

/// `rbox-cni` of this build.
pub(crate) fn plugin() -> PathBuf {
    built("rbox-cni")
}

/// The program that says what it sees.
pub(crate) fn probe() -> PathBuf {
    built("probe")
}

/// A program built with a feature that only tests have (`crash-points`, `weaken`), into a target folder of its own
/// (`scripts/test` builds it beforehand; in the VM it lies in a folder of the feature's name).
pub(crate) fn built_with(feature: &str, name: &str) -> String {
    let beside = built_here();
    let target = beside.ancestors().nth(2).expect("target/TRIPLE/debug");
    let triple = beside.parent().and_then(Path::file_name).expect("target/TRIPLE/debug");
    let program = match env::var_os("RBOX_TEST_BIN") {
        Some(dir) => Path::new(&dir).join(feature).join(name),
        None => target.join(feature).join(triple).join("debug").join(name),
    };
    assert!(program.exists(), "{} is not built: run `scripts/test-builds` first", program.display());
    program.display().to_string()
}

/// A program of this build: beside `rbox`, or in the folder that `RBOX_TEST_BIN` names.
fn built(name: &str) -> PathBuf {
    let dir = env::var_os("RBOX_TEST_BIN").map_or_else(built_here, PathBuf::from);
    let program = dir.join(name);
    assert!(program.exists(), "{} is not built: run `cargo build --workspace` first", program.display());
    program
}

fn built_here() -> PathBuf {
    let rbox = Path::new(env!("CARGO_BIN_EXE_rbox"));
    rbox.parent().expect("a program lies in a folder").to_owned()
}

/// Whether the OCI tests drive rbox-runtime, not a runtime they are proved on.
pub(crate) fn runtime_is_rbox() -> bool {
    env::var_os("RBOX_TEST_RUNTIME").is_none()
}

/// A program by path or by name in the usual folders (sbin is not in every user's PATH).
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists())
}

/// What a test cannot do without.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "each lane uses its own part of the list")]
pub(crate) enum Need {
    Root,
    Runc,
    Strace,
    Iptables,
    Ufw,
    Firewalld,
    CgroupV1,
    CgroupV2,
    Ipv6,
    BridgeNetfilter,
    /// The kernel can make links of this kind.
    Ipvlan,
    Vlan,
    Dummy,
    /// A machine of the tests' own that runs systemd.
    Systemd,
    /// A machine of the tests' own with AppArmor, whose profiles are the machine's.
    AppArmor,
    /// A machine of the tests' own whose kernel may have the older one of both iptables.
    LegacyIptables,
    /// The test looks at something only rbox-runtime has.
    OurRuntime,
}

/// How the reason begins where the kernel has no links of a kind.
const NO_LINK: &str = "this kernel makes no link of the kind";

/// How the reason begins where the rules are not where a test looks for them.
const NO_IPTABLES: &str = "this test reads the rules of iptables";

/// The reason, in words, why the machine cannot do it; none where it can.
pub(crate) fn lacks(what: Need) -> Option<String> {
    let have = |yes: bool, words: &str| (!yes).then(|| words.to_owned());
    let program = |name: &str| have(find_program(name).is_some(), &format!("{name} is not installed"));
    match what {
        Need::Root => have(nix::unistd::geteuid().is_root(), "this test needs root"),
        Need::Runc => program("runc"),
        Need::Strace => program("strace"),
        Need::Iptables => match super::is_on_nftables() {
            true => Some(NO_IPTABLES.into()),
            false => program("iptables-restore"),
        },
        Need::LegacyIptables => {
            let own = env::var_os("RBOX_TEST_VM").is_some() && find_program("iptables-legacy").is_some();
            have(own, "this test uses iptables-legacy: only in the VM")
        }
        Need::Ufw => program("ufw"),
        Need::Firewalld => program("firewalld"),
        Need::CgroupV1 => have(Path::new("/sys/fs/cgroup/memory").exists(), "no cgroup v1 hierarchy is mounted"),
        Need::CgroupV2 => have(is_unified(), "the host's cgroups are not v2"),
        Need::Ipv6 => have(Path::new("/proc/net/if_inet6").exists(), "the kernel has no IPv6"),
        Need::BridgeNetfilter => {
            have(Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists(), "br_netfilter is not loaded")
        }
        Need::Ipvlan => have(can_make("link wire type ipvlan"), &format!("{NO_LINK} ipvlan")),
        Need::Vlan => have(can_make("link wire name wire.10 type vlan id 10"), &format!("{NO_LINK} vlan")),
        Need::Dummy => have(can_make("type dummy"), &format!("{NO_LINK} dummy")),
        Need::Systemd => {
            let own = env::var_os("RBOX_TEST_VM").is_some() && Path::new("/run/systemd/system").is_dir();
            have(own, "this test starts units of systemd: only in the VM")
        }
        Need::AppArmor => {
            let enabled = text("/sys/module/apparmor/parameters/enabled").trim() == "Y";
            let own = env::var_os("RBOX_TEST_VM").is_some() && enabled && find_program("apparmor_parser").is_some();
            have(own, "this test loads profiles of AppArmor: only in the VM")
        }
        Need::OurRuntime => have(runtime_is_rbox(), "this is about rbox-runtime alone"),
    }
}

/// Whether `ip link add WORDS` works, in a network namespace where there is a link called `wire`.
fn can_make(words: &str) -> bool {
    let script = format!("ip link add wire type veth peer name other && ip link add {words}");
    let tried = Command::new("unshare").args(["--net", "sh", "-c", &script]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Whether /sys/fs/cgroup is the unified hierarchy.
pub(crate) fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Print why a test is skipped; with `RBOX_TEST_NO_SKIP=1` fail instead. What concerns another lane of the same
/// machine (cgroup v2 on a v1 host, br_netfilter on a kernel without it, a foreign runtime) is not a lack: the VM has it.
pub(crate) fn skip(reason: &str) {
    let other_lane = [
        "no cgroup v1",
        "are not v2",
        "rbox-runtime alone",
        "br_netfilter is not loaded",
        "only in the VM",
        NO_IPTABLES,
    ]
    .iter()
    .any(|words| reason.contains(words));
    // The VM is the lane that has these.
    let other_lane = other_lane || reason.contains(NO_LINK) && env::var_os("RBOX_TEST_VM").is_none();
    let strict = env::var("RBOX_TEST_NO_SKIP").is_ok_and(|value| value == "1");
    assert!(!strict || other_lane, "cannot skip with RBOX_TEST_NO_SKIP=1: {reason}");
    eprintln!("skipped: {reason}");
}

/// The text of a file, or nothing where there is none.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
