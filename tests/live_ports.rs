//! `publish` and `unpublish`: ports of a container come and go while it runs, and are remembered.

use crate::support::{BUSYBOX, Host, Output, Running, need};
use std::io::Write;

/// The server's answer, and whom it has seen.
#[track_caller]
fn seen(output: Output) -> String {
    let you = output.ok().json()["you"].as_str().unwrap().to_owned();
    you.rsplit_once(':').unwrap().0.trim_matches(['[', ']']).trim_start_matches("::ffff:").to_owned()
}

fn web(host: &Host, flags: &[&str]) {
    host.detached(&[&["--name", "web"], flags].concat(), &["/probe", "serve", "80", "6"]);
}

/// What all who can tell of the ports of `web` say: `port`, `ps`, `inspect`, each in a line.
fn told(host: &Host) -> String {
    let port = host.rbox(&["port", "web"]).ok().stdout.trim().replace('\n', ", ");
    let ps = host.rbox(&["ps", "--filter", "name=web", "--format", "{{.Ports}}"]).ok().stdout;
    let format = "{{json .HostConfig.PortBindings}} {{json .NetworkSettings.Ports}} {{json .Config.ExposedPorts}}";
    format!("{port}\n{ps}{}", host.rbox(&["inspect", "--format", format, "web"]).ok().stdout)
}

/// Nothing of the packet filter is missing, or nobody's.
#[track_caller]
fn assert_rules(host: &Host, count: usize) {
    let rules = host.rbox(&["network", "rules"]).ok().stdout;
    assert!(!rules.contains("MISSING") && !rules.contains("nobody's"), "{rules}");
    if crate::support::is_on_nftables() {
        // There a port is an element of a map, and `network rules` has looked for each.
        return;
    }
    let translating = host.shell("iptables-save -t nat; ip6tables-save -t nat").ok().stdout;
    assert_eq!(translating.matches("--to-destination").count(), count, "{translating}");
}

fn is_free(host: &Host, port: u16) -> bool {
    let script = format!("import socket; s = socket.socket(); s.bind(('0.0.0.0', {port}))");
    host.exec("python3", &["-c", &script]).code == 0
}

#[test]
fn a_port_comes_and_goes_while_the_container_runs() {
    need!(Root);
    let host = Host::with_busybox();
    web(&host, &[]);
    let without = told(&host);
    let before = host.snapshot();
    host.neighbour().connect("192.0.2.2", 9090, "tcp").fails();
    let said = host.rbox(&["publish", "web", "9090:80", "127.0.0.1:9091:80"]).ok();
    assert_eq!(said.stdout, "80/tcp -> 0.0.0.0:9090\n80/tcp -> :::9090\n80/tcp -> 127.0.0.1:9091\n");
    assert_eq!(seen(host.neighbour().connect("192.0.2.2", 9090, "tcp")), "192.0.2.3", "a client keeps its address");
    for address in ["192.0.2.2", "127.0.0.1", "172.17.0.1", "::1", "2001:db8::2"] {
        seen(host.connect(address, 9090, "tcp"));
    }
    seen(host.connect("127.0.0.1", 9091, "tcp"));
    host.neighbour().connect("192.0.2.2", 9091, "tcp").fails();
    host.rbox(&["exec", "web", "/probe", "connect", "192.0.2.2", "9090"]).ok();
    assert!(!is_free(&host, 9090) && !is_free(&host, 9091));
    assert_eq!(
        told(&host),
        "80/tcp -> 0.0.0.0:9090, 80/tcp -> 127.0.0.1:9091, 80/tcp -> :::9090\n\
         0.0.0.0:9090->80/tcp, 127.0.0.1:9091->80/tcp, :::9090->80/tcp\n\
         {\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"9090\"},{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"9091\"}]} \
         {\"80/tcp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"9090\"},{\"HostIp\":\"::\",\"HostPort\":\"9090\"},\
         {\"HostIp\":\"127.0.0.1\",\"HostPort\":\"9091\"}]} {\"80/tcp\":{}}\n"
    );
    assert_rules(&host, 3);

    host.rbox(&["unpublish", "web", "9090"]).ok();
    host.neighbour().connect("192.0.2.2", 9090, "tcp").fails().says("ConnectionRefused");
    host.connect("::1", 9090, "tcp").fails().says("ConnectionRefused");
    seen(host.connect("127.0.0.1", 9091, "tcp"));
    assert!(is_free(&host, 9090) && !is_free(&host, 9091));
    assert_rules(&host, 1);
    host.rbox(&["container", "unpublish", "web", "127.0.0.1:9091:80"]).ok();
    assert_eq!(told(&host), without);
    assert_rules(&host, 0);
    host.assert_unchanged(&before);
}

#[test]
fn a_run_in_the_foreground_takes_ports_up_too() {
    need!(Root);
    let host = Host::with_busybox();
    let mut running =
        host.rbox_spawn(&["run", "--name", "web", "-p", "8080:80", BUSYBOX, "sh", "-c", "echo up; exec httpd -f"]);
    running.wait_for("up");
    host.rbox(&["publish", "web", "9090:80"]).ok();
    assert!(!is_free(&host, 9090) && !is_free(&host, 8080));
    host.rbox(&["unpublish", "web", "8080"]).ok();
    assert!(is_free(&host, 8080) && !is_free(&host, 9090));
    assert_eq!(host.rbox(&["port", "web", "80"]).ok().stdout, "0.0.0.0:9090\n:::9090\n");
}

/// A client that holds a connection, and says what becomes of it: relayed over ::1, and translated.
const HOLDS: &str = r#"
import socket, sys
held = [socket.create_connection((to, 9000), 5) for to in ("::1", "192.0.2.2")]
print("held", flush=True)
for line in sys.stdin:
    for one in held:
        one.sendall(line.encode())
        assert one.recv(100).decode() == line
    print("echoed " + line.strip(), flush=True)
"#;

#[test]
fn connections_that_stand_go_on_whatever_ports_come_and_go() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--name", "web", "-p", "9000:9000"], &["nc", "-ll", "-p", "9000", "-e", "cat"]);
    host.until(&["exec", "web", "netstat", "-ltn"], ":9000");
    let mut client = host.spawn("python3", &["-c", HOLDS]);
    client.wait_for("held");
    let echo = |word: &str, client: &mut Running| {
        writeln!(client.child.stdin.as_mut().unwrap(), "{word}").unwrap();
        client.wait_for(&format!("echoed {word}"));
    };
    echo("one", &mut client);
    host.rbox(&["publish", "web", "9001:9000", "9002:9000/udp"]).ok();
    echo("two", &mut client);
    host.rbox(&["unpublish", "web", "9000"]).ok();
    echo("three", &mut client);
    for address in ["::1", "192.0.2.2"] {
        host.connect(address, 9000, "tcp").fails();
    }
}

#[test]
fn what_was_published_is_there_after_every_kind_of_new_life_and_what_was_taken_back_is_not() {
    need!(Root);
    let host = Host::with_busybox();
    web(&host, &["-p", "8080:80", "--restart", "always"]);
    host.rbox(&["publish", "web", "9090:80"]).ok();
    host.rbox(&["unpublish", "web", "8080"]).ok();
    let ports = told(&host);
    let kill = "pkill -9 -f '^/probe serve 80'";
    let lives: [(&str, &dyn Fn()); 4] = [
        ("restart", &|| drop(host.rbox(&["restart", "-t", "0", "web"]).ok())),
        ("stop and start", &|| {
            host.rbox(&["stop", "-t", "0", "web"]).ok();
            assert!(is_free(&host, 9090));
            host.rbox(&["start", "web"]).ok();
        }),
        ("the restart policy", &|| {
            host.shell(kill).ok();
            host.until(&["inspect", "--format", "{{.RestartCount}} {{.State.Status}}", "web"], "1 running");
        }),
        ("another monitor", &|| {
            host.kill_monitors();
            host.rbox(&["run", "--rm", BUSYBOX, "true"]).ok();
        }),
    ];
    for (life, begin) in lives {
        begin();
        host.until(&["logs", "web"], "ready");
        assert_eq!(told(&host), ports, "{life}");
        assert_eq!(seen(host.neighbour().connect("192.0.2.2", 9090, "tcp")), "192.0.2.3", "{life}");
        seen(host.connect("::1", 9090, "tcp"));
        assert!(is_free(&host, 8080) && !is_free(&host, 9090), "{life}");
        host.connect("127.0.0.1", 8080, "tcp").fails();
        assert_rules(&host, 2);
    }
    // The one that took it up lets go of ports, and takes others.
    host.rbox(&["unpublish", "web", "9090"]).ok();
    host.rbox(&["publish", "web", "9191:80"]).ok();
    assert!(is_free(&host, 9090) && !is_free(&host, 9191));
    seen(host.connect("::1", 9191, "tcp"));
}

#[test]
fn of_a_container_that_stands_still_the_next_start_publishes_others() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["create", "--name", "web", "-p", "8080:80", "-p", "81", BUSYBOX, "httpd", "-f"]).ok();
    let said = host.rbox(&["publish", "web", "9090:80", "[::1]:9091:80"]).ok();
    assert_eq!(said.stdout, "");
    host.rbox(&["unpublish", "web", "8080", "81"]).ok();
    let error = host.rbox(&["publish", "web", "127.0.0.1:9090:82"]).code(1).stderr;
    assert_eq!(error, "rbox: cannot publish port 9090: address already in use (by container web)\n");
    let error = host.rbox(&["unpublish", "web", "8080"]).code(1).stderr;
    assert_eq!(error, "rbox: container web: port 8080 is not published\n");
    let bindings = ["inspect", "--format", "{{json .HostConfig.PortBindings}}", "web"];
    let wanted = r#"{"80/tcp":[{"HostIp":"","HostPort":"9090"},{"HostIp":"::1","HostPort":"9091"}]}"#;
    assert_eq!(host.rbox(&bindings).ok().text(), wanted);
    host.rbox(&["start", "web"]).ok();
    assert_eq!(
        host.rbox(&["port", "web"]).ok().stdout,
        "80/tcp -> 0.0.0.0:9090\n80/tcp -> ::1:9091\n80/tcp -> :::9090\n"
    );
    assert!(is_free(&host, 8080));
}

#[test]
fn what_was_published_by_capital_p_can_be_taken_back_one_by_one() {
    need!(Root);
    let host = Host::with_busybox();
    web(&host, &["-P", "--expose", "80", "--expose", "90"]);
    host.rbox(&["publish", "web", "81"]).ok();
    host.rbox(&["unpublish", "web", "49154"]).ok();
    assert_eq!(
        host.rbox(&["port", "web"]).ok().stdout,
        "80/tcp -> 0.0.0.0:49153\n80/tcp -> :::49153\n81/tcp -> 0.0.0.0:49155\n81/tcp -> :::49155\n"
    );
    host.rbox(&["restart", "-t", "0", "web"]).ok();
    let again = host.rbox(&["port", "web"]).ok().stdout;
    assert!(
        again.contains("80/tcp -> 0.0.0.0:4915") && again.contains("81/tcp -> ") && !again.contains("90/tcp"),
        "{again}"
    );
}

#[test]
fn what_cannot_be_published_says_why_and_changes_nothing() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--internal", "inner"]).ok();
    web(&host, &["-p", "8080:80"]);
    for (name, network) in
        [("on-host", "host"), ("on-none", "none"), ("joined", "container:web"), ("on-inner", "inner")]
    {
        host.detached(&["--name", name, "--network", network], &["sleep", "1000"]);
    }
    host.detached(&["--name", "other", "-p", "7000:70"], &["sleep", "1000"]);
    let probe = crate::support::probe().display().to_string();
    let mut holder = host.spawn(&probe, &["serve", "7070"]);
    holder.wait_for("ready");
    let pid = host.shell("pgrep -f 'probe serve 7070' | head -n 1").ok().text().to_owned();
    let (before, ports) = (host.snapshot(), told(&host));
    let by_pid = format!("cannot publish port 7070: address already in use (by probe, pid {pid})");
    for (words, why) in [
        (
            &["publish", "web", "9090:80", "7000:80"][..],
            "cannot publish port 7000: address already in use (by container other)",
        ),
        (&["publish", "web", "9090:80", "7070:80"], &by_pid),
        (&["publish", "web", "8080:81"], "cannot publish port 8080: address already in use (by container web)"),
        (
            &["publish", "web", "7000-7100:7000-7100"],
            "cannot publish port 7000: address already in use (by container other)",
        ),
        (&["publish", "web", "7001-7100:7001-7100"], &by_pid),
        (&["publish", "web", "http:80"], "publish http:80: host port http is not a number from 1 to 65535"),
        (&["publish", "nobody", "80"], "container nobody: not found\nhint: rbox ps -a lists them"),
        (
            &["publish", "on-host", "80"],
            "cannot publish a port of container on-host: it is on network host, and the program's ports are the host's own already",
        ),
        (
            &["publish", "on-none", "80"],
            "cannot publish a port of container on-none: it is on network none, and nothing leads into a network of its own that has no link",
        ),
        (
            &["publish", "on-inner", "80"],
            "cannot publish a port of container on-inner: it is on network inner, and nothing leads into an internal network",
        ),
        (
            &["publish", "joined", "80"],
            "cannot publish a port of container joined: its network is that of container web\nhint: rbox publish web …, where the network is",
        ),
        (&["unpublish", "web", "9090"], "container web: port 9090 is not published"),
        (&["unpublish", "web", "8080", "8080/udp"], "container web: port 8080/udp is not published"),
        (&["unpublish", "web", "x"], "unpublish x: container port x is not a number from 1 to 65535"),
        (&["unpublish", "on-host", "80"], "container on-host: port 80 is not published"),
    ] {
        assert_eq!(host.rbox(words).code(1).stderr, format!("rbox: {why}\n"), "{words:?}");
    }
    assert_eq!(told(&host), ports);
    host.assert_unchanged(&before);
    assert!(is_free(&host, 9090) && is_free(&host, 7001));
}

#[test]
fn who_calls_over_ipv6_one_that_has_no_such_address_is_seen_as_the_gateway_and_all_others_as_themselves() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--ipv6", "six"]).ok();
    web(&host, &[]);
    host.detached(&["--name", "six", "--network", "six"], &["/probe", "serve", "80", "6"]);
    host.rbox(&["publish", "web", "9090:80"]).ok();
    host.rbox(&["publish", "six", "9191:80"]).ok();
    let from_outside = |to: &str, port| seen(host.neighbour().connect(to, port, "tcp"));
    assert_eq!(from_outside("192.0.2.2", 9090), "192.0.2.3");
    assert_eq!(from_outside("2001:db8::2", 9090), "172.17.0.1");
    assert_eq!(from_outside("192.0.2.2", 9191), "192.0.2.3");
    assert_eq!(from_outside("2001:db8::2", 9191), "2001:db8::3");
}

#[test]
fn a_port_without_an_address_comes_where_the_configuration_says() {
    need!(Root);
    let host = Host::with_busybox();
    std::fs::write(host.path("config.json"), r#"{ "publish": { "default_ip": "127.0.0.1" } }"#).unwrap();
    web(&host, &[]);
    assert_eq!(host.rbox(&["publish", "web", "9090:80"]).ok().stdout, "80/tcp -> 127.0.0.1:9090\n");
    host.neighbour().connect("192.0.2.2", 9090, "tcp").fails();
    seen(host.connect("127.0.0.1", 9090, "tcp"));
    host.rbox(&["unpublish", "web", "9090:80"]).ok();
    assert!(is_free(&host, 9090));
}

#[test]
fn ports_go_with_the_way_out_when_networks_change() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&[], &["true"]).ok();
    for name in ["a-red", "blue"] {
        host.rbox(&["network", "create", name]).ok();
    }
    web(&host, &["--network", "blue"]);
    host.rbox(&["publish", "web", "9090:80"]).ok();
    host.rbox(&["network", "connect", "a-red", "web"]).ok();
    seen(host.neighbour().connect("192.0.2.2", 9090, "tcp"));
    host.rbox(&["publish", "web", "9091:80"]).ok();
    host.rbox(&["network", "disconnect", "a-red", "web"]).ok();
    for port in [9090, 9091] {
        seen(host.neighbour().connect("192.0.2.2", port, "tcp"));
        seen(host.connect("::1", port, "tcp"));
    }
    host.rbox(&["unpublish", "web", "9090", "9091"]).ok();
    assert_rules(&host, 0);
}
