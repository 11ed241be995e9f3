//! JSON that is nearly right: a document with every field of config.json, and what chance makes of it.

use super::dice::Dice;
use serde_json::{Value, json};

/// A config.json that says something in every field that the runtime knows, and that it can obey.
pub(crate) fn rich_spec() -> Value {
    let caps = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID"]);
    json!({
        "ociVersion": "1.2.1",
        "process": {
            "terminal": false, "consoleSize": { "height": 25, "width": 80 },
            "user": { "uid": 0, "gid": 0, "umask": 18, "additionalGids": [5, 10] },
            "args": ["/bin/true", "a", "b"], "env": ["PATH=/usr/bin:/bin", "TERM=xterm"], "cwd": "/tmp",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps, "inheritable": [], "ambient": [] },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024 }, { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }],
            "noNewPrivileges": true, "oomScoreAdj": 200, "apparmorProfile": "", "selinuxLabel": "",
            "scheduler": { "policy": "SCHED_BATCH", "nice": 3, "flags": [] },
            "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 5 },
            "execCPUAffinity": { "initial": "0", "final": "0-1" },
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "box", "domainname": "example.test",
        "mounts": rich_mounts(),
        "hooks": {
            "createRuntime": [{ "path": "/bin/true", "args": ["true", "x"], "env": ["A=b"], "timeout": 5 }],
            "poststop": [{ "path": "/bin/true" }],
        },
        "annotations": { "org.example.a": "b" },
        "linux": rich_linux(),
    })
}

/// The same with users and clocks of its own.
pub(crate) fn rich_spec_with_users() -> Value {
    let mut spec = rich_spec();
    let linux = &mut spec["linux"];
    let namespaces = linux["namespaces"].as_array_mut().expect("it is a list");
    namespaces.extend([json!({ "type": "user" }), json!({ "type": "time" })]);
    for key in ["uidMappings", "gidMappings"] {
        linux[key] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    }
    linux["timeOffsets"] =
        json!({ "monotonic": { "secs": 7, "nanosecs": 9 }, "boottime": { "secs": 8, "nanosecs": 0 } });
    // No device can be made there, and the host may lack one.
    linux["devices"] = json!([]);
    spec
}

fn rich_mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["rw", "noatime", "sync", "tmpcopyup", "private"] },
        { "destination": "/home/user", "type": "bind", "source": "rootfs/tmp", "options": ["rbind", "ro", "rnosuid", "rprivate"] },
    ])
}

fn rich_linux() -> Value {
    json!({
        "namespaces": [
            { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" },
        ],
        "devices": [
            { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0 },
            { "path": "/dev/pipe", "type": "p", "major": 0, "minor": 0 },
        ],
        "cgroupsPath": "/fuzz",
        "resources": {
            "devices": [{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" }],
            "memory": { "limit": 268_435_456, "reservation": 134_217_728 },
            "cpu": { "shares": 512, "quota": 100_000, "period": 100_000 },
            "pids": { "limit": 64 },
        },
        "sysctl": { "net.ipv4.ip_forward": "0", "kernel.shm_rmid_forced": "1" },
        "rootfsPropagation": "private",
        "maskedPaths": ["/proc/kcore", "/proc/keys"],
        "readonlyPaths": ["/proc/sys", "/proc/bus"],
        "personality": { "domain": "LINUX" },
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{ "names": ["acct", "reboot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
                "args": [{ "index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ" }] }],
        },
    })
}

/// What a value becomes: the ends of numbers, and strings that paths, lines and terminals break at.
fn odd_value(dice: &mut Dice) -> Value {
    let numbers = [0, 1, -1, 2, 1000, 4096, i64::from(i32::MAX), 1 << 31, 1 << 32, i64::MAX, i64::MIN];
    match dice.below(10) {
        0 => json!(dice.pick(&numbers)),
        1 => json!(dice.pick(&[u64::MAX, 1 << 63])),
        2 => json!(dice.pick(&[1.5, -0.0, 1e300])),
        3 => json!("x".repeat(dice.pick(&[65, 256, 4096, 70_000]))),
        4 => dice.pick(&[Flat::Null, Flat::True, Flat::False, Flat::List, Flat::Object]).value(),
        5 => (0..dice.pick(&[3, 60, 120])).fold(json!(1), |inner, _| json!([inner])),
        _ => json!(dice.pick(&ODD)),
    }
}

const ODD: [&str; 28] = [
    "",
    " ",
    ".",
    "..",
    "/",
    "//",
    "../..",
    "/..",
    "/../x",
    "a/../../b",
    "a\0b",
    "\0",
    "a\nb",
    "\n",
    "\r",
    "\u{1b}[31mred\u{7}",
    "\u{85}\u{2028}",
    "ü",
    "\u{10ffff}",
    "-1",
    "99999999999999999999",
    "0-",
    "rbind",
    "SCMP_ACT_KILL",
    "user",
    "time",
    "/nowhere",
    "{}%s%n\"'\\",
];

#[derive(Clone, Copy)]
enum Flat {
    Null,
    True,
    False,
    List,
    Object,
}

impl Flat {
    fn value(self) -> Value {
        match self {
            Flat::Null => Value::Null,
            Flat::True => json!(true),
            Flat::False => json!(false),
            Flat::List => json!([]),
            Flat::Object => json!({}),
        }
    }
}

/// Every place of the document, as JSON pointers.
pub(crate) fn places(value: &Value) -> Vec<String> {
    let mut all = vec![String::new()];
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => vec![],
    };
    for (key, value) in inside {
        all.extend(places(value).into_iter().map(|place| format!("/{key}{place}")));
    }
    all
}

/// One change somewhere.
pub(crate) fn mutate(document: &mut Value, dice: &mut Dice) {
    let places = places(document);
    let place = places[1 + dice.below(places.len() - 1)].clone();
    let other = places[1 + dice.below(places.len() - 1)].clone();
    match dice.below(6) {
        0 => remove(document, &place),
        1 => repeat(document, &place),
        2 => {
            let value = document.pointer(&other).cloned().unwrap_or_default();
            *document.pointer_mut(&place).expect("it was listed") = value;
        }
        3 => retype(document.pointer_mut(&place).expect("it was listed")),
        _ => *document.pointer_mut(&place).expect("it was listed") = odd_value(dice),
    }
}

fn parent<'a, 'b>(document: &'a mut Value, place: &'b str) -> (&'a mut Value, &'b str) {
    let (above, key) = place.rsplit_once('/').expect("not the whole");
    (document.pointer_mut(above).expect("it was listed"), key)
}

fn remove(document: &mut Value, place: &str) {
    match parent(document, place) {
        (Value::Object(fields), key) => drop(fields.remove(&key.replace("~1", "/").replace("~0", "~"))),
        (Value::Array(items), key) => drop(items.remove(key.parse().expect("an index"))),
        _ => {}
    }
}

/// An element twice; a field under another name.
fn repeat(document: &mut Value, place: &str) {
    let value = document.pointer(place).cloned().unwrap_or_default();
    match parent(document, place) {
        (Value::Object(fields), key) => drop(fields.insert(format!("{key}\n"), value)),
        (Value::Array(items), _) => items.push(value),
        _ => {}
    }
}

fn retype(value: &mut Value) {
    *value = match value.take() {
        Value::String(text) => json!([text]),
        Value::Number(number) => json!(number.to_string()),
        Value::Bool(yes) => json!(i32::from(yes)),
        Value::Array(items) => items.into_iter().next().unwrap_or_default(),
        Value::Object(fields) => json!(fields.into_iter().map(|(_, value)| value).collect::<Vec<_>>()),
        Value::Null => json!({}),
    };
}

/// The document as bytes, which may be torn, flipped, and no UTF-8.
pub(crate) fn spoil(text: &mut Vec<u8>, dice: &mut Dice) {
    let place = dice.below(text.len());
    match dice.below(5) {
        0 => text.truncate(place),
        1 => text[place] ^= 1 << dice.below(8),
        2 => text[place] = dice.pick(b"\0\n\x1b\xff\xc0\x80\"{}[],:0"),
        3 => drop(text.splice(place..place, [0xff, 0xfe, 0xed, 0xa0, 0x80])),
        _ => {
            let end = (place + dice.below(40)).min(text.len());
            let part = text[place..end].to_vec();
            drop(text.splice(place..place, part));
        }
    }
}
