//! What the kernel keeps apart for each container: its namespaces, and the layers of its files.

use crate::support::{BUSYBOX, Host, Running, need};

const DEBIAN: &str = "rbox-fixtures/debian";

/// A container's first process, as the host numbers it.
fn pid(host: &Host, name: &str) -> String {
    host.rbox(&["inspect", "--format", "{{.State.Pid}}", name]).ok().text().to_owned()
}

fn idle(host: &Host, name: &str, flags: &[&str]) -> Running {
    let flags = [&["--name", name], flags].concat();
    host.run_ready(&flags, &["sh", "-c", "echo ready; exec sleep 1000"])
}

/// The words for `nsenter` into a container's network, with the host's own programs.
fn enter(host: &Host, name: &str) -> String {
    format!("nsenter --net=/proc/{}/ns/net", pid(host, name))
}

#[test]
fn a_150_what_one_does_in_five_namespaces_neither_the_other_nor_the_host_sees() {
    need!(Root);
    let host = Host::new();
    host.load("debian");
    for (name, privileged) in [("alpha", "--privileged=true"), ("beta", "--privileged=false")] {
        host.rbox(&["run", "-d", privileged, "--name", name, "-h", name, DEBIAN, "sleep", "1000"]).ok();
    }
    let alpha = "set -e; sleep 4711 & ipcmk -Q; mount -t tmpfs own /mnt; hostname gamma; ip link add own0 type bridge";
    host.rbox(&["exec", "alpha", "sh", "-c", alpha]).ok();
    let traces = [
        (
            "pid",
            "for one in /proc/[0-9]*; do tr '\\0' ' ' < $one/cmdline 2>/dev/null; echo; done | grep -cx 'sleep 4711 '",
        ),
        ("net", "ls /sys/class/net | grep -cx own0"),
        ("ipc", "ipcs -q | grep -c ^0x"),
        ("mnt", "grep -c '^own /mnt ' /proc/self/mounts"),
        ("uts", "hostname | grep -c gamma"),
    ];
    for (namespace, look) in traces {
        let seen = |name: &str| host.rbox(&["exec", name, "sh", "-c", look]).stdout.trim().to_owned();
        assert_eq!((seen("alpha").as_str(), seen("beta").as_str()), ("1", "0"), "{namespace}");
        // The host sees processes, by numbers of its own, and nothing else.
        let on_host = if namespace == "pid" { "1" } else { "0" };
        assert_eq!(host.shell(look).text(), on_host, "{namespace}");
        let inode = |name: &str| host.shell(&format!("readlink /proc/{}/ns/{namespace}", pid(&host, name))).ok();
        assert_ne!(inode("alpha").text(), inode("beta").text(), "{namespace}");
    }
    for name in ["alpha", "beta"] {
        let first = host.rbox(&["exec", name, "cat", "/proc/1/cmdline"]).ok().stdout;
        assert_eq!(first, "sleep\u{0}1000\u{0}");
        assert_ne!(pid(&host, name), "1");
    }
}

#[test]
fn a_151_a_network_namespace_has_a_stack_of_its_own() {
    need!(Root);
    let host = Host::with_busybox();
    let [web, _other] = ["web", "other"].map(|name| idle(&host, name, &[]));
    let inside = |script: &str| web.inside(script).ok().text().to_owned();
    let outside = |script: &str| host.shell(script).ok().text().to_owned();
    let into = enter(&host, "web");
    // Devices, and their two views: a sysfs of its own, and /proc/net, a link into the process that looks.
    assert_eq!(inside("ls /sys/class/net"), "eth0\nlo");
    assert!(outside("ls /sys/class/net").contains("rbox0"));
    assert_eq!(inside("readlink /proc/net"), "self/net");
    let counted = "grep -o '^ *[a-z0-9]*:' /proc/net/dev | tr -d ' :' | sort";
    assert_eq!((inside(counted), outside(counted)), (inside("ls /sys/class/net"), outside("ls /sys/class/net")));
    // /proc/sys/net, and what it sets: IPv4 and IPv6 are two stacks in each namespace.
    assert_eq!(inside("ls /proc/sys/net/ipv4/conf"), "all\ndefault\neth0\nlo");
    host.shell("sysctl -q -w net.ipv4.ip_default_ttl=77").ok();
    let ttl = "cat /proc/sys/net/ipv4/ip_default_ttl";
    assert_eq!((inside(ttl).as_str(), outside(ttl).as_str()), ("64", "77"));
    let six = "cat /proc/net/if_inet6 | grep -c eth0 || true";
    assert_eq!(inside(six), "0");
    assert_ne!(outside(six), "0");
    // Routes.
    host.shell(&format!("ip route add 198.51.100.0/24 dev rbox0; {into} ip route add 203.0.113.0/24 dev eth0")).ok();
    let (there, here) = (inside("ip route"), outside("ip route"));
    assert!(there.contains("203.0.113.0/24") && !there.contains("198.51.100.0/24"), "{there}");
    assert!(here.contains("198.51.100.0/24") && !here.contains("203.0.113.0/24"), "{here}");
    // Rules of the firewall.
    assert_eq!(outside(&format!("{into} iptables-save | grep -c RBOX || true")), "0");
    host.shell(&format!("{into} iptables -A OUTPUT -d 203.0.113.9 -j DROP")).ok();
    assert!(!outside("iptables-save").contains("203.0.113.9"));
    assert!(!outside(&format!("{} iptables-save", enter(&host, "other"))).contains("203.0.113.9"));
}

/// Bind a UNIX socket to a name that is in no file system, say `ready`, and wait.
const ABSTRACT: &str = "import socket, time
held = socket.socket(socket.AF_UNIX); held.bind('\\0rbox-test'); held.listen(); print('ready', flush=True); time.sleep(1000)";

#[test]
fn a_151_ports_and_abstract_sockets_are_taken_in_each_namespace_for_itself() {
    need!(Root);
    let host = Host::with_busybox();
    let probe = crate::support::probe().display().to_string();
    let mut own = host.spawn(&probe, &["serve", "80"]);
    own.wait_for("ready");
    let _containers = ["web", "other"].map(|name| host.serve(&["--name", name], 80));
    // Port 80 is taken three times; a second time in the same namespace it is not to be had.
    host.rbox(&["exec", "web", "/probe", "serve", "80"]).fails().says("Address already in use");
    let words = enter(&host, "web");
    let words: Vec<&str> = words.split(' ').skip(1).chain(["python3", "-c", ABSTRACT]).collect();
    let mut holder = host.spawn("nsenter", &words);
    holder.wait_for("ready");
    let listed = "grep -c '@rbox-test$' /proc/net/unix";
    assert_eq!(host.rbox(&["exec", "web", "sh", "-c", listed]).text(), "1");
    assert_eq!(host.rbox(&["exec", "other", "sh", "-c", listed]).text(), "0");
    assert_eq!(host.shell(listed).text(), "0");
    let mut another = host.spawn("python3", &["-c", ABSTRACT]);
    another.wait_for("ready");
}

#[test]
fn a_154_no_veth_is_left_when_the_container_is_killed() {
    need!(Root);
    let host = Host::with_busybox();
    let veths = "ip -o link show type veth | grep -c rbox0";
    let web = host.serve(&[], 80);
    assert_eq!(host.shell(veths).text(), "1");
    nix::sys::signal::kill(web.container_pid(), nix::sys::signal::Signal::SIGKILL).unwrap();
    web.wait().code(137);
    assert_eq!(host.shell(veths).text(), "0");
    // Also when nobody of rbox is left to take it away: it ends with the namespace that its other end is in.
    host.detached(&["--name", "left"], &["sleep", "1000"]);
    host.kill_monitors();
    assert_eq!(host.shell(veths).text(), "1");
    let pid = pid(&host, "left");
    let gone = format!("kill -9 {pid}; for n in $(seq 100); do [ $({veths}) = 0 ] && exit; sleep 0.1; done; exit 1");
    host.shell(&gone).ok();
}

#[test]
fn a_165_the_same_address_twice_and_one_namespace_for_two() {
    need!(Root);
    let host = Host::with_busybox();
    let [one, two] = ["one", "two"].map(|name| idle(&host, name, &["--network", "none"]));
    // The same address and the same destination, and each namespace routes it its own way: to itself, and nowhere.
    for name in ["one", "two"] {
        let into = enter(&host, name);
        host.shell(&format!("{into} ip addr add 10.1.1.1/24 dev lo")).ok();
    }
    host.shell(&format!("{} ip route add blackhole 198.51.100.0/24", enter(&host, "two"))).ok();
    host.shell(&format!("{} ip route add local 198.51.100.0/24 dev lo", enter(&host, "one"))).ok();
    for container in [&one, &two] {
        container.inside("ping -q -c 1 -W 5 10.1.1.1").ok();
    }
    one.inside("ping -q -c 1 -W 5 198.51.100.7").ok();
    two.inside("ping -q -c 1 -W 5 198.51.100.7").fails();
    host.shell("ip -o addr | grep -c 10.1.1.1").code(1);
    // A namespace for two, and the host's.
    let _joiner = idle(&host, "joiner", &["--network", "container:one"]);
    let _open = idle(&host, "open", &["--network", "host"]);
    let inode = |name: &str| host.shell(&format!("readlink /proc/{}/ns/net", pid(&host, name))).ok().text().to_owned();
    assert_eq!(inode("joiner"), inode("one"));
    assert_eq!(inode("open"), host.shell("readlink /proc/self/ns/net").ok().text());
    assert_ne!(inode("two"), inode("one"));
}

/// A folder for the images on which the kernel takes no directory of an overlay: on an overlay itself.
fn move_onto_an_overlay(host: &Host) {
    let data = host.path("data").display().to_string();
    // With whole paths: the folder in which these commands begin belongs to another mount namespace.
    let script = format!(
        "set -e; mv {data} {data}.first; mkdir {data} {data}.low {data}.up {data}.work
         mount -t overlay overlay -o lowerdir={data}.low,upperdir={data}.up,workdir={data}.work {data}"
    );
    host.shell(&script).ok();
}

#[test]
fn a_156_layers_are_stacked_and_where_they_cannot_be_they_are_copied() {
    need!(Root);
    let host = Host::offline();
    let container = |name: &str, script: &str| -> (String, String) {
        let printed = host.rbox(&["run", "--name", name, "--network", "none", BUSYBOX, "sh", "-c", script]).ok();
        let driver = host.rbox(&["inspect", "--format", "{{.GraphDriver.Name}}", name]).ok();
        (driver.text().to_owned(), printed.text().to_owned())
    };
    let write = "echo mine > /etc/own; rm /etc/passwd; sed -n 's,^[^ ]* / \\([^ ]*\\) .*,\\1,p' /proc/self/mounts";
    let look = "ls /etc/own /etc/passwd 2>/dev/null; :";
    host.load("busybox");
    assert_eq!(container("writer", write), ("overlay2".into(), "overlay".into()));
    assert_eq!(container("next", look).1, "/etc/passwd", "the next one begins with the image");
    let data = |name: &str, key: &str| {
        host.rbox(&["inspect", "--format", &format!("{{{{.GraphDriver.Data.{key}}}}}"), name]).ok().text().to_owned()
    };
    assert_eq!(data("writer", "LowerDir"), data("next", "LowerDir"), "one copy of the image for all");
    // What it wrote is in a directory of its own; what it removed is there as a device 0/0.
    let upper = data("writer", "UpperDir");
    let written = host.shell(&format!("cat {upper}/etc/own; stat -c '%F %t %T' {upper}/etc/passwd")).ok();
    assert_eq!(written.text(), "mine\ncharacter special file 0 0");

    move_onto_an_overlay(&host);
    host.load("busybox");
    let (driver, root) = container("copied", write);
    assert_eq!(driver, "vfs");
    assert_ne!(root, "", "there is a root file system");
    assert_eq!(container("next-copy", look).1, "/etc/passwd", "its copy is its own");
}
