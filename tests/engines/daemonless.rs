//! Podman and Buildah of Debian's packages, with storage, state and configuration of their own.

use super::stage::{assert_no_state, run, runtime_path, say_version, stage, until_idle, words};
use crate::support::{BUSYBOX, Host, Output, Pty, Snapshot, fixture, probe};

/// By full path.
pub(super) const PODMAN: &str = "/usr/bin/podman";
/// By full path.
pub(super) const BUILDAH: &str = "/usr/bin/buildah";
/// What stands beside each of Podman's containers.
pub(super) const CONMON: &str = "/usr/bin/conmon";

/// A host with Podman and Buildah, which have no daemon, and with the busybox image.
pub(super) struct Podman {
    pub(super) host: Host,
    before: Option<Snapshot>,
}

impl Podman {
    /// With the busybox image, and `@dir` to share.
    pub(super) fn start() -> Podman {
        let host = stage();
        std::fs::create_dir(host.path("dir")).unwrap();
        std::fs::write(host.path("dir").join("file"), "from the host\n").unwrap();
        configure(&host);
        say_version(&host, PODMAN);
        let mut podman = Podman { host, before: None };
        podman.podman(&format!("load --quiet --input {}", fixture("busybox").display())).ok();
        // The first container makes what the later ones share: bridge, parent cgroup, chains of ports, storage's own mount.
        podman.podman("run --rm -p 9000:9000 @image true").ok();
        until_idle(&podman.host, "cni-podman0");
        podman.before = Some(podman.host.snapshot());
        podman
    }

    /// `podman LINE`. `@image` is the busybox image, `@dir` a directory of the host's, `@probe` the probe.
    pub(super) fn podman(&self, line: &str) -> Output {
        run(&self.host, &self.line(PODMAN, line), "")
    }

    /// The same with this on its standard input.
    pub(super) fn typed(&self, input: &str, line: &str) -> Output {
        run(&self.host, &self.line(PODMAN, line), input)
    }

    /// What it prints; it has to succeed.
    #[track_caller]
    pub(super) fn text(&self, line: &str) -> String {
        self.podman(line).ok().text().to_owned()
    }

    /// The same on a terminal of 30 by 100.
    pub(super) fn on_terminal(&self, line: &str) -> Pty {
        let line = self.line(PODMAN, line);
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        Pty::spawn(&self.host, 30, 100, line[0], &line[1..])
    }

    /// `buildah LINE`, on the same storage.
    pub(super) fn buildah(&self, line: &str) -> Output {
        run(&self.host, &self.line(BUILDAH, line), "")
    }

    fn line(&self, program: &str, line: &str) -> Vec<String> {
        let at = |name: &str| self.host.path(name).display().to_string();
        let filled = line
            .replace("@image", &format!("localhost/{BUSYBOX}"))
            .replace("@dir", &at("dir"))
            .replace("@probe", &probe().display().to_string())
            .replace("@runtime", &runtime_path());
        let settings = ["CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF"]
            .iter()
            .zip(["containers.conf", "storage.conf", "registries.conf"])
            .map(|(name, file)| format!("{name}={}", at(file)));
        let own: Vec<String> = ["/usr/bin/env".to_owned()].into_iter().chain(settings).collect();
        let global = match program {
            PODMAN => words(&format!("--runtime {} --cgroup-manager=cgroupfs --events-backend=file", runtime_path())),
            _ => vec![],
        };
        [own, vec![program.to_owned()], global, words(&filled)].concat()
    }

    /// Nothing of any container is left: no process, mount, link, rule, control group, or state of the runtime.
    #[track_caller]
    pub(super) fn assert_clean(&self) {
        assert_eq!(self.text("ps --all --quiet"), "", "a container is left");
        self.host.assert_unchanged(self.before.as_ref().expect("taken after the first container"));
        assert_no_state(&self.host, "/run/runc /run/rbox-runtime");
    }
}

/// Files that Podman and Buildah are pointed to, so that nothing of the machine's is read or written.
fn configure(host: &Host) {
    let at = |name: &str| host.path(name).display().to_string();
    // A machine that keeps CAP_SYS_RESOURCE from root lets nobody raise a limit: name those that are there.
    let limit = |flag: &str| host.exec("/bin/bash", &["-c", &format!("ulimit {flag}")]).ok().text().to_owned();
    let (open_files, processes) = (limit("-Hn"), limit("-Hu"));
    let processes = if processes == "unlimited" { "-1".to_owned() } else { processes };
    let containers = format!(
        "[containers]\ndefault_ulimits = [\"nofile={open_files}:{open_files}\", \"nproc={processes}:{processes}\"]\n\
         log_driver = \"k8s-file\"\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
         tmp_dir = \"{}\"\nvolume_path = \"{}\"\nruntime = \"{}\"\n\
         [network]\nnetwork_backend = \"cni\"\nnetwork_config_dir = \"{}\"\ncni_plugin_dirs = [\"/usr/lib/cni\", \"{}\"]\n",
        at("libpod"),
        at("volumes"),
        runtime_path(),
        at("networks"),
        at("plugins"),
    );
    let storage =
        format!("[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n", at("storage"), at("run"));
    for (name, text) in [("containers.conf", containers), ("storage.conf", storage), ("registries.conf", String::new())]
    {
        std::fs::write(host.path(name), text).unwrap();
    }
    std::fs::create_dir(host.path("networks")).unwrap();
    let subordinates = "containers:200000:1000000\n";
    for file in ["subuid", "subgid"] {
        std::fs::write(host.path(file), subordinates).unwrap();
        host.shell(&format!("touch /etc/{file}; mount --bind {file} /etc/{file}")).ok();
    }
    host.shell("cut -d' ' -f1 /proc/self/mountinfo > mounts.born").ok();
}
