//! User-defined networks: how they are made and told of, who is in them, and by which names (A-120 to A-141).

mod kept;

use crate::support::{BUSYBOX, Host, need};
use serde_json::{Value, json};

/// The first IPv4 address of a container in a network.
#[track_caller]
fn address(host: &Host, name: &str, network: &str) -> String {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    host.rbox(&["inspect", "--format", &format, name]).ok().text().to_owned()
}

fn mynetwork(host: &Host) -> String {
    let words = ["network", "create", "--driver", "bridge", "--subnet", "192.168.0.0/16", "--gateway", "192.168.0.1"];
    host.rbox(&[&words[..], &["mynetwork"]].concat()).ok().text().to_owned()
}

/// A container that idles.
#[track_caller]
fn idle(host: &Host, name: &str, flags: &[&str]) -> String {
    host.detached(&[&["--name", name], flags].concat(), &["sleep", "1000"])
}

/// Whether `name` gets through to `to`, by one ping.
fn pings(host: &Host, name: &str, to: &str) -> bool {
    host.rbox(&["exec", name, "ping", "-c", "1", "-W", "1", to]).code == 0
}

#[test]
fn a_023_a_120_create_prints_64_hex_digits_and_the_default_is_a_bridge() {
    need!(Root);
    let host = Host::with_busybox();
    let id = mynetwork(&host);
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    host.rbox(&["network", "create", "plain"]).ok();
    let list = host.rbox(&["net", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]).ok().stdout;
    assert_eq!(
        list,
        "bridge bridge local\nhost host local\nmynetwork bridge local\nnone null local\nplain bridge local\n"
    );
    assert!(host.rbox(&["network", "ls"]).ok().stdout.contains(&id[..12]));
    // Its bridge is there at once, and called by its id.
    let shown = host.shell(&format!("ip -br -4 address show rb-{}", &id[..12])).ok().stdout;
    assert!(shown.contains("192.168.0.1/16"), "{shown}");
    // It outlives the machine's next start, when all that is below /run is gone.
    host.shell("ip link delete rb-".to_owned().as_str());
    host.rbox(&["network", "create", "mynetwork"]).code(1).says("network mynetwork: there is one of this name already");
}

#[test]
fn a_121_a_124_addresses_in_the_order_of_start_and_hosts_without_the_others() {
    need!(Root);
    let host = Host::with_busybox();
    mynetwork(&host);
    let ids: Vec<String> =
        ["tomcat4", "tomcat5", "tomcat6"].iter().map(|name| idle(&host, name, &["--network", "mynetwork"])).collect();
    for (name, last) in [("tomcat4", 2), ("tomcat5", 3), ("tomcat6", 4)] {
        assert_eq!(address(&host, name, "mynetwork"), format!("192.168.0.{last}"));
    }
    let hosts = host.rbox(&["exec", "tomcat4", "cat", "/etc/hosts"]).ok().stdout;
    assert_eq!(
        hosts,
        format!(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
             ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n192.168.0.2\t{}\n",
            &ids[0][..12]
        )
    );
    let resolv = host.rbox(&["exec", "tomcat4", "cat", "/etc/resolv.conf"]).ok().stdout;
    assert_eq!(resolv, "search example.test\nnameserver 127.0.0.11\noptions ndots:0\n");
}

#[test]
fn a_025_a_039_a_122_names_resolve_both_ways() {
    need!(Root);
    let host = Host::with_busybox();
    mynetwork(&host);
    idle(&host, "tomcat4", &["--network", "mynetwork", "--network-alias", "cat"]);
    assert!(!pings(&host, "tomcat4", "tomcat5"), "nobody is called so yet");
    let id = idle(&host, "tomcat5", &["--network", "mynetwork", "--network-alias", "cat"]);
    // Also one that was started later, and in the foreground.
    assert!(pings(&host, "tomcat4", "tomcat5") && pings(&host, "tomcat5", "tomcat4"));
    assert!(pings(&host, "tomcat4", "tomcat5.mynetwork") && pings(&host, "tomcat4", &id[..12]));
    host.run(&["--network", "mynetwork"], &["ping", "-c", "1", "-W", "1", "tomcat4"]).ok();
    // An alias that several have gives all of them.
    let both = host.rbox(&["exec", "tomcat4", "nslookup", "-type=a", "cat."]).ok().stdout;
    assert!(both.contains("192.168.0.2") && both.contains("192.168.0.3"), "{both}");
    // Gone ones are unknown at once, and a new name is known at once.
    host.rbox(&["rm", "-f", "tomcat5"]).ok();
    assert!(!pings(&host, "tomcat4", "tomcat5"));
    host.rbox(&["exec", "tomcat4", "nslookup", "-type=a", "tomcat5."]).fails();
    idle(&host, "other", &["--network", "mynetwork"]);
    host.rbox(&["rename", "other", "another"]).ok();
    assert!(pings(&host, "tomcat4", "another"));
    assert!(!pings(&host, "tomcat4", "other"));
    // The default network has no names.
    idle(&host, "elsewhere", &[]);
    assert!(!pings(&host, "elsewhere", "tomcat4") && !pings(&host, "tomcat4", "elsewhere"));
}

#[test]
fn a_host_name_is_a_name_in_each_network_and_ps_finds_the_container_by_each() {
    need!(Root);
    let host = Host::with_busybox();
    for name in ["one", "two"] {
        host.rbox(&["network", "create", name]).ok();
        idle(&host, &format!("in-{name}"), &["--network", name]);
    }
    idle(&host, "both", &["--network", "one", "--hostname", "stairs"]);
    assert!(pings(&host, "in-one", "stairs") && !pings(&host, "in-two", "stairs"));
    host.rbox(&["network", "connect", "two", "both"]).ok();
    assert!(pings(&host, "in-two", "stairs"));
    let listed = |network: &str| {
        let filter = format!("network={network}");
        host.rbox(&["ps", "--filter", &filter, "--format", "{{.Names}}"]).ok().stdout
    };
    assert_eq!([listed("one"), listed("two"), listed("o")], ["both\nin-one\n", "both\nin-two\n", ""]);
}

#[test]
fn a_024_a_125_a_container_joins_when_it_is_made_or_later() {
    need!(Root);
    let host = Host::with_busybox();
    mynetwork(&host);
    idle(&host, "tomcat1", &["-p", "8080:80"]);
    let before = host.rbox(&["exec", "tomcat1", "ip", "route"]).ok().stdout;
    host.rbox(&["network", "connect", "--alias", "one", "mynetwork", "tomcat1"]).ok();
    // Q-08: it is the first there.
    assert_eq!(address(&host, "tomcat1", "mynetwork"), "192.168.0.2");
    idle(&host, "tomcat4", &["--network", "mynetwork"]);
    assert!(pings(&host, "tomcat1", "tomcat4") && pings(&host, "tomcat4", "one"));
    let hosts = host.rbox(&["exec", "tomcat1", "cat", "/etc/hosts"]).ok().stdout;
    assert!(
        hosts.contains("172.17.0.2\t") && hosts.ends_with(&format!("192.168.0.2\t{}\n", short(&host, "tomcat1"))),
        "{hosts}"
    );
    // The way out is still that of the default network, whose name comes first.
    let routes = host.rbox(&["exec", "tomcat1", "ip", "route"]).ok().stdout;
    assert_eq!(routes, format!("{before}192.168.0.0/16 dev eth1 scope link  src 192.168.0.2 \n"));
    assert_eq!(host.shown("tomcat1", "Networks"), "bridge,mynetwork");
    // It stays so over a stop, and a restart.
    host.rbox(&["restart", "-t", "0", "tomcat1"]).ok();
    assert!(pings(&host, "tomcat4", "one") && pings(&host, "tomcat1", "tomcat4"));
    host.rbox(&["network", "connect", "mynetwork", "tomcat1"]).code(1).says("it is in it already");
    host.rbox(&["network", "disconnect", "mynetwork", "tomcat1"]).ok();
    assert!(!pings(&host, "tomcat4", "tomcat1"));
    assert_eq!(host.rbox(&["exec", "tomcat1", "ip", "route"]).ok().stdout, before);
    assert!(!host.rbox(&["exec", "tomcat1", "cat", "/etc/hosts"]).ok().stdout.contains("192.168"));
    host.rbox(&["network", "disconnect", "mynetwork", "tomcat1"])
        .code(1)
        .says("container tomcat1: it is not in network mynetwork");
    host.rbox(&["network", "disconnect", "-f", "mynetwork", "tomcat1"]).ok();
    // Of one that does not run it is kept for the next time.
    host.rbox(&["create", "--name", "later", BUSYBOX, "sleep", "1000"]).ok();
    host.rbox(&["network", "connect", "mynetwork", "later"]).ok();
    host.rbox(&["network", "disconnect", "bridge", "later"]).ok();
    host.rbox(&["start", "later"]).ok();
    assert!(pings(&host, "tomcat4", "later"));
    let links = host.rbox(&["exec", "later", "ls", "/sys/class/net"]).ok().stdout;
    assert_eq!(links.split_whitespace().collect::<Vec<_>>(), ["eth0", "lo"]);
}

fn short(host: &Host, name: &str) -> String {
    host.rbox(&["ps", "-q", "--filter", &format!("name=^{name}$")]).ok().text().to_owned()
}

#[test]
fn a_159_to_161_one_sandbox_has_an_endpoint_for_each_network() {
    need!(Root);
    let host = Host::with_busybox();
    for network in ["blue", "green", "red"] {
        host.rbox(&["network", "create", network]).ok();
    }
    let flags =
        ["--network", "name=green,alias=g,ifname=lan0", "--network", "red", "--network", "name=blue,ip=172.18.0.77"];
    idle(&host, "hub", &flags);
    for network in ["blue", "green", "red"] {
        idle(&host, &format!("in-{network}"), &["--network", network]);
        assert!(pings(&host, &format!("in-{network}"), "hub"), "{network}");
        assert!(pings(&host, "hub", &format!("in-{network}")), "{network}");
    }
    assert!(pings(&host, "in-green", "g") && !pings(&host, "in-red", "g"), "an alias is of one network");
    let links = host.rbox(&["exec", "hub", "ls", "/sys/class/net"]).ok().stdout;
    assert_eq!(links.split_whitespace().collect::<Vec<_>>(), ["eth0", "eth1", "lan0", "lo"]);
    assert_eq!(address(&host, "hub", "blue"), "172.18.0.77");
    // blue leads out, by its name; red where it is told to.
    let route = |name: &str| {
        let all = host.rbox(&["exec", name, "ip", "route"]).ok().stdout;
        all.lines().next().unwrap_or_default().trim_end().to_owned()
    };
    assert_eq!(route("hub"), "default via 172.18.0.1 dev eth1");
    idle(&host, "redder", &["--network", "blue", "--network", "name=red,gw-priority=1"]);
    assert_eq!(route("redder"), "default via 172.18.2.1 dev eth1");
    // Not connected: none of the others.
    assert!(!pings(&host, "in-red", "in-blue") && !pings(&host, "in-red", &address(&host, "in-blue", "blue")));
    let ids: Vec<Value> = ["blue", "green", "red"]
        .map(|network| host.rbox(&["network", "inspect", network]).ok().json()[0]["Containers"].clone())
        .into();
    let hub = host.rbox(&["inspect", "--format", "{{.Id}}", "hub"]).ok().text().to_owned();
    let endpoints: std::collections::HashSet<&str> =
        ids.iter().map(|containers| containers[&hub]["EndpointID"].as_str().unwrap()).collect();
    assert_eq!(endpoints.len(), 3, "an endpoint for each");
}

#[test]
fn a_026_a_130_to_a_141_network_inspect_key_for_key() {
    need!(Root);
    let host = Host::with_busybox();
    let id = mynetwork(&host);
    let mut ids: Vec<String> =
        ["tomcat4", "tomcat5", "tomcat6"].iter().map(|name| idle(&host, name, &["--network", "mynetwork"])).collect();
    let text = host.rbox(&["network", "inspect", "mynetwork"]).ok().stdout;
    let network = &serde_json::from_str::<Value>(&text).unwrap()[0];
    let keys: Vec<&str> = network.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "Name",
            "Id",
            "Created",
            "Scope",
            "Driver",
            "EnableIPv6",
            "IPAM",
            "Internal",
            "Attachable",
            "Ingress",
            "ConfigFrom",
            "ConfigOnly",
            "Containers",
            "Options",
            "Labels",
            "Leases"
        ]
    );
    assert!(text.starts_with("[\n    {\n        \"Name\": \"mynetwork\",\n"), "four spaces: {text}");
    let created = network["Created"].as_str().unwrap();
    let form = regex(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d$");
    assert!(form(created), "{created}");
    let config = json!([{ "Subnet": "192.168.0.0/16", "Gateway": "192.168.0.1" }]);
    for (key, value) in [
        ("Id", json!(id)),
        ("Scope", json!("local")),
        ("Driver", json!("bridge")),
        ("EnableIPv6", json!(false)),
        ("IPAM", json!({ "Driver": "default", "Options": {}, "Config": config })),
        ("Internal", json!(false)),
        ("Attachable", json!(false)),
        ("Ingress", json!(false)),
        ("ConfigFrom", json!({ "Network": "" })),
        ("ConfigOnly", json!(false)),
        ("Options", json!({})),
        ("Labels", json!({})),
    ] {
        assert_eq!(network[key], value, "{key}");
    }
    ids.sort();
    the_containers_are_told(network, &ids, &id);
}

#[track_caller]
fn the_containers_are_told(network: &Value, ids: &[String], id: &str) {
    let containers = network["Containers"].as_object().unwrap();
    assert_eq!(containers.keys().collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>(), "sorted by id");
    for (container, entry) in containers {
        let keys: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"]);
        let last = match entry["Name"].as_str().unwrap() {
            "tomcat4" => 2,
            "tomcat5" => 3,
            _ => 4,
        };
        assert_eq!(entry["IPv4Address"], format!("192.168.0.{last}/16"));
        assert_eq!(entry["MacAddress"], format!("02:42:c0:a8:00:0{last}"));
        assert_eq!(entry["IPv6Address"], "");
        let endpoint = entry["EndpointID"].as_str().unwrap();
        assert!(endpoint.len() == 64 && endpoint != container && endpoint != id, "A-141: {endpoint}");
    }
    let leases = network["Leases"].as_array().unwrap();
    assert_eq!(leases.len(), 3);
    assert_eq!((&leases[0]["Address"], &leases[0]["Owner"]), (&json!("192.168.0.2"), &json!("tomcat4")));
    assert!(leases[0]["AgeSeconds"].as_i64().unwrap() < 120 && leases[0]["Pid"].as_i64().unwrap() > 1);
}

fn regex(pattern: &str) -> impl Fn(&str) -> bool {
    // The shell's own: no crate for one test.
    let pattern = pattern.replace(r"\d", "[0-9]");
    move |text| std::process::Command::new("grep").args(["-Eq", &pattern]).stdin(pipe(text)).status().unwrap().success()
}

fn pipe(text: &str) -> std::process::Stdio {
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
    reader.into()
}

#[test]
fn a_092_a_097_the_group_of_four_stands_once_for_each_bridge() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    idle(&host, "first", &[]);
    let bridges: Vec<String> = ["blue", "green"]
        .map(|network| format!("rb-{}", &host.rbox(&["network", "create", network]).ok().text()[..12]))
        .into();
    let rules = host.shell("iptables -S FORWARD").ok().stdout;
    let plain: Vec<String> = rules.lines().filter(|line| line.starts_with("-A")).map(without_comment).collect();
    let mut wanted = vec!["-A FORWARD -j RBOX-USER".to_owned(), "-A FORWARD -j RBOX-ISOLATION-STAGE-1".to_owned()];
    // The latest first, as Docker inserts them.
    for bridge in [&bridges[1], &bridges[0], &"rbox0".to_owned()] {
        wanted.push(format!("-A FORWARD -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
        wanted.push(format!("-A FORWARD -o {bridge} -j RBOX"));
        wanted.push(format!("-A FORWARD -i {bridge} ! -o {bridge} -j ACCEPT"));
        wanted.push(format!("-A FORWARD -i {bridge} -o {bridge} -j ACCEPT"));
    }
    assert_eq!(plain, wanted);
    assert!(host.shell("iptables -nL RBOX").ok().stdout.starts_with("Chain RBOX (3 references)"));
    let raw = host.shell("iptables -t raw -S PREROUTING").ok().stdout;
    assert_eq!(raw.lines().filter(|line| line.contains("addrtype")).count(), 3, "{raw}");
    // What is installed is told, with a reason for each; and put back when somebody has taken it away.
    let told = host.rbox(&["network", "rules", "green"]).ok().stdout;
    assert!(
        told.contains("containers of this network reach each other (green); 0 packets") && !told.contains("MISSING"),
        "{told}"
    );
    host.shell("iptables -F FORWARD; iptables -t nat -F POSTROUTING").ok();
    assert!(host.rbox(&["network", "rules"]).ok().stdout.contains("MISSING"));
    host.rbox(&["network", "reload"]).ok();
    assert!(!host.rbox(&["network", "rules"]).ok().stdout.contains("MISSING"));
    host.rbox(&["network", "rm", "blue", "green"]).ok();
    let rules = host.shell("iptables-save").ok().stdout;
    assert!(bridges.iter().all(|bridge| !rules.contains(bridge)), "{rules}");
}

fn without_comment(line: &str) -> String {
    let mut words = line.split(' ').collect::<Vec<_>>();
    if let Some(at) = words.windows(2).position(|pair| pair == ["-m", "comment"]) {
        words.drain(at..at + 4);
    }
    words.join(" ")
}

#[test]
fn a_096_a_097_rules_are_counted_and_explained() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    let _web = host.serve(&["--name", "web", "-p", "8080:80"], 80);
    let rules = || host.rbox(&["network", "rules", "bridge"]).ok().stdout;
    let line = |text: &str, rule: &str| {
        let mut lines = text.lines().skip_while(|line| !line.contains(rule));
        (lines.next().unwrap_or_else(|| panic!("{rule}: {text}")).to_owned(), lines.next().unwrap().trim().to_owned())
    };
    let before = rules();
    let dnat = "-A RBOX ! -i rbox0 -p tcp -m tcp --dport 8080";
    let (rule, why) = line(&before, dnat);
    assert!(rule.starts_with("iptables -t nat ") && rule.ends_with("-j DNAT --to-destination 172.17.0.2:80"), "{rule}");
    assert_eq!(why, "this published port leads to its container (web); 0 packets, 0B");
    host.neighbour().connect("192.0.2.2", 8080, "tcp").ok();
    let after = rules();
    // One connection is translated once: the one packet that opened it.
    assert_eq!(line(&after, dnat).1, "this published port leads to its container (web); 1 packets, 60B");
    let masquerade = line(&after, "-A POSTROUTING -s 172.17.0.0/16 ! -o rbox0 -j MASQUERADE").1;
    assert!(masquerade.starts_with("containers reach the world with the host's address"), "{masquerade}");
    // Every rule that the kernel has of ours is told, each with a reason.
    let kernel = host.shell("iptables-save | grep -c -e RBOX -e rbox0 -e 172.17.0 -e '127.0.0.0/8'").ok();
    let told = after.lines().filter(|line| line.starts_with("iptables -t ")).count();
    assert!(told >= 18, "{after}\n{kernel}");
    assert!(!after.contains("nobody's") && !after.contains("MISSING"), "{after}");
}

#[test]
fn names_on_the_default_network_by_the_administrators_choice() {
    need!(Root);
    let host = Host::with_busybox();
    let config = host.path("config.json").display().to_string();
    let chosen = |words: &[&str]| host.rbox(&[&["--config", &config], words].concat());
    let run = |name: &str| chosen(&["run", "-d", "--name", name, "--network-alias", "www", BUSYBOX, "sleep", "1000"]);
    std::fs::write(host.path("config.json"), "{}").unwrap();
    run("web").code(125).says("alias www: network bridge has no names");
    std::fs::write(host.path("config.json"), r#"{ "bridge": { "dns": true } }"#).unwrap();
    run("web").ok();
    chosen(&["run", "-d", "--name", "db", BUSYBOX, "sleep", "1000"]).ok();
    assert!(pings(&host, "db", "web") && pings(&host, "db", "www") && pings(&host, "web", "db.bridge"));
    // Its monitor has read the same file.
    chosen(&["restart", "-t", "0", "db"]).ok();
    assert!(pings(&host, "db", "web") && pings(&host, "web", "db"));
    for (text, said) in [("{", "config.json: EOF while parsing"), (r#"{ "bride": {} }"#, "unknown field `bride`")] {
        std::fs::write(host.path("config.json"), text).unwrap();
        chosen(&["run", BUSYBOX, "true"]).code(125).says(said);
    }
}

#[test]
fn ps_finds_a_container_by_each_of_its_networks() {
    need!(Root);
    let host = Host::with_busybox();
    for name in ["red", "blue"] {
        host.rbox(&["network", "create", name]).ok();
    }
    host.rbox(&["create", "--name", "both", "--network", "red", "--network", "blue", BUSYBOX, "true"]).ok();
    host.rbox(&["create", "--name", "one", "--network", "red", BUSYBOX, "true"]).ok();
    let found = |network: &str| {
        let filter = format!("network={network}");
        host.rbox(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]).ok().stdout
    };
    assert_eq!([found("red"), found("blue"), found("bridge")], ["one\nboth\n", "both\n", ""]);
}
