//! OCI bundles, and the runtime that is asked to run them.

use super::host::{Host, Running};
use super::output::Output;
use super::programs::{probe, runtime};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A runtime with its own state folder in a host of its own.
pub(crate) struct Oci {
    pub(crate) host: Host,
    program: String,
    environment: Vec<(String, String)>,
    /// Flags of every call.
    flags: Vec<String>,
}

/// A folder with config.json and a root file system, and the name of the container it becomes.
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) id: String,
}

impl Oci {
    /// A runtime in a fresh host without a wire.
    pub(crate) fn new() -> Oci {
        Oci::with_program(&runtime().display().to_string(), &[])
    }

    /// Another build of the runtime, with variables that only it knows.
    pub(crate) fn with_program(program: &str, environment: &[(&str, &str)]) -> Oci {
        let environment = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Oci { host: Host::offline(), program: program.to_owned(), environment, flags: vec![] }
    }

    /// A runtime on the machine itself, whose systemd makes the control groups.
    pub(crate) fn with_systemd() -> Oci {
        Oci { flags: vec!["--systemd-cgroup".to_owned()], ..Oci::on_machine() }
    }

    /// A runtime on the machine itself: what cannot be in a private host is its first network namespace.
    pub(crate) fn on_machine() -> Oci {
        let program = runtime().display().to_string();
        Oci { host: Host::machine(), program, environment: vec![], flags: vec![] }
    }

    /// Whether it is rbox-runtime, and not a peer that shows that the tests are fair.
    pub(crate) fn is_ours(&self) -> bool {
        Path::new(&self.program).file_name().is_some_and(|name| name == "rbox-runtime")
    }

    /// A copy of the runtime in the host's own folder, which is used from now on: an attack may destroy it.
    pub(crate) fn use_own_copy(&mut self) -> PathBuf {
        let copy = self.host.path("rbox-runtime");
        fs::copy(&self.program, &copy).unwrap();
        self.program = copy.display().to_string();
        copy
    }

    /// The runtime with these words, after its own `--root`.
    fn command(&self, words: &[&str]) -> std::process::Command {
        let words = self.words(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.host.command(&self.program, &words);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Start the runtime with these words, to be talked to or waited for.
    pub(crate) fn spawn(&self, words: &[&str]) -> Running {
        let mut command = self.command(words);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.host.running(child, &words.join(" "))
    }

    /// `run BUNDLE` of a runtime that was started with a descriptor of this folder open, as number 3 and 7.
    pub(crate) fn run_with_descriptor(&self, bundle: &Bundle, folder: &Path) -> Output {
        let words = self.words(&["run", "--bundle", &bundle.path(), &bundle.id]);
        let script = format!("exec 3<{0} 7<{0}; exec \"$@\"", folder.display());
        let mut all = vec!["-c", &script, "sh", &self.program];
        all.extend(words.iter().map(String::as_str));
        let mut command = self.host.command("/bin/sh", &all);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        self.host.finish(&mut command, &words.join(" "))
    }

    /// A bundle whose config.json is the template after `edit`.
    pub(crate) fn bundle(&self, edit: impl FnOnce(&mut Value)) -> Bundle {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("c{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = self.host.path(&id);
        make_rootfs(&dir.join("rootfs"));
        let mut spec = spec_template();
        spec["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        edit(&mut spec);
        fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&spec).unwrap()).unwrap();
        Bundle { dir, id }
    }

    /// A bundle that runs these words.
    pub(crate) fn bundle_of(&self, words: &[&str]) -> Bundle {
        self.bundle(|spec| spec["process"]["args"] = json!(words))
    }

    /// What the probe sees inside a container of this spec.
    #[track_caller]
    pub(crate) fn see(&self, edit: impl FnOnce(&mut Value)) -> Value {
        let bundle = self.bundle(|spec| {
            spec["process"]["args"] = json!(["/probe", "see"]);
            edit(spec);
        });
        self.run(&bundle).ok().json()
    }

    /// `run BUNDLE` in the foreground.
    pub(crate) fn run(&self, bundle: &Bundle) -> Output {
        self.call(&["run", "--bundle", &bundle.path(), &bundle.id])
    }

    /// Start `run BUNDLE`, to be talked to or waited for.
    pub(crate) fn run_spawn(&self, bundle: &Bundle) -> Running {
        self.spawn(&["run", "--bundle", &bundle.path(), &bundle.id])
    }

    /// `create`: the container's own standard output goes to a file that [`Oci::output_of`] reads, since the
    /// container outlives the command.
    pub(crate) fn create(&self, bundle: &Bundle) -> Output {
        self.create_with(bundle, &[])
    }

    /// `create` with further flags.
    pub(crate) fn create_with(&self, bundle: &Bundle, flags: &[&str]) -> Output {
        let path = bundle.path();
        let mut words = vec!["create", "--bundle", &path];
        words.extend(flags);
        words.push(&bundle.id);
        self.detached(bundle, &words)
    }

    /// A command whose container outlives it: output to files, so that nobody waits for the end of a pipe.
    pub(crate) fn detached(&self, bundle: &Bundle, words: &[&str]) -> Output {
        let file = |name: &str| fs::OpenOptions::new().create(true).append(true).open(bundle.dir.join(name)).unwrap();
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let status = command.status().unwrap();
        let stderr = fs::read(bundle.dir.join("stderr")).unwrap();
        let stdout = fs::read(bundle.dir.join("stdout")).unwrap();
        Output::new(words.join(" "), std::process::Output { status, stdout, stderr })
    }

    /// What a detached container has written to standard output until now.
    pub(crate) fn output_of(&self, bundle: &Bundle) -> String {
        fs::read_to_string(bundle.dir.join("stdout")).unwrap_or_default()
    }

    /// Wait until a detached container's output holds these words.
    #[track_caller]
    pub(crate) fn wait_for(&self, bundle: &Bundle, words: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.output_of(bundle).contains(words) {
            let err = fs::read_to_string(bundle.dir.join("stderr")).unwrap_or_default();
            assert!(Instant::now() < end, "no `{words}` in:\n{}\n{err}", self.output_of(bundle));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A container that is running: created, started, and its program has said `ready`.
    #[track_caller]
    pub(crate) fn running(&self, edit: impl FnOnce(&mut Value)) -> Bundle {
        let bundle = self.bundle(|spec| {
            spec["process"]["args"] = json!(["/probe", "signal-wait"]);
            edit(spec);
        });
        self.create(&bundle).ok();
        self.call(&["start", &bundle.id]).ok();
        self.wait_for(&bundle, "ready");
        bundle
    }

    /// The runtime with these words, to its end.
    pub(crate) fn call(&self, words: &[&str]) -> Output {
        self.host.finish(&mut self.command(words), &words.join(" "))
    }

    /// The words with the state folder in front; runc is told to use cgroup files, not systemd, by default.
    pub(crate) fn words(&self, words: &[&str]) -> Vec<String> {
        let root = self.host.path("oci-state").display().to_string();
        let flags = self.flags.iter().map(String::as_str);
        ["--root", &root].into_iter().chain(flags).chain(words.iter().copied()).map(str::to_owned).collect()
    }

    /// The state document.
    #[track_caller]
    pub(crate) fn state(&self, bundle: &Bundle) -> Value {
        self.call(&["state", &bundle.id]).ok().json()
    }

    /// Wait until the container has this status.
    #[track_caller]
    pub(crate) fn wait_status(&self, bundle: &Bundle, status: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let state = self.state(bundle);
            if state["status"] == status {
                return;
            }
            assert!(Instant::now() < end, "never {status}: {state}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A value file of the container's cgroup, by its v1 controller and file name, or by its v2 file name.
    pub(crate) fn cgroup_file(&self, bundle: &Bundle, v1: (&str, &str), v2: &str) -> String {
        let folders = self.host.cgroup_folders();
        let (controller, file) = if super::programs::is_unified() { ("", v2) } else { v1 };
        let folder = folders.iter().find(|folder| {
            let parent = folder.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
            controller.is_empty() || parent.is_some_and(|name| name.split(',').any(|part| part == controller))
        });
        let path = folder.unwrap_or_else(|| panic!("no {controller} hierarchy")).join(&bundle.id).join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().to_owned()
    }

    /// Whether the machine's cgroups are v2.
    pub(crate) fn is_v2(&self) -> bool {
        super::programs::is_unified()
    }
}

impl Bundle {
    pub(crate) fn path(&self) -> String {
        self.dir.display().to_string()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }
}

/// A small root file system: the static probe, busybox with its common names, users and empty mount points.
pub(crate) fn make_rootfs(root: &Path) {
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home/user", "usr/bin", "sbin"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::copy(probe(), root.join("probe")).unwrap();
    let busybox = super::find_program("busybox").expect("busybox-static is installed");
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for name in APPLETS {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n");
    write("etc/group", "root:x:0:\nuser:x:1000:\nextra:x:2000:user\nmore:x:2001:user\n");
}

const APPLETS: &[&str] = &[
    "sh", "cat", "chmod", "cp", "echo", "env", "false", "grep", "head", "hostname", "id", "ifconfig", "ip", "kill",
    "ln", "ls", "mkdir", "mknod", "mount", "nc", "netstat", "nslookup", "ping", "ps", "pwd", "readlink", "rm", "seq",
    "sleep", "stat", "stty", "tail", "test", "touch", "true", "tty", "umount", "wc", "wget", "which", "whoami", "yes",
    "httpd",
];

/// What `runc spec` writes, without a terminal and with a root file system that can be written.
pub(crate) fn spec_template() -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "box",
        "mounts": template_mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn template_mounts() -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    json!([
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}
