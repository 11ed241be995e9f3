//! What the user's documents type into a shell, word by word: nginx, redis and tomcat's place taken by nginx, detached,
//! looked at, entered, linked, joined. `debian.rs` has the same programs in the foreground.

use crate::support::{Host, Output, Pty, need};

const DEBIAN: &str = "rbox-fixtures/debian";
const REDIS: [&str; 3] = ["redis-server", "--protected-mode", "no"];

const BASE: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                    ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// A name server, the one of the host's resolv.conf: to each question its answer is that there is no record.
const NAME_SERVER: &str = r"
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('192.0.2.3', 53))
print('ready', flush=True)
while True:
    asked, who = server.recvfrom(512)
    server.sendto(asked[:2] + b'\x81\x80' + asked[4:6] + bytes(6) + asked[12:], who)
";

fn host() -> Host {
    let host = Host::new();
    host.load("debian");
    host
}

/// `rbox run FLAGS debian PROGRAM`, which prints an id and returns.
#[track_caller]
fn run(host: &Host, flags: &[&str], program: &[&str]) -> String {
    let printed = host.rbox(&[&["run"], flags, &[DEBIAN], program].concat()).ok();
    let id = printed.text().to_owned();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "A-005: {printed}");
    assert_eq!(printed.stdout, format!("{id}\n"), "A-005: the id, and no more");
    id
}

/// Wait until the host itself is answered at `url`.
#[track_caller]
fn answers(host: &Host, url: &str) {
    let asked = format!(
        "for n in $(seq 400); do curl -fs {url} | grep -q 'Welcome to nginx' && exit; sleep 0.05; done; exit 1"
    );
    assert_eq!(host.shell(&asked).code, 0, "nginx never answered at {url}");
}

/// `rbox exec NAME sh -c SCRIPT`
fn inside(host: &Host, name: &str, script: &str) -> Output {
    host.rbox(&["exec", name, "sh", "-c", script])
}

fn hosts(host: &Host, name: &str) -> String {
    host.rbox(&["exec", name, "cat", "/etc/hosts"]).ok().stdout
}

fn address(host: &Host, name: &str) -> String {
    host.rbox(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", name]).ok().text().to_owned()
}

/// What a shell on a terminal of `rbox WORDS` says to `typed`, up to its end.
#[track_caller]
fn at_a_terminal(host: &Host, words: &[&str], typed: &str) -> String {
    let mut pty = Pty::rbox(host, words);
    pty.wait_for("# ");
    pty.send(&format!("{typed}; exit\r"));
    let (code, screen) = pty.wait();
    assert_eq!(code, 0, "{screen}");
    screen
}

#[test]
fn a_002_to_a_004_a_034_a_shell_on_each_network() {
    need!(Root);
    let host = host();
    for (network, cards) in [("none", "lo"), ("host", "eth0,lo"), ("bridge", "eth0,lo")] {
        let words = ["run", "--rm", "--network", network, "-it", DEBIAN, "sh"];
        let screen = at_a_terminal(&host, &words, "ls -m /sys/class/net | tr -d ' '; ip -o -4 addr show dev eth0; :");
        assert!(screen.contains(&format!("\r\n{cards}\r\n")), "{network}: {screen}");
        let address = [("host", "inet 192.0.2.2/24"), ("bridge", "inet 172.17.0.2/16")];
        let wanted = address.iter().find(|(name, _)| *name == network).map_or("does not exist", |(_, words)| words);
        assert!(screen.contains(wanted), "{network}: {screen}");
    }
}

#[test]
fn a_005_to_a_009_a_070_to_a_072_redis_detached_and_who_shares_its_network() {
    need!(Root);
    let host = host();
    let id = run(&host, &["--rm", "-d"], &REDIS);
    host.until(&["logs", &id], "Ready to accept connections");
    // A-007
    let latest = host.rbox(&["ps", "-ql"]).ok();
    assert_eq!(latest.stdout, format!("{}\n", &id[..12]));
    let latest = latest.text();
    // A-006, A-070, A-071: a second one in its network.
    let network = format!("container:{latest}");
    let words = ["run", "--rm", "-it", "--network", &network, DEBIAN, "sh"];
    let screen = at_a_terminal(&host, &words, "netstat -ntlp; ps -ef; redis-cli ping");
    let listens: Vec<Vec<&str>> =
        screen.lines().filter(|line| line.contains(":6379")).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(listens.len(), 2, "A-070: {screen}");
    for (line, address) in listens.iter().zip(["0.0.0.0:6379", ":::6379"]) {
        assert_eq!((line[3], line[5], *line.last().unwrap()), (address, "LISTEN", "-"), "A-070: {screen}");
    }
    assert!(!screen.contains("redis-server"), "A-071: {screen}");
    let first = screen.lines().skip_while(|line| !line.starts_with("UID")).nth(1).unwrap_or_default();
    assert_eq!(first.split_whitespace().nth(1), Some("1"), "A-071: {screen}");
    assert!(first.trim_end().ends_with(" sh"), "A-071: {screen}");
    assert!(screen.contains("PONG"), "127.0.0.1 is the same for both: {screen}");
    // A-008
    let pid = host.rbox(&["inspect", "--format", "{{.State.Pid}}", latest]).ok();
    let shown = host.shell(&format!("ls -l /proc/{}/ns", pid.text())).ok().stdout;
    let own = host.rbox(&["exec", latest, "readlink", "/proc/self/ns/net"]).ok();
    assert!(shown.contains(&format!("net -> {}", own.text())), "A-008: {shown}");
    // A-009
    let drivers = host.rbox(&["info", "--format", "{{ .Plugins.Network }}"]).ok();
    assert_eq!(drivers.text(), "[bridge host null]");
    // --rm: nothing of it is left.
    host.rbox(&["stop", latest]).ok();
    host.rbox(&["inspect", &id]).code(1);
}

#[test]
fn a_013_a_016_a_019_a_106_nginx_detached_on_a_published_port() {
    need!(Root);
    let host = host();
    let id = run(&host, &["-d", "--name", "nginx", "-p", "8080:80"], &[]);
    answers(&host, "127.0.0.1:8080");
    let outside = host.neighbour().shell("curl -fsS --max-time 10 http://192.0.2.2:8080/").ok();
    assert!(outside.stdout.contains("Welcome to nginx"), "A-016: {outside}");
    // A-019, A-106, A-107
    let shown = host.rbox(&["ps"]).ok();
    let rows = shown.rows();
    assert_eq!(rows[0], ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"], "A-107");
    assert_eq!(rows[1][..3], [&id[..12], DEBIAN, "\"nginx -g 'daemon of…\""], "A-107");
    assert!(rows[1][3].ends_with(" ago") && rows[1][4].starts_with("Up "), "A-107: {shown}");
    assert_eq!(rows[1][5..], ["0.0.0.0:8080->80/tcp, :::8080->80/tcp", "nginx"], "A-106, A-107");
    // A-013
    let screen = at_a_terminal(&host, &["exec", "-it", "nginx", "bash"], "ifconfig");
    assert!(screen.contains("inet 172.17.0.2  netmask 255.255.0.0  broadcast 172.17.255.255"), "{screen}");
    host.until(&["logs", "nginx"], "192.0.2.3 - - [");
    assert_eq!(host.rbox(&["stop", "nginx"]).ok().text(), "nginx");
    host.shell("curl -sS --max-time 5 http://127.0.0.1:8080/").code(7);
    assert!(host.shown("nginx", "Status").starts_with("Exited (0) "), "{}", host.shown("nginx", "Status"));
    host.rbox(&["start", "nginx"]).ok();
    answers(&host, "127.0.0.1:8080");
}

#[test]
fn a_017_a_018_a_020_a_106_a_110_to_a_114_a_116_two_that_are_linked() {
    need!(Root);
    let host = host();
    let one = run(&host, &["-itd", "-P", "--name", "tomcat1"], &[]);
    let two = run(&host, &["-itd", "-P", "--name", "tomcat2", "--link", "tomcat1:tomcat"], &[]);
    answers(&host, "127.0.0.1:49153");
    answers(&host, "127.0.0.1:49154");
    let ports = |name: &str| host.shown(name, "Ports");
    assert_eq!(ports("tomcat1"), "0.0.0.0:49153->80/tcp, :::49153->80/tcp", "A-106");
    assert_eq!(ports("tomcat2"), "0.0.0.0:49154->80/tcp, :::49154->80/tcp", "A-106");
    // A-020, A-113: no DNS (A-116), and a reverse lookup gives the name first.
    let ping = Pty::rbox(&host, &["exec", "-it", "tomcat2", "ping", "-c", "1", "tomcat1"]);
    let (code, screen) = ping.wait();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("PING tomcat1 (172.17.0.2) 56(84) bytes of data.\r\n"), "A-113: {screen}");
    assert!(screen.contains("64 bytes from tomcat1 (172.17.0.2): icmp_seq=1 ttl=64 time="), "A-113: {screen}");
    // A-020, A-110 to A-112
    let (one, two) = (&one[..12], &two[..12]);
    let (code, screen) = Pty::rbox(&host, &["exec", "-it", "tomcat1", "cat", "/etc/hosts"]).wait();
    assert_eq!((code, screen.replace("\r\n", "\n")), (0, format!("{BASE}172.17.0.2\t{one}\n")), "A-110, A-111, A-114");
    assert_eq!(
        hosts(&host, "tomcat2"),
        format!("{BASE}172.17.0.2\ttomcat1 tomcat {one}\n172.17.0.3\t{two}\n"),
        "A-112"
    );
    let fetched = inside(&host, "tomcat2", "curl -fsS http://tomcat/").ok();
    assert!(fetched.stdout.contains("Welcome to nginx"), "A-116, by the alias: {fetched}");
    // A-114: the words are those for a name that a server answers and has no address for.
    let pid = std::fs::read_to_string(host.path("neighbour.pid")).unwrap();
    let mut server = host.spawn("nsenter", &[&format!("--net=/proc/{pid}/ns/net"), "python3", "-c", NAME_SERVER]);
    server.wait_for("ready");
    let ping = host.rbox(&["exec", "tomcat1", "ping", "-c", "1", "tomcat2"]).code(2);
    assert_eq!(ping.stderr, "ping: tomcat2: No address associated with hostname\n", "A-114");
}

#[test]
fn a_115_after_a_restart_with_another_address_the_link_is_stale() {
    need!(Root);
    let host = host();
    run(&host, &["-itd", "--name", "tomcat1"], &[]);
    let two = run(&host, &["-itd", "--name", "tomcat2", "--link", "tomcat1:tomcat"], &[]);
    let before = hosts(&host, "tomcat2");
    host.rbox(&["stop", "-t", "0", "tomcat1"]).ok();
    // Meanwhile another takes its address.
    run(&host, &["-d", "--name", "other"], &["sleep", "1000"]);
    host.rbox(&["start", "tomcat1"]).ok();
    assert_eq!((address(&host, "other"), address(&host, "tomcat1")), ("172.17.0.2".into(), "172.17.0.4".into()));
    assert_eq!(hosts(&host, "tomcat2"), before, "the line is as it was written");
    inside(&host, "tomcat2", "curl -fsS -v --max-time 10 http://tomcat1/").code(7).says("Trying 172.17.0.2:80");
    // A start of the one that has the link writes it anew.
    host.rbox(&["restart", "-t", "0", "tomcat2"]).ok();
    let own = &two[..12];
    let after = hosts(&host, "tomcat2");
    assert!(after.starts_with(&format!("{BASE}172.17.0.4\ttomcat1 tomcat ")), "{after}");
    assert!(after.ends_with(&format!("\t{own}\n")), "{after}");
    // Nothing to link to: it cannot start.
    host.rbox(&["stop", "-t", "0", "tomcat1", "tomcat2"]).ok();
    host.rbox(&["start", "tomcat2"]).code(1).says("cannot link to container tomcat1: it is not running");
}

#[test]
fn a_021_a_022_a_034_a_037_a_038_net_is_network_in_both_forms() {
    need!(Root);
    let host = host();
    run(&host, &["-d", "-P", "--name", "tomcat", "--net", "bridge"], &[]);
    answers(&host, "127.0.0.1:49153");
    let ways = ["--net=none", "--net=container:tomcat", "--net=host", "--net=bridge"];
    let names = ["none", "joiner", "host", "bridge"];
    for (net, name) in ways.iter().zip(names) {
        run(&host, &["-d", net, "--name", name], &["sleep", "1000"]);
    }
    let namespace = |name: &str| host.rbox(&["exec", name, "readlink", "/proc/self/ns/net"]).ok().text().to_owned();
    assert_eq!(namespace("joiner"), namespace("tomcat"));
    assert_eq!(namespace("host"), host.shell("readlink /proc/self/ns/net").ok().text());
    assert_ne!(namespace("none"), namespace("host"));
    assert_eq!(inside(&host, "none", "ls /sys/class/net").ok().text(), "lo");
    assert_eq!(address(&host, "bridge"), "172.17.0.3");
    assert_eq!(host.rbox(&["inspect", "-f", "{{.HostConfig.NetworkMode}}", "none"]).ok().text(), "none");
    host.rbox(&["run", "--rm", "--net=mynet", DEBIAN, "true"]).code(125).says("network mynet: not found");
}

#[test]
fn a_072_a_073_joined_by_name_and_by_every_form_of_the_id() {
    need!(Root);
    let host = host();
    let id = run(&host, &["-d", "--name", "redis", "-p", "6379:6379"], &REDIS);
    host.until(&["logs", "redis"], "Ready to accept connections");
    for target in ["redis", &id, &id[..12], &id[..5]] {
        let network = format!("container:{target}");
        let script = "redis-cli ping; hostname; ifconfig eth0; ip route; cat /etc/hosts /etc/resolv.conf";
        let seen = host.rbox(&["run", "--rm", "--network", &network, DEBIAN, "sh", "-c", script]).ok().stdout;
        let there = inside(&host, "redis", script).ok().stdout;
        // The counters of the device move.
        let still = |text: &str| text.lines().filter(|line| !line.contains("packets")).collect::<Vec<_>>().join("\n");
        assert_eq!(still(&seen), still(&there), "A-072, A-073: {target}");
        assert!(seen.starts_with("PONG\n"), "{seen}");
    }
}
