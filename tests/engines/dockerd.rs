//! Docker of Debian's docker.io, whose only runtime is the one under test.

use super::containerd;
use super::stage::{assert_no_state, runtime_path, show_end, stage, until, until_idle, words};
use crate::docker::engine::Engine;
use crate::support::{BUSYBOX, Output, Pty, Snapshot, probe};

/// A dockerd that answers.
pub(super) struct Docker {
    pub(super) engine: Engine,
    before: Snapshot,
}

impl Docker {
    /// With the busybox image, and with `@dir` to share.
    pub(super) fn start() -> Docker {
        let host = stage();
        // dockerd would start a containerd itself, which it may ask before it listens, and then kills.
        containerd::start(&host, containerd::WITHOUT_CRI, "");
        let socket = host.path("containerd.sock").display().to_string();
        let runtime = format!("rbox={}", runtime_path());
        let flags = ["--containerd", &socket, "--add-runtime", &runtime, "--default-runtime", "rbox"];
        let engine = Engine::docker_on(host, &flags);
        // The first containers make what the later ones share: the parent cgroup, the bridge's routes, a name for the
        // host's network.
        for network in ["bridge", "host"] {
            engine.words(&["run", "--rm", "--network", network, BUSYBOX, "true"]).ok();
        }
        until_idle(&engine.host, "docker0");
        let before = engine.host.snapshot();
        Docker { engine, before }
    }

    /// `docker LINE`. `@image` is the busybox image, `@dir` a directory of the host's, `@probe` the probe.
    pub(super) fn docker(&self, line: &str) -> Output {
        let line = words(&line.replace("@image", BUSYBOX));
        self.engine.words(&line.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What it prints; it has to succeed.
    #[track_caller]
    pub(super) fn text(&self, line: &str) -> String {
        self.docker(line).ok().text().to_owned()
    }

    /// The same with this on its standard input.
    pub(super) fn typed(&self, input: &str, line: &str) -> Output {
        let line = words(&line.replace("@image", BUSYBOX));
        self.engine.typed(input, &line.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// `docker LINE` on a terminal of 30 by 100.
    pub(super) fn on_terminal(&self, line: &str) -> Pty {
        let line = line.replace("@image", BUSYBOX).replace("@probe", &probe().display().to_string());
        let line = [self.engine.client(), words(&line)].concat();
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        Pty::spawn(&self.engine.host, 30, 100, line[0], &line[1..])
    }

    /// A field of `docker inspect`.
    #[track_caller]
    pub(super) fn shown(&self, name: &str, field: &str) -> String {
        self.text(&format!("inspect --format '{{{{.{field}}}}}' {name}"))
    }

    /// Wait until a command line prints these words.
    #[track_caller]
    pub(super) fn until(&self, line: &str, words: &str) -> Output {
        until(&format!("`{words}` by `docker {line}`"), || self.docker(line), |answer| answer.stdout.contains(words))
    }

    /// Nothing of any container is left: no process, mount, link, rule, control group, or state of the runtime.
    #[track_caller]
    pub(super) fn assert_clean(&self) {
        assert_eq!(self.text("ps -aq"), "", "a container is left");
        self.engine.host.assert_unchanged(&self.before);
        assert_no_state(&self.engine.host, "exec/runtime-runc/moby /run/docker/runtime-runc/moby");
    }
}

impl Drop for Docker {
    /// A failed test shows what the daemon had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.engine.host.path("dockerd.log")).unwrap_or_default();
            show_end("dockerd", &log);
        }
    }
}
