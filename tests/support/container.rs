//! Containers of the engine: fixture images, a program in the background, a look inside.

use super::host::{Host, Running};
use super::output::Output;
use super::programs::{probe, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The image that most tests run: busybox; the probe is bound into it by [`Host::run`].
pub(crate) const BUSYBOX: &str = "rbox-fixtures/busybox";

/// An image archive of `make fixtures`.
#[track_caller]
pub(crate) fn fixture(name: &str) -> PathBuf {
    let made_here = || {
        let target = super::programs::rbox();
        target.ancestors().nth(3).expect("target/TRIPLE/debug/rbox").join("fixtures")
    };
    let dir = std::env::var_os("RBOX_TEST_FIXTURES").map_or_else(made_here, PathBuf::from);
    let archive = dir.join(format!("{name}.tar"));
    assert!(archive.exists(), "{} is missing: run `make fixtures` first", archive.display());
    archive
}

impl Host {
    /// A host with a wire, and with the busybox image loaded.
    pub(crate) fn with_busybox() -> Host {
        let host = Host::new();
        host.load("busybox");
        host
    }

    /// Load an image of the fixtures.
    #[track_caller]
    pub(crate) fn load(&self, name: &str) {
        self.rbox(&["load", "--input", &fixture(name).display().to_string()]).ok();
    }

    /// `rbox run --rm FLAGS busybox PROGRAM` to its end; `/probe` is there.
    pub(crate) fn run(&self, flags: &[&str], program: &[&str]) -> Output {
        let words = run_words(flags, program);
        self.rbox(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same, which has to succeed; its standard output without white space around it.
    #[track_caller]
    pub(crate) fn run_text(&self, flags: &[&str], program: &[&str]) -> String {
        self.run(flags, program).ok().text().to_owned()
    }

    /// What the probe sees in a container with these flags.
    #[track_caller]
    pub(crate) fn see(&self, flags: &[&str]) -> serde_json::Value {
        self.run(flags, &["/probe", "see"]).ok().json()
    }

    /// The same in the background, from the moment on when its program has said `ready`.
    #[track_caller]
    pub(crate) fn run_ready(&self, flags: &[&str], program: &[&str]) -> Running {
        let words = run_words(flags, program);
        let mut running = self.rbox_spawn(&words.iter().map(String::as_str).collect::<Vec<_>>());
        running.wait_for("ready");
        running
    }

    /// `rbox run -d FLAGS busybox PROGRAM`; `/probe` is there. The container's id.
    #[track_caller]
    pub(crate) fn detached(&self, flags: &[&str], program: &[&str]) -> String {
        let bind = format!("{}:/probe:ro", probe().display());
        let id = self.rbox(&[&["run", "-d", "-v", &bind], flags, &[BUSYBOX], program].concat()).ok().text().to_owned();
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "no id: {id}");
        id
    }

    /// A field of `rbox ps -a` for one container; empty when there is no such container.
    pub(crate) fn shown(&self, name: &str, field: &str) -> String {
        let format = format!("{{{{.Names}}}} {{{{.{field}}}}}");
        let list = self.rbox(&["ps", "-a", "--format", &format]).ok();
        let line = list.stdout.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned));
        line.unwrap_or_default()
    }

    /// Ask again until a command's output holds `words`; the test fails after 20 s.
    #[track_caller]
    pub(crate) fn until(&self, args: &[&str], words: &str) -> Output {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let output = self.rbox(args);
            if output.stdout.contains(words) {
                return output;
            }
            assert!(Instant::now() < end, "never said `{words}`: {output}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// kill -9 of every monitor that there is in this moment; they are gone, and their locks, when this is over.
    #[track_caller]
    pub(crate) fn kill_monitors(&self) -> Output {
        let script = "all=$(pgrep -x rbox:monitor) || exit 0; kill -9 $all 2>/dev/null
                      for one in $all; do while grep -qs '^State:.[^ZX]' /proc/$one/task/*/status; do sleep 0.01; done; done";
        self.shell(script).ok()
    }

    /// Start `rbox ARGS`, and kill it after a while; at the first moment there is only the program that enters the host.
    #[track_caller]
    pub(crate) fn rbox_killed_after(&self, args: &[&str], moment: Duration) {
        let mut running = self.rbox_spawn(args);
        std::thread::sleep(moment);
        let end = Instant::now() + Duration::from_secs(60);
        while running.child.try_wait().unwrap().is_none() {
            if let Some(pid) = running.try_pid() {
                let _ = kill(pid, Signal::SIGKILL);
            }
            assert!(Instant::now() < end, "it does not end: {}", args.join(" "));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A container that answers on a port with the caller's address.
    #[track_caller]
    pub(crate) fn serve(&self, flags: &[&str], port: u16) -> Running {
        self.run_ready(flags, &["/probe", "serve", &port.to_string()])
    }
}

fn run_words(flags: &[&str], program: &[&str]) -> Vec<String> {
    let bind = format!("{}:/probe:ro", probe().display());
    let before = ["run", "--rm", "-v", &bind];
    let words = before.iter().chain(flags).chain(&[BUSYBOX]).chain(program);
    words.map(|word| (*word).to_owned()).collect()
}

impl Running {
    /// The pid of the program itself, as the test process sees it: nsenter stands between.
    #[track_caller]
    pub(crate) fn pid(&self) -> Pid {
        self.try_pid().unwrap_or_else(|| panic!("the program has not begun, or has ended: {:?}", self.child))
    }

    /// The same, while there is one.
    pub(crate) fn try_pid(&self) -> Option<Pid> {
        children_of(self.child.id()).first().map(|pid| Pid::from_raw(*pid))
    }

    /// Send a signal to the program.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The pid of the container's first process, as the test process sees it.
    #[track_caller]
    pub(crate) fn container_pid(&self) -> Pid {
        let rbox = self.pid();
        let own = std::fs::read_link(format!("/proc/{rbox}/ns/pid")).unwrap();
        let children = children_of(u32::try_from(rbox.as_raw()).unwrap());
        let inside = children
            .iter()
            .find(|pid| std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|other| other != own));
        Pid::from_raw(*inside.unwrap_or_else(|| panic!("rbox {rbox} has no container among its children {children:?}")))
    }

    /// Run a shell script of the container's own root file system inside it.
    pub(crate) fn inside(&self, script: &str) -> Output {
        let pid = self.container_pid();
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &pid.to_string(),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
            "--root",
        ]);
        command.args(["--wd", "--", "/bin/sh", "-c", script]).env_clear().env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin");
        let output = command.stdin(Stdio::null()).output().unwrap();
        Output::new(format!("(inside) {script}"), output)
    }

    /// The container's IPv4 address.
    #[track_caller]
    pub(crate) fn address(&self) -> String {
        let shown = self.inside("ip -o -4 addr show dev eth0").ok();
        let word = shown.stdout.split_whitespace().nth(3).unwrap_or_else(|| panic!("no address: {shown}"));
        word.split('/').next().unwrap().to_owned()
    }

    /// Ask the program to end, wait for it.
    #[track_caller]
    pub(crate) fn end(self) -> Output {
        self.signal(Signal::SIGTERM);
        self.wait()
    }
}

fn children_of(pid: u32) -> Vec<i32> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        found.extend(text(task.path().join("children")).split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
    }
    found
}
