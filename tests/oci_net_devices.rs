//! Network devices of the host that go into the container (runtime-spec config-linux.md#network-devices).
//!
//! The host of each test is a network namespace, so its devices are virtual ones: cables (veth). What becomes of a
//! physical one is shown in the VM, which has one to spare.

use crate::oci_users::{give, own_users};
use crate::support::{Bundle, Oci, need};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Debian's runc is older than the field.
fn oci() -> Oci {
    Oci::new()
}

/// `ip` of iproute2, its answer as data.
fn ip(oci: &Oci, words: &str) -> Value {
    listed(oci, &format!("ip -j -details {words}"))
}

/// iproute2 writes an empty object for each thing that it does not show.
fn listed(oci: &Oci, script: &str) -> Value {
    let mut all = oci.host.shell(script).ok().json();
    let rows = all.as_array_mut().unwrap();
    for row in &mut *rows {
        if let Some(addresses) = row["addr_info"].as_array_mut() {
            addresses.retain(|one| *one != json!({}));
        }
    }
    rows.retain(|row| row.get("ifname").is_some());
    all
}

/// `ip` in the network namespace of a container.
fn inside(oci: &Oci, bundle: &Bundle, words: &str) -> Value {
    let pid = oci.state(bundle)["pid"].to_string();
    listed(oci, &format!("nsenter --net=/proc/{pid}/ns/net ip -j -details {words}"))
}

/// Addresses of the first device of `ip address show`: `10.0.0.1/24`.
fn addresses(shown: &Value) -> Vec<String> {
    let text = |one: &Value| format!("{}/{}", one["local"].as_str().unwrap(), one["prefixlen"]);
    shown[0]["addr_info"].as_array().unwrap().iter().map(text).collect()
}

fn names(links: &Value) -> Vec<&str> {
    links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap()).collect()
}

fn devices(spec: &mut Value, devices: Value) {
    spec["linux"]["netDevices"] = devices;
}

/// A cable from nic0 to peer0, with everything an administrator may have given it.
fn cable(oci: &Oci) {
    oci.host
        .shell(
            "set -e
             ip link add nic0 mtu 1400 address 02:00:00:00:00:77 txqueuelen 123 type veth peer name peer0
             ip link set nic0 alias 'the lab'; ip link property add dev nic0 altname laboratory0
             ip address add 10.7.0.2/24 broadcast 10.7.0.200 dev nic0 noprefixroute
             ip address add 10.7.0.3/24 dev nic0
             ip address add 10.8.0.1 peer 10.8.0.2 dev nic0 label nic0:lab metric 77
             ip address add 2001:db8:7::2/64 dev nic0 nodad
             ip address add 2001:db8:7::3/64 dev nic0 nodad
             ip address add 10.9.0.1/24 scope link dev nic0
             ip link set peer0 up; ip link set nic0 up
             # A cable that has just been plugged in says so a moment later.
             for try in $(seq 500); do ip link show nic0 | grep -q NO-CARRIER || break; sleep 0.01; done",
        )
        .ok();
}

#[test]
fn a_device_is_moved_with_its_attributes_and_lasting_global_addresses_and_is_up() {
    need!(Root, OurRuntime, Ipv6);
    let oci = oci();
    cable(&oci);
    for lent in ["10.9.1.1/24", "2001:db8:8::2/64"] {
        oci.host.shell(&format!("ip address add {lent} valid_lft 3600 preferred_lft 1800 dev nic0")).ok();
    }
    let before = ip(&oci, "link show nic0");
    let bundle = oci.running(|spec| devices(spec, json!({ "nic0": {} })));
    assert!(!names(&ip(&oci, "link")).contains(&"nic0"), "it is no more on the host");
    let link = inside(&oci, &bundle, "link show nic0");
    for key in ["mtu", "address", "txqlen", "ifalias", "altnames"] {
        assert_eq!(link[0][key], before[0][key], "{key}");
    }
    assert!(link[0]["flags"].as_array().unwrap().contains(&json!("UP")), "{link}");
    let shown = inside(&oci, &bundle, "address show dev nic0 scope global");
    let wanted = ["10.7.0.2/24", "10.8.0.1/32", "10.7.0.3/24", "2001:db8:7::3/64", "2001:db8:7::2/64"];
    assert_eq!(addresses(&shown), wanted, "in the host's order: the first is the one that calls go out with: {shown}");
    let found = &shown[0]["addr_info"];
    assert_eq!((&found[0]["broadcast"], &found[0]["noprefixroute"]), (&json!("10.7.0.200"), &json!(true)));
    assert_eq!((&found[1]["address"], &found[1]["metric"]), (&json!("10.8.0.2"), &json!(77)));
    assert_eq!(found[1]["label"], "nic0:lab");
    assert_eq!(found[2]["secondary"], true);
    let forever = |one: &Value| one["valid_life_time"] == json!(u32::MAX);
    assert!(found.as_array().unwrap().iter().all(forever), "{shown}");
    // Neither the one of the cable alone, nor those that somebody has lent it.
    let link_only = inside(&oci, &bundle, "-4 address show dev nic0 scope link");
    assert_eq!(link_only, json!([]), "{link_only}");
    oci.call(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn traffic_goes_through_a_device_that_was_down() {
    need!(Root, OurRuntime);
    let oci = oci();
    oci.host
        .shell(
            "ip link add nic0 type veth peer name peer0 && ip address add 10.7.0.2/24 dev nic0 && \
             ip address add 10.7.0.1/24 dev peer0 && ip link set peer0 up",
        )
        .ok();
    let bundle = oci.running(|spec| devices(spec, json!({ "nic0": { "name": "eth0" } })));
    oci.host.shell("ping -c 1 -W 5 10.7.0.2").ok();
    oci.call(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn a_device_is_renamed() {
    need!(Root, OurRuntime);
    let oci = oci();
    // The host has devices of the new names; and each takes a name that another one has had.
    oci.host.shell("ip link add nic0 type veth peer name nic1; ip link add eth0 type veth peer name eth1").ok();
    oci.host.shell("ip address add 10.7.0.2/24 dev nic0; ip address add 10.7.1.2/24 dev nic1").ok();
    let bundle = oci.running(|spec| {
        devices(spec, json!({ "nic0": { "name": "nic1" }, "nic1": { "name": "nic0" }, "eth1": { "name": "eth0" } }));
    });
    let links = inside(&oci, &bundle, "link");
    let mut found = names(&links);
    found.sort_unstable();
    assert_eq!(found, ["eth0", "lo", "nic0", "nic1"]);
    assert_eq!(addresses(&inside(&oci, &bundle, "-4 address show dev nic1")), ["10.7.0.2/24"]);
    assert_eq!(addresses(&inside(&oci, &bundle, "-4 address show dev nic0")), ["10.7.1.2/24"]);
    assert_eq!(names(&ip(&oci, "link")), ["lo", "eth0"]);
    oci.call(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn the_kernel_numbers_a_name_that_is_a_template() {
    need!(Root, OurRuntime);
    let oci = oci();
    oci.host.shell("ip netns add kept && ip -n kept link add net0 type veth peer name net2").ok();
    oci.host.shell("ip link add a0 type veth peer name a1; ip link add b0 type veth peer name b1").ok();
    let bundle = oci.running(|spec| {
        join(spec, "/run/netns/kept");
        devices(spec, json!({ "a0": { "name": "net%d" }, "b0": { "name": "net%d" }, "b1": { "name": "lo%d" } }));
    });
    let mut found: Vec<String> = names(&inside(&oci, &bundle, "link")).into_iter().map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, ["lo", "lo0", "net0", "net1", "net2", "net3"]);
    oci.call(&["delete", "--force", &bundle.id]).ok();
}

fn join(spec: &mut Value, path: &str) {
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    namespaces.push(json!({ "type": "network", "path": path }));
}

#[test]
fn a_name_that_the_container_has_already_is_an_error() {
    need!(Root, OurRuntime);
    let oci = oci();
    cable(&oci);
    oci.host.shell("ip netns add kept && ip -n kept link add eth0 type veth peer name eth1").ok();
    oci.host.shell("ip -n kept link property add dev eth1 altname lab0; ip link add b0 type veth peer name b1").ok();
    let before = oci.host.snapshot();
    for name in ["lo", "eth0", "lab0"] {
        let bundle = oci.bundle(|spec| {
            join(spec, "/run/netns/kept");
            devices(spec, json!({ "b0": {}, "nic0": { "name": name } }));
        });
        let words = format!("linux.netDevices.nic0: the container has a network device {name} already");
        oci.run(&bundle).fails().says(&words);
        oci.host.assert_unchanged(&before);
    }
    let bundle = oci.bundle(|spec| devices(spec, json!({ "b0": { "name": "eth0" }, "nic0": { "name": "eth0" } })));
    oci.run(&bundle).fails().says("linux.netDevices.nic0: two devices cannot both be eth0");
    oci.host.assert_unchanged(&before);
}

#[test]
fn a_device_that_is_not_there_is_an_error_and_no_other_is_moved() {
    need!(Root, OurRuntime);
    let oci = oci();
    cable(&oci);
    let before = oci.host.snapshot();
    let bundle = oci.bundle(|spec| devices(spec, json!({ "nic0": {}, "nic9": {} })));
    oci.run(&bundle).fails().says("cannot find network device nic9: no such device");
    oci.host.assert_unchanged(&before);
}

#[test]
fn a_name_that_no_device_can_have_is_an_error() {
    need!(Root, OurRuntime);
    let oci = oci();
    let before = oci.host.snapshot();
    let long = "sixteen-bytes-xx";
    for name in [".", "..", "a/b", "a:b", "a b", "a\tb", long, "", "eth%s", "eth%d%d", "eth%"] {
        if !name.is_empty() {
            let bundle = oci.bundle(|spec| devices(spec, json!({ "nic0": { "name": name } })));
            let words = format!("linux.netDevices.nic0.name: {name:?} is no name for a network device");
            oci.run(&bundle).fails().says(&words);
        }
        let bundle = oci.bundle(|spec| devices(spec, json!({ name: {} })));
        oci.run(&bundle).fails().says(&format!("linux.netDevices: {name:?} is no name for a network device"));
    }
    oci.host.assert_unchanged(&before);
}

#[test]
fn a_container_in_the_hosts_network_gets_no_device() {
    need!(Root, OurRuntime);
    let oci = oci();
    cable(&oci);
    let before = oci.host.snapshot();
    let shared = oci.bundle(|spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "sysfs");
        devices(spec, json!({ "nic0": {} }));
    });
    let words = "linux.netDevices: needs a network namespace of the container's own";
    oci.run(&shared).fails().says(words);
    let joined = oci.bundle(|spec| {
        join(spec, "/proc/self/ns/net");
        devices(spec, json!({ "nic0": {} }));
    });
    oci.run(&joined).fails().says(words);
    oci.host.assert_unchanged(&before);
}

#[test]
fn no_device_is_no_wish() {
    need!(Root);
    let oci = oci();
    let seen = oci.see(|spec| devices(spec, json!({})));
    assert_eq!(seen["interfaces"].as_object().unwrap().keys().collect::<Vec<_>>(), ["lo"]);
}

#[test]
fn a_container_with_users_of_its_own_gets_the_device() {
    need!(Root, OurRuntime);
    let oci = oci();
    cable(&oci);
    let bundle = oci.bundle(|spec| {
        own_users(spec);
        devices(spec, json!({ "nic0": { "name": "eth0" } }));
        spec["process"]["args"] = json!(["/bin/sh", "-c", "ip -4 address show dev eth0"]);
    });
    oci.host.shell(&format!("chmod 755 {}", oci.host.path("").display())).ok();
    give(&bundle.rootfs(), crate::oci_users::FIRST);
    assert!(oci.run(&bundle).ok().stdout.contains("inet 10.7.0.2/24"));
}

/// Whose root is nobody on the host moves nothing of the host: runc refuses it too.
#[test]
fn an_ordinary_users_container_gets_no_device() {
    need!(Root, OurRuntime);
    let oci = oci();
    cable(&oci);
    let before = oci.host.snapshot();
    let bundle = oci.bundle(|spec| {
        devices(spec, json!({ "nic0": {} }));
        spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "cgroup");
    });
    let runtime = crate::support::runtime().display().to_string();
    let words = ["--user", "--map-root-user", "--net", "--mount", &runtime, "--root", "/tmp/x", "run", "--bundle"];
    let words: Vec<&str> = words.into_iter().chain([bundle.dir.to_str().unwrap(), bundle.id.as_str()]).collect();
    oci.host.exec("unshare", &words).fails().says("linux.netDevices: needs the host's root");
    oci.host.assert_unchanged(&before);
}

#[test]
fn hooks_find_the_device_in_its_place() {
    need!(Root, OurRuntime);
    let oci = oci();
    cable(&oci);
    let note = oci.host.path("note").display().to_string();
    let script = format!(
        "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter --net=/proc/$pid/ns/net ip -br -4 address > {note}"
    );
    let bundle = oci.bundle(|spec| {
        devices(spec, json!({ "nic0": { "name": "eth0" } }));
        spec["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    });
    oci.run(&bundle).ok();
    let seen = std::fs::read_to_string(note).unwrap();
    assert!(seen.lines().any(|line| line.starts_with("eth0") && line.contains(" UP ")), "{seen}");
}

/// `create` as if it had never been asked: runtime.md#errors.
#[test]
fn a_create_that_fails_later_gives_the_devices_back() {
    need!(Root, OurRuntime);
    let oci = oci();
    cable(&oci);
    oci.host.shell("ip link add br7 type bridge && ip link set br7 up && ip link set nic0 master br7").ok();
    // Joined, so that nothing comes back by itself.
    oci.host.shell("ip netns add kept; ip link add b0 type veth peer name b1").ok();
    let before = oci.host.snapshot();
    let devices_of = json!({ "b0": { "name": "b%d" }, "nic0": { "name": "eth0" } });
    type Edit<'a> = &'a dyn Fn(&mut Value);
    let later: [(&str, Edit<'_>); 3] = [
        ("cannot make a tmpfs for /x", &|spec| {
            let options = json!(["nosuchoption=1"]);
            let mount = json!({ "destination": "/x", "type": "tmpfs", "source": "x", "options": options });
            spec["mounts"].as_array_mut().unwrap().push(mount);
        }),
        ("cannot run createRuntime hook", &|spec| {
            spec["hooks"] = json!({ "createRuntime": [{ "path": "/bin/false" }] });
        }),
        // The kernel lets no bridge go into another namespace.
        ("cannot move network device br7", &|spec| spec["linux"]["netDevices"]["br7"] = json!({ "name": "x" })),
    ];
    for (words, edit) in later {
        for joined in [false, true] {
            let bundle = oci.bundle(|spec| {
                if joined {
                    join(spec, "/run/netns/kept");
                }
                devices(spec, devices_of.clone());
                edit(spec);
            });
            oci.run(&bundle).fails().says(words);
            assert_eq!(names(&ip(&oci, "-n kept link")), ["lo"]);
            oci.host.assert_unchanged(&before);
            let link = ip(&oci, "link show nic0");
            assert_eq!((&link[0]["master"], &link[0]["mtu"]), (&json!("br7"), &json!(1400)), "{link}");
        }
    }
}

/// "The runtime MUST NOT attempt to move the interface out of the namespace before deletion."
#[test]
fn a_device_stays_where_the_namespace_stays_and_a_virtual_one_ends_with_it() {
    need!(Root, OurRuntime);
    let oci = oci();
    oci.host.shell("ip netns add kept && ip link add nic0 type veth peer name peer0").ok();
    oci.host.shell("ip link add b0 type veth peer name b1").ok();
    let bundle = oci.bundle(|spec| {
        join(spec, "/run/netns/kept");
        devices(spec, json!({ "nic0": { "name": "eth0" } }));
    });
    oci.run(&bundle).ok();
    assert_eq!(names(&ip(&oci, "-n kept link")), ["lo", "eth0"]);
    let own = oci.bundle(|spec| devices(spec, json!({ "b0": {} })));
    oci.run(&own).ok();
    let until = Instant::now() + Duration::from_secs(10);
    while names(&ip(&oci, "link")).contains(&"b1") {
        assert!(Instant::now() < until, "a cable whose end is gone is gone");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The VM's second network card: nobody else uses it.
const CARD: &str = "/sys/bus/virtio/drivers/virtio_net";

/// There is one card, and two tests that use it.
pub(crate) fn the_card() -> std::fs::File {
    let file = std::fs::OpenOptions::new().create(true).append(true).open("/run/rbox-test-card").unwrap();
    file.lock().unwrap();
    file
}

/// "its physical network devices are moved back to the initial network namespace", network_namespaces(7).
#[test]
fn a_physical_device_comes_back_when_the_container_has_ended() {
    need!(Root, OurRuntime, Systemd);
    let _alone = the_card();
    let oci = Oci::on_machine();
    let links = ip(&oci, "link");
    let card = |name: &&str| Path::new(CARD).exists() && Path::new(&format!("/sys/class/net/{name}/device")).exists();
    let name = names(&links).into_iter().find(card).unwrap_or_else(|| panic!("no card: {links}")).to_owned();
    oci.host.shell(&format!("ip address add 10.7.0.2/24 dev {name}; ip link set {name} up")).ok();
    let before = ip(&oci, &format!("link show {name}"));
    let bundle = oci.running(|spec| devices(spec, json!({ name.as_str(): { "name": "lab0" } })));
    let inner = inside(&oci, &bundle, "-4 address show dev lab0");
    assert_eq!(addresses(&inner), ["10.7.0.2/24"]);
    assert_eq!(inner[0]["address"], before[0]["address"]);
    assert!(!names(&ip(&oci, "link")).contains(&name.as_str()));
    oci.call(&["delete", "--force", &bundle.id]).ok();
    // With the name that it had last.
    await_link(&oci, "lab0");
    assert_eq!(ip(&oci, "link show lab0")[0]["address"], before[0]["address"]);
    // To the first namespace of all, and not to the one that it came from.
    oci.host.shell("ip netns add lab && ip link set lab0 netns lab").ok();
    let bundle = oci.bundle(|spec| devices(spec, json!({ "lab0": {} })));
    let words = oci.words(&["run", "--bundle", &bundle.path(), &bundle.id]).join(" ");
    let runtime = crate::support::runtime().display().to_string();
    oci.host.shell(&format!("nsenter --net=/run/netns/lab {runtime} {words}")).ok();
    await_link(&oci, "lab0");
    oci.host.shell(&format!("ip netns del lab; ip link set lab0 down; ip link set lab0 name {name}")).ok();
}

/// The kernel takes a namespace apart a moment after its last process has ended.
#[track_caller]
fn await_link(oci: &Oci, name: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while !names(&ip(oci, "link")).contains(&name) {
        assert!(Instant::now() < until, "{}", ip(oci, "link"));
        std::thread::sleep(Duration::from_millis(100));
    }
}
