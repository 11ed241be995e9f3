//! What the user's documents run, as Debian ships it: nginx, redis, curl, and what net-tools and iputils say of the
//! networks. The other files look at the same lines with busybox, whose words differ.

use crate::support::{Host, Output, Running, is_on_nftables, need};

const DEBIAN: &str = "rbox-fixtures/debian";

/// A host with a wire, and with the Debian image loaded.
fn host() -> Host {
    let host = Host::new();
    host.load("debian");
    host
}

/// `rbox run --rm FLAGS debian bash -c SCRIPT` to its end.
fn run(host: &Host, flags: &[&str], script: &str) -> Output {
    let words: Vec<&str> =
        ["run", "--rm"].iter().chain(flags).chain(&[DEBIAN, "bash", "-c", script]).copied().collect();
    host.rbox(&words)
}

/// The same in the background.
fn start(host: &Host, flags: &[&str], program: &[&str]) -> Running {
    let words: Vec<&str> = ["run", "--rm"].iter().chain(flags).chain(&[DEBIAN]).chain(program).copied().collect();
    host.rbox_spawn(&words)
}

/// The image's own command, `nginx -g 'daemon off;'`, from the moment on when it answers at `url` on the host.
#[track_caller]
fn nginx(host: &Host, flags: &[&str], url: &str) -> Running {
    let web = start(host, flags, &[]);
    let asked = format!("for n in $(seq 200); do curl -fs {url} >/dev/null && exit; sleep 0.05; done; exit 1");
    assert_eq!(host.shell(&asked).code, 0, "nginx never answered at {url}");
    web
}

/// It is nginx that answered.
#[track_caller]
fn welcomed(output: Output, to: &str) {
    let output = output.ok();
    assert!(output.stdout.contains("<title>Welcome to nginx!</title>"), "{to}: {output}");
}

#[track_caller]
fn shows(output: &Output, words: &[&str]) {
    for words in words {
        assert!(output.stdout.contains(words), "`{words}` is missing:\n{output}");
    }
}

fn fetch(url: &str) -> String {
    format!("curl -fsS --max-time 10 'http://{url}/'")
}

#[test]
fn a_016_a_027_a_080_to_a_086_a_095_a_098_a_099_nginx_on_a_published_port_is_reached_from_everywhere() {
    need!(Root);
    let host = host();
    let web = nginx(&host, &["--name", "nginx", "-p", "8080:80"], "127.0.0.1:8080");
    welcomed(host.neighbour().shell(&fetch("192.0.2.2:8080")), "A-095: a neighbour");
    welcomed(host.shell(&fetch("192.0.2.2:8080")), "A-099: the host by its address");
    welcomed(host.shell(&fetch("127.0.0.1:8080")), "A-099: the host by 127.0.0.1");
    welcomed(host.shell(&fetch("[::1]:8080")), "A-106: the host by ::1");
    welcomed(web.inside(&fetch("192.0.2.2:8080")), "A-098: the container itself");
    welcomed(run(&host, &[], &fetch("192.0.2.2:8080")), "another container by the host's address");
    welcomed(run(&host, &[], &fetch("172.17.0.2")), "A-062: another container by the container's address");
    host.neighbour().shell(&fetch("192.0.2.2")).code(7).says("Failed to connect");
    if !is_on_nftables() {
        as_iptables_lists_it(&host);
    }
    let log = web.end().ok().stdout;
    // nginx is told who asks: the neighbour, and a container of its own bridge.
    for caller in ["192.0.2.3", "172.17.0.3"] {
        let line = format!("{caller} - - [");
        assert!(log.lines().any(|entry| entry.starts_with(&line) && entry.contains("\"GET / HTTP/1.1\" 200")), "{log}");
    }
    host.shell(&fetch("127.0.0.1:8080")).code(7);
}

/// `iptables -nL -v` shows the rules as the user's document has them.
#[track_caller]
fn as_iptables_lists_it(host: &Host) {
    let nat = host.shell("iptables -t nat -nL -v").ok().stdout;
    let filter = host.shell("iptables -nL -v").ok().stdout;
    for (table, chain, line, number) in [
        (&nat, "PREROUTING", "RBOX all -- * * 0.0.0.0/0 0.0.0.0/0 ADDRTYPE match dst-type LOCAL", "A-080"),
        (&nat, "OUTPUT", "RBOX all -- * * 0.0.0.0/0 !127.0.0.0/8 ADDRTYPE match dst-type LOCAL", "A-082"),
        (&nat, "POSTROUTING", "MASQUERADE all -- * !rbox0 172.17.0.0/16 0.0.0.0/0", "A-083"),
        (&nat, "POSTROUTING", "MASQUERADE tcp -- * * 172.17.0.2 172.17.0.2 tcp dpt:80", "A-084"),
        (&nat, "RBOX", "RETURN all -- rbox0 * 0.0.0.0/0 0.0.0.0/0", "A-085"),
        (&nat, "RBOX", "DNAT tcp -- !rbox0 * 0.0.0.0/0 0.0.0.0/0 tcp dpt:8080 to:172.17.0.2:80", "A-086"),
        (&filter, "FORWARD", "ACCEPT all -- * rbox0 0.0.0.0/0 0.0.0.0/0 ctstate RELATED,ESTABLISHED", "A-091"),
        (&filter, "FORWARD", "ACCEPT all -- rbox0 !rbox0 0.0.0.0/0 0.0.0.0/0", "A-091"),
        (&filter, "FORWARD", "ACCEPT all -- rbox0 rbox0 0.0.0.0/0 0.0.0.0/0", "A-091"),
        (&filter, "RBOX", "ACCEPT tcp -- !rbox0 rbox0 0.0.0.0/0 172.17.0.2 tcp dpt:80", "A-093"),
    ] {
        let rules = listed(table, chain);
        assert!(rules.iter().any(|(_, rule)| rule == line), "{number}: {line}\n{rules:#?}");
    }
    assert!(nat.contains("Chain RBOX (2 references)"), "A-085: {nat}");
    assert_eq!(listed(&nat, "INPUT"), [], "A-081");
    let (packets, _) = listed(&nat, "RBOX").pop().expect("the DNAT rule was just found");
    assert!(packets >= 2, "A-096: the neighbour and the host came by this rule, {packets} packets:\n{nat}");
}

/// The rules of one chain of `iptables -nL -v`: packets, and the words without counters and comment. Newer versions
/// write the protocol's number.
fn listed(table: &str, chain: &str) -> Vec<(u64, String)> {
    let head = format!("Chain {chain} (");
    let own = table.lines().skip_while(|line| !line.starts_with(&head)).skip(2).take_while(|line| !line.is_empty());
    own.map(|line| {
        let (before, after) = line
            .split_once("/*")
            .map_or((line, ""), |(before, rest)| (before, rest.split_once("*/").expect("a comment ends").1));
        let mut words: Vec<&str> = before.split_whitespace().chain(after.split_whitespace()).collect();
        let packets = words[0].parse().unwrap();
        words[3] = match words[3] {
            "0" => "all",
            "6" => "tcp",
            word => word,
        };
        (packets, words[2..].join(" "))
    })
    .collect()
}

/// `10 seconds`, and Docker's two other forms for what is younger.
fn is_age(text: &str) -> bool {
    let many = text.strip_suffix(" seconds").is_some_and(|number| number.parse::<u8>().is_ok_and(|number| number > 1));
    many || text == "1 second" || text == "Less than a second"
}

#[test]
fn a_019_a_105_to_a_107_exposed_ports_are_published_and_listed() {
    need!(Root);
    let host = host();
    let _first = nginx(&host, &["-P", "--name", "tomcat1"], "127.0.0.1:49153");
    let _second = nginx(&host, &["-P", "--name", "tomcat2"], "127.0.0.1:49154");
    for port in [49153, 49154] {
        welcomed(host.neighbour().shell(&fetch(&format!("192.0.2.2:{port}"))), "A-105");
    }
    let shown = host.rbox(&["ps"]).ok();
    let rows = shown.rows();
    assert_eq!(rows[0], ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"], "A-107");
    assert_eq!(rows.len(), 3, "{shown}");
    // The newest is first.
    for (row, port, name) in [(&rows[1], 49154, "tomcat2"), (&rows[2], 49153, "tomcat1")] {
        assert!(row[0].len() == 12 && row[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "A-107: {row:?}");
        // An argument with a space stands in quotes, and after 20 letters there is an end of it, as in Docker's.
        assert_eq!(row[1..3], [DEBIAN, "\"nginx -g 'daemon of…\""], "A-107");
        let age = row[4].strip_prefix("Up ").unwrap_or_else(|| panic!("A-107: {row:?}"));
        assert!(is_age(age) && row[3].strip_suffix(" ago").is_some_and(is_age), "A-107: {row:?}");
        assert_eq!(row[5], format!("0.0.0.0:{port}->80/tcp, :::{port}->80/tcp"), "A-106");
        assert_eq!(row[6], name, "A-107");
    }
    assert_eq!(host.rbox(&["ps", "-ql"]).ok().text(), rows[1][0], "A-007");
}

#[test]
fn a_040_to_042_none_in_the_words_of_net_tools_and_iputils() {
    need!(Root);
    let host = host();
    let shown = run(&host, &["--network", "none"], "ifconfig -a && netstat -rn").ok();
    shows(
        &shown,
        &[
            "lo: flags=73<UP,LOOPBACK,RUNNING>  mtu 65536\n",
            "inet 127.0.0.1  netmask 255.0.0.0\n",
            "txqueuelen 1000  (Local Loopback)",
            "RX packets 0  bytes 0 (0.0 B)",
            "TX packets 0  bytes 0 (0.0 B)",
        ],
    );
    assert_eq!(shown.stdout.matches(": flags=").count(), 1, "A-040: {shown}");
    assert!(shown.stdout.trim_end().ends_with("irtt Iface"), "A-042, no route: {shown}");
    let began = std::time::Instant::now();
    let none = ["--network", "none"];
    run(&host, &none, "ping -c 1 moelove.info")
        .code(2)
        .says("ping: moelove.info: Temporary failure in name resolution");
    assert!(began.elapsed().as_secs() < 10, "A-041: it does not hang");
    run(&host, &none, "ping -c 1 172.17.0.1").code(2).says("ping: connect: Network is unreachable");
}

#[test]
fn a_045_to_048_nginx_on_the_hosts_network() {
    need!(Root);
    let host = host();
    std::fs::write(host.path("etc/hosts"), "127.0.0.1\tlocalhost\n192.0.2.3\toutside.test\n").unwrap();
    let web = nginx(&host, &["--network", "host"], "127.0.0.1:80");
    welcomed(host.neighbour().shell(&fetch("192.0.2.2")), "the port is the host's own, without -p");
    let rules = host.shell("iptables-save").ok().stdout;
    assert!(!rules.contains("DNAT"), "{rules}");
    let ping = web.inside("ping -q -c 1 outside.test").ok();
    shows(&ping, &["PING outside.test (192.0.2.3) 56(84) bytes", "1 packets transmitted, 1 received, 0% packet loss"]);
    let hosts = web.inside("cat /etc/hosts").ok().stdout;
    assert_eq!(hosts, host.shell("cat /etc/hosts").ok().stdout, "A-046");
    let pid = web.container_pid();
    let own = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(own.to_str().unwrap(), host.shell("readlink /proc/self/ns/net").ok().text(), "A-047");
    let listed = std::process::Command::new("ls").args(["-l", &format!("/proc/{pid}/ns")]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let net = format!(" net -> {}", own.display());
    assert!(listed.lines().any(|line| line.contains(" root root ") && line.ends_with(&net)), "A-048: {listed}");
    // The wire with its address, as ifconfig has it on the host.
    let wire = web.inside("ifconfig eth0").ok();
    shows(&wire, &["inet 192.0.2.2  netmask 255.255.255.0"]);
    web.end().ok();
}

#[test]
fn a_050_to_a_055_a_061_to_a_063_a_065_a_068_a_207_the_bridge_in_the_words_of_net_tools_and_iputils() {
    need!(Root);
    let host = host();
    let web = nginx(&host, &[], "172.17.0.2");
    let second =
        "ifconfig; route -n; ip route; ping -c 1 172.17.0.2; ping -c 1 172.17.0.1; ping -c 1 192.0.2.3; arp -n";
    let shown = run(&host, &[], second).ok();
    shows(
        &shown,
        &[
            // the second container is .3
            "eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500\n",
            "inet 172.17.0.3  netmask 255.255.0.0  broadcast 172.17.255.255\n",
            "ether 02:42:ac:11:00:03  txqueuelen 0  (Ethernet)\n",
            //
            "lo: flags=73<UP,LOOPBACK,RUNNING>  mtu 65536\n        inet 127.0.0.1  netmask 255.0.0.0\n",
            //
            "default via 172.17.0.1 dev eth0 \n172.17.0.0/16 dev eth0 proto kernel scope link src 172.17.0.3",
            // no hop between the two
            "PING 172.17.0.2 (172.17.0.2) 56(84) bytes of data.\n64 bytes from 172.17.0.2: icmp_seq=1 ttl=64 time=",
            "64 bytes from 172.17.0.1: icmp_seq=1 ttl=64 time=",
            // the host is the hop on the way out
            "64 bytes from 192.0.2.3: icmp_seq=1 ttl=63 time=",
        ],
    );
    let table = shown.stdout.split("Use Iface\n").nth(1).expect("route -n has a head");
    let routes: Vec<String> =
        table.lines().take(3).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        routes[..2],
        ["0.0.0.0 172.17.0.1 0.0.0.0 UG 0 0 0 eth0", "172.17.0.0 0.0.0.0 255.255.0.0 U 0 0 0 eth0"],
        "A-054, A-065: on-link has the gateway 0.0.0.0"
    );
    assert!(routes[2].starts_with("default via"), "A-054, two routes exactly: {routes:?}");
    let neighbours = shown.stdout.split("Flags Mask").nth(1).expect("arp has a head");
    assert!(neighbours.contains("02:42:ac:11:00:02"), "A-065: {neighbours}");
    assert!(!neighbours.contains("192.0.2.3"), "A-068: the host's wire is another segment: {neighbours}");

    // From the host's side, by a container on the host's network.
    as_ifconfig_shows_the_bridge(&host);
    let seen = host.neighbour().shell("ip neigh show dev eth0").ok().stdout;
    assert!(seen.contains("192.0.2.2") && !seen.contains("172.17.0"), "A-068: only the host is on the wire: {seen}");
    web.end().ok();
}

/// `ifconfig rbox0`, to the letter.
#[track_caller]
fn as_ifconfig_shows_the_bridge(host: &Host) {
    let shown = run(host, &["--network", "host"], "ifconfig rbox0").ok().stdout;
    let mac = host.shell("cat /sys/class/net/rbox0/address").ok().text().to_owned();
    assert!(mac.starts_with("02:42:"), "{mac}");
    let local = host.shell("ip -o -6 addr show dev rbox0 scope link").ok();
    let local = local.text().split_whitespace().nth(3).unwrap().strip_suffix("/64").unwrap();
    assert!(local.starts_with("fe80::42:"), "{local}");
    let head = format!(
        "rbox0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500
        inet 172.17.0.1  netmask 255.255.0.0  broadcast 172.17.255.255
        inet6 {local}  prefixlen 64  scopeid 0x20<link>
        ether {mac}  txqueuelen 0  (Ethernet)\n"
    );
    assert!(shown.starts_with(&head), "{head}{shown}");
}

#[test]
fn a_028_a_062_a_067_a_099_redis_is_reached_by_its_address_and_not_without_a_network() {
    need!(Root);
    let host = host();
    let server = ["redis-server", "--protected-mode", "no"];
    let mut store = start(&host, &["-p", "6379:6379"], &server);
    store.wait_for("Ready to accept connections");
    run(&host, &[], "redis-cli -h 172.17.0.2 set user rbox").ok();
    assert_eq!(run(&host, &[], "redis-cli -h 172.17.0.2 get user").ok().text(), "rbox", "A-062");
    for address in ["172.17.0.2", "192.0.2.2", "127.0.0.1"] {
        let answer = run(&host, &["--network", "host"], &format!("redis-cli -h {address} get user")).ok();
        assert_eq!(answer.text(), "rbox", "A-099: {address}: {answer}");
    }
    let listening = store.inside("netstat -ntlp").ok();
    let line =
        listening.stdout.lines().find(|line| line.contains("0.0.0.0:6379")).unwrap_or_else(|| panic!("{listening}"));
    assert!(line.contains("LISTEN") && line.contains("1/redis-server"), "A-028: {listening}");
    // each alone, without a way to the other.
    let mut alone = start(&host, &["--network", "none"], &server);
    alone.wait_for("Ready to accept connections");
    run(&host, &["--network", "none"], "redis-cli ping").fails().says("127.0.0.1:6379: Connection refused");
    run(&host, &["--network", "none"], "redis-cli -h 172.17.0.2 ping").fails().says("Network is unreachable");
    assert_eq!(alone.inside("redis-cli ping").ok().text(), "PONG");
    assert_eq!(alone.inside("redis-cli get user").ok().text(), "", "the data is its own");
    store.end().ok();
}

#[test]
fn a_123_ping_shows_the_name_and_the_network_of_who_answers() {
    need!(Root);
    let host = host();
    let words = ["network", "create", "--driver", "bridge", "--subnet", "192.168.0.0/16", "--gateway", "192.168.0.1"];
    host.rbox(&[&words[..], &["mynetwork"]].concat()).ok();
    for name in ["tomcat4", "tomcat5"] {
        host.rbox(&["run", "-itd", "-P", "--network", "mynetwork", "--name", name, DEBIAN, "sleep", "1000"]).ok();
    }
    let ping = host.rbox(&["exec", "tomcat4", "ping", "-c", "1", "tomcat5"]).ok();
    shows(
        &ping,
        &[
            "PING tomcat5 (192.168.0.3) 56(84) bytes of data.",
            "64 bytes from tomcat5.mynetwork (192.168.0.3): icmp_seq=1 ttl=64",
        ],
    );
    let back = host.rbox(&["exec", "tomcat5", "ping", "-c", "1", "tomcat4"]).ok();
    shows(&back, &["64 bytes from tomcat4.mynetwork (192.168.0.2): icmp_seq=1 ttl=64"]);
    // By glibc too, and by a name that has more than one part.
    let seen = host.rbox(&["exec", "tomcat4", "getent", "hosts", "tomcat5.mynetwork"]).ok();
    assert_eq!(seen.stdout.split_whitespace().collect::<Vec<_>>(), ["192.168.0.3", "tomcat5.mynetwork"]);
}
