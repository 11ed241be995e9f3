//! What becomes of networks that are removed, refused, or made before the machine started anew, and how they are listed.

use super::{address, idle, mynetwork, pings};
use crate::support::{BUSYBOX, Host, need};

#[test]
fn networks_are_removed_when_nobody_is_in_them() {
    need!(Root);
    let host = Host::with_busybox();
    // What a first run leaves once and for all is there already.
    host.run(&["-p", "8080:80"], &["true"]).ok();
    host.rbox(&["network", "reset"]).ok();
    let before = host.snapshot();
    for network in ["blue", "green", "red"] {
        let label = format!("color={network}");
        assert_eq!(host.rbox(&["network", "create", "--label", &label, network]).ok().text().len(), 64);
    }
    idle(&host, "web", &["--network", "blue"]);
    host.rbox(&["network", "rm", "blue"]).code(1).says("cannot remove network blue: container web is connected");
    host.rbox(&["network", "rm", "bridge"]).code(1).says("network bridge: it is there from the beginning");
    host.rbox(&["network", "rm", "nosuch"]).code(1).says("network nosuch: not found");
    host.rbox(&["network", "rm", "-f", "nosuch"]).ok();
    assert_eq!(host.rbox(&["network", "rm", "green"]).ok().stdout, "green\n");
    let pruned = host.rbox(&["network", "prune", "-f", "--filter", "label!=color=red"]).ok();
    assert_eq!(pruned.stdout, "", "blue is in use, and red has that label");
    assert_eq!(host.rbox(&["network", "prune", "-f"]).ok().stdout, "Deleted Networks:\nred\n\n");
    host.rbox(&["rm", "-f", "web"]).ok();
    host.rbox(&["network", "rm", "blue"]).ok();
    host.rbox(&["network", "reset"]).ok();
    host.assert_unchanged(&before);
}

#[test]
fn what_cannot_be_a_network_is_refused_and_changes_nothing() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--subnet", "10.9.0.0/24", "taken"]).ok();
    let before = host.snapshot();
    let table: &[(&[&str], &str)] = &[
        (&["a b"], "network a b: a name begins with a letter or digit"),
        (&["../etc"], "network ../etc: a name begins with"),
        (&["--subnet", "10.9.0.0/16", "x1"], "subnet 10.9.0.0/16: it is in use: network taken has 10.9.0.0/24"),
        (&["--subnet", "192.0.2.0/25", "x1"], "subnet 192.0.2.0/25: it is in use: link eth0 has 192.0.2.0/24"),
        (&["--subnet", "10.8.0.1/24", "x1"], "it has host bits set; 10.8.0.0/24 is meant"),
        (&["--subnet", "10.8.0.0/32", "x1"], "subnet 10.8.0.0/32: it has no room for a container"),
        (&["--subnet", "fd00::/64", "x1"], "subnet fd00::/64: for one of IPv6 say --ipv6, too"),
        (&["--subnet", "10.8.0.0/24", "--gateway", "10.7.0.1", "x1"], "gateway 10.7.0.1"),
        (
            &["--subnet", "10.8.0.0/24", "--ip-range", "10.7.0.0/25", "x1"],
            "range 10.7.0.0/25: in no subnet of the network",
        ),
        (
            &["--subnet", "10.8.0.0/24", "--subnet", "10.7.0.0/24", "x1"],
            "a bridge has one subnet of IPv4 and one of IPv6",
        ),
        (&["--ipv6", "--opt", "mtu=1279", "x1"], "network x1: IPv6 needs an mtu of at least 1280 (RFC 8200)"),
        (&["--opt", "color=red", "x1"], "--opt color=red: driver bridge has no such option"),
        (&["--opt", "name=rbox0", "x1"], "its link rbox0 is there already"),
        (&["--driver", "overlay", "x1"], "networks over several hosts are not supported"),
        (&["--driver", "host", "x1"], "there is one network host, and it is there already"),
        (&["--driver", "macvlan", "--opt", "parent=nosuch0", "x1"], "its parent nosuch0 is not there"),
        (&["--attachable", "x1"], "--attachable"),
        (&["bridge"], "network bridge: there is one of this name already"),
    ];
    idle(&host, "keeps-rbox0", &[]);
    let with_one = host.snapshot();
    for (words, said) in table {
        host.rbox(&[&["network", "create"], *words].concat()).fails().says(said);
    }
    host.assert_unchanged(&with_one);
    host.rbox(&["rm", "-f", "keeps-rbox0"]).ok();
    drop(before);
}

#[test]
fn a_network_that_was_made_before_the_machine_started_anew_is_made_again() {
    need!(Root);
    let host = Host::with_busybox();
    let id = mynetwork(&host);
    // What a start of the machine leaves: no link, no rule, nothing below /run.
    host.shell(&format!(
        "ip link delete rb-{}; iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X",
        &id[..12]
    ))
    .ok();
    host.shell("iptables -t raw -F; find /run -name net -type d | xargs rm -rf").ok();
    idle(&host, "tomcat4", &["--network", "mynetwork"]);
    idle(&host, "tomcat5", &["--network", "mynetwork"]);
    assert!(pings(&host, "tomcat4", "tomcat5") && pings(&host, "tomcat4", "192.0.2.3"));
    assert_eq!(host.rbox(&["network", "inspect", "--format", "{{.Id}}", "mynetwork"]).ok().text(), id);
}

#[test]
fn a_network_that_is_removed_under_a_stopped_container_is_told() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "gone"]).ok();
    host.rbox(&["create", "--name", "web", "--network", "gone", BUSYBOX, "sleep", "1000"]).ok();
    host.rbox(&["network", "rm", "gone"]).ok();
    host.rbox(&["network", "create", "gone"]).ok();
    // It means the one that is gone, not another of that name.
    host.rbox(&["start", "web"]).fails().says("network gone: it has been removed");
    host.rbox(&["network", "disconnect", "gone", "web"]).ok();
    host.rbox(&["network", "connect", "gone", "web"]).ok();
    host.rbox(&["start", "web"]).ok();
}

#[test]
fn a_container_on_the_hosts_network_cannot_leave_it_while_it_runs() {
    need!(Root);
    let host = Host::with_busybox();
    let before = host.shell("ip route; ip addr").ok().stdout;
    idle(&host, "web", &["--network", "host"]);
    let words = "container web: its network is the host's own";
    host.rbox(&["network", "disconnect", "host", "web"]).code(1).says(words);
    assert_eq!(host.shell("ip route; ip addr").ok().stdout, before);
    assert_eq!(host.shown("web", "Networks"), "host");
    host.rbox(&["stop", "-t", "0", "web"]).ok();
    host.rbox(&["network", "disconnect", "host", "web"]).ok();
    host.rbox(&["network", "connect", "bridge", "web"]).ok();
    host.rbox(&["start", "web"]).ok();
    assert_eq!(address(&host, "web", "bridge"), "172.17.0.2");
}

#[test]
fn networks_are_filtered_by_one_value_of_each_key() {
    need!(Root);
    let host = Host::with_busybox();
    for (name, labels) in [("apple", &["color=red", "kind=fruit"][..]), ("pineapple", &["kind=fruit"]), ("plum", &[])] {
        let labels = labels.iter().flat_map(|label| ["--label", label]);
        host.rbox(&["network", "create"].into_iter().chain(labels).chain([name]).collect::<Vec<_>>()).ok();
    }
    idle(&host, "web", &["--network", "plum"]);
    let shown = |words: &[&str]| {
        let words: Vec<&str> = ["network", "ls", "--format", "{{.Name}}"].iter().chain(words).copied().collect();
        host.rbox(&words).ok().stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let id = host.rbox(&["network", "inspect", "-f", "{{.Id}}", "plum"]).ok().text().to_owned();
    let (begin, middle) = (format!("id={}", &id[..12]), format!("id={}", &id[20..40]));
    let table: &[(&[&str], &str)] = &[
        (&["-f", "name=apple"], "apple pineapple"),
        (&["-f", "name=^apple$"], "apple"),
        (&["-f", "name=^p"], "pineapple plum"),
        (&["-f", "name=[", "-f", "name=plum"], "plum"),
        (&["-f", "name=^apple$", "-f", "name=plum"], "apple plum"),
        (&["-f", "name=p", "-f", "name=plum", "-f", "driver=host"], ""),
        (&["-f", "driver=host", "-f", "driver=null"], "host none"),
        (&["-f", "type=custom", "-f", "type=builtin"], "apple bridge host none pineapple plum"),
        (&["-f", "type=custom", "-f", "name=o"], ""),
        (&["-f", "label=kind=fruit"], "apple pineapple"),
        (&["-f", "label=kind", "-f", "label=color=red"], "apple"),
        (&["-f", "scope=local", "-f", "scope=swarm", "-f", "name=plum"], "plum"),
        (&["-f", "scope=swarm"], ""),
        (&["-f", &begin], "plum"),
        (&["-f", &middle], "plum"),
        (&["-f", "dangling=true"], "apple pineapple"),
        (&["-f", "dangling=1", "-f", "label=color"], "apple"),
        (&["-f", "dangling=false"], "bridge host none plum"),
    ];
    for (words, names) in table {
        assert_eq!(shown(words), *names, "{words:?}");
    }
    for (words, said) in [
        (&["-f", "dangling=maybe"][..], "--filter dangling=maybe: neither true nor false"),
        (&["-f", "dangling=true", "-f", "dangling=false"], "--filter dangling=false: it is there already"),
        (&["-f", "type=own"], "--filter type=own: neither builtin nor custom"),
        (&["-f", "color=red"], "--filter color=red: there is no such filter"),
    ] {
        host.rbox(&[&["network", "ls"], words].concat()).fails().says(said);
    }
    host.rbox(&["rm", "-f", "web"]).ok();
    assert_eq!(shown(&["-f", "dangling=true"]), "apple pineapple plum");
    // Those that were made before the youngest, and have not that label.
    let created = host.rbox(&["network", "inspect", "-f", "{{.Created}}", "plum"]).ok().text().to_owned();
    let until = format!("until={}", created.replacen(' ', "T", 1).split(' ').next().unwrap());
    let words = ["network", "prune", "-f", "--filter", &until, "--filter", "label!=color"];
    assert_eq!(host.rbox(&words).ok().stdout, "Deleted Networks:\npineapple\n\n", "{until}");
}

#[test]
fn a_line_that_a_person_has_written_stays_when_the_container_leaves_a_network() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--subnet", "10.1.0.0/24", "red"]).ok();
    idle(&host, "web", &["--hostname", "web"]);
    host.rbox(&["network", "connect", "red", "web"]).ok();
    let hosts = || host.rbox(&["exec", "web", "cat", "/etc/hosts"]).ok().stdout;
    assert!(hosts().ends_with("172.17.0.2\tweb\n10.1.0.2\tweb\n"), "{}", hosts());
    host.rbox(&["exec", "web", "sh", "-c", "echo '10.1.0.2 web.mine' >> /etc/hosts"]).ok();
    host.rbox(&["network", "disconnect", "red", "web"]).ok();
    assert!(hosts().ends_with("172.17.0.2\tweb\n10.1.0.2 web.mine\n"), "{}", hosts());
}
