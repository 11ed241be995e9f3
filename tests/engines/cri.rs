//! containerd as Kubernetes drives it: a node whose pods are made through the CRI plugin by a small gRPC client.

mod grpc;
mod messages;
mod stream;

pub(super) use messages::*;
pub(super) use stream::Stream;

use super::containerd::{self, Containerd};
use super::stage::{assert_no_state, runtime_path, until, until_idle};
use crate::support::{BUSYBOX, Host, Snapshot};
use grpc::{Refused, Service};
use prost::Message;
use std::time::{Duration, Instant};

/// Debian's containernetworking-plugins.
pub(super) const CNI: &str = "/usr/lib/cni";

/// A node: containerd with its CRI plugin.
pub(super) struct Node {
    pub(super) containerd: Containerd,
    service: Service,
    before: Option<Snapshot>,
}

/// A pod that runs.
pub(super) struct Pod<'n> {
    pub(super) node: &'n Node,
    pub(super) id: String,
    config: PodConfig,
}

impl Node {
    /// With the busybox image, the image of pods, and a bridge for them.
    pub(super) fn start() -> Node {
        Node::on(CNI, |host| {
            format!(
                r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [{{"type": "bridge", "bridge": "cni0",
                    "isGateway": true, "ipam": {{"type": "host-local", "dataDir": "{}",
                    "ranges": [[{{"subnet": "10.88.0.0/24"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}"#,
                host.path("leases").display()
            )
        })
    }

    /// The same with another network for pods, whose bridge is `cni0`, and a folder of plugins.
    pub(super) fn on(plugins: &str, network: impl FnOnce(&Host) -> String) -> Node {
        let containerd = Containerd::configured("", |host| {
            let at = |name: &str| host.path(name).display().to_string();
            std::fs::create_dir(host.path("net.d")).unwrap();
            std::fs::create_dir(host.path("logs")).unwrap();
            std::fs::write(host.path("net.d/10-pods.conflist"), network(host)).unwrap();
            let plugins = host.path(plugins).display().to_string();
            // A machine that keeps CAP_SYS_RESOURCE from root lets nobody be spared when memory runs out.
            format!(
                r#"[plugins."io.containerd.grpc.v1.cri"]
                sandbox_image = "docker.io/rbox-fixtures/pause:latest"
                restrict_oom_score_adj = true
                stream_server_address = "127.0.0.1"
                stream_server_port = "0"
                [plugins."io.containerd.grpc.v1.cri".cni]
                bin_dir = "{plugins}"
                conf_dir = "{}"
                [plugins."io.containerd.grpc.v1.cri".containerd]
                default_runtime_name = "rbox"
                [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.rbox]
                runtime_type = "io.containerd.runc.v2"
                [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.rbox.options]
                BinaryName = "{}"
                "#,
                at("net.d"),
                runtime_path()
            )
        });
        for name in ["busybox", "pause"] {
            containerd.import("k8s.io", name);
        }
        let socket = containerd.host.path("containerd.sock");
        let mut node = Node { containerd, service: Service::new(&socket, "runtime.v1.RuntimeService"), before: None };
        // The first pod makes what the later ones share: the bridge and the parent cgroup.
        node.pod("first", PodLinux::default()).remove();
        until_idle(&node.containerd.host, "cni0");
        node.before = Some(node.containerd.host.snapshot());
        node
    }

    /// Ask, and show a refusal.
    #[track_caller]
    pub(super) fn ask<Answer: Message + Default>(&self, method: &str, question: &impl Message) -> Answer {
        self.try_ask(method, question).unwrap_or_else(|refused| panic!("{method}: {refused}"))
    }

    /// Ask; a refusal is an answer too.
    pub(super) fn try_ask<Answer: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
    ) -> Result<Answer, Refused> {
        self.service.call(method, question)
    }

    /// `RunPodSandbox`
    #[track_caller]
    pub(super) fn pod(&self, name: &str, linux: PodLinux) -> Pod<'_> {
        self.published(name, linux, Vec::new())
    }

    /// The same with ports of the node's that lead into the pod.
    #[track_caller]
    pub(super) fn published(&self, name: &str, linux: PodLinux, ports: Vec<PortMapping>) -> Pod<'_> {
        let network_is_the_nodes = linux
            .security
            .as_ref()
            .and_then(|security| security.namespaces.as_ref())
            .is_some_and(|kinds| kinds.network == 2);
        let config = PodConfig {
            metadata: Some(PodMetadata {
                name: name.to_owned(),
                uid: format!("{name}-uid"),
                namespace: "tests".to_owned(),
            }),
            hostname: if network_is_the_nodes { String::new() } else { format!("{name}-host") },
            log_directory: self.containerd.host.path("logs").display().to_string(),
            dns: Some(Dns { servers: vec!["192.0.2.53".to_owned()] }),
            ports,
            linux: Some(PodLinux {
                cgroup_parent: "/pods".to_owned(),
                security: linux.security.or_else(|| {
                    Some(PodSecurity { namespaces: Some(Namespaces::kubernetes()), ..PodSecurity::default() })
                }),
                ..linux
            }),
        };
        let id: Id = self.ask("RunPodSandbox", &RunPod { config: Some(config.clone()) });
        Pod { node: self, id: id.id, config }
    }

    /// Nothing of any pod is left: no process, mount, link, control group, lease, or state of the runtime.
    #[track_caller]
    pub(super) fn assert_clean(&self) {
        let left: Ids = self.ask("ListContainers", &Nothing {});
        assert_eq!(left.all, [], "a container is left");
        let left: Ids = self.ask("ListPodSandbox", &Nothing {});
        assert_eq!(left.all, [], "a pod is left");
        self.containerd.host.assert_unchanged(self.before.as_ref().expect("taken after the first pod"));
        let directories = "/run/containerd/runc/k8s.io containerd.state/io.containerd.runtime.v2.task/k8s.io";
        assert_no_state(&self.containerd.host, directories);
        let leases = self.containerd.host.shell("ls leases/pods | grep '^10[.]'");
        assert_eq!(leases.stdout, "", "a lease is left");
    }
}

impl Namespaces {
    /// What Kubernetes asks for where the user says nothing: each container has a pid namespace of its own.
    fn kubernetes() -> Namespaces {
        Namespaces { pid: 1, ..Namespaces::default() }
    }
}

impl Security {
    /// The same of a container.
    pub(super) fn kubernetes() -> Security {
        Security { namespaces: Some(Namespaces::kubernetes()), ..Security::default() }
    }
}

impl Pod<'_> {
    /// `CreateContainer` and `StartContainer`: busybox with this shell script, and with what is set further.
    #[track_caller]
    pub(super) fn start(&self, name: &str, script: &str, set: impl FnOnce(&mut Container)) -> String {
        let id = self.create(name, &["sh", "-c", script], set);
        let _: Nothing = self.node.ask("StartContainer", &Id { id: id.clone() });
        id
    }

    /// `CreateContainer`
    #[track_caller]
    pub(super) fn create(&self, name: &str, command: &[&str], set: impl FnOnce(&mut Container)) -> String {
        let mut config = Container {
            metadata: Some(Metadata { name: name.to_owned(), attempt: 0 }),
            image: Some(Image { image: format!("docker.io/{BUSYBOX}:latest") }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            log_path: format!("{name}.log"),
            linux: Some(Linux { resources: None, security: Some(Security::kubernetes()) }),
            ..Container::default()
        };
        set(&mut config);
        let question = Create { pod: self.id.clone(), config: Some(config), pod_config: Some(self.config.clone()) };
        self.node.ask::<Id>("CreateContainer", &question).id
    }

    /// `ExecSync` of a shell script that has to succeed: what it prints.
    #[track_caller]
    pub(super) fn inside(&self, container: &str, script: &str) -> String {
        let said = self.node.exec(container, &["sh", "-c", script]);
        assert_eq!(said.code, 0, "{script}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    /// `PodSandboxStatus`
    #[track_caller]
    pub(super) fn status(&self) -> PodStatus {
        self.node.ask::<PodStatusAnswer>("PodSandboxStatus", &Id { id: self.id.clone() }).status.unwrap()
    }

    /// Wait until the log of a container, without its times, is this. It is written beside the streams.
    #[track_caller]
    pub(super) fn until_log(&self, name: &str, text: &str) {
        let log = format!("cut -d ' ' -f 2- logs/{name}.log");
        until(&format!("the log is {text:?}"), || self.node.containerd.host.shell(&log), |said| said.stdout == text);
    }

    /// `StopPodSandbox` and `RemovePodSandbox`
    #[track_caller]
    pub(super) fn remove(self) {
        let _: Nothing = self.node.ask("StopPodSandbox", &Id { id: self.id.clone() });
        let _: Nothing = self.node.ask("RemovePodSandbox", &Id { id: self.id });
    }
}

impl Node {
    /// `ExecSync`
    #[track_caller]
    pub(super) fn exec(&self, container: &str, command: &[&str]) -> Said {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        self.ask("ExecSync", &ExecSync { id: container.to_owned(), command, timeout: 30 })
    }

    /// `ContainerStatus`
    #[track_caller]
    pub(super) fn status(&self, container: &str) -> Status {
        self.ask::<StatusAnswer>("ContainerStatus", &Id { id: container.to_owned() }).status.unwrap()
    }

    /// Wait until a container has ended.
    #[track_caller]
    pub(super) fn until_exited(&self, container: &str) -> Status {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let status = self.status(container);
            if status.state == 2 {
                return status;
            }
            assert!(Instant::now() < end, "it does not end: {status:?}\n{}", containerd::log(&self.containerd.host));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
