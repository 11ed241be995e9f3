//! Where rbox differs from docker.io 20.10 on purpose: at most fifteen places, each explained in docs/docker-differences.md.
//! size: flat table

/// One difference, with every line in which it shows.
pub(super) struct Known {
    /// The heading of its section in the document.
    pub(super) name: &'static str,
    /// Whether it shows on this machine.
    pub(super) on: On,
    /// `NAME: LINE`, where NAME is what was compared (`*`: whatever was), and LINE begins with `-` where it is Docker's
    /// alone, with `+` where it is ours.
    pub(super) lines: &'static [&'static str],
}

/// The machines on which a difference shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    Every,
    CgroupV1,
    CgroupV2,
}

/// The command lines whose exit codes may differ: what Docker refuses and rbox does, and
/// programs of `exec` that are not there.
pub(super) const OTHER_CODE: [&str; 4] = [
    "little memory",
    "exec of a program that is not there",
    "exec of a path that is not there",
    "cp of a file of a tmpfs",
];

pub(super) const KNOWN: &[Known] = &[
    Known {
        name: "Published ports need no proxy process",
        on: On::Every,
        lines: &[
            "host listening with a published port: -0.0.0.0:8080",
            "cable settings with a published port: -hairpin_mode:0",
            "cable settings with a published port: +hairpin_mode:1",
            "*: -conf/docker0/route_localnet:0",
            "*: +conf/docker0/route_localnet:1",
            "*: +:DOCKER-INNER -",
            "*: +-A PREROUTING -i docker0 -m addrtype --dst-type LOCAL -j DOCKER-INNER",
            "*: +-A OUTPUT -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER-INNER",
            "*: +-A POSTROUTING -s 127.0.0.0/8 -o docker0 -j MASQUERADE",
            "*: +-A POSTROUTING -s 172.17.0.0/16 -o docker0 -m conntrack --ctstate DNAT -j MASQUERADE",
            "*: +-A DOCKER-INNER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
            "*: +-A DOCKER-INNER -p udp -m udp --dport 5353 -j DNAT --to-destination 172.17.0.2:53",
            "*: +-A PREROUTING -d 127.0.0.0/8 -i docker0 -j DROP",
            "reach: another container by the host's address and UDP: -not reached",
            "reach: another container by the host's address and UDP: +reached",
        ],
    },
    Known {
        name: "No way around a port published on 127.0.0.1",
        on: On::Every,
        lines: &[
            "*: +-A PREROUTING -d 172.17.0.0/16 ! -i docker0 -m addrtype ! --dst-type LOCAL -j DROP",
            "closed: a loopback publish from a routing neighbour: -reached",
            "closed: a loopback publish from a routing neighbour: +not reached",
        ],
    },
    Known {
        name: "The policy of FORWARD stays as it was",
        on: On::Every,
        lines: &["*: -:FORWARD DROP", "*: +:FORWARD ACCEPT"],
    },
    Known {
        name: "Ports that nobody names begin at 49153",
        on: On::Every,
        lines: &["chosen port: -dport 32768", "chosen port: +dport 49153"],
    },
    Known {
        name: "--ip works on the default bridge",
        on: On::Every,
        lines: &["address on the default bridge: -inet 172.17.0.2", "address on the default bridge: +inet 172.17.0.77"],
    },
    Known {
        name: "No least amount of memory",
        on: On::Every,
        lines: &["little memory: -exit code 125", "little memory: +exit code 0"],
    },
    Known {
        name: "No /.dockerenv",
        on: On::Every,
        lines: &["root directory: -/.dockerenv", "root directory: +ls: /.dockerenv: No such file or directory"],
    },
    Known {
        name: "Interrupts are hidden",
        on: On::Every,
        lines: &["masked paths: -/proc/interrupts open", "masked paths: +/proc/interrupts hidden"],
    },
    Known {
        name: "How /, /sys and /sys/fs/cgroup are mounted",
        on: On::Every,
        lines: &[
            "*: -/ rw,relatime master",
            "*: +/ rw,relatime",
            "mounts read-only: -/ ro,relatime master",
            "mounts read-only: +/ ro,relatime",
            "*: -/sys sysfs from sysfs / ro,nosuid,nodev,noexec,relatime  ro",
            "*: +/sys sysfs from sysfs / ro,nosuid,nodev,noexec,relatime  rw",
        ],
    },
    Known {
        name: "How /, /sys and /sys/fs/cgroup are mounted",
        on: On::CgroupV1,
        lines: &[
            "*: -/sys/fs/cgroup tmpfs from tmpfs / rw,nosuid,nodev,noexec,relatime  rw,mode=755",
            "*: +/sys/fs/cgroup tmpfs from tmpfs / ro,nosuid,nodev,noexec,relatime  rw,mode=755",
        ],
    },
    Known {
        name: "CPU shares become weights by the newer formula",
        on: On::CgroupV2,
        lines: &["cgroup limits: -cpu.weight: 20", "cgroup limits: +cpu.weight: 59"],
    },
    Known {
        name: "exec says 127 where there is no such program",
        on: On::Every,
        lines: &[
            "exec of a program that is not there: -exit code 126",
            "exec of a program that is not there: +exit code 127",
            "exec of a path that is not there: -exit code 126",
            "exec of a path that is not there: +exit code 127",
        ],
    },
    Known {
        name: "inspect has no keys for what is not there",
        on: On::Every,
        lines: &["keys of inspect: -/GraphDriver/Data/MergedDir", "keys of inspect: -/NetworkSettings/SandboxID"],
    },
    Known {
        name: "A link is a line in /etc/hosts, with the name first",
        on: On::Every,
        lines: &[
            "hosts of a linked one: -172.17.0.2\tw <short-id> web",
            "hosts of a linked one: +172.17.0.2\tweb w <short-id>",
            "environment of a linked one: -W_ENV_A=1",
            "environment of a linked one: -W_PORT=tcp://172.17.0.2:80",
            "environment of a linked one: -W_PORT_80_TCP=tcp://172.17.0.2:80",
            "environment of a linked one: -W_PORT_80_TCP_ADDR=172.17.0.2",
            "environment of a linked one: -W_PORT_80_TCP_PORT=80",
            "environment of a linked one: -W_PORT_80_TCP_PROTO=tcp",
        ],
    },
    Known {
        name: "cp sees what the container sees",
        on: On::Every,
        lines: &["cp of a file of a tmpfs: -exit code 1", "cp of a file of a tmpfs: +exit code 0"],
    },
];

/// The same for the life of a container.
pub(super) const LIFE: &[Known] = &[Known {
    name: "A run that cannot begin leaves no container",
    on: On::Every,
    lines: &["what a run -d that failed leaves: -lost created", "what a run that failed leaves: -lost2 created"],
}];

/// The differences that are to show on this machine.
pub(super) fn here() -> Vec<&'static Known> {
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let generation = if unified { On::CgroupV2 } else { On::CgroupV1 };
    KNOWN.iter().filter(|known| known.on == On::Every || known.on == generation).collect()
}
