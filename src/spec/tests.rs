//! The configuration against what dockerd writes: moby 20.10 `oci/defaults.go` and `daemon/oci_linux.go`, and the
//! sentences of docs.docker.com.

mod mounts;
mod namespaces;
mod process;
mod resources;
mod security;

use std::ffi::OsString;

use oci_spec::image::{ConfigBuilder, ImageConfigurationBuilder};

use super::*;
use crate::cli::{Cli, Verb};

const ID: &str = "444b69a1b0fc0123456789abcdef0123456789abcdef0123456789abcdef0123";

fn host() -> Host {
    Host {
        hostname: "desk".into(),
        cpus: vec![0, 1],
        mems: vec![0],
        capabilities: (1 << 41) - 1,
        cgroup_v2: true,
        swap_limit: true,
        directory: "/nowhere/me".into(),
        ..Host::default()
    }
}

fn image() -> ImageConfiguration {
    let config = ConfigBuilder::default()
        .entrypoint(vec!["/entry".to_owned()])
        .cmd(vec!["serve".to_owned(), "-v".to_owned()])
        .env(vec!["PATH=/image/bin".to_owned(), "LANG=C".to_owned()])
        .exposed_ports(vec!["80/tcp".to_owned(), "53/udp".to_owned()])
        .labels(HashMap::from([("from".to_owned(), "image".to_owned()), ("both".to_owned(), "image".to_owned())]))
        .stop_signal("SIGQUIT".to_owned())
        .user("app:staff".to_owned())
        .working_dir("/srv".to_owned())
        .build()
        .unwrap();
    ImageConfigurationBuilder::default().config(config).build().unwrap()
}

fn try_build(line: &str, image: Option<&ImageConfiguration>, host: &Host) -> Result<Prepared, String> {
    let words = ["rbox", "run"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
    let flags = match crate::cli::parse(words) {
        Ok(Cli { verb: Verb::Run(verb), .. }) => verb.flags,
        other => panic!("{line}: {other:?}"),
    };
    let typed = files::environment(&flags.container.env_file, &flags.container.env, |_| None).unwrap();
    let host = Host { env: typed, ..copy(host) };
    let request = Request {
        id: ID,
        root: Path::new("/snapshot"),
        image,
        flags: &flags,
        host: &host,
        default_seccomp: &|_| LinuxSeccomp::default(),
    };
    let mut prepared = build(&request).map_err(|problem| problem.to_string())?;
    join_network(&mut prepared.spec, Path::new("/sandbox"));
    Ok(prepared)
}

fn copy(host: &Host) -> Host {
    Host {
        hostname: host.hostname.clone(),
        cpus: host.cpus.clone(),
        mems: host.mems.clone(),
        thermal: host.thermal.clone(),
        devices: host.devices.clone(),
        all_devices: host.all_devices.clone(),
        disks: host.disks.clone(),
        directory: host.directory.clone(),
        env: Vec::new(),
        labels: host.labels.clone(),
        seccomp: None,
        joined: host.joined.clone(),
        links: host.links.clone(),
        ..*host
    }
}

fn prepared(line: &str) -> Prepared {
    try_build(line, None, &host()).unwrap_or_else(|why| panic!("{line}: {why}"))
}

fn spec(line: &str) -> Spec {
    prepared(line).spec
}

fn of_image(line: &str) -> Prepared {
    try_build(line, Some(&image()), &host()).unwrap_or_else(|why| panic!("{line}: {why}"))
}

fn process(spec: &Spec) -> &oci_spec::runtime::Process {
    spec.process().as_ref().unwrap()
}

fn linux_of(spec: &Spec) -> &Linux {
    spec.linux().as_ref().unwrap()
}

fn mounts_of(spec: &Spec) -> Vec<String> {
    let line = |mount: &oci_spec::runtime::Mount| {
        format!(
            "{} {} {} {}",
            mount.destination().display(),
            mount.typ().as_deref().unwrap(),
            mount.source().as_ref().unwrap().display(),
            mount.options().as_ref().unwrap().join(",")
        )
    };
    spec.mounts().as_ref().unwrap().iter().map(line).collect()
}

#[test]
fn what_contradicts_itself_or_the_machine_is_refused() {
    for (line, message) in [
        ("--memory-swap 1g alpine sh", "--memory-swap: it needs --memory beside it"),
        ("-m 2g --memory-swap 1g alpine sh", "--memory-swap: it is memory and swap together, so not below --memory"),
        ("-m 1g --memory-reservation 2g alpine sh", "--memory-reservation: above --memory"),
        ("--cpus 3 alpine sh", "--cpus: more than the 2 that this host has"),
        ("--cpus 0.001 alpine sh", "--cpus: below 0.01"),
        ("--cpus 1 --cpu-quota 5000 alpine sh", "--cpus: it cannot stand beside --cpu-period or --cpu-quota"),
        ("--cpu-period 10 alpine sh", "--cpu-period: not from 1000 to 1000000 microseconds"),
        ("--cpu-quota 10 alpine sh", "--cpu-quota: below 1000 microseconds"),
        ("--cpuset-cpus 0-5 alpine sh", "--cpuset-cpus: this host has no 2, only 0,1"),
        ("--cpuset-mems 1 alpine sh", "--cpuset-mems: this host has no 1, only 0"),
        ("--uts host -h box alpine sh", "--uts host: the host's name is not the container's to set"),
        (
            "--network host --sysctl net.ipv4.ip_forward=1 alpine sh",
            "--sysctl net.ipv4.ip_forward: it would change the host's network",
        ),
        (
            "--security-opt apparmor=mine alpine sh",
            "--security-opt apparmor=mine: AppArmor is not enabled on this host",
        ),
        ("--tmpfs /x:color=red alpine sh", "--tmpfs /x: there is no option color=red"),
    ] {
        assert_eq!(try_build(line, None, &host()).unwrap_err(), message, "{line}");
    }
}
