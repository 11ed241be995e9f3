//! What becomes of those that have joined a container's network, or are linked to it, when it stops, starts again, is
//! renamed or removed (docs/networks.md).

use crate::support::{Host, need};

fn links(host: &Host, name: &str) -> String {
    let shown = host.rbox(&["exec", name, "ls", "/sys/class/net"]).ok();
    shown.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn namespace(host: &Host, name: &str) -> String {
    host.rbox(&["exec", name, "readlink", "/proc/self/ns/net"]).ok().text().to_owned()
}

fn idle(host: &Host, flags: &[&str]) {
    host.detached(flags, &["sleep", "1000"]);
}

#[test]
fn a_joiner_of_one_that_starts_again_has_its_network_after_a_start_of_its_own() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let before = host.snapshot();
    host.detached(&["--name", "web", "-p", "8080:80"], &["/probe", "serve", "80"]);
    idle(&host, &["--name", "side", "--network", "container:web"]);
    let old = namespace(&host, "web");
    assert_eq!((namespace(&host, "side"), links(&host, "side")), (old.clone(), "eth0 lo".into()));
    // Its cable, address and port go with the one that they were made for; the program runs on.
    host.rbox(&["stop", "-t", "0", "web"]).ok();
    assert_eq!((namespace(&host, "side"), links(&host, "side")), (old.clone(), "lo".into()));
    assert!(host.shown("side", "Status").starts_with("Up "));
    // A new network is made for a new start, and who has joined the old one stays there.
    host.rbox(&["start", "web"]).ok();
    assert_ne!(namespace(&host, "web"), old);
    assert_eq!((namespace(&host, "side"), links(&host, "side")), (old, "lo".into()));
    assert_eq!(host.connect("127.0.0.1", 8080, "tcp").code, 0);
    // Started again it joins again.
    host.rbox(&["restart", "-t", "0", "side"]).ok();
    assert_eq!((namespace(&host, "side"), links(&host, "side")), (namespace(&host, "web"), "eth0 lo".into()));
    host.rbox(&["stop", "-t", "0", "web", "side"]).ok();
    host.rbox(&["start", "side"]).code(1).says("cannot join the network of container").says("it is not running");
    host.rbox(&["rm", "web", "side"]).ok();
    host.assert_unchanged(&before);
}

#[test]
fn a_joiner_follows_the_container_and_not_its_name() {
    need!(Root);
    let host = Host::with_busybox();
    idle(&host, &["--name", "web"]);
    idle(&host, &["--name", "side", "--network", "container:web"]);
    host.rbox(&["rename", "web", "old"]).ok();
    idle(&host, &["--name", "web"]);
    host.rbox(&["restart", "-t", "0", "side"]).ok();
    assert_eq!(namespace(&host, "side"), namespace(&host, "old"));
    // One that is gone is not replaced by another of its name.
    host.rbox(&["rm", "-f", "old"]).ok();
    host.rbox(&["stop", "-t", "0", "side"]).ok();
    host.rbox(&["start", "side"]).code(1).says("not found");
    assert!(host.shown("side", "Status").starts_with("Exited (137)"), "{}", host.shown("side", "Status"));
}

#[test]
fn a_link_follows_the_container_and_not_its_name() {
    need!(Root);
    let host = Host::with_busybox();
    idle(&host, &["--name", "db"]);
    idle(&host, &["--name", "app", "--link", "db"]);
    host.rbox(&["rename", "db", "store"]).ok();
    idle(&host, &["--name", "db"]);
    host.rbox(&["restart", "-t", "0", "app"]).ok();
    let line = host.rbox(&["exec", "app", "grep", "172.17.0.2", "/etc/hosts"]).ok();
    assert!(line.stdout.starts_with("172.17.0.2\tstore db "), "its name is the new one, the alias as typed: {line}");
}

#[test]
fn a_joiner_whose_target_is_started_again_by_its_policy_is_left_alone() {
    need!(Root);
    let host = Host::with_busybox();
    idle(&host, &["--name", "web", "--restart", "always"]);
    idle(&host, &["--name", "side", "--network", "container:web"]);
    let pid = || host.rbox(&["inspect", "-f", "{{.State.Pid}}", "web"]).ok().text().to_owned();
    let first = pid();
    host.shell(&format!("kill -9 {first}")).ok();
    host.until(&["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "web"], "1 running");
    assert_ne!(pid(), first);
    assert_eq!(links(&host, "side"), "lo");
    assert_eq!(links(&host, "web"), "eth0 lo");
    host.rbox(&["restart", "-t", "0", "side"]).ok();
    assert_eq!(namespace(&host, "side"), namespace(&host, "web"));
}
