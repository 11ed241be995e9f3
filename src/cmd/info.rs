//! `rbox info`: what this host is to containers, and how many there are.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;

use anyhow::Result;
use rbox_images::{Platform, Store};
use rbox_net::Networks;
use rbox_runtime::container::{Container, Status};
use serde_json::{Value as Json, json};

use super::{print, stats};
use crate::cli::{Global, VersionArgs};
use crate::dirs::Dirs;
use crate::record::Record;
use crate::template::{Template, Value};
use crate::{report, sweep, units};

/// `rbox info`
///
/// Errors: the directories cannot be read; the template is not understood.
pub(crate) fn run(global: &Global, args: &VersionArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    let networks = dirs.networks()?;
    sweep::sweep(&dirs, &networks).iter().for_each(report::warn);
    let known = known(&dirs, &networks)?;
    match args.format.as_deref() {
        None => print::text(&told(&known))?,
        Some(format) => {
            let template = if format == "json" { "{{json .}}" } else { format };
            print::line(&Template::parse(template)?.fill(&Value::of(&known)?)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Docker's keys, as many as have a meaning here (moby `api/types`, Info).
fn known(dirs: &Dirs, networks: &Networks) -> Result<Json> {
    let records = Record::all(dirs)?;
    let counted = |wanted: Status| {
        let status = |it: &&Record| Container::load(&dirs.runtime(), &it.id).is_ok_and(|it| it.status() == wanted);
        records.iter().filter(status).count()
    };
    let (running, paused) = (counted(Status::Running), counted(Status::Paused));
    let mut drivers: Vec<String> = networks.list()?.iter().map(|network| network.driver.to_string()).collect();
    drivers.sort();
    drivers.dedup();
    let images: BTreeSet<_> = Store::open(dirs.root())?.list()?.iter().map(|image| image.id.to_string()).collect();
    let platform = Platform::host();
    let on = |path: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    let unified = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false);
    let has = |controller: &str| controllers(unified).iter().any(|name| name == controller);
    let mut known = json!({
        "Containers": records.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": records.len() - running - paused,
        "Images": images.len(),
        "Driver": "overlay2",
        "Plugins": { "Volume": [], "Network": drivers, "Authorization": null, "Log": [] },
        "MemoryLimit": has("memory"),
        "CpuCfsPeriod": has("cpu"),
        "CpuCfsQuota": has("cpu"),
        "CPUShares": has("cpu"),
        "CPUSet": has("cpuset"),
        "PidsLimit": has("pids"),
        "IPv4Forwarding": on("/proc/sys/net/ipv4/ip_forward"),
        "BridgeNfIptables": on("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        "BridgeNfIp6tables": on("/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
        "Debug": false,
        "OomKillDisable": !unified && has("memory"),
        "SystemTime": jiff::Timestamp::now().to_string(),
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if unified { "2" } else { "1" },
    });
    let system = nix::sys::utsname::uname()?;
    let rest = json!({
        "KernelVersion": system.release().to_string_lossy(),
        "OperatingSystem": os_release("PRETTY_NAME"),
        "OSVersion": os_release("VERSION_ID"),
        "OSType": platform.os,
        "Architecture": system.machine().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": stats::total_memory(),
        "DockerRootDir": dirs.root(),
        "Name": system.nodename().to_string_lossy(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Runtimes": { "rbox-runtime": { "path": "rbox-runtime" } },
        "DefaultRuntime": "rbox-runtime",
        "SecurityOptions": ["name=seccomp,profile=default"],
        "Warnings": null,
    });
    if let (Json::Object(known), Json::Object(rest)) = (&mut known, rest) {
        known.extend(rest);
    }
    Ok(known)
}

/// The controllers that limits can be set with.
fn controllers(unified: bool) -> Vec<String> {
    if unified {
        let text = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        return text.split_whitespace().map(str::to_owned).collect();
    }
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    text.lines().filter_map(|line| line.split(':').nth(1)).flat_map(|it| it.split(',')).map(str::to_owned).collect()
}

/// A value of os-release(5).
fn os_release(key: &str) -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_default().trim_matches('"').to_owned()
}

/// As Docker tells it, line for line, where the line has a meaning here.
fn told(known: &Json) -> String {
    let text = |key: &str| match &known[key] {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let words = |pointer: &str| {
        let list = known.pointer(pointer).and_then(Json::as_array);
        list.into_iter().flatten().filter_map(Json::as_str).collect::<Vec<_>>().join(" ")
    };
    format!(
        "Containers: {}\n Running: {}\n Paused: {}\n Stopped: {}\nImages: {}\nServer Version: {}\nStorage Driver: {}\n\
         Cgroup Driver: {}\nCgroup Version: {}\nPlugins:\n Network: {}\nDefault Runtime: {}\nSecurity Options:\n seccomp\n  \
         Profile: default\nKernel Version: {}\nOperating System: {}\nOSType: {}\nArchitecture: {}\nCPUs: {}\n\
         Total Memory: {}\nName: {}\nRoot Dir: {}\n",
        text("Containers"),
        text("ContainersRunning"),
        text("ContainersPaused"),
        text("ContainersStopped"),
        text("Images"),
        text("ServerVersion"),
        text("Driver"),
        text("CgroupDriver"),
        text("CgroupVersion"),
        words("/Plugins/Network"),
        text("DefaultRuntime"),
        text("KernelVersion"),
        text("OperatingSystem"),
        text("OSType"),
        text("Architecture"),
        text("NCPU"),
        units::binary_size(known["MemTotal"].as_u64().unwrap_or(0)),
        text("Name"),
        text("DockerRootDir"),
    )
}
