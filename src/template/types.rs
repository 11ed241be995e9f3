//! What docker's templates know of an object beyond its JSON. Docker fills a template in with typed values of Go's: a field
//! that JSON leaves out when it is empty (`omitempty`) is still there, a list or map that nobody filled prints as `[]` and
//! `map[]` though JSON says null, and a map answers any key, where a struct has only its fields. Without this
//! `{{if .State.Health}}` would be an error, and `{{.Config.Labels.foo}}`, too.

use super::value::{Kind, Value};

/// A type of Go's, as far as it can be seen from a template.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    Map,
    List,
    Pointer,
    Text,
    Flag,
    /// Go's own name for the field that JSON calls so.
    Calls(&'static str),
}

use Go::{Calls, Flag, List, Map, Pointer, Text};

/// What JSON calls otherwise than Go. A template that has such a name is filled in with the JSON alone (docker/cli
/// `cli/command/inspect/inspector.go`, tryRawInspectFallback): null is then no value.
pub(super) const OF_JSON: [&str; 12] = [
    "CpuCount",
    "CpuPercent",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpuShares",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Id",
    "NanoCpus",
];

/// The paths of one kind of object; `*` is every key. What is not named here and null is a list.
pub(crate) struct Types(&'static [(&'static str, &'static [(&'static str, Go)])]);

/// moby `api/types/container/config.go`, Config.
const CONFIG: &[(&str, Go)] = &[
    ("ArgsEscaped", Flag),
    ("ExposedPorts", Map),
    ("Healthcheck", Pointer),
    ("Labels", Map),
    ("MacAddress", Text),
    ("NetworkDisabled", Flag),
    ("Shell", List),
    ("StopSignal", Text),
    ("StopTimeout", Pointer),
    ("Volumes", Map),
];

/// moby `api/types/types.go`, ContainerJSON; `api/types/container/host_config.go`; `api/types/network`, EndpointSettings.
pub(crate) const CONTAINER: Types = Types(&[
    ("", &[("ID", Calls("Id")), ("SizeRootFs", Pointer), ("SizeRw", Pointer)]),
    ("Config", CONFIG),
    ("GraphDriver", &[("Data", Map)]),
    (
        "HostConfig",
        &[
            ("CPUPeriod", Calls("CpuPeriod")),
            ("CPUQuota", Calls("CpuQuota")),
            ("CPUShares", Calls("CpuShares")),
            ("DNS", Calls("Dns")),
            ("DNSOptions", Calls("DnsOptions")),
            ("DNSSearch", Calls("DnsSearch")),
            ("Init", Pointer),
            ("MemorySwappiness", Pointer),
            ("Mounts", List),
            ("NanoCPUs", Calls("NanoCpus")),
            ("OomKillDisable", Pointer),
            ("PidsLimit", Pointer),
            ("PortBindings", Map),
            ("StorageOpt", Map),
            ("Sysctls", Map),
            ("Tmpfs", Map),
        ],
    ),
    ("HostConfig.LogConfig", &[("Config", Map)]),
    // The places in networks before the map of them: a path goes through structs alone, or `*`.
    ("NetworkSettings.Networks.*", &[("DriverOpts", Map), ("IPAMConfig", Pointer)]),
    ("NetworkSettings", &[("Networks", Map), ("Ports", Map)]),
    ("State", &[("Health", Pointer)]),
]);

/// moby `api/types/types.go`, ImageInspect.
pub(crate) const IMAGE: Types = Types(&[
    ("", &[("ID", Calls("Id")), ("OsVersion", Text), ("Variant", Text)]),
    ("Config", CONFIG),
    ("ContainerConfig", CONFIG),
    ("GraphDriver", &[("Data", Map)]),
    ("Metadata", &[("LastTagTime", Pointer)]),
    ("RootFS", &[("BaseLayer", Text)]),
]);

/// moby `api/types/types.go`, NetworkResource; `api/types/network`, IPAM.
pub(crate) const NETWORK: Types = Types(&[
    (
        "",
        &[
            ("ID", Calls("Id")),
            ("Containers", Map),
            ("Labels", Map),
            ("Options", Map),
            ("Peers", List),
            ("Services", Map),
        ],
    ),
    ("IPAM", &[("Options", Map)]),
]);

type Fields = Vec<(String, Value)>;

impl Types {
    /// The object, with what its types tell. Its JSON stays what it was.
    pub(crate) fn told_of(&self, mut object: Value) -> Value {
        for (path, fields) in self.0 {
            let parts: Vec<&str> = path.split('.').filter(|part| !part.is_empty()).collect();
            at_each(&mut object, &parts, &|place| fields.iter().for_each(|(name, go)| tell(place, name, *go)));
        }
        name_nothing(&mut object);
        object
    }
}

fn at_each(value: &mut Value, path: &[&str], act: &dyn Fn(&mut Fields)) {
    let Value::Map(fields) = value else { return };
    match path {
        [] => act(fields),
        [part, rest @ ..] => {
            let below = fields.iter_mut().filter(|(name, _)| *part == "*" || name == part);
            below.for_each(|(_, value)| at_each(value, rest, act));
        }
    }
}

fn tell(fields: &mut Fields, name: &str, go: Go) {
    let empty = match go {
        Map => Value::NilOf(Kind::Map),
        List => Value::NilOf(Kind::List),
        Pointer => Value::NilOf(Kind::Pointer),
        Text => Value::Text(String::new()),
        Flag => Value::Bool(false),
        Calls(json) => match fields.iter().find(|(known, _)| known == json) {
            Some((_, value)) => value.clone(),
            None => return,
        },
    };
    match fields.iter_mut().find(|(known, _)| known == name) {
        None => fields.push((name.to_owned(), Value::Unwritten(Box::new(empty)))),
        Some((_, value @ Value::Nil)) => *value = empty,
        Some((_, value)) => {
            if let (Map, Value::Map(entries)) = (go, &mut *value) {
                *value = Value::AnyKey(std::mem::take(entries));
            }
        }
    }
}

/// The same without what tells one nothing from another.
pub(super) fn as_json_has_it(mut object: Value) -> Value {
    match &mut object {
        Value::NilOf(_) => return Value::Nil,
        Value::List(items) => {
            items.iter_mut().for_each(|item| *item = as_json_has_it(std::mem::replace(item, Value::Nil)))
        }
        Value::Map(fields) | Value::AnyKey(fields) => {
            fields.iter_mut().for_each(|(_, value)| *value = as_json_has_it(std::mem::replace(value, Value::Nil)));
        }
        _ => {}
    }
    object
}

fn name_nothing(value: &mut Value) {
    match value {
        Value::Nil => *value = Value::NilOf(Kind::List),
        Value::List(items) => items.iter_mut().for_each(name_nothing),
        Value::Map(fields) | Value::AnyKey(fields) => fields.iter_mut().for_each(|(_, value)| name_nothing(value)),
        _ => {}
    }
}
