//! `rbox network shape`: what a container sends and gets is slower on purpose, by the counters over bytes that are really sent.

use crate::support::{Host, NEIGHBOUR4, need};
use serde_json::json;

/// Takes in whatever is sent to port 9000, and sends without end to who connects to port 9001.
const PARTNER: &str = "
import socket, threading
def take(there):
    while there.recv(65536): pass
def give(there):
    while True: there.sendall(bytes(65536))
def serve(port, what):
    here = socket.create_server((\"\", port))
    while True: threading.Thread(target=what, args=(here.accept()[0],), daemon=True).start()
threading.Thread(target=serve, args=(9000, take), daemon=True).start()
serve(9001, give)
";

fn world() -> Host {
    let host = Host::with_busybox();
    host.neighbour().shell(&format!("python3 -c '{PARTNER}' >/dev/null 2>&1 &")).ok();
    host.neighbour().shell("while ! ss -tln | grep -q 9001; do sleep 0.05; done").ok();
    host
}

#[track_caller]
fn idle(host: &Host, name: &str, flags: &[&str]) {
    host.detached(&[&["--name", name], flags].concat(), &["sleep", "1000"]);
}

/// How many bytes go through a card of the container in a second: `tx` or `rx`. The first second is not counted, when it may
/// send at once what it could have sent before.
#[track_caller]
fn bytes_a_second(host: &Host, name: &str, (card, way): (&str, &str)) -> f64 {
    let partner =
        if way == "tx" { format!("{NEIGHBOUR4} 9000 </dev/zero") } else { format!("{NEIGHBOUR4} 9001 >/dev/null") };
    let count = format!("cat /proc/uptime /sys/class/net/{card}/statistics/{way}_bytes");
    let script = format!("nc {partner} 2>/dev/null & pid=$!; sleep 1; {count}; sleep 3; {count}; kill $pid");
    let output = host.rbox(&["exec", name, "sh", "-c", &script]).ok();
    let numbers: Vec<f64> = output.stdout.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [began, _, before, ended, _, after] = numbers[..] else { panic!("{output}") };
    (after - before) / (ended - began)
}

#[track_caller]
fn assert_about(measured: f64, wanted: f64) {
    assert!((measured / wanted - 1.0).abs() < 0.15, "{measured:.0} bytes a second, not {wanted:.0}");
}

#[test]
fn rates_hold_both_ways_until_they_are_cleared_and_after_a_restart() {
    need!(Root);
    let host = world();
    idle(&host, "web", &[]);
    let free = bytes_a_second(&host, "web", ("eth0", "tx"));
    assert!(free > 30e6, "without it {free} bytes a second are sent");
    host.rbox(&["net", "shape", "web", "--rate", "16mbit", "--rate-in", "8mbit"]).ok();
    assert_about(bytes_a_second(&host, "web", ("eth0", "tx")), 2e6);
    assert_about(bytes_a_second(&host, "web", ("eth0", "rx")), 1e6);
    let shown = host.rbox(&["inspect", "--format", "{{json .HostConfig.Shapes}}", "web"]).ok().json();
    let wanted = json!([{ "Network": null, "RateBytes": 2_000_000, "RateInBytes": 1_000_000,
                          "DelayMicroseconds": null, "LossMillionths": null }]);
    assert_eq!(shown, wanted);
    host.rbox(&["restart", "-t", "0", "web"]).ok();
    assert_about(bytes_a_second(&host, "web", ("eth0", "tx")), 2e6);
    host.rbox(&["net", "shape", "web", "--clear"]).ok();
    assert!(bytes_a_second(&host, "web", ("eth0", "tx")) > 30e6);
    let pid = host.rbox(&["inspect", "--format", "{{.State.Pid}}", "web"]).ok().text().to_owned();
    let left = host.shell(&format!("tc qdisc; nsenter --net=/proc/{pid}/ns/net tc qdisc")).ok();
    assert!(!left.stdout.contains("tbf"), "{left}");
    let shown = host.rbox(&["inspect", "--format", "{{json .HostConfig}}", "web"]).ok().json();
    assert_eq!(shown.get("Shapes"), None);
}

#[test]
fn one_network_of_several_also_when_it_is_connected_again() {
    need!(Root);
    let host = world();
    host.rbox(&["network", "create", "slow"]).ok();
    idle(&host, "web", &["--network", "slow", "--network", "bridge"]);
    let queue = |card: &str| {
        let pid = host.rbox(&["inspect", "--format", "{{.State.Pid}}", "web"]).ok().text().to_owned();
        let shown = host.shell(&format!("nsenter --net=/proc/{pid}/ns/net tc qdisc show dev {card}")).ok().stdout;
        shown.split_whitespace().skip_while(|word| *word != "rate").nth(1).map(str::to_owned)
    };
    host.rbox(&["net", "shape", "web", "--network", "slow", "--rate", "8mbit"]).ok();
    assert_eq!([queue("eth0"), queue("eth1")], [Some("8Mbit".into()), None]);
    host.rbox(&["network", "disconnect", "slow", "web"]).ok();
    host.rbox(&["network", "connect", "slow", "web"]).ok();
    let of_slow = || if queue("eth0").is_some() { queue("eth0") } else { queue("eth1") };
    assert_eq!(of_slow(), Some("8Mbit".into()));
    // Of all, and one of them as fast as it can.
    host.rbox(&["net", "shape", "web", "--rate", "4mbit"]).ok();
    assert_eq!([queue("eth0"), queue("eth1")], [Some("4Mbit".into()), Some("4Mbit".into())]);
    host.rbox(&["net", "shape", "web", "--network", "slow", "--clear"]).ok();
    assert_eq!(of_slow(), Some("4Mbit".into()));
    assert_eq!([queue("eth0"), queue("eth1")].iter().flatten().count(), 1);
    // Of one that does not run, the next start.
    host.rbox(&["stop", "-t", "0", "web"]).ok();
    host.rbox(&["net", "shape", "web", "--rate", "2mbit"]).ok();
    host.rbox(&["start", "web"]).ok();
    assert_eq!([queue("eth0"), queue("eth1")], [Some("2Mbit".into()), Some("2Mbit".into())]);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_has_changed() {
    need!(Root);
    let host = world();
    idle(&host, "web", &[]);
    idle(&host, "host", &["--network", "host"]);
    idle(&host, "none", &["--network", "none"]);
    idle(&host, "joined", &["--network", "container:web"]);
    host.rbox(&["network", "create", "-d", "macvlan", "-o", "parent=eth0", "--subnet", "10.6.0.0/24", "segment"]).ok();
    idle(&host, "alone", &["--network", "segment"]);
    let table: [(&[&str], &str); 8] = [
        (&["web"], "rbox: --rate, --rate-in, --delay or --loss is missing"),
        (&["web", "--rate", "fast"], "rbox: --rate fast: not a rate: write 10mbit, 512kbit, or 1mbps for bytes"),
        (&["host", "--rate", "1mbit"], "rbox: cannot shape the network of container host: it is the host's own"),
        (&["none", "--rate", "1mbit"], "rbox: cannot shape the network of container none: it has none"),
        (
            &["joined", "--rate", "1mbit"],
            "rbox: cannot shape the network of container joined: it is another container's, and is shaped there",
        ),
        (&["web", "--network", "segment", "--rate", "1mbit"], "rbox: container web: it is not in network segment"),
        (
            &["alone", "--rate-in", "1mbit"],
            "rbox: --rate-in: on network segment the container's card has no end on the host",
        ),
        (&["nobody", "--rate", "1mbit"], "rbox: container nobody: not found"),
    ];
    for (words, said) in table {
        let output = host.rbox(&[&["net", "shape"], words].concat()).fails();
        assert_eq!(output.stderr.lines().next(), Some(said), "{words:?}");
    }
    host.rbox(&["net", "shape", "alone", "--rate", "1mbit"]).ok();
}

#[test]
fn what_is_late_or_lost_is_so_where_the_kernel_can() {
    need!(Root);
    let host = Host::with_busybox();
    idle(&host, "web", &[]);
    let rtt = || {
        let output = host.rbox(&["exec", "web", "ping", "-q", "-c", "10", "-i", "0.2", NEIGHBOUR4]);
        let average =
            output.stdout.lines().find_map(|line| line.split(" = ").nth(1)).and_then(|it| it.split('/').nth(1));
        average.map(|number| number.parse::<f64>().unwrap())
    };
    assert!(rtt().unwrap() < 20.0);
    let late = host.rbox(&["net", "shape", "web", "--delay", "50ms", "--rate", "8mbit"]);
    if host.shell("tc qdisc add dev lo root netem delay 1us && tc qdisc del dev lo root").code != 0 {
        let why =
            "rbox: --delay, --loss: this kernel has no netem (its module is sch_netem; Debian has it in linux-image)";
        assert_eq!(late.fails().stderr.lines().next(), Some(why));
        // Nothing of it has happened.
        assert!(rtt().unwrap() < 20.0);
        let shown = host.rbox(&["inspect", "--format", "{{json .HostConfig}}", "web"]).ok().json();
        assert_eq!(shown.get("Shapes"), None);
        return;
    }
    late.ok();
    let late = rtt().unwrap();
    assert!((50.0..80.0).contains(&late), "{late}");
    let pid = host.rbox(&["inspect", "--format", "{{.State.Pid}}", "web"]).ok().text().to_owned();
    let queues = host.shell(&format!("nsenter --net=/proc/{pid}/ns/net tc qdisc show dev eth0")).ok().stdout;
    assert!(queues.contains("qdisc tbf") && queues.contains("parent 1:1 rate 8Mbit"), "{queues}");
    host.rbox(&["net", "shape", "web", "--loss", "100%"]).ok();
    assert_eq!(rtt(), None);
    host.rbox(&["net", "shape", "web", "--clear"]).ok();
    assert!(rtt().unwrap() < 20.0);
}
