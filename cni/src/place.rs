//! Where rbox keeps things, and who this process is.
//!
//! The directories are those of the program `rbox` (`--root`, `--state`), so that it shows the networks of pods and their
//! leases as its own. The configuration's `dataDir` and `stateDir` come first, then `RBOX_ROOT` and `RBOX_STATE`.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rbox_net::{Backend, Error, NetnsFile, Networks, Owner};
use serde::Deserialize;

use crate::conf::Basics;
use crate::failure::{Code, Failure, Outcome};

/// How this program is called where it is named as the one who works at something.
const NAME: &str = "rbox-cni";

/// The directories.
pub(crate) struct Place {
    state: PathBuf,
    data: PathBuf,
}

impl Place {
    /// Those of this configuration.
    pub(crate) fn of(basics: &Basics) -> Place {
        let pick = |said: &Option<PathBuf>, variable: &str, or: &str| {
            said.clone().or_else(|| std::env::var_os(variable).map(PathBuf::from)).unwrap_or_else(|| or.into())
        };
        Place {
            state: pick(&basics.state_dir, "RBOX_STATE", "/run/rbox"),
            data: pick(&basics.data_dir, "RBOX_ROOT", "/var/lib/rbox"),
        }
    }

    /// Whether rbox was ever used here since the machine's start: else there is nothing to take away.
    pub(crate) fn is_there(&self) -> bool {
        self.state.join("net").exists()
    }

    /// The networks.
    pub(crate) fn networks(&self) -> Outcome<Networks> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.state);
        made.map_err(|error| kernel(&format!("create {}", self.state.display()), &error))?;
        Networks::open_choosing(&self.state, &self.data, || Ok(Decided::read()?.firewall.backend))
    }
}

fn kernel(doing: &str, error: &io::Error) -> Failure {
    Failure::new(Code::Kernel, format!("cannot {doing}: {error}"))
}

/// What an administrator has decided for the machine, as far as it is about pods: rbox(1), `--config`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Decided {
    publish: Publish,
    firewall: Firewall,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Publish {
    default_ip: Option<IpAddr>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Firewall {
    backend: Option<Backend>,
}

impl Decided {
    /// Where there is no such file, nothing was decided.
    fn read() -> rbox_net::Result<Decided> {
        let path =
            std::env::var_os("RBOX_CONFIG").map_or_else(|| PathBuf::from("/etc/rbox/config.json"), PathBuf::from);
        let wrong = |why: String| Error::Record { file: path.display().to_string(), why };
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Decided::default()),
            Err(error) => Err(wrong(error.to_string())),
            Ok(text) => serde_json::from_slice(&text).map_err(|error| wrong(error.to_string())),
        }
    }
}

/// Where ports are published that name no address: `publish.default_ip` of rbox's configuration.
pub(crate) fn publish_at() -> Outcome<Option<IpAddr>> {
    Ok(Decided::read()?.publish.default_ip)
}

/// This process, as the one who makes or takes apart.
pub(crate) fn maker() -> Outcome<Owner> {
    let pid = std::process::id().cast_signed();
    let start_time = start_time(Path::new("/proc/self/stat"));
    let start_time = start_time.ok_or_else(|| Failure::new(Code::Kernel, "cannot read /proc/self/stat"))?;
    let (container, name) = (String::new(), NAME.to_owned());
    Ok(Owner { container, name, pid, start_time, boot_id: boot_id()?, netns: None })
}

/// A pod, which lives as long as its namespace.
pub(crate) fn pod(container: String, name: String, netns: NetnsFile) -> Outcome<Owner> {
    Ok(Owner { container, name, pid: 0, start_time: 0, boot_id: boot_id()?, netns: Some(netns) })
}

/// Undo what an rbox-cni was killed over, and what pods have left whose namespaces are gone. Of containers the program
/// `rbox` knows who is dead. What cannot be undone is told, and keeps nobody from going on.
pub(crate) fn sweep(networks: &Networks) {
    let boot = boot_id().ok();
    let alive = |owner: &Owner| {
        let is_ours = owner.container.is_empty() && owner.name == NAME;
        let runs = || start_time(Path::new(&format!("/proc/{}/stat", owner.pid))) == Some(owner.start_time);
        !is_ours || boot.as_ref() == Some(&owner.boot_id) && runs()
    };
    for error in networks.sweep(&alive) {
        eprintln!("rbox-cni: {error}");
    }
}

fn boot_id() -> Outcome<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(|error| kernel(&format!("read {path}"), &error))?;
    Ok(text.trim_end().to_owned())
}

/// Field 22 of proc_pid_stat(5). The name before it, in brackets, may hold anything.
fn start_time(stat: &Path) -> Option<u64> {
    let text = fs::read_to_string(stat).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}
