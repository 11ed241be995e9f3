//! `HostConfig`: what of the host a container uses (moby `api/types/container/host_config.go`, API 1.41).

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, PosixRlimit};
use serde_json::{Map, Value, json};

use super::{Ingredients, extend, list};
use crate::cli::ResourceFlags;
use crate::cli::value::{
    Bind, CapabilityFlag, DeviceFlag, IpcMode, LogDriver, MountFlag, Propagation, SeccompChoice, SecurityOpt,
    SeparateMode, ShapeFlag, Throttle, Tmpfs,
};

/// The whole of it.
pub(super) fn host_config(from: &Ingredients<'_>) -> Value {
    let mut all = io(from);
    extend(&mut all, shields(from));
    extend(&mut all, limits(from));
    extend(&mut all, extras(from));
    all
}

fn named((name, value): (&str, String)) -> (String, Value) {
    (name.to_owned(), Value::String(value))
}

fn io(from: &Ingredients<'_>) -> Value {
    let flags = from.flags;
    let binds: Vec<String> = flags.files.volume.iter().filter_map(|flag| typed_bind(flag, from)).collect();
    let driver = if flags.log.log_driver == LogDriver::None { "none" } else { "json-file" };
    let options: Map<String, Value> = flags.log.log_opt.iter().map(|option| option.words()).map(named).collect();
    let restart = flags.container.restart;
    json!({
        "Binds": list(&binds),
        "ContainerIDFile": flags.container.cidfile.clone().unwrap_or_default(),
        "LogConfig": { "Type": driver, "Config": options },
        "NetworkMode": from.network_mode,
        "PortBindings": {},
        "RestartPolicy": { "Name": restart.name(), "MaximumRetryCount": restart.times() },
        "AutoRemove": flags.container.rm,
        "VolumeDriver": "",
        "VolumesFrom": null,
    })
}

fn typed_bind(flag: &MountFlag, from: &Ingredients<'_>) -> Option<String> {
    let MountFlag::Bind(Bind { source, target, modes, .. }) = flag else { return None };
    let source = from.host.directory.join(source);
    let place = format!("{}:{}", source.display(), target.display());
    Some(if modes.is_empty() { place } else { format!("{place}:{modes}") })
}

/// Each `-p`, a range taken apart: container port -> where it was asked for, not where it is.
pub(super) fn port_bindings(publish: &[String]) -> Value {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for publish in publish.iter().filter_map(|text| text.parse::<rbox_net::Publish>().ok()) {
        let ip = publish.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let several = publish.container.count() > 1;
        for (at, port) in publish.container.ports().enumerate() {
            let host = match publish.host {
                None => String::new(),
                // Docker hands a run of ports for one port on as it is: the first free one is taken.
                Some(range) if !several => range.to_string(),
                Some(range) => range.ports().nth(at).map(|port| port.to_string()).unwrap_or_default(),
            };
            let binding = json!({ "HostIp": ip, "HostPort": host });
            all.entry(format!("{port}/{}", publish.protocol)).or_default().push(binding);
        }
    }
    json!(all)
}

/// rbox's own: how fast the container is, in each network of which something was said.
pub(super) fn shapes(shapes: &[ShapeFlag]) -> Value {
    let one = |ShapeFlag { network, shape }: &ShapeFlag| {
        json!({
            "Network": network, "RateBytes": shape.rate, "RateInBytes": shape.rate_in,
            "DelayMicroseconds": shape.delay.map(|delay| delay.as_micros()), "LossMillionths": shape.loss,
        })
    };
    shapes.iter().map(one).collect()
}

fn shields(from: &Ingredients<'_>) -> Value {
    let flags = from.flags;
    let (network, security, spaces) = (&flags.network, &flags.security, &flags.namespaces);
    let hosts: Vec<String> = network.add_host.iter().map(|(name, address)| format!("{name}:{address}")).collect();
    let host = |mode: SeparateMode| if mode == SeparateMode::Host { "host" } else { "" };
    let cgroups = spaces.cgroupns.map_or(from.host.cgroup_v2, |mode| mode == SeparateMode::Private);
    let mut all = json!({
        "CapAdd": list(&security.cap_add.iter().map(capability).collect::<Vec<_>>()),
        "CapDrop": list(&security.cap_drop.iter().map(capability).collect::<Vec<_>>()),
        "CgroupnsMode": if cgroups { "private" } else { "host" },
        "Dns": network.dns,
        "DnsOptions": network.dns_option,
        "DnsSearch": network.dns_search,
        "ExtraHosts": list(&hosts),
        "GroupAdd": list(&security.group_add),
        "IpcMode": match spaces.ipc {
            IpcMode::Private => "private",
            IpcMode::Shareable => "shareable",
            IpcMode::None => "none",
            IpcMode::Host => "host",
        },
        "Cgroup": "",
        "Links": list(from.links),
        "OomScoreAdj": flags.resources.oom_score_adj.unwrap_or(0),
        "PidMode": host(spaces.pid),
        "Privileged": security.privileged,
        "PublishAllPorts": network.publish_all,
        "ReadonlyRootfs": flags.files.read_only,
        "SecurityOpt": list(&security_options(from)),
    });
    let tmpfs: Map<String, Value> = flags.files.tmpfs.iter().filter_map(tmpfs).collect();
    if !tmpfs.is_empty() {
        all["Tmpfs"] = Value::Object(tmpfs);
    }
    let rest = json!({
        "UTSMode": host(spaces.uts),
        "UsernsMode": if spaces.userns.is_some() { "host" } else { "" },
        "ShmSize": flags.files.shm_size,
    });
    extend(&mut all, rest);
    if !security.sysctl.is_empty() {
        all["Sysctls"] = security.sysctl.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    }
    extend(&mut all, json!({ "Runtime": "rbox-runtime", "ConsoleSize": [0, 0], "Isolation": "" }));
    all
}

fn capability(flag: &CapabilityFlag) -> String {
    match flag {
        CapabilityFlag::All => "ALL".to_owned(),
        CapabilityFlag::One(capability) => capability.to_string().trim_start_matches("CAP_").to_owned(),
    }
}

fn security_options(from: &Ingredients<'_>) -> Vec<String> {
    let word = |option: &SecurityOpt| match option {
        SecurityOpt::NoNewPrivileges(true) => "no-new-privileges".to_owned(),
        SecurityOpt::NoNewPrivileges(false) => "no-new-privileges=false".to_owned(),
        SecurityOpt::Seccomp(SeccompChoice::Unconfined) => "seccomp=unconfined".to_owned(),
        SecurityOpt::Seccomp(SeccompChoice::Builtin) => "seccomp=builtin".to_owned(),
        SecurityOpt::Seccomp(SeccompChoice::File(_)) => {
            format!("seccomp={}", from.host.seccomp.as_deref().unwrap_or_default())
        }
        SecurityOpt::Apparmor(profile) => format!("apparmor={profile}"),
        SecurityOpt::LabelDisable => "label=disable".to_owned(),
        SecurityOpt::SystemPathsUnconfined => "systempaths=unconfined".to_owned(),
    };
    // As paths that are masked or not, this one shows in MaskedPaths (docker/cli `parseSystemPaths`).
    let told = from.flags.security.security_opt.iter().filter(|option| **option != SecurityOpt::SystemPathsUnconfined);
    let mut all: Vec<String> = told.map(word).collect();
    if from.flags.security.privileged && !all.iter().any(|word| word.starts_with("label")) {
        all.push("label=disable".to_owned());
    }
    all
}

fn tmpfs(flag: &MountFlag) -> Option<(String, Value)> {
    let MountFlag::Tmpfs(Tmpfs { target, options }) = flag else { return None };
    Some((target.display().to_string(), json!(options.join(","))))
}

fn limits(from: &Ingredients<'_>) -> Value {
    let (flags, security) = (&from.flags.resources, &from.flags.security);
    let device = |device: &DeviceFlag| json!({ "PathOnHost": device.source, "PathInContainer": device.target, "CgroupPermissions": device.access });
    let rules: Vec<String> = security.device_cgroup_rule.iter().map(device_rule).collect();
    let ulimits: Vec<Value> = flags.ulimit.iter().map(ulimit).collect();
    let weights = flags.blkio_weight_device.iter();
    let memory = from.prepared.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()?.memory().as_ref());
    json!({
        "CpuShares": flags.cpu_shares.unwrap_or(0),
        "Memory": flags.memory.unwrap_or(0),
        "NanoCpus": flags.cpus.unwrap_or(0),
        "CgroupParent": flags.cgroup_parent.clone().unwrap_or_default(),
        "BlkioWeight": flags.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": weights.map(|it| json!({ "Path": it.device, "Weight": it.weight })).collect::<Vec<_>>(),
        "BlkioDeviceReadBps": throttles(&flags.device_read_bps),
        "BlkioDeviceWriteBps": throttles(&flags.device_write_bps),
        "BlkioDeviceReadIOps": throttles(&flags.device_read_iops),
        "BlkioDeviceWriteIOps": throttles(&flags.device_write_iops),
        "CpuPeriod": flags.cpu_period.unwrap_or(0),
        "CpuQuota": flags.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": flags.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": flags.cpuset_mems.clone().unwrap_or_default(),
        "Devices": security.device.iter().map(device).collect::<Vec<_>>(),
        "DeviceCgroupRules": list(&rules),
        "DeviceRequests": null,
        "KernelMemory": 0,
        "KernelMemoryTCP": 0,
        "MemoryReservation": flags.memory_reservation.unwrap_or(0),
        // With --memory alone as much swap again is allowed: what was set, not what was typed.
        "MemorySwap": memory.and_then(|memory| memory.swap()).or(flags.memory_swap).unwrap_or(0),
        "MemorySwappiness": flags.memory_swappiness,
        "OomKillDisable": flags.oom_kill_disable,
        "PidsLimit": flags.pids_limit,
        "Ulimits": list(&ulimits),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    })
}

/// What `update` changes, for laying over what was there before.
pub(crate) fn updated(flags: &ResourceFlags) -> Value {
    let mut all = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            all.insert(key.to_owned(), value);
        }
    };
    put("CpuShares", flags.cpu_shares.map(Value::from));
    put("Memory", flags.memory.map(Value::from));
    put("NanoCpus", flags.cpus.map(Value::from));
    put("BlkioWeight", flags.blkio_weight.map(Value::from));
    put("CpuPeriod", flags.cpu_period.map(Value::from));
    put("CpuQuota", flags.cpu_quota.map(Value::from));
    put("CpusetCpus", flags.cpuset_cpus.clone().map(Value::from));
    put("CpusetMems", flags.cpuset_mems.clone().map(Value::from));
    put("MemoryReservation", flags.memory_reservation.map(Value::from));
    put("MemorySwap", flags.memory_swap.map(Value::from));
    put("PidsLimit", flags.pids_limit.map(Value::from));
    Value::Object(all)
}

fn throttles(typed: &[Throttle]) -> Value {
    list(&typed.iter().map(|it| json!({ "Path": it.device, "Rate": it.rate })).collect::<Vec<_>>())
}

fn ulimit(limit: &PosixRlimit) -> Value {
    let name = limit.typ().to_string().trim_start_matches("RLIMIT_").to_ascii_lowercase();
    // Go has these as signed numbers: no limit is -1.
    let (hard, soft) = (limit.hard().cast_signed(), limit.soft().cast_signed());
    json!({ "Name": name, "Hard": hard, "Soft": soft })
}

/// `c 1:3 rmw`, as it was typed but for spaces.
fn device_rule(rule: &LinuxDeviceCgroup) -> String {
    let number = |number: Option<i64>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    let kind = rule.typ().unwrap_or(LinuxDeviceType::A).as_str().to_owned();
    format!("{kind} {}:{} {}", number(rule.major()), number(rule.minor()), rule.access().as_deref().unwrap_or("rwm"))
}

/// Keys that Docker leaves out where nothing was asked for; the paths that are hidden, as the runtime gets them.
fn extras(from: &Ingredients<'_>) -> Value {
    let mut all = json!({});
    let mounts: Vec<Value> = from.flags.files.mount.iter().map(|flag| mount(flag, &from.host.directory)).collect();
    if !mounts.is_empty() {
        all["Mounts"] = json!(mounts);
    }
    let linux = from.prepared.spec.linux().as_ref();
    let paths = |paths: Option<&Vec<String>>| list(paths.map(Vec::as_slice).unwrap_or_default());
    all["MaskedPaths"] = paths(linux.and_then(|linux| linux.masked_paths().as_ref()));
    all["ReadonlyPaths"] = paths(linux.and_then(|linux| linux.readonly_paths().as_ref()));
    // rbox's own.
    if let Some(policy) = from.flags.network.egress() {
        all["Egress"] = json!({ "Allow": policy.allowed });
    }
    if from.flags.container.init {
        all["Init"] = json!(true);
    }
    all
}

/// One `--mount`.
fn mount(flag: &MountFlag, directory: &Path) -> Value {
    match flag {
        MountFlag::Bind(bind) => {
            let mut all = json!({ "Type": "bind", "Source": directory.join(&bind.source), "Target": bind.target });
            if bind.read_only {
                all["ReadOnly"] = json!(true);
            }
            let mut options = json!({});
            if bind.propagation != Propagation::default() {
                options["Propagation"] = json!(bind.propagation.name());
            }
            if !bind.recursive {
                options["NonRecursive"] = json!(true);
            }
            if options != json!({}) {
                all["BindOptions"] = options;
            }
            all
        }
        MountFlag::Tmpfs(tmpfs) => {
            let mut all = json!({ "Type": "tmpfs", "Target": tmpfs.target });
            let option = |name: &str| tmpfs.options.iter().find_map(|option| option.strip_prefix(name));
            if tmpfs.options.iter().any(|option| option == "ro") {
                all["ReadOnly"] = json!(true);
            }
            let mut options = json!({});
            if let Some(size) = option("size=").and_then(|size| size.parse::<i64>().ok()) {
                options["SizeBytes"] = json!(size);
            }
            if let Some(mode) = option("mode=").and_then(|mode| u32::from_str_radix(mode, 8).ok()) {
                options["Mode"] = json!(mode);
            }
            if options != json!({}) {
                all["TmpfsOptions"] = options;
            }
            all
        }
    }
}
