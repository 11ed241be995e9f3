//! containerd of Debian's package, with directories and sockets of its own, and its client `ctr`.

use super::stage::{assert_no_state, run, runtime_path, say_version, show_end, stage, until, words};
use crate::support::{BUSYBOX, Host, Output, Pty, Snapshot, fixture};

/// The daemon, by full path: another may come first in PATH.
pub(super) const CONTAINERD: &str = "/usr/bin/containerd";
/// The client of the same package.
pub(super) const CTR: &str = "/usr/bin/ctr";

/// In front of the tables: the plugin for Kubernetes is not started.
pub(super) const WITHOUT_CRI: &str = "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]";

/// A containerd that answers.
pub(super) struct Containerd {
    pub(super) host: Host,
    before: Option<Snapshot>,
}

impl Containerd {
    /// Without the CRI plugin, and with the busybox image.
    pub(super) fn plain() -> Containerd {
        let mut containerd = Containerd::configured(WITHOUT_CRI, |_| String::new());
        containerd.import("default", "busybox");
        // The first container makes what the later ones share: the cgroup of containerd's namespace.
        containerd.ctr("run --rm @runtime @image first true").ok();
        containerd.before = Some(containerd.host.snapshot());
        containerd
    }

    /// With this configuration: first what stands outside of tables, then tables.
    pub(super) fn configured(outside: &str, tables: impl FnOnce(&Host) -> String) -> Containerd {
        let host = stage();
        let tables = tables(&host);
        start(&host, outside, &tables);
        Containerd { host, before: None }
    }

    /// What the daemon has written.
    pub(super) fn log(&self) -> String {
        log(&self.host)
    }

    /// Import an image of the fixtures into a namespace of containerd's.
    #[track_caller]
    pub(super) fn import(&self, namespace: &str, name: &str) {
        self.ctr(&format!("--namespace {namespace} images import {}", fixture(name).display())).ok();
    }

    /// `ctr LINE` without input. `@image` is the busybox image, `@runtime` the flag that names the runtime.
    pub(super) fn ctr(&self, line: &str) -> Output {
        self.typed("", line)
    }

    /// The same with this on its standard input.
    pub(super) fn typed(&self, input: &str, line: &str) -> Output {
        run(&self.host, &self.line(line), input)
    }

    /// The same on a terminal of 30 by 100.
    pub(super) fn on_terminal(&self, line: &str) -> Pty {
        let line = self.line(line);
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        Pty::spawn(&self.host, 30, 100, line[0], &line[1..])
    }

    fn line(&self, line: &str) -> Vec<String> {
        let image = format!("docker.io/{BUSYBOX}:latest");
        let line = line.replace("@image", &image).replace("@runtime", &format!("--runc-binary {}", runtime_path()));
        [client(&self.host), words(&line)].concat()
    }

    /// Wait until `ctr tasks ls` shows the container in this status.
    #[track_caller]
    pub(super) fn until_status(&self, id: &str, status: &str) {
        let line = |answer: &Output| answer.stdout.lines().any(|row| row.starts_with(id) && row.contains(status));
        until(&format!("{id} is {status}"), || self.ctr("tasks ls"), line);
    }

    /// Nothing of any container is left: no process, mount, control group, task, or state of the runtime.
    #[track_caller]
    pub(super) fn assert_clean(&self) {
        self.host.assert_unchanged(self.before.as_ref().expect("taken when the images were there"));
        assert_eq!(self.ctr("tasks ls -q").ok().text(), "", "a task is left");
        assert_no_state(
            &self.host,
            "/run/containerd/runc/default containerd.state/io.containerd.runtime.v2.task/default",
        );
    }
}

/// Start a containerd in this host, which ends it, and wait until it answers.
#[track_caller]
pub(super) fn start(host: &Host, outside: &str, tables: &str) {
    say_version(host, CONTAINERD);
    let at = |name: &str| host.path(name).display().to_string();
    let config = format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\n{outside}\n[grpc]\naddress = \"{}\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{}\"\n{tables}",
        at("containerd"),
        at("containerd.state"),
        at("containerd.sock"),
        at("opt"),
    );
    std::fs::write(host.path("config.toml"), config).unwrap();
    let script = format!("exec {CONTAINERD} --config {} > {} 2>&1", at("config.toml"), at("containerd.log"));
    let mut daemon = host.spawn("/bin/sh", &["-c", &script]);
    let version = [client(host), vec!["version".to_owned()]].concat();
    let mut has_ended = || daemon.child.try_wait().unwrap().is_some();
    until("containerd answers", || run(host, &version, ""), |answer| answer.code == 0 || has_ended());
    assert!(!has_ended(), "containerd does not start:\n{}", log(host));
}

/// The words of `ctr` up to its verb.
fn client(host: &Host) -> Vec<String> {
    vec![CTR.to_owned(), "--address".to_owned(), host.path("containerd.sock").display().to_string()]
}

/// What the daemon has written.
pub(super) fn log(host: &Host) -> String {
    std::fs::read_to_string(host.path("containerd.log")).unwrap_or_default()
}

impl Drop for Containerd {
    /// A failed test shows what the daemon had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_end("containerd", &self.log());
        }
    }
}
