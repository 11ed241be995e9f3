//! Containers that find each other: `--link` and `--network container:`.

use crate::support::{BUSYBOX, Host, Running, need};

const BASE: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                    ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

fn idle(host: &Host, name: &str, flags: &[&str]) -> Running {
    let flags = [&["--name", name], flags].concat();
    host.run_ready(&flags, &["sh", "-c", "echo ready; exec sleep 1000"])
}

fn short_id(host: &Host, name: &str) -> String {
    host.rbox(&["inspect", "--format", "{{.Config.Hostname}}", name]).ok().text().to_owned()
}

#[test]
fn a_112_to_a_114_a_link_is_a_line_of_name_alias_and_id_before_the_own_line() {
    need!(Root);
    let host = Host::with_busybox();
    let _first = idle(&host, "tomcat1", &[]);
    let _second = idle(&host, "tomcat2", &["--link", "tomcat1:tomcat"]);
    let (one, two) = (short_id(&host, "tomcat1"), short_id(&host, "tomcat2"));
    let hosts = host.rbox(&["exec", "tomcat2", "cat", "/etc/hosts"]).ok().stdout;
    assert_eq!(hosts, format!("{BASE}172.17.0.2\ttomcat1 tomcat {one}\n172.17.0.3\t{two}\n"));
    for name in ["tomcat1", "tomcat", &one] {
        // a reverse lookup gives the first name.
        let ping = host.rbox(&["exec", "tomcat2", "ping", "-c", "1", name]).ok();
        assert!(ping.stdout.contains(&format!("PING {name} (172.17.0.2)")) && ping.stdout.contains("ttl=64"), "{ping}");
    }
    assert_eq!(
        host.rbox(&["inspect", "-f", "{{json .HostConfig.Links}}", "tomcat2"]).ok().text(),
        "[\"/tomcat1:/tomcat2/tomcat\"]"
    );
    // the other way there is nothing.
    let hosts = host.rbox(&["exec", "tomcat1", "cat", "/etc/hosts"]).ok().stdout;
    assert_eq!(hosts, format!("{BASE}172.17.0.2\t{one}\n"));
    host.rbox(&["exec", "tomcat1", "ping", "-c", "1", "tomcat2"]).code(1);
    // No variables: the source documents know of none.
    let variables = host.rbox(&["exec", "tomcat2", "env"]).ok().stdout;
    assert!(!variables.to_lowercase().contains("tomcat"), "{variables}");
}

#[test]
fn a_link_without_an_alias_and_one_by_id() {
    need!(Root);
    let host = Host::with_busybox();
    let _first = idle(&host, "db", &["-h", "store"]);
    let id = host.rbox(&["inspect", "-f", "{{.Id}}", "db"]).ok().text()[..12].to_owned();
    let line = |link: &str| {
        let hosts = host.run(&["--link", link], &["grep", "172.17.0.2", "/etc/hosts"]).ok();
        hosts.text().to_owned()
    };
    assert_eq!(line("db"), "172.17.0.2\tdb store");
    assert_eq!(line(&format!("{id}:x")), "172.17.0.2\tdb x store");
}

#[test]
fn a_115_a_link_is_written_in_stone() {
    need!(Root);
    let host = Host::with_busybox();
    let first = idle(&host, "db", &[]);
    let _app = idle(&host, "app", &["--link", "db"]);
    host.rbox(&["rm", "-f", "db"]).ok();
    first.wait();
    let _taken = idle(&host, "other", &[]);
    let _again = idle(&host, "db", &[]);
    assert_eq!(host.rbox(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "db"]).ok().text(), "172.17.0.4");
    let hosts = host.rbox(&["exec", "app", "grep", "db", "/etc/hosts"]).ok();
    assert!(hosts.stdout.starts_with("172.17.0.2\tdb "), "the line is stale: {hosts}");
}

#[test]
fn what_cannot_be_linked_is_refused() {
    need!(Root);
    let host = Host::with_busybox();
    let _none = idle(&host, "lonely", &["--network", "none"]);
    host.rbox(&["run", "--name", "done", BUSYBOX, "true"]).ok();
    let before = host.snapshot();
    for (flags, words) in [
        (&["--link", "nosuch"][..], "container nosuch: not found"),
        (&["--link", "done"], "cannot link to container done: it is not running"),
        (&["--link", "lonely"], "it is not on network bridge"),
        (&["--link", "a:b:c"], "not of the form NAME[:ALIAS]"),
        (&["--link", "lonely", "--network", "none"], "--link: no other container is reached on network none"),
        (&["--link", "lonely", "--network", "host"], "--link: no other container is reached on network host"),
    ] {
        host.run(flags, &["true"]).code(125).says(words);
    }
    host.assert_unchanged(&before);
}

#[test]
fn a_037_a_070_to_a_073_a_joined_container_shares_the_network_and_nothing_else() {
    need!(Root);
    let host = Host::with_busybox();
    let _redis = host.serve(&["--name", "redis"], 6379);
    let id = host.rbox(&["ps", "-ql"]).ok().text().to_owned();
    for target in ["redis", &id] {
        let network = format!("container:{target}");
        let join = |program: &[&str]| host.run(&["--network", &network], program).ok().stdout;
        let sockets = join(&["netstat", "-ntl"]);
        assert!(sockets.contains(":6379"), "A-070: {sockets}");
        let processes = join(&["ps", "-o", "pid,args"]);
        assert!(
            processes.lines().nth(1).unwrap().trim().starts_with("1 ps") && !processes.contains("serve"),
            "A-071: {processes}"
        );
        assert!(join(&["ip", "addr"]).contains("inet 172.17.0.2/16"));
        assert_eq!(join(&["hostname"]).trim(), short_id(&host, "redis"));
        let there = host.rbox(&["exec", "redis", "cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]).ok().stdout;
        assert_eq!(join(&["cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]), there, "A-073");
    }
    assert_eq!(host.rbox(&["network", "inspect", "bridge"]).ok().json()[0]["Containers"].as_object().unwrap().len(), 1);
}

#[test]
fn a_joiner_of_a_joiner_and_of_the_host() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, "web", &[]);
    let _joiner = idle(&host, "joiner", &["--net=container:web"]);
    let mode =
        host.rbox(&["inspect", "-f", "{{.HostConfig.NetworkMode}} {{json .NetworkSettings.Networks}}", "joiner"]).ok();
    let id = host.rbox(&["inspect", "-f", "{{.Id}}", "web"]).ok().text().to_owned();
    assert_eq!(mode.text(), format!("container:{id} {{}}"));
    let third = host.run(&["--net", "container:joiner"], &["sh", "-c", "hostname; cat /etc/hosts"]).ok();
    let own = short_id(&host, "web");
    assert!(third.stdout.starts_with(&own) && third.stdout.contains(&format!("172.17.0.2\t{own}")), "{third}");
    let _open = idle(&host, "open", &["--network", "host"]);
    let link = host.run(&["--network", "container:open"], &["readlink", "/proc/self/ns/net"]).ok();
    assert_eq!(link.text(), host.shell("readlink /proc/self/ns/net").ok().text());
}

#[test]
fn a_073_flags_of_the_network_are_refused_beside_it() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, "web", &[]);
    host.rbox(&["run", "--name", "done", BUSYBOX, "true"]).ok();
    let before = host.snapshot();
    for (flag, value) in [
        ("-p", "80:80"),
        ("--expose", "99"),
        ("--link", "web"),
        ("-h", "x"),
        ("--dns", "192.0.2.1"),
        ("--mac-address", "02:42:ac:11:00:09"),
        ("--add-host", "a:192.0.2.1"),
    ] {
        host.run(&["--network", "container:web", flag, value], &["true"]).code(125).says("container:web");
    }
    host.run(&["--network", "container:web", "-P"], &["true"]).code(125).says("--publish-all");
    host.run(&["--network", "container:nosuch"], &["true"]).code(125).says("container nosuch: not found");
    host.run(&["--network", "container:done"], &["true"]).code(125).says("it is not running");
    host.run(&["--network", "container:"], &["true"]).code(125).says("not of the form container:NAME");
    host.assert_unchanged(&before);
}

#[test]
fn joiners_live_on_without_the_network_when_its_container_ends() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&[], &["true"]).ok();
    let before = host.snapshot();
    let web = idle(&host, "web", &["-p", "8080:80"]);
    let joiner = idle(&host, "joiner", &["--network", "container:web"]);
    host.rbox(&["rm", "-f", "web"]).ok();
    web.wait();
    let links = host.rbox(&["exec", "joiner", "ip", "-o", "link"]).ok();
    assert_eq!(links.stdout.lines().count(), 1, "only lo is left: {links}");
    // Its address and port are free for the next.
    let again = idle(&host, "web", &["-p", "8080:80"]);
    assert_eq!(again.address(), "172.17.0.2");
    host.rbox(&["rm", "-f", "web", "joiner"]).ok();
    drop((again.wait(), joiner.wait()));
    host.assert_unchanged(&before);
}

#[test]
fn a_link_that_follows_a_name_means_nobody_whose_id_begins_so() {
    need!(Root);
    let host = Host::with_busybox();
    let idle = |flags: &[&str]| host.detached(flags, &["sleep", "1000"]);
    let id = idle(&[]);
    let name = id.trim()[..6].to_owned();
    idle(&["--name", &name]);
    idle(&["--name", "app", "--link", &format!("{name}:store,follow")]);
    host.rbox(&["rm", "-f", &name]).ok();
    host.rbox(&["restart", "-t", "0", "app"]).ok();
    let hosts = host.rbox(&["exec", "app", "cat", "/etc/hosts"]).ok().stdout;
    assert!(!hosts.contains("store"), "{hosts}");
}

#[test]
fn a_115_a_link_that_follows_goes_with_the_other_container() {
    need!(Root);
    let host = Host::with_busybox();
    let lines = |name: &str| -> Vec<String> {
        let hosts = host.rbox(&["exec", name, "cat", "/etc/hosts"]).ok().stdout;
        hosts.lines().filter(|line| line.starts_with("172.17.")).map(str::to_owned).collect()
    };
    let id = |name: &str| host.rbox(&["inspect", "--format", "{{.Id}}", name]).ok().text()[..12].to_owned();
    let address =
        |name: &str| host.rbox(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", name]).ok().text().to_owned();
    let idle = |name: &str, flags: &[&str]| {
        host.detached(&[&["--name", name], flags].concat(), &["sleep", "1000"]);
    };
    idle("db", &[]);
    idle("app", &["--link", "db:store,follow"]);
    idle("stone", &["--link", "db:store"]);
    assert_eq!(lines("app"), [format!("172.17.0.2\tdb store {}", id("db")), format!("172.17.0.3\t{}", id("app"))]);
    assert_eq!(lines("stone")[0], lines("app")[0]);
    // Another address, after another has got the old one.
    host.rbox(&["stop", "-t", "0", "db"]).ok();
    idle("other", &[]);
    host.rbox(&["start", "db"]).ok();
    assert_eq!(lines("app")[0], format!("172.17.0.5\tdb store {}", id("db")));
    assert_eq!(lines("stone")[0], format!("172.17.0.2\tdb store {}", id("db")), "written in stone");
    // Another container of that name, in a host that is by now at another address.
    host.rbox(&["rm", "-f", "db"]).ok();
    idle("guest", &[]);
    idle("db", &[]);
    assert_eq!(lines("app")[0], format!("172.17.0.6\tdb store {}", id("db")));
    assert_eq!(host.rbox(&["exec", "app", "ping", "-c", "1", "-W", "1", "store"]).code, 0);
    // The follower starts while nobody has that name, and learns of it when somebody has.
    host.rbox(&["rm", "-f", "db"]).ok();
    host.rbox(&["restart", "-t", "0", "app"]).ok();
    assert_eq!(lines("app").len(), 1, "its own");
    idle("db", &["--hostname", "again"]);
    assert_eq!(lines("app")[0], format!("{}\tdb store again", address("db")));
    // Of one that has ended nothing is left.
    host.rbox(&["rm", "-f", "app"]).ok();
    assert_eq!(host.shell(&format!("ls {}/followers", host.path("state").display())).ok().stdout, "");
}
