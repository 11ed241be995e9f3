//! The verbs about containers that are there: the same words about a container called `web`. size: flat table

use super::Answers;
use super::engine::Engine;
use super::sight::{Sight, Sight::*, of_answer};
use serde_json::Value;

/// Words behind the engine's name, in this order: a later line sees what an earlier one has done.
type Line = (&'static str, Sight, &'static [&'static str]);

const I: &str = crate::support::BUSYBOX;

const EXEC: &[Line] = &[
    ("exec", Text, &["exec", "web", "id"]),
    ("exec environment", Text, &["exec", "web", "env"]),
    ("exec environment with a terminal", Text, &["exec", "-t", "web", "env"]),
    ("exec variables", Text, &["exec", "-e", "X=1", "-e", "A", "--env-file", "@dir/env", "web", "env"]),
    ("exec as a user", Text, &["exec", "-u", "www-data", "web", "sh", "-c", "id; echo $HOME; pwd"]),
    ("exec as numbers", Text, &["exec", "-u", "7:9", "web", "id"]),
    ("exec in a directory", Text, &["exec", "-w", "/var", "web", "pwd"]),
    ("exec streams", Text, &["exec", "web", "sh", "-c", "echo out; echo err >&2; exit 7"]),
    ("exec killed", Code, &["exec", "web", "sh", "-c", "kill -9 $$"]),
    ("exec status", Text, &["exec", "web", "grep", "-E", "^(Cap|Seccomp:|NoNew)", "/proc/self/status"]),
    ("exec limits", Text, &["exec", "web", "sh", "-c", "cat /proc/self/oom_score_adj /proc/self/cgroup | wc -l"]),
    ("exec detached", Text, &["exec", "-d", "web", "true"]),
    ("exec of a program that is not there", Code, &["exec", "web", "nosuch"]),
    ("exec of a path that is not there", Code, &["exec", "web", "/no/such"]),
    ("exec of a file that is no program", Code, &["exec", "web", "/etc/passwd"]),
    ("exec in a directory that is not there", Code, &["exec", "-w", "/no/such", "web", "true"]),
    ("exec as nobody's name", Code, &["exec", "-u", "nosuch", "web", "true"]),
    ("exec detached, not there", Code, &["exec", "-d", "web", "nosuch"]),
    ("exec without a container", Code, &["exec", "nosuch", "true"]),
    ("exec without a program", Code, &["exec", "web"]),
    ("exec with an unknown flag", Code, &["exec", "--nosuch", "web", "true"]),
    ("exec for a terminal without one", Code, &["exec", "-it", "web", "true"]),
    ("exec with a missing file", Code, &["exec", "--env-file", "/nosuch", "web", "true"]),
];

const INSPECT: &[Line] = &[
    (
        "inspect state",
        Text,
        &["inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.State.Paused}} {{.Name}}", "web"],
    ),
    (
        "inspect config",
        Text,
        &["inspect", "-f", "{{json .Config.Cmd}} {{json .Config.Env}} {{json .Config.Labels}}", "web"],
    ),
    (
        "inspect exposed",
        Text,
        &["inspect", "-f", "{{json .Config.ExposedPorts}} {{json .HostConfig.PortBindings}}", "web"],
    ),
    ("inspect ports", Text, &["inspect", "-f", "{{json .NetworkSettings.Ports}}", "web"]),
    (
        "inspect mounts",
        Text,
        &["inspect", "-f", "{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} {{.Mode}}{{end}}", "web"],
    ),
    (
        "inspect limits",
        Text,
        &[
            "inspect",
            "-f",
            "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}",
            "web",
        ],
    ),
    (
        "inspect lists",
        Text,
        &[
            "inspect",
            "-f",
            "{{.HostConfig.CapAdd}} {{.HostConfig.Dns}} {{.HostConfig.ExtraHosts}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Ulimits}}",
            "web",
        ],
    ),
    (
        "inspect modes",
        Text,
        &[
            "inspect",
            "-f",
            "{{.HostConfig.NetworkMode}} {{.HostConfig.IpcMode}} {{.HostConfig.CgroupnsMode}} {{.HostConfig.PidMode}}",
            "web",
        ],
    ),
    (
        "inspect address",
        Text,
        &[
            "inspect",
            "-f",
            "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}} {{.IPPrefixLen}} {{.MacAddress}}{{end}}",
            "web",
        ],
    ),
    (
        "inspect by index",
        Text,
        &["inspect", "-f", "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "web"],
    ),
    ("inspect of nothing", Code, &["inspect", "nosuch"]),
    ("inspect of a wrong field", Code, &["inspect", "-f", "{{.Nosuch.Field}}", "web"]),
    ("inspect of an image as a container", Code, &["container", "inspect", I]),
    ("inspect of a container as an image", Code, &["inspect", "--type", "image", "web"]),
    (
        "inspect of what is not there",
        Text,
        &[
            "inspect",
            "-f",
            "{{.State.Health}} {{.Config.Labels.nosuch}} {{if .Config.Healthcheck}}y{{else}}n{{end}} \
             {{.NetworkSettings.Networks.nosuch.IPAddress}} {{.HostConfig.Sysctls}} {{len .HostConfig.Mounts}} \
             {{json .HostConfig.Init}} [{{.Config.StopSignal}}] {{.Config.StopTimeout}} [{{.Config.MacAddress}}] \
             {{.Config.Volumes}} {{.HostConfig.Links}} {{.ExecIDs}} {{.SizeRw}} {{.HostConfig.MemorySwappiness}}",
            "web",
        ],
    ),
    ("inspect of a field of nothing", Code, &["inspect", "-f", "{{.State.Health.Status}}", "web"]),
    (
        "inspect of a network's maps",
        Text,
        &["network", "inspect", "-f", "{{.Labels.x}} {{.Options.x}} {{.IPAM.Options}} {{.Peers}}", "none"],
    ),
    (
        "inspect of an image's maps",
        Text,
        &["image", "inspect", "-f", "{{.Config.Labels.x}} {{.Config.ExposedPorts}} {{.Config.Healthcheck}}", I],
    ),
    ("inspect of a network", Text, &["inspect", "-f", "{{.Name}} {{.Driver}}", "bridge"]),
];

const CHANGES: &[Line] = &[
    ("port", Text, &["port", "web"]),
    ("port of one", Text, &["port", "web", "80"]),
    ("port of one with a protocol", Text, &["port", "web", "80/tcp"]),
    ("port that is not published", Code, &["port", "web", "81"]),
    ("port that is none", Code, &["port", "web", "x"]),
    ("top columns", Code, &["top", "web", "-o", "pid,comm"]),
    ("top without a PID", Code, &["top", "web", "-o", "user"]),
    ("top of nothing", Code, &["top", "nosuch"]),
    ("stats of one", Text, &["stats", "--no-stream", "--format", "table {{.Name}}", "web"]),
    ("stats of nothing", Code, &["stats", "--no-stream", "nosuch"]),
    ("pause", Text, &["pause", "web"]),
    ("pause again", Code, &["pause", "web"]),
    ("exec in a paused one", Code, &["exec", "web", "true"]),
    (
        "inspect of a paused one",
        Text,
        &["inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.State.Paused}}", "web"],
    ),
    ("unpause", Text, &["unpause", "web"]),
    ("unpause again", Code, &["unpause", "web"]),
    ("pause of nothing", Code, &["pause", "nosuch"]),
    ("update without a limit", Code, &["update", "web"]),
    ("update above the swap", Code, &["update", "--memory", "500m", "web"]),
    ("update", Text, &["update", "--memory", "100m", "--memory-swap", "200m", "--pids-limit", "77", "web"]),
    (
        "updated limits",
        Text,
        &["inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.PidsLimit}}", "web"],
    ),
    ("update of nothing", Code, &["update", "--memory", "100m", "nosuch"]),
    ("rename", Text, &["rename", "web", "page"]),
    ("renamed", Text, &["exec", "page", "id"]),
    ("rename back", Text, &["rename", "page", "web"]),
    ("rename to itself", Code, &["rename", "web", "web"]),
    ("rename to no name", Code, &["rename", "web", "!x"]),
    ("rename of nothing", Code, &["rename", "nosuch", "x"]),
];

const COPIES: &[Line] = &[
    ("cp in", Text, &["cp", "@dir/file", "web:/in"]),
    ("cp a folder in", Text, &["cp", "@dir", "web:/folder"]),
    ("cp a folder's contents in", Text, &["cp", "@dir/.", "web:/tmp"]),
    ("cp to a folder that is not there", Code, &["cp", "@dir/file", "web:/nosuch/"]),
    ("cp below a folder that is not there", Code, &["cp", "@dir/file", "web:/nosuch/x"]),
    ("cp a folder onto a file", Code, &["cp", "@dir", "web:/in"]),
    ("cp from nothing", Code, &["cp", "@dir/nosuch", "web:/"]),
    ("cp of nothing", Code, &["cp", "web:/nosuch", "@dir"]),
    ("cp onto a mounted file", Code, &["cp", "@dir/file", "web:/etc/hosts"]),
    ("cp between containers", Code, &["cp", "web:/in", "web:/out"]),
    ("cp without a container", Code, &["cp", "@dir/file", "@dir/other"]),
    (
        "what cp has made",
        Text,
        &["exec", "web", "sh", "-c", "cat /in; ls -l /folder /tmp | cut -c 1-10; stat -c '%u:%g %a' /in /folder"],
    ),
    ("cp out", Text, &["cp", "web:/in", "@dir/out"]),
    ("cp of a file of a tmpfs", Code, &["cp", "web:/scratch/file", "@dir/scratch"]),
];

const NEIGHBOURS: &[Line] = &[
    ("hosts of a linked one", Text, &["run", "--rm", "--link", "web:w", I, "cat", "/etc/hosts"]),
    ("environment of a linked one", Sorted, &["run", "--rm", "--link", "web:w", I, "sh", "-c", "env | grep -v _NAME="]),
    ("link to nothing", Code, &["run", "--rm", "--link", "nosuch", I, "true"]),
    ("link in three parts", Code, &["run", "--rm", "--link", "a:b:c", I, "true"]),
    ("link on none", Code, &["run", "--rm", "--link", "web", "--network", "none", I, "true"]),
    ("joined network", Addresses, &["run", "--rm", "--network", "container:web", I, "ip", "addr"]),
    (
        "joined names",
        Text,
        &["run", "--rm", "--network", "container:web", I, "sh", "-c", "cat /etc/hosts /etc/hostname; hostname"],
    ),
    (
        "joined settings",
        Text,
        &["run", "--rm", "--network", "container:web", I, "cat", "/proc/sys/net/ipv4/ping_group_range"],
    ),
    ("joined processes", Text, &["run", "--rm", "--network", "container:web", I, "cat", "/proc/1/comm"]),
    ("joined with -p", Code, &["run", "--rm", "--network", "container:web", "-p", "80:80", I, "true"]),
    ("joined with -P", Code, &["run", "--rm", "--network", "container:web", "-P", I, "true"]),
    ("joined with --expose", Code, &["run", "--rm", "--network", "container:web", "--expose", "9", I, "true"]),
    ("joined with --link", Code, &["run", "--rm", "--network", "container:web", "--link", "web", I, "true"]),
    ("joined with --hostname", Code, &["run", "--rm", "--network", "container:web", "-h", "x", I, "true"]),
    ("joined with --dns", Code, &["run", "--rm", "--network", "container:web", "--dns", "192.0.2.1", I, "true"]),
    (
        "joined with --add-host",
        Code,
        &["run", "--rm", "--network", "container:web", "--add-host", "a:192.0.2.1", I, "true"],
    ),
    (
        "joined with --mac-address",
        Code,
        &["run", "--rm", "--network", "container:web", "--mac-address", "02:42:ac:11:00:09", I, "true"],
    ),
    ("joined to nothing", Code, &["run", "--rm", "--network", "container:nosuch", I, "true"]),
    ("joined to no name", Code, &["run", "--rm", "--network", "container:", I, "true"]),
];

/// All of them, about one container, and the keys of its inspect.
pub(super) fn answers(engine: &Engine, private: &str) -> Answers {
    let flags = ["-p", "8080:80", "-e", "A=1", "--label", "tier=front", "--memory", "64m", "--tmpfs", "/scratch"];
    let web = engine.serve("web", &flags, &["80"]);
    engine.words(&["exec", "web", "touch", "/scratch/file"]).ok();
    let mut answers = Answers::new();
    let object = engine.words(&["inspect", "web"]).ok().json();
    let mut keys = Vec::new();
    collect("", &object[0], &mut keys);
    keys.sort();
    answers.push(("keys of inspect".to_owned(), keys));
    for (name, sight, words) in [EXEC, INSPECT, CHANGES, COPIES, NEIGHBOURS].concat() {
        answers.push((name.to_owned(), of_answer(sight, &engine.words(words), private)));
    }
    web.kill_inside("KILL");
    answers
}

/// The pointer of every key; those of a list once, whatever its length.
fn collect(at: &str, value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let at = format!("{at}/{key}");
                keys.push(at.clone());
                collect(&at, value, keys);
            }
        }
        Value::Array(items) => items.iter().take(1).for_each(|item| collect(&format!("{at}/*"), item, keys)),
        _ => {}
    }
}
