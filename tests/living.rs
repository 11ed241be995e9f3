//! Verbs about containers that are there: found by name and id, paused, renamed, measured, limited, listed.

use crate::support::{BUSYBOX, Host, Running, need};
use std::fs;

fn idle(host: &Host, name: &str, flags: &[&str]) -> Running {
    let flags = [&["--name", name], flags].concat();
    host.run_ready(&flags, &["sh", "-c", "echo ready; exec sleep 1000"])
}

#[test]
fn a_container_is_found_by_name_id_and_a_beginning_of_its_id() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, "web", &["--network", "none"]);
    let id = host.rbox(&["inspect", "--format", "{{.Id}}", "web"]).ok().text().to_owned();
    assert_eq!(id.len(), 64);
    for name in ["web", "/web", &id, &id[..12], &id[..4]] {
        let found = host.rbox(&["inspect", "--format", "{{.Id}}", name]).ok();
        assert_eq!(found.text(), id, "{name}");
        host.rbox(&["exec", name, "true"]).ok();
    }
    for name in ["we", "../web", ".", &id[1..14]] {
        host.rbox(&["exec", name, "true"]).code(1).says("not found");
    }
    // Sixteen more cannot all begin with digits of their own.
    for _ in 0..16 {
        host.rbox(&["run", "--network", "none", BUSYBOX, "true"]).ok();
    }
    let ids = host.rbox(&["ps", "-aq", "--no-trunc"]).ok().stdout;
    let twice = ids.lines().find(|one| ids.lines().filter(|other| other[..1] == one[..1]).count() > 1).unwrap();
    host.rbox(&["pause", &twice[..1]]).code(1).says("more than one id begins like this");
}

#[test]
fn a_paused_container_stands_still() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "echo ready; i=0; while :; do i=$((i+1)); echo $i > /tick; sleep 0.02; done";
    let _web = host.run_ready(&["--name", "web", "--network", "none"], &["sh", "-c", script]);
    let state = || host.rbox(&["inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.State.Paused}}", "web"]).ok();
    assert_eq!(state().text(), "running true false");
    assert_eq!(host.rbox(&["pause", "web"]).ok().stdout, "web\n");
    assert_eq!(state().text(), "paused true true");
    let tick = || host.rbox(&["cp", "web:/tick", "-"]).ok().stdout;
    let before = tick();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(tick(), before);
    host.rbox(&["pause", "web"]).code(1).says("it is paused already");
    assert_eq!(host.rbox(&["container", "unpause", "web"]).ok().stdout, "web\n");
    host.rbox(&["unpause", "web"]).code(1).says("it is not paused");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_ne!(tick(), before);
    let mixed = host.rbox(&["pause", "nosuch", "web"]).code(1).says("nosuch");
    assert_eq!(mixed.stdout, "web\n", "one that fails does not keep the other");
    host.rbox(&["rm", "-f", "web"]).ok();
}

#[test]
fn a_renamed_container_gives_its_old_name_back() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&[], &["true"]).ok();
    let before = host.snapshot();
    let web = idle(&host, "web", &[]);
    let _other = idle(&host, "other", &["--network", "none"]);
    host.rbox(&["rename", "web", "other"]).code(1).says("name in use");
    host.rbox(&["rename", "web", "x y"]).code(1);
    host.rbox(&["rename", "web", "web"]).code(1).says("called so already");
    host.rbox(&["rename", "nosuch", "x"]).code(1).says("nosuch");
    host.rbox(&["rename", "web", "page"]).ok();
    let names = host.rbox(&["ps", "--format", "{{.Names}}"]).ok();
    assert!(names.stdout.lines().any(|name| name == "page") && !names.stdout.contains("web"), "{names}");
    host.rbox(&["exec", "page", "true"]).ok();
    host.rbox(&["exec", "web", "true"]).code(1);
    let third = idle(&host, "web", &["--network", "none"]);
    assert_eq!(host.rbox(&["network", "inspect", "bridge"]).ok().json()[0]["Containers"].as_object().unwrap().len(), 1);
    host.rbox(&["rm", "-f", "page", "web", "other"]).ok();
    drop((web.wait(), third.wait()));
    // Every name can be had again.
    for name in ["web", "page", "other"] {
        host.run(&["--network", "none", "--name", name], &["true"]).ok();
    }
    host.assert_unchanged(&before);
}

#[test]
fn the_last_record_keeps_the_new_name() {
    need!(Root);
    let host = Host::with_busybox();
    let mut run =
        host.rbox_spawn(&["run", "--name", "old", "--network", "none", BUSYBOX, "sh", "-c", "echo ready; sleep 2"]);
    run.wait_for("ready");
    host.rbox(&["rename", "old", "new"]).ok();
    run.wait().ok();
    assert_eq!(host.rbox(&["inspect", "-f", "{{.Name}} {{.State.Status}}", "new"]).ok().text(), "/new exited");
    host.rbox(&["rm", "new"]).ok();
    host.run(&["--network", "none", "--name", "new"], &["true"]).ok();
}

#[test]
fn top_shows_the_containers_processes_with_the_hosts_numbers() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, "web", &["--network", "none"]);
    let pid = host.rbox(&["inspect", "-f", "{{.State.Pid}}", "web"]).ok().text().to_owned();
    let top = host.rbox(&["top", "web"]).ok();
    let lines: Vec<Vec<&str>> = top.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert_eq!((lines.len(), lines[1][1], lines[1].last()), (2, pid.as_str(), Some(&"1000")), "{top}");
    let chosen = host.rbox(&["top", "web", "-o", "pid,comm"]).ok();
    assert_eq!(chosen.stdout.lines().next().unwrap(), format!("{:<20}{}", "PID", "COMMAND"));
    host.rbox(&["top", "web", "-o", "user"]).code(1).says("no column PID");
    host.rbox(&["top", "nosuch"]).code(1);
}

#[test]
fn stats_counts_what_the_cgroup_counts() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "head -c 20m /dev/zero | tail -c 20m > /tmp/x & echo ready; while :; do :; done";
    let _busy = host.run_ready(&["--name", "busy", "--network", "none", "-m", "256m"], &["sh", "-c", script]);
    let _idle = idle(&host, "idle", &[]);
    let all = host.rbox(&["stats", "--no-stream"]).ok();
    let title = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT";
    assert!(all.stdout.starts_with(title), "{all}");
    let row = |name: &str| {
        let format = "{{.CPUPerc}} {{.MemUsage}} {{.PIDs}} {{.NetIO}}";
        host.rbox(&["stats", "--no-stream", "--format", format, name]).ok().text().to_owned()
    };
    let (busy, idle) = (row("busy"), row("idle"));
    let share: f64 = busy.split('%').next().unwrap().parse().unwrap();
    assert!(share > 10.0, "{busy}");
    assert!(busy.contains("/ 256MiB"), "{busy}");
    assert!(idle.starts_with("0.0") && idle.contains(" 1 "), "{idle}");
    host.rbox(&["stats", "--no-stream", "nosuch"]).code(1).says("nosuch");
    host.rbox(&["run", "--name", "done", "--network", "none", BUSYBOX, "true"]).ok();
    let names =
        |flags: &[&str]| host.rbox(&[&["stats", "--no-stream", "--format", "{{.Name}}"], flags].concat()).ok().stdout;
    assert!(names(&["-a"]).contains("done") && !names(&[]).contains("done"));
}

#[test]
fn update_changes_the_kernels_limits_and_what_is_remembered() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, "web", &["--network", "none", "--memory", "64m", "--pids-limit", "100"]);
    host.rbox(&["update", "web"]).code(1);
    host.rbox(&["update", "--memory", "512m", "web"]).code(1).says("--memory-swap");
    let changed = host.rbox(&[
        "update",
        "--memory",
        "96m",
        "--memory-swap",
        "200m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "20",
        "web",
    ]);
    assert_eq!(changed.ok().stdout, "web\n");
    let format = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}";
    let told = host.rbox(&["inspect", "-f", format, "web"]).ok();
    assert_eq!(told.text(), "100663296 209715200 500000000 20");
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max memory.max pids.max 2>/dev/null";
    let seen = host.rbox(&["exec", "web", "sh", "-c", script]);
    assert_eq!(seen.stdout, "100663296\n20\n", "{seen}");
    host.rbox(&["update", "--cpu-quota", "20000", "web"]).code(1).says("--cpus");
    host.rbox(&["update", "--cpuset-cpus", "4000", "web"]).code(1).says("4000");
    host.rbox(&["update", "--memory", "1m", "nosuch"]).code(1).says("nosuch");
}

#[test]
fn port_lists_where_ports_are_published() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, "web", &["-p", "8080:80", "-p", "127.0.0.1:9000-9001:90-91/udp"]);
    let all = "80/tcp -> 0.0.0.0:8080\n80/tcp -> :::8080\n90/udp -> 127.0.0.1:9000\n91/udp -> 127.0.0.1:9001\n";
    assert_eq!(host.rbox(&["port", "web"]).ok().stdout, all);
    assert_eq!(host.rbox(&["port", "web", "80"]).ok().stdout, "0.0.0.0:8080\n:::8080\n");
    assert_eq!(host.rbox(&["container", "port", "web", "91/udp"]).ok().stdout, "127.0.0.1:9001\n");
    host.rbox(&["port", "web", "91"]).code(1).says("port 91/tcp is not published");
    host.rbox(&["port", "web", "x"]).code(1).says("x: not a port");
}

#[test]
fn a_009_a_010_info_knows_the_drivers_and_counts_the_containers() {
    need!(Root);
    let host = Host::with_busybox();
    assert_eq!(host.rbox(&["info", "--format", "{{ .Plugins.Network }}"]).ok().text(), "[bridge host null]");
    let _web = idle(&host, "web", &["--network", "none"]);
    let _paused = idle(&host, "paused", &["--network", "none"]);
    host.rbox(&["pause", "paused"]).ok();
    host.rbox(&["run", "--network", "none", BUSYBOX, "true"]).ok();
    let format = "{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}} {{.Images}}";
    assert_eq!(host.rbox(&["info", "-f", format]).ok().text(), "3 1 1 1 1");
    let told = host.rbox(&["info"]).ok();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(told.stdout.contains(&format!("Kernel Version: {kernel}")), "{told}");
    host.rbox(&["rm", "-f", "paused"]).ok();
}

#[test]
fn a_broken_record_does_not_hide_the_others() {
    need!(Root);
    let host = Host::with_busybox();
    let broken = host.detached(&["--network", "none", "--name", "broken"], &["true"]);
    host.rbox(&["wait", "broken"]).ok();
    host.detached(&["--network", "none", "--name", "whole"], &["sleep", "1000"]);
    // As after a loss of power.
    std::fs::write(host.path("data/containers").join(&broken).join("record.json"), "").unwrap();
    let listed = host.rbox(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    assert_eq!(listed.stdout, "whole\n");
    assert_eq!(listed.stderr.matches("record.json: not what rbox wrote").count(), 1, "{listed}");
    host.run(&["--network", "none"], &["true"]).ok();
    host.rbox(&["exec", "whole", "true"]).ok();
    host.rbox(&["rm", "-f", "whole"]).ok();
}
