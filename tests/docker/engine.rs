//! The same words for two engines: rbox, and dockerd of Debian's docker.io, each in a private host of its own.

use crate::support::{BUSYBOX, Host, Output, Running, fixture, probe, rbox};
use std::time::{Duration, Instant};

/// By full path: another `docker` may come first in PATH.
pub(crate) const DOCKER: &str = "/usr/bin/docker";
/// The daemon of the same package.
pub(crate) const DOCKERD: &str = "/usr/sbin/dockerd";

/// An engine, ready to run the busybox image.
pub(crate) struct Engine {
    pub(crate) host: Host,
    daemon: Option<Running>,
}

/// A container in the background.
pub(super) struct Background<'e> {
    engine: &'e Engine,
    running: Running,
    name: &'static str,
}

impl Engine {
    /// rbox, in a host where forwarding is off, as on a fresh machine.
    pub(super) fn rbox() -> Engine {
        let host = furnished(Host::new());
        host.load("busybox");
        Engine { host, daemon: None }
    }

    /// dockerd with its own directories and its own containerd; nothing of the machine's is read or written.
    pub(super) fn docker() -> Engine {
        Engine::docker_on(Host::new(), &[])
    }

    /// The same in this host, with these further flags.
    pub(crate) fn docker_on(host: Host, flags: &[&str]) -> Engine {
        let host = furnished(host);
        let at = |name: &str| host.path(name).display().to_string();
        let own_key = format!("{{\"deprecated-key-path\": \"{}\"}}", at("key.json"));
        std::fs::write(host.path("daemon.json"), own_key).unwrap();
        let (socket, config, data, exec) =
            (format!("unix://{}", at("docker.sock")), at("daemon.json"), at("docker"), at("exec"));
        let pid = at("docker.pid");
        let mut words = vec!["--host", &socket, "--config-file", &config, "--data-root", &data, "--exec-root", &exec];
        words.extend(["--pidfile", &pid]);
        words.extend(flags);
        let log = at("dockerd.log");
        let script = format!("exec {DOCKERD} \"$@\" > {log} 2>&1");
        let daemon = host.spawn("/bin/sh", &[&["-c", &script, "sh"], words.as_slice()].concat());
        let engine = Engine { host, daemon: Some(daemon) };
        engine.wait_for_daemon();
        engine.words(&["load", "--quiet", "--input", &fixture("busybox").display().to_string()]).ok();
        engine
    }

    fn wait_for_daemon(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.words(&["version"]).code != 0 {
            let log = std::fs::read_to_string(self.host.path("dockerd.log")).unwrap_or_default();
            assert!(Instant::now() < end, "dockerd does not answer:\n{log}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Whether this is Docker.
    pub(super) fn is_docker(&self) -> bool {
        self.daemon.is_some()
    }

    /// The client's words up to the verb.
    pub(crate) fn client(&self) -> Vec<String> {
        let at = |name: &str| self.host.path(name).display().to_string();
        if self.is_docker() {
            let socket = format!("unix://{}", at("docker.sock"));
            vec![DOCKER.into(), "--config".into(), at("client"), "--host".into(), socket]
        } else {
            [vec![rbox().display().to_string()], self.host.rbox_words(&[])].concat()
        }
    }

    /// `docker WORDS` or `rbox WORDS`, for a minute at most. `@dir` is a directory of the host's, `@probe` the probe.
    pub(crate) fn words(&self, words: &[&str]) -> Output {
        let all = [vec!["-k".to_owned(), "1".to_owned(), "60".to_owned()], self.client(), self.filled(words)].concat();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        self.host.exec("/usr/bin/timeout", &all)
    }

    /// The same, with this on the standard input, which then ends.
    pub(crate) fn typed(&self, input: &str, words: &[&str]) -> Output {
        let mut running = self.spawn(words);
        let mut stdin = running.child.stdin.take().expect("it is piped");
        // One that does not read has ended, and says why.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        running.wait()
    }

    /// The same in the background.
    pub(crate) fn spawn(&self, words: &[&str]) -> Running {
        let all = [self.client(), self.filled(words)].concat();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        self.host.spawn(all[0], &all[1..])
    }

    /// A shell script in which `@engine` is the client, and `@dir` the directory.
    pub(super) fn script(&self, script: &str) -> Output {
        let script = script.replace("@engine", &self.client().join(" "));
        self.host.shell(&self.filled(&[&script]).concat())
    }

    /// Load the busybox image once more, under another name and with a signal that asks for its end.
    pub(super) fn load_with_stop_signal(&self, name: &str, signal: &str) {
        let busybox = fixture("busybox").display().to_string();
        let script = format!(
            "set -e; mkdir @dir/image; cd @dir/image; tar xf {busybox}
             config=$(grep -o '[0-9a-f]*\\.json' manifest.json); chmod u+w *
             sed -i 's/\"config\": *{{/&\"StopSignal\": \"{signal}\", /' $config; grep -q {signal} $config
             sum=$(sha256sum < $config | cut -c 1-64); mv $config $sum.json
             sed -i \"s/$config/$sum.json/; s|{BUSYBOX}:latest|{name}:latest|\" manifest.json
             tar cf ../image.tar *; @engine load --quiet --input ../image.tar"
        );
        self.script(&script).ok();
    }

    fn filled(&self, words: &[&str]) -> Vec<String> {
        let (dir, probe) = (self.host.path("dir").display().to_string(), probe().display().to_string());
        words.iter().map(|word| word.replace("@dir", &dir).replace("@probe", &probe)).collect()
    }

    /// The probe as a server in the background, from the moment on when it is ready.
    pub(super) fn serve(&self, name: &'static str, flags: &[&str], serve: &[&str]) -> Background<'_> {
        let bind = "@probe:/probe:ro";
        let before = ["run", "--rm", "--name", name, "-v", bind];
        let words = [before.as_slice(), flags, &[BUSYBOX, "/probe", "serve"], serve].concat();
        let mut running = self.spawn(&words);
        running.wait_for("ready");
        Background { engine: self, running, name }
    }
}

impl Background<'_> {
    /// The container's first process, as its engine's host numbers it: the one `serve` that is nobody's wrapper.
    pub(super) fn pid(&self) -> String {
        if self.engine.is_docker() {
            let words = ["inspect", "--format", "{{.State.Pid}}", self.name];
            return self.engine.words(&words).ok().text().to_owned();
        }
        // NSpid: its last number is the pid in the namespace it leads.
        let outside = self.running.container_pid();
        let status = std::fs::read_to_string(format!("/proc/{outside}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
        let numbers: Vec<&str> = line.split_whitespace().skip(1).collect();
        assert!(numbers.len() >= 3, "{line}");
        numbers[numbers.len() - 2].to_owned()
    }

    /// Run a shell script of the image inside the container.
    pub(super) fn inside(&self, script: &str) -> Output {
        let words =
            ["--target", &self.pid(), "--mount", "--net", "--pid", "--root", "--wd", "--", "/bin/sh", "-c", script];
        self.engine.host.exec("/usr/bin/nsenter", &words)
    }

    /// Send the client a signal, and wait for the end.
    pub(super) fn end(self, signal: nix::sys::signal::Signal) -> String {
        self.running.signal(signal);
        self.wait()
    }

    /// Kill the container's first process, and wait for the client.
    pub(super) fn kill_inside(self, signal: &str) -> String {
        self.engine.host.shell(&format!("kill -{signal} {}", self.pid())).ok();
        self.wait()
    }

    /// How the client ended, within twenty seconds, and that nobody holds its output open.
    fn wait(mut self) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Some(status) = self.running.child.try_wait().unwrap() {
                let code = code_of(status);
                let closed = self.output_is_closed();
                return if closed {
                    format!("exit code {code}")
                } else {
                    format!("exit code {code}, output still open")
                };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.running.child.kill().unwrap();
        "still running after 20 s".to_owned()
    }
}

impl Background<'_> {
    /// Whether the end of the standard output is reached within five seconds.
    fn output_is_closed(&mut self) -> bool {
        let mut stdout = self.running.child.stdout.take().expect("it is piped");
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
            let _ = tell.send(());
        });
        told.recv_timeout(Duration::from_secs(5)).is_ok()
    }
}

/// With files to share, and without forwarding.
fn furnished(host: Host) -> Host {
    std::fs::create_dir(host.path("dir")).unwrap();
    std::fs::write(host.path("dir").join("file"), "from the host\n").unwrap();
    std::fs::write(host.path("dir").join("env"), "# a comment\nFROM_FILE=one two\nHOME\nABSENT\n\n").unwrap();
    host.shell("echo 0 > /proc/sys/net/ipv4/ip_forward").ok();
    host
}

/// A process's end as a shell shows it.
fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
