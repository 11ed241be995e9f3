//! Who sends datagrams to a published port without a pause is heard by whoever has it now.

use crate::support::{Host, Running, need};

/// A client on the neighbour that asks from one port, every 50 ms, and prints who answers it, when that changes.
const CLIENT: &str = r#"
import json, socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
asks = socket.socket(family, socket.SOCK_DGRAM)
asks.bind(("", 4000))
asks.settimeout(0.05)
before, silence = "", 0
print("asks", flush=True)
while True:
    asks.sendto(b"hello\n", (sys.argv[1], 5000))
    try:
        now, silence = json.loads(asks.recv(2048))["host"], 0
        time.sleep(0.05)
    except OSError:
        silence += 1
        now = "nobody" if silence > 3 else before
    if now != before:
        print(now, flush=True)
    before = now
"#;

fn client(host: &Host, to: &str) -> Running {
    let pid = host.shell("cat neighbour.pid").ok().text().to_owned();
    let mut client = host.spawn("nsenter", &[&format!("--net=/proc/{pid}/ns/net"), "python3", "-c", CLIENT, to]);
    client.wait_for("asks");
    client
}

fn serve(host: &Host, name: &str, flags: &[&str], port: &str) {
    let flags = [&["--name", name, "--hostname", name, "--network", "net1"], flags].concat();
    host.detached(&flags, &["/probe", "serve", port, "udp", "6"]);
}

#[test]
fn who_sends_before_the_port_is_published_is_heard_then() {
    need!(Root);
    for to in ["192.0.2.2", "2001:db8::2"] {
        let host = Host::with_busybox();
        host.rbox(&["network", "create", "--ipv6", "--subnet", "10.5.0.0/24", "--subnet", "fd00:5::/64", "net1"]).ok();
        let mut client = client(&host, to);
        client.wait_for("nobody");
        // The port of the host is not that of the container.
        serve(&host, "first", &["-p", "5000:53/udp"], "53");
        client.wait_for("first");
        host.rbox(&["rm", "-f", "first"]).ok();
        client.wait_for("nobody");
        serve(&host, "second", &["-p", "4990-5010:5990-6010/udp"], "6000");
        client.wait_for("second");
    }
}

#[test]
fn who_goes_on_sending_is_not_heard_by_the_next_owner_of_the_address() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--subnet", "10.5.0.0/24", "net1"]).ok();
    serve(&host, "first", &["--ip", "10.5.0.9", "-p", "5000:5000/udp"], "5000");
    let mut client = client(&host, "192.0.2.2");
    client.wait_for("first");
    host.rbox(&["rm", "-f", "first"]).ok();
    serve(&host, "stranger", &["--ip", "10.5.0.9"], "5000");
    client.wait_for("nobody");
    serve(&host, "second", &["-p", "5000:5000/udp"], "5000");
    assert!(!client.wait_for("second").contains("stranger"));
    // Killed, and found by the next command.
    host.kill_monitors();
    host.shell("pkill -9 -f '^/probe serve 5000'").ok();
    serve(&host, "third", &["-p", "5000:5000/udp"], "5000");
    client.wait_for("third");
}

#[test]
fn what_passes_through_to_that_port_elsewhere_goes_on() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--subnet", "10.5.0.0/24", "net1"]).ok();
    host.detached(&["--name", "asks", "--network", "net1"], &["sleep", "1000"]);
    let _server = host.neighbour_serves(&["5000", "udp"]);
    host.rbox(&["exec", "asks", "/probe", "connect", "192.0.2.3", "5000", "udp"]).ok();
    let flows = || host.shell("cat /proc/net/nf_conntrack | grep -c 'dst=192.0.2.3 .*dport=5000'").text().to_owned();
    let before = flows();
    serve(&host, "first", &["-p", "5000:5000/udp"], "5000");
    assert_eq!((before.as_str(), flows().as_str()), ("1", "1"));
}

#[test]
fn who_goes_on_sending_is_heard_as_long_as_the_port_is_published_on_a_container_that_runs() {
    need!(Root);
    for to in ["192.0.2.2", "2001:db8::2"] {
        let host = Host::with_busybox();
        host.rbox(&["network", "create", "--ipv6", "--subnet", "10.5.0.0/24", "--subnet", "fd00:5::/64", "net1"]).ok();
        serve(&host, "first", &[], "53");
        serve(&host, "second", &[], "6000");
        // Another port of it is published all the time, and other datagrams come there.
        host.rbox(&["publish", "first", "5001:53/udp"]).ok();
        let mut client = client(&host, to);
        client.wait_for("nobody");
        host.rbox(&["publish", "first", "5000:53/udp"]).ok();
        client.wait_for("first");
        host.rbox(&["unpublish", "first", "5000/udp"]).ok();
        client.wait_for("nobody");
        host.rbox(&["publish", "second", "4990-5000:5990-6000/udp"]).ok();
        client.wait_for("second");
        host.rbox(&["unpublish", "second", "4990-5000/udp"]).ok();
        client.wait_for("nobody");
        assert!(host.neighbour().connect(to, 5001, "udp").ok().stdout.contains("first"));
    }
}
