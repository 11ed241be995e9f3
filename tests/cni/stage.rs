//! A host with pods: network namespaces that `ip netns` keeps, as engines keep theirs, and plugins that are called for them.

use crate::support::{Host, Output, plugin, probe};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// A host on which plugins of CNI are called.
pub(super) struct Stage {
    pub(super) host: Host,
}

/// Whom a verb is about.
pub(super) struct Pod {
    pub(super) name: &'static str,
    pub(super) id: String,
    pub(super) interface: &'static str,
    /// `CNI_ARGS`
    pub(super) args: String,
}

impl Pod {
    /// With an id as engines give it.
    pub(super) fn new(name: &'static str) -> Pod {
        let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        Pod { name, id: format!("{hex:0<64}"), interface: "eth0", args: String::new() }
    }

    /// Where its namespace is kept.
    pub(super) fn netns(&self) -> String {
        format!("/run/netns/{}", self.name)
    }
}

/// What a plugin said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) output: Output,
    pub(super) said: Value,
}

impl Answer {
    /// It has done what was asked.
    #[track_caller]
    pub(super) fn ok(self) -> Value {
        assert_eq!(self.output.code, 0, "{}", self.output);
        self.said
    }

    /// It has not, by this number, and the message holds these words.
    #[track_caller]
    pub(super) fn fails(self, code: u32, words: &str) -> Value {
        assert_ne!(self.output.code, 0, "{}", self.output);
        let message = self.said["msg"].as_str().unwrap_or_default();
        assert!(self.said["code"] == code && message.contains(words), "expected {code} `{words}`: {}", self.output);
        self.said
    }
}

impl Stage {
    pub(super) fn new() -> Stage {
        Stage { host: Host::new() }
    }

    /// Make a pod's network namespace.
    pub(super) fn pod(&self, name: &'static str) -> Pod {
        let pod = Pod::new(name);
        self.host.shell(&format!("ip netns add {name}")).ok();
        pod
    }

    /// The configuration of the network `pods` for rbox-cni, with these keys further.
    pub(super) fn conf(&self, further: &Value) -> Value {
        let mut conf = json!({ "cniVersion": "1.1.0", "name": "pods", "type": "rbox-cni" });
        for (key, value) in further.as_object().into_iter().flatten() {
            conf[key] = value.clone();
        }
        conf
    }

    /// Call rbox-cni.
    pub(super) fn call(&self, verb: &str, pod: &Pod, conf: &Value) -> Answer {
        self.plugin(&plugin(), verb, pod, conf)
    }

    /// Call a plugin: the configuration comes by its standard input.
    pub(super) fn plugin(&self, program: &Path, verb: &str, pod: &Pod, conf: &Value) -> Answer {
        let netns = pod.netns();
        let variables = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", &pod.id),
            ("CNI_NETNS", &netns),
            ("CNI_IFNAME", pod.interface),
            ("CNI_ARGS", &pod.args),
            ("CNI_PATH", "/usr/lib/cni"),
        ];
        self.with(program, &variables, &conf.to_string())
    }

    /// Call a plugin with these variables and this text.
    pub(super) fn with(&self, program: &Path, variables: &[(&str, &str)], text: &str) -> Answer {
        let input = tempfile::Builder::new().tempfile_in(self.host.path("")).unwrap();
        std::fs::write(input.path(), text).unwrap();
        let program = program.display().to_string();
        let file = input.path().display().to_string();
        let mut command = self.host.command("/bin/sh", &["-c", "exec \"$0\" <\"$1\"", &program, &file]);
        for (variable, folder) in [("RBOX_STATE", "state"), ("RBOX_ROOT", "data"), ("RBOX_CONFIG", "config.json")] {
            command.env(variable, self.host.path(folder));
        }
        command.envs(variables.iter().copied());
        let output = self.host.finish(&mut command, &format!("{program} {variables:?} {text}"));
        let said = serde_json::from_str(&output.stdout).unwrap_or(Value::Null);
        Answer { output, said }
    }

    /// Run a shell script in a pod.
    pub(super) fn inside(&self, pod: &Pod, script: &str) -> Output {
        self.host.exec("nsenter", &[&format!("--net={}", pod.netns()), "/bin/sh", "-c", script])
    }

    /// Serve on a port of the pod's, until the host ends: a caller is told at which address it has called.
    pub(super) fn serve(&self, pod: &Pod, port: u16) {
        let probe = probe().display().to_string();
        let script = format!("exec {probe} serve {port} tcp");
        let mut server = self.host.spawn("nsenter", &[&format!("--net={}", pod.netns()), "/bin/sh", "-c", &script]);
        server.wait_for("ready");
        std::mem::forget(server);
    }

    /// Connect from a pod: the server's line, or the error's name.
    pub(super) fn connect(&self, pod: &Pod, address: &str, port: u16) -> String {
        let probe = probe().display().to_string();
        self.inside(pod, &format!("exec {probe} connect {address} {port} tcp")).stdout.trim().to_owned()
    }

    /// Take the namespace of a pod away that is joined, and wait until the kernel has done so with the cables in it.
    pub(super) fn end(&self, pod: &Pod) {
        let cables = || self.host.shell("ip -o link show type veth | grep -c ' veth'").stdout;
        let before = cables();
        self.host.shell(&format!("ip netns delete {}", pod.name)).ok();
        let end = Instant::now() + Duration::from_secs(10);
        while cables() == before {
            assert!(Instant::now() < end, "the namespace of {} does not end", pod.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Wait until the bridge has seen its last pod go: a link that is idle looks different, and so do its routes.
    pub(super) fn until_idle(&self) {
        let end = Instant::now() + Duration::from_secs(5);
        let is_idle = || self.host.shell("ip link show type bridge").stdout.contains("NO-CARRIER");
        while Instant::now() < end && !is_idle() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What rbox says of the network `pods`.
    pub(super) fn network(&self) -> Value {
        let said = self.host.rbox(&["network", "inspect", "pods"]).ok().stdout;
        serde_json::from_str::<Value>(&said).unwrap()[0].clone()
    }

    /// The addresses that are leased on the network `pods`.
    pub(super) fn leases(&self) -> Vec<String> {
        let network = self.network();
        let all = network["Leases"].as_array().unwrap();
        all.iter().map(|lease| lease["Address"].as_str().unwrap().to_owned()).collect()
    }
}

/// The first address of a result, without its prefix.
pub(super) fn address(result: &Value) -> String {
    let with_prefix = result["ips"][0]["address"].as_str().unwrap_or_else(|| panic!("no address: {result:#}"));
    with_prefix.split('/').next().unwrap().to_owned()
}

/// The same configuration with what an engine says of one container.
pub(super) fn told(conf: &Value, runtime_config: &Value) -> Value {
    let mut conf = conf.clone();
    conf["runtimeConfig"] = runtime_config.clone();
    conf
}
