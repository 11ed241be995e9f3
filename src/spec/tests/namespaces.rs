//! What is the container's own, and what its names are.

use oci_spec::runtime::LinuxNamespaceType;

use super::*;

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
fn of_the_namespaces_the_network_alone_is_there_already() {
    let paths = |line: &str| -> Vec<(LinuxNamespaceType, PathBuf)> {
        let spec = spec(line);
        let all = linux_of(&spec).namespaces().clone().unwrap();
        all.into_iter().filter_map(|namespace| Some((namespace.typ(), namespace.path().clone()?))).collect()
    };
    assert_eq!(paths("alpine sh"), [(LinuxNamespaceType::Network, "/sandbox".into())]);
    assert_eq!(paths("--network host alpine sh"), []);
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
fn the_small_init_needs_a_pid_namespace() {
    assert!(prepared("--init alpine sh").init);
    assert!(!prepared("--init --pid host alpine sh").init);
    assert!(!prepared("alpine sh").init);
}
