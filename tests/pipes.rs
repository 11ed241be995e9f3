//! Pipes in and out of programs that have no terminal: `-i` of `run`, `start`, `exec` and `attach`, with much of it, with
//! ends that close early, and with readers that stop.

use crate::support::{BUSYBOX, Host, Output, need};
use std::io::Write;

const MANY_BYTES: usize = 6 * 1024 * 1024;

/// Six megabytes of every byte there is, in no simple order.
fn many() -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..MANY_BYTES).map(next).collect()
}

/// `rbox WORDS < input`, the whole script by sh, as a person writes it.
fn piped(host: &Host, script: &str) -> Output {
    let words = host.rbox_words(&[]).join(" ");
    let rbox = format!("{} {words} ", crate::support::rbox().display());
    host.shell(&script.replace("rbox ", &rbox))
}

fn prepared(host: &Host) -> String {
    std::fs::write(host.path("many"), many()).unwrap();
    host.shell("sha256sum < many").ok().stdout
}

#[test]
fn megabytes_in_and_out_are_the_same_for_every_verb() {
    need!(Root);
    let host = Host::with_busybox();
    let sum = prepared(&host);
    let same = |script: &str| assert_eq!(piped(&host, script).ok().stdout, sum, "{script}");
    same(&format!("rbox run --rm -i --network none {BUSYBOX} cat < many | sha256sum"));
    same(&format!("cat many | rbox run --rm -i --network none {BUSYBOX} sha256sum"));
    host.rbox(&["create", "-i", "--network", "none", "--name", "later", BUSYBOX, "cat"]).ok();
    same("cat many | rbox start -ai later | sha256sum");
    host.detached(&["--network", "none", "--name", "web"], &["sleep", "1000"]);
    same("cat many | rbox exec -i web cat | cat | sha256sum");
    same("rbox exec -i web sh -c 'cat >&2' < many 2>&1 >/dev/null | sha256sum");
    host.detached(&["-i", "--network", "none", "--name", "cat", "--log-driver", "none"], &["sh", "-c", "cat > /many"]);
    // Attached, sent, left: docker run -di has no end of its input.
    let mut attached = host.rbox_spawn(&["attach", "cat"]);
    attached.child.stdin.take().unwrap().write_all(&many()).unwrap();
    let size = format!("until [ $(stat -c %s /many) = {MANY_BYTES} ]; do sleep 0.05; done; sha256sum < /many");
    assert_eq!(host.rbox(&["exec", "cat", "timeout", "60", "sh", "-c", &size]).ok().stdout, sum);
    host.rbox(&["rm", "-f", "cat"]).ok();
    attached.wait();
}

#[test]
fn an_input_that_has_ended_does_not_end_the_output() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "web"], &["sleep", "1000"]);
    host.rbox(&[
        "create",
        "-i",
        "--network",
        "none",
        "--name",
        "later",
        BUSYBOX,
        "sh",
        "-c",
        "wc -c; sleep 1; echo late",
    ])
    .ok();
    let script = "sh -c 'wc -c; sleep 1; echo late'";
    for words in [
        format!("rbox run --rm -i --network none {BUSYBOX} {script}"),
        format!("rbox exec -i web {script}"),
        "rbox start -ai later".to_owned(),
    ] {
        assert_eq!(piped(&host, &format!("printf abc | {words}")).ok().stdout, "3\nlate\n", "{words}");
    }
}

#[test]
fn a_program_that_never_reads_or_closes_its_input_holds_nobody_up() {
    need!(Root);
    let host = Host::with_busybox();
    prepared(&host);
    host.detached(&["--network", "none", "--name", "web"], &["sleep", "1000"]);
    let never = "sh -c 'echo out; exit 4'";
    let closed = "sh -c 'exec 0<&-; echo out; exit 4'";
    let head = "sh -c 'head -c 3 >/dev/null; echo out; exit 4'";
    for script in [never, closed, head] {
        for words in [format!("run --rm -i --network none {BUSYBOX}"), "exec -i web".to_owned()] {
            let output = piped(&host, &format!("cat many | timeout 60 rbox {words} {script}")).code(4);
            assert_eq!(output.stdout, "out\n", "{words} {script}");
        }
        // An input that does not end either.
        let output = piped(&host, &format!("yes | timeout 60 rbox exec -i web {script}")).code(4);
        assert_eq!(output.stdout, "out\n", "{script}");
    }
}

#[test]
fn a_program_that_closes_its_outputs_is_still_waited_for() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "echo said; exec >&- 2>&-; sleep 1; exit 6";
    let output = host.run(&["--network", "none"], &["sh", "-c", script]).code(6);
    assert_eq!(output.stdout, "said\n");
    host.detached(&["--network", "none", "--name", "mute"], &["sh", "-c", script]);
    assert_eq!(host.rbox(&["wait", "mute"]).ok().text(), "6");
    assert_eq!(host.rbox(&["logs", "mute"]).ok().stdout, "said\n");
    assert_eq!(host.rbox(&["start", "-a", "mute"]).code(6).stdout, "said\n");
    host.detached(&["--network", "none", "--name", "web"], &["sleep", "1000"]);
    assert_eq!(host.rbox(&["exec", "web", "sh", "-c", script]).code(6).stdout, "said\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_pipeline() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "web"], &["sh", "-c", "while :; do echo y; sleep 0.01; done"]);
    for words in [format!("run --rm --network none {BUSYBOX} yes"), "exec web yes".to_owned(), "logs -f web".to_owned()]
    {
        assert_eq!(piped(&host, &format!("timeout 60 rbox {words} | head -n 1")).ok().stdout, "y\n", "{words}");
    }
    // One that is attached and goes away takes nothing along.
    assert_eq!(piped(&host, "timeout 60 rbox attach --no-stdin web | head -n 1").ok().stdout, "y\n");
    assert!(host.shown("web", "Status").starts_with("Up "));
}
