//! A private host in which one OCI runtime is left, and what the tests of all engines share.

use crate::support::{Host, Output, find_program, runtime};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Every runtime that an engine might find by itself.
const RUNTIMES: [&str; 8] = [
    "/usr/sbin/runc",
    "/usr/bin/runc",
    "/usr/local/sbin/runc",
    "/usr/local/bin/runc",
    "/usr/bin/crun",
    "/usr/local/bin/crun",
    "/usr/bin/youki",
    "/usr/local/bin/youki",
];

/// Leave the test where a program of an engine is not installed; say which version does the work.
macro_rules! need_engine {
    ($($program:expr),+ $(,)?) => {
        $(if $crate::support::find_program($program).is_none() {
            $crate::support::skip(&format!("{} is not installed", $program));
            return;
        })+
    };
}
pub(super) use need_engine;

/// A host with a wire in which an engine finds the runtime under test and no other.
pub(super) fn stage() -> Host {
    let host = Host::new();
    let ours = runtime();
    // It can be executed, since dockerd does not even start without a program named runc; whoever calls it, fails.
    let refusal = "#!/bin/sh\necho 'another runtime than the one under test was called' >&2\nexit 99\n";
    std::fs::write(host.path("refusal"), refusal).unwrap();
    // A name may be a link to the runtime itself.
    let ours = ours.canonicalize().unwrap();
    let others = RUNTIMES.iter().filter(|path| Path::new(path).canonicalize().is_ok_and(|real| real != ours));
    let bound: String =
        others.map(|path| format!("mount --bind {} {path}\n", host.path("refusal").display())).collect();
    // What engines and network plugins keep below /var/lib by default is not to be found there, and not to be left there.
    host.shell(&format!("set -e; chmod 755 refusal\n{bound}mount -t tmpfs tmpfs /var/lib\ncut -d' ' -f1 /proc/self/mountinfo > mounts.born")).ok();
    host
}

/// The runtime under test, as an engine's configuration names it.
pub(super) fn runtime_path() -> String {
    runtime().display().to_string()
}

/// `PROGRAM --version`, for the test's log: the same test may meet another engine tomorrow.
pub(super) fn say_version(host: &Host, program: &str) {
    let program = find_program(program).expect("need_engine! was asked");
    eprintln!("{}", host.exec(&program.display().to_string(), &["--version"]).text());
}

/// Ask again until the answer is right; the test fails with the last answer after half a minute.
#[track_caller]
pub(super) fn until(what: &str, mut ask: impl FnMut() -> Output, mut right: impl FnMut(&Output) -> bool) -> Output {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = ask();
        if right(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "it never came to this: {what}\n{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Nothing of a container is left below these directories of the runtime's: only the filters that it keeps compiled.
#[track_caller]
pub(super) fn assert_no_state(host: &Host, directories: &str) {
    let left = host.shell(&format!("find {directories} -mindepth 1 -not -path '*/.seccomp*' 2>/dev/null"));
    assert_eq!(left.stdout, "", "state is left");
}

/// Wait until a bridge has seen its last container go: a link that is idle looks different, and so do its routes.
#[track_caller]
pub(super) fn until_idle(host: &Host, bridge: &str) {
    let idle = |said: &Output| said.stdout.contains("NO-CARRIER");
    until(&format!("{bridge} is idle"), || host.shell(&format!("ip link show {bridge}")), idle);
}

/// Run a program of the host with this on its standard input, for a minute at most.
pub(super) fn run(host: &Host, words: &[String], input: &str) -> Output {
    let mut all = vec!["-k", "1", "60"];
    all.extend(words.iter().map(String::as_str));
    let mut running = host.spawn("/usr/bin/timeout", &all);
    let mut stdin = running.child.stdin.take().expect("it is piped");
    // One that does not read has ended, and says why.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    running.wait()
}

/// Words as a command line is typed: separated by blanks, `'…'` keeps them together.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' | '\n' if !quoted => words.push(String::new()),
            _ => words.last_mut().expect("it begins with one").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether root has every capability of the kernel. Where a machine keeps some from it, no runtime can start a
/// privileged container: it has none to give.
pub(super) fn root_is_whole() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let has = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    u64::from_str_radix(has, 16).unwrap() == (1 << (last + 1)) - 1
}

/// The last errors of a daemon's log, into the log of a test that fails.
pub(super) fn show_end(daemon: &str, log: &str) {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("level=error")).collect();
    let last = &lines[lines.len().saturating_sub(12)..];
    eprintln!("the last errors of {daemon}:\n{}", last.join("\n"));
}
