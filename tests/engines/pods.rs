//! Pods as Kubernetes makes them, through containerd's CRI plugin.

use super::containerd::{CONTAINERD, CTR};
use super::cri::*;
use super::stage::{need_engine, root_is_whole};
use crate::support::need;

const FOREVER: &str = "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done";

/// The plugin of containernetworking-plugins that every pod needs.
const BRIDGE: &str = "/usr/lib/cni/bridge";

fn security(set: impl FnOnce(&mut Security)) -> impl FnOnce(&mut Container) {
    |container| {
        let mut security = Security::kubernetes();
        set(&mut security);
        container.linux = Some(Linux { resources: None, security: Some(security) });
    }
}

#[test]
fn a_pod_s_container_is_started_entered_watched_and_ended() {
    need!(Root);
    need_engine!(CONTAINERD, CTR, BRIDGE);
    let node = Node::start();
    let pod = node.pod("life", PodLinux::default());
    let id = pod.create("web", &["sh", "-c", FOREVER], |container| {
        container.envs.push(KeyValue { key: "A".to_owned(), value: "b".to_owned() });
        container.working_dir = "/tmp".to_owned();
    });
    assert_eq!(node.status(&id).state, 0, "created");
    let _: Nothing = node.ask("StartContainer", &Id { id: id.clone() });
    assert_eq!(node.status(&id).state, 1, "running");
    assert_eq!(pod.inside(&id, "echo $A; pwd; hostname; head -c 2 /proc/1/cmdline"), "b\n/tmp\nlife-host\nsh");
    let said = node.exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 9"]);
    assert_eq!((said.stdout.as_slice(), said.stderr.as_slice(), said.code), (&b"out\n"[..], &b"err\n"[..], 9));
    let missing = ExecSync { id: id.clone(), command: vec!["no-such-program".to_owned()], timeout: 5 };
    let refused = node.try_ask::<Said>("ExecSync", &missing).unwrap_err();
    assert!(refused.message.contains("executable file not found"), "{refused}");
    let slow = ExecSync { id: id.clone(), command: vec!["sleep".to_owned(), "3201".to_owned()], timeout: 1 };
    let refused = node.try_ask::<Said>("ExecSync", &slow).unwrap_err();
    assert!(refused.code == "4" && refused.message.contains("timeout"), "{refused}");
    assert!(!pod.inside(&id, "ps").contains("sleep 3201"), "what took too long goes on");
    let stats = node.ask::<StatsAnswer>("ContainerStats", &Id { id: id.clone() }).stats.unwrap();
    assert!(stats.cpu.unwrap().value.unwrap().value > 0 && stats.memory.unwrap().value.unwrap().value > 0);
    let _: Nothing = node.ask("StopContainer", &Stop { id: id.clone(), timeout: 20 });
    assert_eq!(node.status(&id).code, 5);
    pod.until_log("web", "stdout F up\n");
    let _: Nothing = node.ask("RemoveContainer", &Id { id });
    // One that does not end when it is asked is killed; one that cannot start says why.
    let id = pod.start("deaf", "trap '' TERM; while :; do sleep 0.05; done", |_| ());
    let _: Nothing = node.ask("StopContainer", &Stop { id: id.clone(), timeout: 1 });
    assert_eq!(node.status(&id).code, 137);
    let id = pod.create("mistyped", &["no-such-program"], |_| ());
    let refused = node.try_ask::<Nothing>("StartContainer", &Id { id: id.clone() }).unwrap_err();
    assert!(refused.message.contains("executable file not found"), "{refused}");
    assert_eq!(node.status(&id).reason, "StartError");
    pod.remove();
    node.assert_clean();
}

#[test]
fn the_containers_of_a_pod_share_its_namespaces() {
    need!(Root);
    need_engine!(CONTAINERD, CTR, BRIDGE);
    let node = Node::start();
    let kinds = |pid, network| Namespaces { network, pid, ..Namespaces::default() };
    let linux = |pid, network| PodLinux {
        security: Some(PodSecurity { namespaces: Some(kinds(pid, network)), ..PodSecurity::default() }),
        sysctls: [("net.ipv4.ip_unprivileged_port_start".to_owned(), "80".to_owned())]
            .into_iter()
            .take(usize::from(network == 0))
            .collect(),
        ..PodLinux::default()
    };
    let shared = |pid, network| security(move |security| security.namespaces = Some(kinds(pid, network)));
    // Its pid namespace as well: the pod's own process is the first of all.
    let pod = node.pod("shared", linux(0, 0));
    let one = pod.start("one", "mkdir -p /var/www; httpd -f -p 80 -h /var/www", shared(0, 0));
    let two = pod.start("two", "sleep 3202", shared(0, 0));
    for kind in ["net", "ipc", "uts", "pid"] {
        let see = format!("readlink /proc/self/ns/{kind}");
        assert_eq!(pod.inside(&one, &see), pod.inside(&two, &see), "{kind}");
    }
    assert_eq!(pod.inside(&two, "cat /proc/1/cmdline | tr '\\0' ' '"), "/probe pause");
    assert!(pod.inside(&two, "ps").contains("httpd -f -p 80"));
    assert!(pod.inside(&two, "wget -qO - http://127.0.0.1/index.html").contains("hello from busybox"));
    assert_eq!(pod.inside(&two, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "80");
    assert!(pod.inside(&two, "cat /etc/resolv.conf").contains("192.0.2.53"));
    let address = pod.status().network.unwrap().ip;
    assert!(address.starts_with("10.88.0."), "{address}");
    node.containerd.host.shell(&format!("curl -fsS --max-time 10 http://{address}/index.html")).ok();
    // Each container has a pid namespace of its own, and the node's network.
    let other = node.pod("hostnet", linux(1, 2));
    let third = other.start("third", "sleep 3203", shared(1, 2));
    let host = node.containerd.host.shell("readlink /proc/self/ns/net").ok();
    assert_eq!(other.inside(&third, "readlink /proc/self/ns/net"), host.text());
    assert_eq!(other.inside(&third, "cat /proc/1/cmdline | tr '\\0' ' '"), "sleep 3203");
    // The pod's end ends all that is in it.
    pod.remove();
    other.remove();
    node.assert_clean();
}

#[test]
fn a_security_context_is_what_the_container_gets() {
    need!(Root);
    need_engine!(CONTAINERD, CTR, BRIDGE);
    let node = Node::start();
    let pod = node.pod("secure", PodLinux::default());
    let user = security(|security| {
        security.user = Some(Number { value: 33 });
        security.groups = vec![7, 8];
        security.readonly = true;
        security.no_new_privileges = true;
        security.seccomp = Some(Profile { kind: 0 });
        security.masked = vec!["/proc/version".to_owned()];
        security.read_only_paths = vec!["/proc/sys".to_owned()];
    });
    let id = pod.start("user", "sleep 3204", user);
    assert_eq!(pod.inside(&id, "id -u; id -G; touch /tmp/f 2>/dev/null || echo refused"), "33\n33 7 8\nrefused");
    assert_eq!(
        pod.inside(&id, "grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/1/status; wc -c </proc/version"),
        "CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n0"
    );
    let caps = security(|security| {
        let words = |word: &str| vec![word.to_owned()];
        security.capabilities = Some(Capabilities { add: words("NET_ADMIN"), drop: words("ALL") });
        security.seccomp = Some(Profile { kind: 1 });
    });
    let id = pod.start("caps", "sleep 3205", caps);
    assert_eq!(
        pod.inside(&id, "grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/1/status"),
        "CapEff:\t0000000000001000\nCapBnd:\t0000000000001000\nNoNewPrivs:\t0\nSeccomp:\t0"
    );
    let dir = node.containerd.host.path("shared");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("file"), "from the node\n").unwrap();
    let id = pod.start("mounts", "sleep 3206", |container| {
        let host_path = dir.display().to_string();
        container.mounts.push(Mount {
            container_path: "/rw".to_owned(),
            host_path: host_path.clone(),
            readonly: false,
        });
        container.mounts.push(Mount { container_path: "/ro".to_owned(), host_path, readonly: true });
    });
    assert_eq!(
        pod.inside(&id, "cat /ro/file; echo x >/rw/new; touch /ro/f 2>/dev/null || echo refused"),
        "from the node\nrefused"
    );
    pod.remove();
    if root_is_whole() {
        let linux = PodLinux {
            security: Some(PodSecurity { privileged: true, ..PodSecurity::default() }),
            ..PodLinux::default()
        };
        let pod = node.pod("privileged", linux);
        let id = pod.start("all", "sleep 3207", security(|security| security.privileged = true));
        assert_eq!(
            pod.inside(&id, "grep Seccomp: /proc/1/status; test -e /dev/kmsg && echo all devices"),
            "Seccomp:\t0\nall devices"
        );
        pod.remove();
    }
    node.assert_clean();
}

#[test]
fn the_limits_of_a_running_container_change() {
    need!(Root, CgroupV1);
    need_engine!(CONTAINERD, CTR, BRIDGE);
    let node = Node::start();
    let pod = node.pod("limits", PodLinux::default());
    let limits = |memory, cpu_quota, cpu_shares| Resources { cpu_period: 100_000, cpu_quota, cpu_shares, memory };
    let id = pod.start("web", "sleep 3208", |container| {
        container.linux =
            Some(Linux { resources: Some(limits(64 << 20, 50_000, 512)), security: Some(Security::kubernetes()) });
    });
    let see = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares";
    assert_eq!(pod.inside(&id, see), "67108864\n50000\n512");
    let _: Nothing =
        node.ask("UpdateContainerResources", &Update { id: id.clone(), linux: Some(limits(96 << 20, 25_000, 256)) });
    assert_eq!(pod.inside(&id, see), "100663296\n25000\n256");
    let id = pod.start("greedy", "tail /dev/zero", |container| {
        container.linux =
            Some(Linux { resources: Some(limits(16 << 20, 0, 0)), security: Some(Security::kubernetes()) });
    });
    let status = node.until_exited(&id);
    assert_eq!((status.code, status.reason.as_str()), (137, "OOMKilled"));
    pod.remove();
    node.assert_clean();
}

#[test]
fn exec_and_attach_stream_what_is_typed_and_said() {
    need!(Root);
    need_engine!(CONTAINERD, CTR, BRIDGE);
    let node = Node::start();
    let host = &node.containerd.host;
    let pod = node.pod("streams", PodLinux::default());
    let id =
        pod.start("talks", "while read -r line; do echo \"heard $line\"; done", |container| container.stdin = true);
    let exec = |script: &str, tty: bool| Exec {
        id: id.clone(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
    };
    let open = |method: &str, question: &Exec| Stream::open(host, &node.ask::<Url>(method, question).url);
    let mut plain = open("Exec", &exec("read -r line; echo \"out $line\"; echo err >&2; exit 3", false));
    plain.send(0, "words\n");
    let heard = plain.finish();
    assert_eq!((heard[&1].as_str(), heard[&2].as_str()), ("out words\n", "err\n"));
    assert!(heard[&3].contains("\"ExitCode\"") && heard[&3].contains("\"3\""), "{}", heard[&3]);
    let mut screen = open("Exec", &exec("read -r line; until stty size | grep .; do sleep 0.05; done; tty", true));
    screen.send(4, "{\"Width\": 77, \"Height\": 33}");
    screen.send(0, "\r");
    let heard = screen.finish();
    assert!(heard[&1].contains("33 77") && heard[&1].contains("/dev/pts/"), "{heard:?}");
    assert!(heard[&3].contains("\"Success\""), "{heard:?}");
    let attach = Attach { id: id.clone(), stdin: true, tty: false, stdout: true, stderr: true };
    let mut attached = Stream::open(host, &node.ask::<Url>("Attach", &attach).url);
    attached.send(0, "me\n");
    let heard = attached.until(|heard| heard.get(&1).is_some_and(|words| words.contains('\n')));
    assert_eq!(heard[&1], "heard me\n");
    pod.until_log("talks", "stdout F heard me\n");
    // A container with a terminal of its own.
    let id = pod
        .start("tty", "while read -r line; do tty; done", |container| (container.stdin, container.tty) = (true, true));
    let attach = Attach { id: id.clone(), stdin: true, tty: true, stdout: true, stderr: false };
    let mut attached = Stream::open(host, &node.ask::<Url>("Attach", &attach).url);
    attached.send(0, "\r");
    let heard = attached.until(|heard| heard.get(&1).is_some_and(|words| words.contains("/dev/pts/0")));
    assert!(heard[&1].contains("/dev/pts/0"), "{heard:?}");
    pod.remove();
    node.assert_clean();
}
