//! A private host for one test: own network, mounts, host name, processes and cgroups, and a neighbour on its wire.
//!
//! ```text
//!   neighbour (netns)                      host (net, mount, uts, pid and cgroup namespaces)
//!   eth0 192.0.2.3/24 ──────veth────── eth0 192.0.2.2/24, default via 192.0.2.3
//!   ::3 2001:db8::3/64                  2001:db8::2/64        its first process is `probe hold`
//! ```
//!
//! The test process itself never enters a namespace: every command goes through `nsenter`, so tests are safe in threads.
//! When the test ends, also by a panic, closing the holder's standard input ends every process of the host; links,
//! mounts and rules go with the namespaces, and the cgroups are removed by hand.

use super::output::Output;
use super::programs::{find_program, is_unified, probe, rbox, text};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The private host. Everything below its folder and its namespaces is gone after the drop.
pub(crate) struct Host {
    holder: Child,
    neighbour: Option<Child>,
    dir: tempfile::TempDir,
    /// None for the machine itself.
    cgroup: Option<CgroupTree>,
}

/// This host's cgroup in each hierarchy of the real host; removed by the drop, after every process is gone.
struct CgroupTree {
    name: String,
}

/// The host at the other end of the wire.
pub(crate) struct Neighbour<'h> {
    host: &'h Host,
}

/// A program that runs in the host until it is waited for.
pub(crate) struct Running {
    pub(crate) child: Child,
    command: String,
    /// The host's holder: ended when the program does not end.
    holder: u32,
}

/// No single command of a test takes longer, not even in an emulated machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Addresses of the wire: documentation ranges of RFC 5737 and RFC 3849.
pub(crate) const HOST4: &str = "192.0.2.2";
pub(crate) const NEIGHBOUR4: &str = "192.0.2.3";

impl Host {
    /// A host without a wire: enough for the OCI runtime.
    pub(crate) fn offline() -> Host {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let cgroup = CgroupTree { name: format!("rbox-test-{}-{number}", std::process::id()) };
        for place in cgroup_places() {
            remove_left_over(&place);
            make_cgroup(&place, &cgroup.name);
        }
        let dir = tempfile::Builder::new().prefix("rbox-").tempdir().unwrap();
        if is_unified() {
            delegate(Path::new("/sys/fs/cgroup"));
        }
        let holder = hold(&cgroup.name);
        let host = Host { holder, neighbour: None, dir, cgroup: Some(cgroup) };
        if is_unified() {
            // Only now: a cgroup that hands controllers down takes no process, and the holder had to pass through it.
            delegate(&host.cgroup_folders()[0]);
        }
        host.settle();
        // The same tests for each of the packet filters that can hold the rules.
        if let Some(backend) = std::env::var_os("RBOX_TEST_FIREWALL") {
            let config = format!(r#"{{ "firewall": {{ "backend": "{}" }} }}"#, backend.display());
            fs::write(host.path("config.json"), config).unwrap();
        }
        host
    }

    /// The machine itself, for tests that have it to themselves (a VM): systemd knows processes by the machine's numbers
    /// and groups by the machine's paths.
    pub(crate) fn machine() -> Host {
        let dir = tempfile::Builder::new().prefix("rbox-").tempdir().unwrap();
        let mut holder =
            Command::new(probe()).arg("hold").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        wait_ready(&mut holder);
        Host { holder, neighbour: None, dir, cgroup: None }
    }

    /// A host with a wire to a neighbour.
    pub(crate) fn new() -> Host {
        let mut host = Host::offline();
        let probe = probe();
        let mut neighbour = host.command("unshare", &["--net", &probe.display().to_string(), "hold"]);
        let mut child = neighbour.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        wait_ready(&mut child);
        host.neighbour = Some(child);
        let inside = host.exec("pgrep", &["-n", "-f", &format!("^{} hold", probe.display())]).ok().text().to_owned();
        fs::write(host.path("neighbour.pid"), &inside).unwrap();
        // A card that is not sure yet of its link-local address asks for no neighbour on behalf of others: what a container
        // sends would be lost for the wire's first two seconds.
        host.shell(&format!(
            "set -e
             n='nsenter --net=/proc/{inside}/ns/net'
             ip link add eth0 type veth peer name eth0 netns {inside}
             for side in '' \"$n\"; do $side sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad'; done
             ip addr add {HOST4}/24 dev eth0; ip -6 addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up
             $n ip link set lo up; $n ip addr add {NEIGHBOUR4}/24 dev eth0
             $n ip -6 addr add 2001:db8::3/64 dev eth0 nodad; $n ip link set eth0 up
             ip route add default via {NEIGHBOUR4}"
        ))
        .ok();
        host
    }

    /// What a mount namespace needs after its birth: /sys of the new network, the cgroups of the new root, own /etc files.
    fn settle(&self) {
        let mut script = String::from("set -e\nip link set lo up\nhostname testhost\n");
        // Not over the machine's own /sys: what is mounted in that would be listed, and could not be unmounted.
        script += "umount -R -l /sys; mount -t sysfs sysfs /sys\n";
        // A new network namespace inherits this from the machine, where another engine may have set it.
        script += "echo 0 > /proc/sys/net/ipv4/ip_forward\n";
        if !is_unified() {
            script += "mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup\n";
        }
        for place in cgroup_places() {
            let at = place.at.display();
            script += &format!("mkdir -p {at}; mount -t {} -o '{}' cgroup {at}\n", place.kind, place.options);
        }
        let etc = self.path("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("hosts"), format!("127.0.0.1\tlocalhost\n{HOST4}\ttesthost\n")).unwrap();
        fs::write(etc.join("resolv.conf"), format!("nameserver {NEIGHBOUR4}\nsearch example.test\n")).unwrap();
        for file in ["hosts", "resolv.conf"] {
            script += &format!("mount --bind {}/{file} /etc/{file}\n", etc.display());
        }
        // A tmpfs on /run: leftovers of the machine's own services (a container engine's sockets) are not ours to see.
        script += "mount -t tmpfs -o mode=755 tmpfs /run; mkdir /run/lock\n";
        script += "cut -d' ' -f1 /proc/self/mountinfo > mounts.born\n";
        self.shell(&script).ok();
    }

    /// A path below this host's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command that runs in this host.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &self.entry(), "sh", program]).args(args);
        command.env_clear().envs(environment());
        command
    }

    /// The shell words that move into the host's cgroups and namespaces and become the program in `"$@"`.
    pub(crate) fn entry(&self) -> String {
        let mut words = String::new();
        let Some(cgroup) = &self.cgroup else { return format!("cd {} && exec \"$@\"", self.dir.path().display()) };
        for place in cgroup_places() {
            words += &format!("echo 0 > {}/{}/session/cgroup.procs && ", place.at.display(), cgroup.name);
        }
        let pid = self.holder.id();
        let nsenter = find_program("nsenter").expect("util-linux has nsenter");
        // --wd: entering a mount namespace would leave us in its root.
        words += &format!(
            "exec {} --net=/proc/{pid}/ns/net --mount=/proc/{pid}/ns/mnt --uts=/proc/{pid}/ns/uts \
             --ipc=/proc/{pid}/ns/ipc --cgroup=/proc/{pid}/ns/cgroup --pid=/proc/{pid}/ns/pid_for_children \
             --wd={} -- \"$@\"",
            nsenter.display(),
            self.dir.path().display()
        );
        words
    }

    /// Run a program in this host to its end.
    pub(crate) fn exec(&self, program: &str, args: &[&str]) -> Output {
        self.finish(&mut self.command(program, args), &format!("{program} {}", args.join(" ")))
    }

    /// Run a command that was made by [`Host::command`] to its end, without input.
    #[track_caller]
    pub(crate) fn finish(&self, command: &mut Command, words: &str) -> Output {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.running(child, words).wait()
    }

    /// A child that was started by a command of this host.
    pub(crate) fn running(&self, child: Child, words: &str) -> Running {
        Running { child, command: words.to_owned(), holder: self.holder.id() }
    }

    /// Start a program in this host; its output is collected by [`Running::wait`].
    pub(crate) fn spawn(&self, program: &str, args: &[&str]) -> Running {
        let mut command = self.command(program, args);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.running(child, &format!("{program} {}", args.join(" ")))
    }

    /// Run a shell script in this host.
    pub(crate) fn shell(&self, script: &str) -> Output {
        self.exec("/bin/sh", &["-c", script])
    }

    /// The arguments that point rbox to this host's own data and state.
    pub(crate) fn rbox_words(&self, args: &[&str]) -> Vec<String> {
        let own = |name: &str| self.path(name).display().to_string();
        // Never the machine's own configuration: a test that wants one writes it there.
        let flags = ["--root", "data", "--state", "state", "--config", "config.json"];
        let mut words: Vec<String> = flags.chunks(2).flat_map(|flag| [flag[0].to_owned(), own(flag[1])]).collect();
        words.extend(args.iter().map(|arg| (*arg).to_owned()));
        words
    }

    /// `rbox ARGS` in this host.
    pub(crate) fn rbox(&self, args: &[&str]) -> Output {
        let words = self.rbox_words(args);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut output = self.exec(&rbox().display().to_string(), &words);
        output.command = format!("rbox {}", args.join(" "));
        output
    }

    /// Start `rbox ARGS` in this host.
    pub(crate) fn rbox_spawn(&self, args: &[&str]) -> Running {
        let words = self.rbox_words(args);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.spawn(&rbox().display().to_string(), &words)
    }

    /// The neighbour on the wire; only a host of [`Host::new`] has one.
    pub(crate) fn neighbour(&self) -> Neighbour<'_> {
        assert!(self.neighbour.is_some(), "this host has no wire");
        Neighbour { host: self }
    }

    /// Connect from the host itself: the server's line, or the error's name.
    pub(crate) fn connect(&self, address: &str, port: u16, protocol: &str) -> Output {
        let probe = probe().display().to_string();
        self.exec(&probe, &["connect", address, &port.to_string(), protocol])
    }

    /// The folders of this host's cgroups as the test process sees them.
    pub(crate) fn cgroup_folders(&self) -> Vec<PathBuf> {
        let own = |cgroup: &CgroupTree| cgroup_places().iter().map(|place| place.at.join(&cgroup.name)).collect();
        self.cgroup.as_ref().map_or_else(Vec::new, own)
    }

    /// The pid, as the test process sees it, of the host's first process.
    pub(crate) fn holder_pid(&self) -> u32 {
        self.holder.id()
    }
}

impl Neighbour<'_> {
    /// Run a shell script on the neighbour.
    pub(crate) fn shell(&self, script: &str) -> Output {
        let pid = text(self.host.path("neighbour.pid"));
        self.host.exec("nsenter", &[&format!("--net=/proc/{pid}/ns/net"), "/bin/sh", "-c", script])
    }

    /// Connect from the neighbour: the server's line, or the error's name.
    pub(crate) fn connect(&self, address: &str, port: u16, protocol: &str) -> Output {
        self.shell(&format!("exec {} connect {address} {port} {protocol}", probe().display()))
    }
}

impl Running {
    /// Wait for the end and collect what was said. A program that does not end is ended together with its host.
    #[track_caller]
    pub(crate) fn wait(self) -> Output {
        let (ended, watched) = std::sync::mpsc::channel::<()>();
        let holder = self.holder;
        let watch = std::thread::spawn(move || {
            let late = watched.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            if late {
                end_host(holder);
            }
            late
        });
        let output = self.child.wait_with_output().unwrap();
        drop(ended);
        let output = Output::new(self.command, output);
        assert!(!watch.join().unwrap(), "it did not end within {} s:\n{output}", PATIENCE.as_secs());
        output
    }

    /// Read standard output until a line holds `words`; the test fails after 20 s.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let out = self.child.stdout.as_mut().expect("spawn pipes it");
        let mut heard = Vec::new();
        let mut byte = [0_u8];
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let mut ready = [PollFd::new(out.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, PollTimeout::from(100_u8)).unwrap_or(0) == 0 {
                continue;
            }
            if out.read(&mut byte).unwrap_or(0) == 0 {
                break;
            }
            heard.push(byte[0]);
            if byte[0] == b'\n' && String::from_utf8_lossy(&heard).contains(words) {
                return String::from_utf8_lossy(&heard).into_owned();
            }
        }
        let mut said = String::new();
        end_host(self.holder);
        if let Some(err) = self.child.stderr.as_mut() {
            let _ = err.read_to_string(&mut said);
        }
        panic!("`{}` never said `{words}`, only:\n{}\n{said}", self.command, String::from_utf8_lossy(&heard));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        end_host(self.holder.id());
        // A process that is frozen by a v1 freezer does not even die.
        self.cgroup_folders().iter().for_each(|folder| thaw(folder));
        let _ = self.holder.wait();
        if let Some(mut neighbour) = self.neighbour.take() {
            let _ = neighbour.wait();
        }
    }
}

/// Kill the host's first process: that kills all the others, and the kernel waits for them.
fn end_host(holder: u32) {
    let first = text(format!("/proc/{holder}/task/{holder}/children"));
    if let Ok(pid) = first.trim().parse() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

impl Drop for CgroupTree {
    fn drop(&mut self) {
        let folders: Vec<PathBuf> = cgroup_places().iter().map(|place| place.at.join(&self.name)).collect();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && !folders.iter().all(|folder| remove_cgroups(folder)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Where one hierarchy of cgroups is mounted, and how to mount it again.
struct CgroupPlace {
    at: PathBuf,
    kind: String,
    options: String,
}

/// Every mounted cgroup hierarchy, in the order of the mounts.
fn cgroup_places() -> Vec<CgroupPlace> {
    let mounts = text("/proc/self/mounts");
    let place = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind = *fields.get(2)?;
        if kind != "cgroup" && kind != "cgroup2" {
            return None;
        }
        let own = ["rw", "ro", "nosuid", "nodev", "noexec", "relatime", "noatime"];
        let options: Vec<&str> = fields.get(3)?.split(',').filter(|option| !own.contains(option)).collect();
        let options = if kind == "cgroup2" { "rw".to_owned() } else { options.join(",") };
        Some(CgroupPlace { at: PathBuf::from(fields[1]), kind: kind.to_owned(), options })
    };
    mounts.lines().filter_map(place).collect()
}

/// Make the host's cgroup with a `session` below it, so that its root holds no process (cgroups(7), no internal processes).
fn make_cgroup(place: &CgroupPlace, name: &str) {
    let root = place.at.join(name);
    fs::create_dir(&root).unwrap_or_else(|error| panic!("cannot make {}: {error}", root.display()));
    if place.kind == "cgroup" && root.join("cpuset.cpus").exists() {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            fs::write(root.join(file), text(place.at.join(file))).unwrap();
        }
        fs::write(root.join("cgroup.clone_children"), "1").unwrap();
    }
    fs::create_dir(root.join("session")).unwrap();
}

/// On a v2 host, hand every controller down to `folder`'s children, as systemd does for a machine's slices.
fn delegate(folder: &Path) {
    for controller in text(folder.join("cgroup.controllers")).split_whitespace() {
        let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Let go of what a test has paused.
fn thaw(folder: &Path) {
    if folder.join("freezer.state").exists() {
        let _ = fs::write(folder.join("freezer.state"), "THAWED");
        let inside = fs::read_dir(folder).into_iter().flatten().flatten();
        inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).for_each(|entry| thaw(&entry.path()));
    }
}

/// Remove the empty cgroups of test processes that were killed, and so could not do it themselves.
fn remove_left_over(place: &CgroupPlace) {
    for entry in fs::read_dir(&place.at).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("rbox-test-").and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove_cgroups(&entry.path());
        }
    }
}

/// Remove a cgroup and all below it; whether nothing is left.
fn remove_cgroups(folder: &Path) -> bool {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    fs::remove_dir(folder).is_ok() || !folder.exists()
}

/// Start the host's first process: born in the host's cgroup, which becomes the root of its cgroup namespace.
fn hold(cgroup: &str) -> Child {
    let mut script = String::new();
    for place in cgroup_places() {
        script += &format!("echo 0 > {}/{cgroup}/cgroup.procs && ", place.at.display());
    }
    script += "exec unshare --cgroup /bin/sh -c '";
    for place in cgroup_places() {
        script += &format!("echo 0 > {}/{cgroup}/session/cgroup.procs && ", place.at.display());
    }
    script += "exec unshare --net --mount --uts --ipc --pid --fork --mount-proc \"$@\"' sh \"$@\"";
    let probe = probe();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script, "sh"]).arg(probe).arg("hold");
    command.env_clear().envs(environment());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_ready(&mut child);
    child
}

fn wait_ready(child: &mut Child) {
    let mut line = String::new();
    let _ = BufReader::new(child.stdout.as_mut().expect("it is piped")).read_line(&mut line);
    if line.trim() != "ready" {
        let mut said = String::new();
        let _ = child.stderr.as_mut().map(|err| err.read_to_string(&mut said));
        panic!("the holder of a test host did not start (are you root?): {said}");
    }
}

/// A small, known environment, so that no variable of the machine decides a test.
fn environment() -> Vec<(String, String)> {
    let mut known = vec![
        ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("TERM".to_owned(), "xterm".to_owned()),
    ];
    known.extend(std::env::vars().filter(|(key, _)| key == "RUST_BACKTRACE"));
    known
}
