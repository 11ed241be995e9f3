//! `kill -9` after every step: the next command finds the record and leaves nothing.

use std::os::fd::AsFd;
use std::process::Command;

use rbox_net::dns::Upstream;

use crate::world::{Host, Netns, request};

/// What the killed process runs: this test program again, with only this "test".
const STATE: &str = "RBOX_TEST_STATE";
const NETNS: &str = "RBOX_TEST_NETNS";

#[test]
#[ignore = "the other half of killed_after_any_step_nothing_is_left, which starts it"]
fn connects_and_disconnects() {
    let Ok(state) = std::env::var(STATE) else { return };
    let netns = std::fs::File::open(std::env::var(NETNS).unwrap()).unwrap();
    let networks = rbox_net::Networks::open(state.as_ref(), state.as_ref()).unwrap();
    let reservation = networks.reserve(&request("web", &["8080:80", "53:53/udp"]).unwrap()).unwrap();
    let endpoint = reservation.connect(netns.as_fd(), Upstream::host()).unwrap();
    assert!(endpoint.disconnect().is_empty());
}

#[test]
fn killed_after_any_step_nothing_is_left() {
    need!(Root, Iptables);
    let host = Host::new();
    let nobody = |_: &rbox_net::Owner| false;
    let bare = host.traces();
    let mut killed = 0;
    for step in 1.. {
        let netns = Netns::new();

        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::connects_and_disconnects", "--ignored", "--test-threads=1"])
            .env(STATE, host.state.path())
            .env(NETNS, netns.path())
            .env("RBOX_CRASH_AFTER", step.to_string())
            .output()
            .unwrap()
            .status;
        let errors = host.networks.sweep(&nobody);
        assert!(errors.is_empty(), "after step {step}: {errors:?}");
        let left: Vec<_> = std::fs::read_dir(host.state.path().join("net/endpoints")).unwrap().flatten().collect();
        assert!(left.is_empty(), "after step {step}: {left:?}");
        let (links, rules) = host.traces();
        assert!(!links.contains("veth"), "after step {step}: {links}");
        assert!(!rules.contains("comment"), "after step {step}: {rules}");
        let next = host.reserve("next", &["8080:80"]).unwrap();
        let address = next.records()[0].attachment.as_ref().unwrap().address.to_string();
        assert_eq!(address, "172.17.0.2", "what was leased is free again after step {step}");
        drop(next);
        host.networks.reset(&nobody, None).unwrap();
        assert_eq!(host.traces(), bare, "after step {step} and a reset");
        if status.success() {
            break;
        }
        killed += 1;
    }
    assert!(killed > 25, "only {killed} steps were seen");
}

#[test]
fn a_bridge_left_half_made_is_finished() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &[]);
    web.end();
    crate::world::run("ip link set rbox0 down");
    for table in ["raw", "filter", "nat"] {
        crate::world::run(&format!("iptables -t {table} -F"));
    }
    let _web = host.container("web", &["8080:80"]);
    assert_eq!(crate::world::greeting("127.0.0.1", 8080).as_deref(), Ok("web"));
    assert!(crate::world::rules().contains("-A PREROUTING -d 127.0.0.0/8 -i rbox0 -j DROP"));
}

#[test]
fn another_process_can_go_on_with_an_endpoint() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &["8080:80"]);
    let record = web.endpoints.records()[0].clone();
    web.endpoints.keep();
    let mut monitor = record.owner.clone();
    monitor.pid = 4242;
    host.networks.hand_over(&monitor).unwrap();
    assert!(host.networks.sweep(&|owner| owner.pid == 4242).is_empty());
    let (mut resumed, errors) = host.networks.resume(&record.owner.container, None).unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    assert!(resumed.service().fds().next().is_some());
    assert!(std::net::TcpListener::bind("0.0.0.0:8080").is_err());
    assert_eq!(crate::world::greeting("127.0.0.1", 8080).as_deref(), Ok("web"));
    drop(web.netns);
    resumed.keep();
    assert!(host.networks.disconnect(&record.owner.container).is_empty());
    assert!(!crate::world::rules().contains("comment"));
    assert!(host.networks.of_container(&record.owner.container).unwrap().is_empty());
}

#[test]
fn half_a_record_is_told_once_and_is_in_nobodys_way() {
    need!(Root, Iptables);
    let host = Host::new();
    let file = host.state.path().join("net/endpoints").join("a".repeat(64)).join("0123456789ab.json");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "{\"id\":\"01").unwrap();
    let errors = host.networks.sweep(&|_| true);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().starts_with(&format!("{}: EOF", file.display())), "{}", errors[0]);
    assert!(host.networks.sweep(&|_| true).is_empty());
    assert!(!file.parent().unwrap().exists(), "no directory of nobody stays");
    host.container("web", &[]).end();
}
