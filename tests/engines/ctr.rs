//! containerd as its own client drives it: `ctr run --runc-binary`.

use super::containerd::{CONTAINERD, CTR, Containerd};
use super::stage::{need_engine, until};
use crate::support::need;

#[test]
fn a_program_under_containerd_ends_with_its_own_code_and_leaves_nothing() {
    need!(Root);
    need_engine!(CONTAINERD, CTR);
    let containerd = Containerd::plain();
    let said = containerd.ctr("run --rm @runtime @image c1 sh -c 'echo out; echo err >&2; exit 7'").code(7);
    assert_eq!((said.text(), said.stderr.trim()), ("out", "err"));
    assert_eq!(containerd.typed("typed words\n", "run --rm @runtime @image c2 head -n 1").ok().text(), "typed words");
    let said = containerd.ctr("run --rm @runtime --env A=b --cwd /home @image c4 sh -c 'echo $A; pwd; id -u'");
    assert_eq!(said.ok().text(), "b\n/home\n0");
    let said = containerd.ctr(
        "run --rm @runtime --read-only --memory-limit 33554432 --cpus 0.5 @image c5 \
                               sh -c 'touch /file; cat /proc/self/cgroup'",
    );
    assert!(said.code(0).says("Read-only file system").stdout.contains("c5"));
    containerd.assert_clean();
}

#[test]
fn containerd_shows_why_a_program_cannot_start() {
    need!(Root);
    need_engine!(CONTAINERD, CTR);
    let containerd = Containerd::plain();
    containerd.ctr("run --rm @runtime @image c1 no-such-program").code(1).says("executable file not found");
    containerd.ctr("run --rm @runtime @image c2 /etc/passwd").code(1).says("permission denied");
    containerd.ctr("run --rm @runtime --cwd /etc/passwd @image c3 true").code(1).says("not a directory");
    containerd
        .ctr("run --rm @runtime --mount type=bind,src=/no/such,dst=/mnt,options=rbind @image c4 true")
        .code(1)
        .says("no such file or directory");
    containerd.assert_clean();
}

#[test]
fn containerd_lists_enters_and_ends_a_container_in_the_background() {
    need!(Root);
    need_engine!(CONTAINERD, CTR);
    let containerd = Containerd::plain();
    containerd.ctr("run -d @runtime @image web sh -c 'trap \"exit 5\" TERM; while :; do sleep 0.05; done'").ok();
    let row = containerd.ctr("tasks ls").ok();
    let row = row.stdout.lines().find(|row| row.starts_with("web ")).unwrap().to_owned();
    let pid = row.split_whitespace().nth(1).unwrap().to_owned();
    assert!(row.contains("RUNNING"), "{row}");
    assert!(containerd.host.shell(&format!("cat /proc/{pid}/cmdline")).ok().stdout.contains("trap"));
    assert!(containerd.ctr("tasks ps web").ok().stdout.lines().any(|row| row.trim().starts_with(&pid)));
    // In the container, beside its program: its own pid namespace, the code and the words are the program's.
    let said = containerd.ctr("tasks exec --exec-id e1 web sh -c 'cat /proc/1/cmdline; exit 3'").code(3);
    assert!(said.stdout.contains("trap"), "{said}");
    assert_eq!(
        containerd
            .typed("words", "tasks exec --exec-id e2 --cwd /tmp --user 33 web sh -c 'cat; id -u; pwd'")
            .ok()
            .text(),
        "words33\n/tmp"
    );
    containerd.ctr("tasks exec --exec-id e3 web no-such-program").fails().says("executable file not found");
    containerd.ctr("tasks exec --exec-id e4 web sh -c 'kill -15 $$'").code(143);
    containerd.ctr("tasks exec -d --exec-id e5 web sleep 300").ok();
    let listed = containerd.ctr("tasks ps web").ok();
    assert!(listed.stdout.contains("e5"), "{listed}");
    containerd.ctr("tasks kill -s KILL --exec-id e5 web").ok();
    until("e5 is gone", || containerd.ctr("tasks ps web"), |answer| !answer.stdout.contains("e5"));
    containerd.ctr("tasks kill -s TERM web").ok();
    containerd.until_status("web", "STOPPED");
    containerd.ctr("tasks rm web").ok().says("exit code 5");
    containerd.ctr("containers rm web").ok();
    containerd.assert_clean();
}

#[test]
fn containerd_pauses_measures_and_limits_a_container() {
    need!(Root);
    need_engine!(CONTAINERD, CTR);
    let containerd = Containerd::plain();
    containerd
        .ctr(
            "run -d @runtime --memory-limit 67108864 --cpus 0.5 @image web \
                    sh -c 'n=0; while :; do n=$((n+1)); echo $n > /n; sleep 0.01; done'",
        )
        .ok();
    let count = || containerd.ctr("tasks exec --exec-id look web cat /n");
    until("it counts", count, |answer| !answer.text().is_empty());
    let metrics = containerd.ctr("tasks metrics --format json web").ok();
    let metrics = metrics.json();
    let metrics = metrics.get("stats").unwrap_or(&metrics);
    assert_eq!(metrics["memory"]["usage"]["limit"], 67_108_864, "{metrics:#}");
    assert!(metrics["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{metrics:#}");
    assert!(metrics["pids"]["current"].as_u64().unwrap() >= 1, "{metrics:#}");
    assert!(metrics["cpu"]["usage"]["total"].as_u64().unwrap() > 0, "{metrics:#}");
    containerd.ctr("tasks pause web").ok();
    containerd.until_status("web", "PAUSED");
    let pid = pid_of(&containerd, "web");
    let now = || containerd.host.shell(&format!("cat /proc/{pid}/root/n")).ok().stdout;
    let before = now();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(now(), before, "a paused program goes on");
    containerd.ctr("tasks exec --exec-id late web true").fails();
    containerd.ctr("tasks resume web").ok();
    containerd.until_status("web", "RUNNING");
    until(
        "it counts on",
        || containerd.host.shell(&format!("cat /proc/{pid}/root/n")),
        |answer| answer.stdout != before,
    );
    containerd.ctr("tasks kill -s KILL web").ok();
    containerd.until_status("web", "STOPPED");
    containerd.ctr("tasks rm web").ok().says("exit code 137");
    containerd.ctr("containers rm web").ok();
    containerd.assert_clean();
}

fn pid_of(containerd: &Containerd, id: &str) -> String {
    let rows = containerd.ctr("tasks ls").ok();
    let row = rows.stdout.lines().find(|row| row.split_whitespace().next() == Some(id)).unwrap();
    row.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn containerd_gives_a_container_and_an_exec_a_terminal() {
    need!(Root);
    need_engine!(CONTAINERD, CTR);
    let containerd = Containerd::plain();
    let mut screen = containerd.on_terminal("run --rm -t @runtime @image tty sh");
    screen.wait_for("# ");
    screen.send("tty; echo si\"ze\": $(stty size)\r");
    let seen = screen.wait_for("size: 30 100");
    assert!(seen.contains("/dev/pts/0"), "{seen}");
    let mut other = containerd.on_terminal("tasks exec -t --exec-id e1 tty sh");
    other.wait_for("# ");
    other.send("tty; echo si\"ze\": $(stty size); exit 4\r");
    let seen = other.wait_for("size: 30 100");
    assert!(seen.contains("/dev/pts/1"), "{seen}");
    assert_eq!(other.wait().0, 4);
    screen.resize(20, 60);
    until(
        "the size arrives",
        || containerd.ctr("tasks exec --exec-id e2 tty stty -F /dev/pts/0 size"),
        |answer| answer.text() == "20 60",
    );
    screen.send("\u{3}");
    screen.send("exit 9\r");
    assert_eq!(screen.wait().0, 9);
    containerd.assert_clean();
}

#[test]
fn containerd_ends_every_process_of_a_container_without_a_pid_namespace_of_its_own() {
    need!(Root);
    need_engine!(CONTAINERD, CTR);
    let containerd = Containerd::plain();
    // The shim then calls `kill --all` and `delete`: nobody else ends what the first process leaves behind.
    containerd
        .ctr(
            "run -d @runtime --with-ns pid:/proc/1/ns/pid @image shared \
                    sh -c 'sleep 3001 & sleep 3002 & sleep 0.5; exit 6'",
        )
        .ok();
    containerd.until_status("shared", "STOPPED");
    until(
        "the others are ended too",
        || containerd.host.shell("pgrep -fc '^sleep 300[12]$'"),
        |answer| answer.text() == "0",
    );
    containerd.ctr("tasks rm shared").ok().says("exit code 6");
    containerd.ctr("containers rm shared").ok();
    containerd
        .ctr("run -d @runtime --with-ns pid:/proc/1/ns/pid @image all sh -c 'sleep 3003 & sleep 3004 & wait'")
        .ok();
    containerd.ctr("tasks kill -a -s KILL all").ok();
    containerd.until_status("all", "STOPPED");
    until("all are ended", || containerd.host.shell("pgrep -fc '^sleep 300[34]$'"), |answer| answer.text() == "0");
    containerd.ctr("tasks rm all").ok().says("exit code 137");
    containerd.ctr("containers rm all").ok();
    containerd.assert_clean();
}

#[test]
fn a_killed_shim_takes_its_container_with_it() {
    need!(Root);
    need_engine!(CONTAINERD, CTR);
    let containerd = Containerd::plain();
    containerd.ctr("run -d @runtime @image orphan sleep 3005").ok();
    containerd.host.shell("pkill -9 -f '^/usr/bin/containerd-shim-runc-v2 .*-id orphan'").ok();
    // containerd calls the shim's `delete`, and that the runtime's `delete --force`.
    until("the program is ended", || containerd.host.shell("pgrep -fc '^sleep 3005$'"), |answer| answer.text() == "0");
    until("the task is gone", || containerd.ctr("tasks ls -q"), |answer| answer.text().is_empty());
    containerd.ctr("containers rm orphan").ok();
    containerd.assert_clean();
}
