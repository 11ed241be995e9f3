//! The messages of `runtime.v1` that the tests send and read, with the fields they use; the others are left out, which
//! protobuf allows. Numbers: k8s.io/cri-api, pkg/apis/runtime/v1/api.proto.

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty = $how:tt),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, PartialEq, prost::Message)]
            pub(in super::super) struct $name {
                $(#[prost $how] pub(in super::super) $field: $kind,)*
            }
        )*
    };
}

messages! {
    /// `google.protobuf.Int64Value` and `UInt64Value`, for small numbers the same on the wire.
    Number { value: i64 = (int64, tag = "1") }
    /// A pod's name.
    PodMetadata { name: String = (string, tag = "1"), uid: String = (string, tag = "2"), namespace: String = (string, tag = "3") }
    /// Of a pod, of a container: 0 the pod's, 1 the container's own, 2 the node's, 3 another container's.
    Namespaces {
        network: i32 = (int32, tag = "1"), pid: i32 = (int32, tag = "2"), ipc: i32 = (int32, tag = "3"),
        target_id: String = (string, tag = "4"),
    }
    /// 0 the runtime's default, 1 unconfined.
    Profile { kind: i32 = (int32, tag = "1") }
    /// `LinuxSandboxSecurityContext`
    PodSecurity {
        namespaces: Option<Namespaces> = (message, optional, tag = "1"),
        privileged: bool = (bool, tag = "6"), seccomp: Option<Profile> = (message, optional, tag = "9"),
    }
    /// `LinuxPodSandboxConfig`
    PodLinux {
        cgroup_parent: String = (string, tag = "1"), security: Option<PodSecurity> = (message, optional, tag = "2"),
        sysctls: std::collections::HashMap<String, String> = (map = "string, string", tag = "3"),
    }
    /// `DNSConfig`
    Dns { servers: Vec<String> = (string, repeated, tag = "1") }
    /// `PodSandboxConfig`
    PodConfig {
        metadata: Option<PodMetadata> = (message, optional, tag = "1"), hostname: String = (string, tag = "2"),
        log_directory: String = (string, tag = "3"), dns: Option<Dns> = (message, optional, tag = "4"),
        ports: Vec<PortMapping> = (message, repeated, tag = "5"),
        linux: Option<PodLinux> = (message, optional, tag = "8"),
    }
    /// `PortMapping`; protocol 0 is tcp, 1 is udp.
    PortMapping {
        protocol: i32 = (int32, tag = "1"), container_port: i32 = (int32, tag = "2"), host_port: i32 = (int32, tag = "3"),
        host_ip: String = (string, tag = "4"),
    }
    /// A container's name in its pod.
    Metadata { name: String = (string, tag = "1"), attempt: u32 = (uint32, tag = "2") }
    /// `ImageSpec`
    Image { image: String = (string, tag = "1") }
    /// `KeyValue`
    KeyValue { key: String = (string, tag = "1"), value: String = (string, tag = "2") }
    /// A directory or a file of the node's.
    Mount {
        container_path: String = (string, tag = "1"), host_path: String = (string, tag = "2"),
        readonly: bool = (bool, tag = "3"),
    }
    /// By name, without `CAP_`.
    Capabilities { add: Vec<String> = (string, repeated, tag = "1"), drop: Vec<String> = (string, repeated, tag = "2") }
    /// `LinuxContainerResources`
    Resources {
        cpu_period: i64 = (int64, tag = "1"), cpu_quota: i64 = (int64, tag = "2"), cpu_shares: i64 = (int64, tag = "3"),
        memory: i64 = (int64, tag = "4"),
    }
    /// `LinuxContainerSecurityContext`
    Security {
        capabilities: Option<Capabilities> = (message, optional, tag = "1"), privileged: bool = (bool, tag = "2"),
        namespaces: Option<Namespaces> = (message, optional, tag = "3"),
        user: Option<Number> = (message, optional, tag = "5"), readonly: bool = (bool, tag = "7"),
        groups: Vec<i64> = (int64, repeated, tag = "8"), no_new_privileges: bool = (bool, tag = "11"),
        masked: Vec<String> = (string, repeated, tag = "13"), read_only_paths: Vec<String> = (string, repeated, tag = "14"),
        seccomp: Option<Profile> = (message, optional, tag = "15"),
    }
    /// `LinuxContainerConfig`
    Linux {
        resources: Option<Resources> = (message, optional, tag = "1"),
        security: Option<Security> = (message, optional, tag = "2"),
    }
    /// `ContainerConfig`
    Container {
        metadata: Option<Metadata> = (message, optional, tag = "1"), image: Option<Image> = (message, optional, tag = "2"),
        command: Vec<String> = (string, repeated, tag = "3"), working_dir: String = (string, tag = "5"),
        envs: Vec<KeyValue> = (message, repeated, tag = "6"), mounts: Vec<Mount> = (message, repeated, tag = "7"),
        log_path: String = (string, tag = "11"), stdin: bool = (bool, tag = "12"), tty: bool = (bool, tag = "14"),
        linux: Option<Linux> = (message, optional, tag = "15"),
    }
    /// `RunPodSandboxRequest`
    RunPod { config: Option<PodConfig> = (message, optional, tag = "1") }
    /// A pod or a container, in a question or an answer.
    Id { id: String = (string, tag = "1") }
    /// `CreateContainerRequest`
    Create {
        pod: String = (string, tag = "1"), config: Option<Container> = (message, optional, tag = "2"),
        pod_config: Option<PodConfig> = (message, optional, tag = "3"),
    }
    /// `StopContainerRequest`; the patience is in seconds.
    Stop { id: String = (string, tag = "1"), timeout: i64 = (int64, tag = "2") }
    /// `UpdateContainerResourcesRequest`
    Update { id: String = (string, tag = "1"), linux: Option<Resources> = (message, optional, tag = "2") }
    /// `ExecSyncRequest`; the patience is in seconds.
    ExecSync { id: String = (string, tag = "1"), command: Vec<String> = (string, repeated, tag = "2"), timeout: i64 = (int64, tag = "3") }
    /// `ExecSyncResponse`
    Said { stdout: Vec<u8> = (bytes = "vec", tag = "1"), stderr: Vec<u8> = (bytes = "vec", tag = "2"), code: i32 = (int32, tag = "3") }
    /// `ExecRequest`
    Exec {
        id: String = (string, tag = "1"), command: Vec<String> = (string, repeated, tag = "2"), tty: bool = (bool, tag = "3"),
        stdin: bool = (bool, tag = "4"), stdout: bool = (bool, tag = "5"), stderr: bool = (bool, tag = "6"),
    }
    /// `AttachRequest`
    Attach {
        id: String = (string, tag = "1"), stdin: bool = (bool, tag = "2"), tty: bool = (bool, tag = "3"),
        stdout: bool = (bool, tag = "4"), stderr: bool = (bool, tag = "5"),
    }
    /// Where the streams of an exec or an attach are.
    Url { url: String = (string, tag = "1") }
    /// `ContainerStatus`: 0 created, 1 running, 2 exited, 3 unknown.
    Status {
        state: i32 = (int32, tag = "3"), code: i32 = (int32, tag = "7"), reason: String = (string, tag = "10"),
        message: String = (string, tag = "11"),
    }
    /// `ContainerStatusResponse`
    StatusAnswer { status: Option<Status> = (message, optional, tag = "1") }
    /// `PodSandboxNetworkStatus`
    PodNetwork { ip: String = (string, tag = "1") }
    /// `PodSandboxStatus`: 0 ready, 1 not.
    PodStatus { state: i32 = (int32, tag = "3"), network: Option<PodNetwork> = (message, optional, tag = "5") }
    /// `PodSandboxStatusResponse`
    PodStatusAnswer { status: Option<PodStatus> = (message, optional, tag = "1") }
    /// `CpuUsage` in nanoseconds, `MemoryUsage` in bytes.
    Usage { value: Option<Number> = (message, optional, tag = "2") }
    /// `ContainerStats`
    Stats { cpu: Option<Usage> = (message, optional, tag = "2"), memory: Option<Usage> = (message, optional, tag = "3") }
    /// `ContainerStatsResponse`
    StatsAnswer { stats: Option<Stats> = (message, optional, tag = "1") }
    /// A list of containers or pods, of which the ids alone are read.
    Ids { all: Vec<Id> = (message, repeated, tag = "1") }
    /// A question without words.
    Nothing {}
}
