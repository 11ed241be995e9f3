// size: flat table
//! The configuration against what dockerd writes: moby 20.10 `oci/defaults.go` and `daemon/oci_linux.go`, and the
//! sentences of docs.docker.com.

use std::collections::BTreeMap;
use std::ffi::OsString;

use oci_spec::image::{ConfigBuilder, ImageConfigurationBuilder};
use oci_spec::runtime::{LinuxDeviceType, LinuxNamespaceType};

use super::devices::HostDevice;
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
        network_sysctls: vec!["net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start"],
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
        Ok(Cli { verb: Verb::Run(flags), .. }) => flags,
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
    build(&request).map_err(|problem| problem.to_string())
}

fn copy(host: &Host) -> Host {
    Host {
        hostname: host.hostname.clone(),
        cpus: host.cpus.clone(),
        mems: host.mems.clone(),
        network_sysctls: host.network_sysctls.clone(),
        thermal: host.thermal.clone(),
        devices: host.devices.clone(),
        all_devices: host.all_devices.clone(),
        disks: host.disks.clone(),
        directory: host.directory.clone(),
        env: Vec::new(),
        labels: host.labels.clone(),
        seccomp: None,
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

fn capabilities_of(spec: &Spec) -> Vec<String> {
    let sets = process(spec).capabilities().as_ref().unwrap();
    let mut names: Vec<String> = sets.bounding().as_ref().unwrap().iter().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(sets.bounding(), sets.effective());
    assert_eq!(sets.bounding(), sets.permitted());
    assert_eq!((sets.inheritable(), sets.ambient()), (&None, &None));
    names
}

#[test]
fn the_default_mounts_are_dockers() {
    assert_eq!(
        mounts_of(&spec("alpine sh")),
        [
            "/proc proc proc nosuid,noexec,nodev",
            "/dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k",
            "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "/sys sysfs sysfs nosuid,noexec,nodev,ro",
            "/sys/fs/cgroup cgroup cgroup ro,nosuid,noexec,nodev",
            "/dev/mqueue mqueue mqueue nosuid,noexec,nodev",
            "/dev/shm tmpfs shm nosuid,noexec,nodev,mode=1777,size=67108864",
        ]
    );
}

#[test]
fn typed_mounts_come_last_and_push_the_defaults_away() {
    let all = mounts_of(&spec(
        "-v /b/c:/x/y/z -v ./a:/x:ro,rslave --tmpfs /run:size=1m --mount type=bind,src=/dev,dst=/dev alpine sh",
    ));
    assert!(!all.iter().any(|mount| mount.starts_with("/dev/") || mount.starts_with("/dev tmpfs")), "{all:#?}");
    assert_eq!(
        all[all.len() - 4..],
        [
            "/x bind /nowhere/me/./a rbind,ro,rslave",
            "/dev bind /dev rbind,rprivate",
            "/run tmpfs tmpfs noexec,nosuid,nodev,rprivate,size=1m",
            "/x/y/z bind /b/c rbind,rprivate",
        ]
    );
    let got = prepared("-v /nowhere/a:/x:rshared -v /etc/passwd:/y -v /nowhere/b:/z alpine sh");
    assert_eq!(got.make_directories, [Path::new("/nowhere/a"), Path::new("/nowhere/b")]);
    assert_eq!(linux_of(&got.spec).rootfs_propagation().as_deref(), Some("shared"));
    assert_eq!(prepared("-v ./a:/x alpine sh").make_directories, [Path::new("/nowhere/me/./a")]);
    assert!(try_build("-v /a:/x:z alpine sh", None, &host()).is_ok());
    let selinux = Host { selinux: true, ..host() };
    assert_eq!(
        try_build("-v /a:/x:Z alpine sh", None, &selinux).unwrap_err(),
        "--volume /a: relabelling for SELinux is not supported"
    );
    assert_eq!(try_build("-v /a:/x --tmpfs /x alpine sh", None, &host()).unwrap_err(), "/x: two mounts go to it");
    assert_eq!(
        try_build("--mount type=bind,src=/nowhere,dst=/x alpine sh", None, &host()).unwrap_err(),
        "--mount /nowhere: no such file or directory"
    );
}

#[test]
fn shared_memory_follows_the_ipc_mode() {
    let shm = |line: &str| mounts_of(&spec(line)).into_iter().find(|mount| mount.starts_with("/dev/shm"));
    assert_eq!(
        shm("--shm-size 1m alpine sh").as_deref(),
        Some("/dev/shm tmpfs shm nosuid,noexec,nodev,mode=1777,size=1048576")
    );
    assert_eq!(shm("--ipc host alpine sh").as_deref(), Some("/dev/shm bind /dev/shm rbind,rprivate"));
    assert_eq!(shm("--ipc none alpine sh"), None);
    assert!(shm("--ipc shareable alpine sh").is_some());
}

#[test]
fn a_read_only_root_leaves_the_programs_places_writable() {
    let got = spec("--read-only --privileged alpine sh");
    assert_eq!(got.root().as_ref().unwrap().readonly(), Some(true));
    let all = mounts_of(&got);
    assert!(all.contains(&"/sys sysfs sysfs nosuid,noexec,nodev,ro".to_owned()), "{all:#?}");
    assert!(all.contains(&"/dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k".to_owned()), "{all:#?}");
}

#[test]
fn fourteen_capabilities_and_what_was_added_and_dropped() {
    let default = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    assert_eq!(capabilities_of(&spec("alpine sh")), default);
    for (line, wanted) in [
        ("--cap-drop ALL alpine sh", vec![]),
        ("--cap-drop all --cap-add chown alpine sh", vec!["CHOWN"]),
        ("--cap-add CHOWN --cap-drop CHOWN --cap-drop ALL alpine sh", vec!["CHOWN"]),
    ] {
        assert_eq!(capabilities_of(&spec(line)), wanted, "{line}");
    }
    assert!(
        capabilities_of(&spec("--cap-add NET_ADMIN --cap-drop NET_ADMIN alpine sh")).contains(&"NET_ADMIN".to_owned())
    );
    assert_eq!(capabilities_of(&spec("--cap-drop MKNOD alpine sh")).len(), 13);
    let all_but_one = capabilities_of(&spec("--cap-add ALL --cap-drop SYS_ADMIN alpine sh"));
    assert_eq!((all_but_one.len(), all_but_one.contains(&"SYS_ADMIN".to_owned())), (40, false));
    assert_eq!(capabilities_of(&spec("--privileged --cap-drop ALL alpine sh")).len(), 41);
    let old = Host { capabilities: (1 << 38) - 1, ..host() };
    assert_eq!(capabilities_of(&try_build("--privileged alpine sh", None, &old).unwrap().spec).len(), 38);
    // A machine that has no CAP_SYS_TIME (25) to give.
    let fewer = Host { capabilities: ((1 << 41) - 1) & !(1 << 25), ..host() };
    let all = capabilities_of(&try_build("--cap-add ALL alpine sh", None, &fewer).unwrap().spec);
    assert_eq!((all.len(), all.contains(&"SYS_TIME".to_owned())), (40, false));
}

#[test]
fn paths_are_masked_unless_the_shield_is_taken_away() {
    let got = spec("alpine sh");
    let masked = linux_of(&got).masked_paths().as_ref().unwrap();
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/proc/acpi", "/sys/firmware"] {
        assert!(masked.contains(&path.to_owned()), "{path}");
    }
    assert_eq!(
        linux_of(&got).readonly_paths().as_deref().unwrap(),
        ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    );
    for line in ["--privileged alpine sh", "--security-opt systempaths=unconfined alpine sh"] {
        let got = spec(line);
        assert_eq!(linux_of(&got).masked_paths().as_deref(), Some(&[][..]), "{line}");
        assert_eq!(linux_of(&got).readonly_paths().as_deref(), Some(&[][..]), "{line}");
    }
}

#[test]
fn a_privileged_container_has_no_filter_and_may_write_to_sys() {
    let got = spec("--privileged alpine sh");
    assert!(linux_of(&got).seccomp().is_none());
    let all = mounts_of(&got);
    assert!(all.contains(&"/sys sysfs sysfs nosuid,noexec,nodev,rw".to_owned()), "{all:#?}");
    assert!(all.contains(&"/sys/fs/cgroup cgroup cgroup rw,nosuid,noexec,nodev".to_owned()), "{all:#?}");
    let builtin = spec("--privileged --security-opt seccomp=builtin alpine sh");
    assert!(linux_of(&builtin).seccomp().is_some());
    assert!(linux_of(&spec("alpine sh")).seccomp().is_some());
    assert!(linux_of(&spec("--security-opt seccomp=unconfined alpine sh")).seccomp().is_none());
}

#[test]
fn namespaces_are_the_containers_own_unless_told() {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let kinds = |line: &str, host: &Host| -> Vec<LinuxNamespaceType> {
        let spec = try_build(line, None, host).unwrap().spec;
        linux_of(&spec).namespaces().as_ref().unwrap().iter().map(oci_spec::runtime::LinuxNamespace::typ).collect()
    };
    let (v1, v2) = (Host { cgroup_v2: false, ..host() }, host());
    assert_eq!(kinds("alpine sh", &v2), [Mount, Network, Uts, Pid, Ipc, Cgroup]);
    assert_eq!(kinds("alpine sh", &v1), [Mount, Network, Uts, Pid, Ipc]);
    assert_eq!(kinds("--cgroupns private alpine sh", &v1), [Mount, Network, Uts, Pid, Ipc, Cgroup]);
    assert_eq!(kinds("--network host --uts host --pid host --ipc host --cgroupns host alpine sh", &v2), [Mount]);
    assert_eq!(kinds("--network none --ipc none alpine sh", &v1), [Mount, Network, Uts, Pid, Ipc]);
}

#[test]
fn the_network_namespace_gets_dockers_two_parameters() {
    let sysctl = |line: &str| -> BTreeMap<String, String> {
        linux_of(&spec(line)).sysctl().clone().unwrap_or_default().into_iter().collect()
    };
    let got = sysctl("alpine sh");
    assert_eq!(got.len(), 2);
    assert_eq!(got["net.ipv4.ping_group_range"], "0 2147483647");
    assert_eq!(got["net.ipv4.ip_unprivileged_port_start"], "0");
    assert_eq!(sysctl("--network none alpine sh").len(), 2);
    assert!(sysctl("--network host alpine sh").is_empty());
    let typed = sysctl("--sysctl net.ipv4.ip_unprivileged_port_start=1024 --domainname example.org alpine sh");
    assert_eq!(typed["net.ipv4.ip_unprivileged_port_start"], "1024");
    assert_eq!(typed["kernel.domainname"], "example.org");
}

#[test]
fn devices_are_closed_but_for_dockers_rules() {
    let rules = |spec: &Spec| -> Vec<String> {
        let rules = linux_of(spec).resources().as_ref().unwrap().devices().as_ref().unwrap();
        rules.iter().map(|rule| format!("{} {rule}", if rule.allow() { "+" } else { "-" })).collect()
    };
    let default = [
        "- a *:* rwm",
        "+ c 1:5 rwm",
        "+ c 1:3 rwm",
        "+ c 1:9 rwm",
        "+ c 1:8 rwm",
        "+ c 5:0 rwm",
        "+ c 5:1 rwm",
        "- c 10:229 rwm",
    ];
    assert_eq!(rules(&spec("alpine sh")), default);
    let node = |path: &str, minor: i64| HostDevice {
        path: path.into(),
        kind: LinuxDeviceType::C,
        numbers: (10, minor),
        mode: 0o660,
        owner: (0, 6),
    };
    let host = Host {
        devices: BTreeMap::from([
            ("/dev/fuse".into(), vec![node("/dev/fuse", 229)]),
            ("/dev/bus".into(), vec![node("/dev/bus/a/1", 1), node("/dev/bus/2", 2)]),
        ]),
        all_devices: vec![node("/dev/fuse", 229)],
        ..host()
    };
    let got = try_build("--device /dev/fuse:/dev/f:rw --device /dev/bus alpine sh", None, &host).unwrap().spec;
    assert_eq!(rules(&got)[default.len()..], ["+ c 10:229 rw", "+ c 10:1 rwm", "+ c 10:2 rwm"]);
    let files: Vec<String> =
        linux_of(&got).devices().as_ref().unwrap().iter().map(|d| d.path().display().to_string()).collect();
    assert_eq!(files, ["/dev/bus/2", "/dev/bus/a/1", "/dev/f"]);
    let fuse = &linux_of(&got).devices().as_ref().unwrap()[2];
    assert_eq!((fuse.file_mode(), fuse.uid(), fuse.gid(), fuse.minor()), (Some(0o660), Some(0), Some(6), 229));
    let got = try_build("--privileged alpine sh", None, &host).unwrap().spec;
    assert_eq!(rules(&got), ["+ a *:* rwm"]);
    assert_eq!(linux_of(&got).devices().as_ref().unwrap().len(), 1);
}

/// docs.docker.com, "Understand how CMD and ENTRYPOINT interact", and docker run --entrypoint.
#[test]
fn the_words_are_entry_point_and_command() {
    let words = |line: &str| process(&of_image(line).spec).args().clone().unwrap();
    assert_eq!(words("web"), ["/entry", "serve", "-v"]);
    assert_eq!(words("web other -x"), ["/entry", "other", "-x"]);
    assert_eq!(words("--entrypoint sh web"), ["sh"]);
    assert_eq!(words("--entrypoint sh web -c ls"), ["sh", "-c", "ls"]);
    assert_eq!(words("--entrypoint= web sh"), ["sh"]);
    assert_eq!(
        try_build("--entrypoint= web", Some(&image()), &host()).unwrap_err(),
        "image web: it names no program to run"
    );
    assert_eq!(try_build("--rootfs /r", None, &host()).unwrap_err(), "--rootfs: it names no program to run");
}

#[test]
fn the_environment_is_dockers_then_the_users_then_the_images() {
    let env = |line: &str| process(&of_image(line).spec).env().clone().unwrap();
    assert_eq!(env("web"), ["PATH=/image/bin", "HOSTNAME=444b69a1b0fc", "LANG=C"]);
    assert_eq!(env("-t -h box web"), ["PATH=/image/bin", "HOSTNAME=box", "TERM=xterm", "LANG=C"]);
    assert_eq!(env("-e A=1 -e LANG=de -e A=2 web"), ["PATH=/image/bin", "HOSTNAME=444b69a1b0fc", "A=2", "LANG=de"]);
    assert_eq!(env("-e LANG -e PATH= web"), ["PATH=", "HOSTNAME=444b69a1b0fc"]);
    let bare = process(&spec("alpine sh")).env().clone().unwrap();
    assert_eq!(bare[0], "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

#[test]
fn user_and_directory_are_the_flags_or_the_images() {
    let got = of_image("web");
    assert_eq!(process(&got.spec).user().username().as_deref(), Some("app:staff"));
    assert_eq!(process(&got.spec).cwd(), Path::new("/srv"));
    let got = of_image("-u 1000 -w /tmp --group-add 5 --group-add audio web");
    assert_eq!(process(&got.spec).user().username().as_deref(), Some("1000"));
    assert_eq!(process(&got.spec).user().additional_gids().as_deref(), Some(&[5][..]));
    assert_eq!(got.groups, ["audio"]);
    assert_eq!(process(&got.spec).cwd(), Path::new("/tmp"));
    let bare = spec("alpine sh");
    assert_eq!((process(&bare).user().username(), process(&bare).cwd().to_str()), (&None, Some("/")));
}

#[test]
fn the_rest_of_the_image_is_handed_on() {
    let got = of_image("-l both=flag -l mine --expose 8080 web");
    assert_eq!(got.stop_signal, Signal::SIGQUIT);
    assert_eq!(got.exposed.iter().map(String::as_str).collect::<Vec<_>>(), ["53/udp", "80/tcp", "8080/tcp"]);
    assert_eq!(got.labels["from"], "image");
    assert_eq!((got.labels["both"].as_str(), got.labels["mine"].as_str()), ("flag", ""));
    assert_eq!(of_image("--stop-signal 9 web").stop_signal, Signal::SIGKILL);
    assert_eq!(prepared("alpine sh").stop_signal, Signal::SIGTERM);
}

#[test]
fn the_host_name_is_the_short_id_unless_told() {
    for (line, name, in_spec) in [
        ("alpine sh", "444b69a1b0fc", Some("444b69a1b0fc")),
        ("-h box alpine sh", "box", Some("box")),
        ("--network host alpine sh", "desk", Some("desk")),
        ("--network host -h box alpine sh", "box", Some("box")),
        ("--uts host alpine sh", "desk", None),
    ] {
        let got = prepared(line);
        assert_eq!((got.hostname.as_str(), got.spec.hostname().as_deref()), (name, in_spec), "{line}");
    }
}

#[test]
fn memory_swap_is_twice_the_memory_unless_told() {
    let memory = |line: &str, host: &Host| {
        let spec = try_build(line, None, host).unwrap().spec;
        linux_of(&spec)
            .resources()
            .as_ref()
            .unwrap()
            .memory()
            .map(|m| (m.limit(), m.swap(), m.reservation(), m.swappiness()))
    };
    let here = host();
    assert_eq!(memory("alpine sh", &here), None);
    assert_eq!(memory("-m 512m alpine sh", &here), Some((Some(512 << 20), Some(1 << 30), None, None)));
    assert_eq!(memory("-m 1m --memory-swap -1 alpine sh", &here), Some((Some(1 << 20), Some(-1), None, None)));
    assert_eq!(memory("-m 1m --memory-swap 1m alpine sh", &here), Some((Some(1 << 20), Some(1 << 20), None, None)));
    let no_swap = Host { swap_limit: false, ..host() };
    assert_eq!(memory("-m 4k alpine sh", &no_swap), Some((Some(4096), None, None, None)));
    assert_eq!(
        memory("--memory-reservation 1m --memory-swappiness 0 alpine sh", &here),
        Some((None, None, Some(1 << 20), Some(0)))
    );
    assert_eq!(memory("--memory-swappiness -1 alpine sh", &here), None);
}

#[test]
fn cpus_are_a_quota_of_a_tenth_of_a_second() {
    let cpu = |line: &str| {
        let spec = spec(line);
        let cpu = linux_of(&spec).resources().as_ref().unwrap().cpu().clone();
        cpu.map(|cpu| (cpu.quota(), cpu.period(), cpu.shares(), cpu.cpus().clone()))
    };
    assert_eq!(cpu("alpine sh"), None);
    assert_eq!(cpu("--cpus 1.5 alpine sh"), Some((Some(150_000), Some(100_000), None, None)));
    assert_eq!(cpu("--cpu-quota 5000 --cpu-period 10000 alpine sh"), Some((Some(5000), Some(10000), None, None)));
    assert_eq!(cpu("-c 1 --cpuset-cpus 0-1 alpine sh"), Some((None, None, Some(2), Some("0-1".into()))));
    assert_eq!(cpu("--cpu-quota -1 alpine sh"), Some((Some(-1), None, None, None)));
}

#[test]
fn limits_of_processes_files_and_disks() {
    let got =
        spec("--pids-limit 50 --ulimit nofile=10:20 --ulimit nofile=30 --ulimit core=0 --oom-score-adj -5 alpine sh");
    assert_eq!(linux_of(&got).resources().as_ref().unwrap().pids().unwrap().limit(), 50);
    let limits: Vec<(String, u64, u64)> = process(&got)
        .rlimits()
        .as_ref()
        .unwrap()
        .iter()
        .map(|limit| (limit.typ().to_string(), limit.soft(), limit.hard()))
        .collect();
    assert_eq!(limits, [("RLIMIT_NOFILE".to_owned(), 30, 30), ("RLIMIT_CORE".to_owned(), 0, 0)]);
    assert_eq!(process(&got).oom_score_adj(), Some(-5));
    let disks = Host { disks: BTreeMap::from([("/dev/sda".into(), (8, 0))]), ..host() };
    let got = try_build(
        "--device-read-bps /dev/sda:1mb --blkio-weight 300 --blkio-weight-device /dev/sda:200 alpine sh",
        None,
        &disks,
    )
    .unwrap()
    .spec;
    let io = linux_of(&got).resources().as_ref().unwrap().block_io().clone().unwrap();
    let rate = io.throttle_read_bps_device().as_ref().unwrap()[0];
    assert_eq!((rate.major(), rate.minor(), rate.rate()), (8, 0, 1 << 20));
    assert_eq!((io.weight(), io.weight_device().as_ref().unwrap()[0].weight()), (Some(300), Some(200)));
    for line in ["--pids-limit 0 alpine sh", "alpine sh"] {
        assert!(linux_of(&spec(line)).resources().as_ref().unwrap().pids().is_none(), "{line}");
    }
}

#[test]
fn control_groups_stand_below_their_parent() {
    let path = |line: &str| linux_of(&spec(line)).cgroups_path().clone().unwrap();
    assert_eq!(path("alpine sh"), Path::new("/rbox").join(ID));
    assert_eq!(path("--cgroup-parent /a/b alpine sh"), Path::new("/a/b").join(ID));
    assert_eq!(path("--cgroup-parent a alpine sh"), Path::new("/a").join(ID));
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

#[test]
fn the_small_init_needs_a_pid_namespace() {
    assert!(prepared("--init alpine sh").init);
    assert!(!prepared("--init --pid host alpine sh").init);
    assert!(!prepared("alpine sh").init);
}
