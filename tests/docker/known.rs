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

/// The command lines whose exit codes may differ: what Docker refuses and rbox does, programs of `exec` that are not
/// there, and what is said of networks that there cannot be.
pub(super) const OTHER_CODE: [&str; 9] = [
    "little memory",
    "exec of a program that is not there",
    "exec of a path that is not there",
    "cp of a file of a tmpfs",
    "create a second host network",
    "create a second null network",
    "create of an unknown driver",
    "create with a subnet that is none",
    "run with an alias on the default network",
];

/// The ways that Docker has and rbox has not: how what was compared begins.
pub(super) const CLOSED: [&str; 4] = [
    "reach: inner asks ping ",
    "reach: inmate asks ping ",
    "reach: quiet asks tcp 192.0.2.2 8081, at first",
    "reach: hush asks tcp 192.0.2.2 8081, at first",
];

pub(super) const KNOWN: &[Known] = &[
    Known {
        name: "Published ports need no proxy process",
        on: On::Every,
        lines: &[
            "host listening with a published port: -0.0.0.0:8080",
            // Of the cable's link-local address, which is another at each start.
            "cable with a published port: -       valid_lft forever preferred_lft forever",
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
        name: "No /.dockerenv, and no /proc/interrupts",
        on: On::Every,
        lines: &[
            "root directory: -/.dockerenv",
            "root directory: +ls: /.dockerenv: No such file or directory",
            "masked paths: -/proc/interrupts open",
            "masked paths: +/proc/interrupts hidden",
        ],
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

/// The same for networks.
pub(super) const NETWORKS: &[Known] = &[
    Known {
        name: "inspect has no keys for what is not there",
        on: On::Every,
        lines: &[
            "*: -/HairpinMode = false",
            "*: +/HairpinMode = true",
            "*: -/SandboxID = \"<id>\"",
            "*: -/SandboxKey = \"@exec/netns/<short-id>\"",
            "*: +/SandboxKey = \"/proc/<pid>/ns/net\"",
            "*: -/Networks/lab/DriverOpts = {}",
            "*: +/Networks/lab/DriverOpts = null",
            "*: -/SandboxID = \"\"",
            "*: -/SandboxKey = \"\"",
            "*: +/IPAM/Config/0/Gateway = \"10.1.0.1\"",
            "*: +/IPAM/Config/1/Gateway = \"fd00:1::1\"",
            "*: +/Leases = null",
            "*: +/IPAM/Config/0/Gateway = \"10.2.0.1\"",
            "*: +/IPAM/Config/1/Gateway = \"fd00:2::1\"",
            "*: +/IPAM/Config/0/Gateway = \"10.3.0.1\"",
            "*: +/IPAM/Config/1/Gateway = \"fd00:3::1\"",
            "*: +/IPAM/Config/0/Gateway = \"10.4.0.1\"",
            "*: +/IPAM/Config/1/Gateway = \"fd00:4::1\"",
            "*: +/IPAM/Config/0/Gateway = \"172.17.0.1\"",
            "*: -/Options/com.docker.network.bridge.name = \"docker0\"",
            "*: -/Options/com.docker.network.driver.mtu = \"1500\"",
            "*: +/Options/com.docker.network.bridge.name = \"rbox0\"",
            "*: -/Networks/shop/DriverOpts = {}",
            "*: +/Networks/shop/DriverOpts = null",
            "*: -/Networks/shop/IPAMConfig = {}",
            "*: +/Networks/shop/IPAMConfig = null",
            "*: -/Networks/shut/DriverOpts = {}",
            "*: +/Networks/shut/DriverOpts = null",
            "*: -/Networks/shut/IPAMConfig = {}",
            "*: +/Networks/shut/IPAMConfig = null",
            "*: -/Networks/narrow/DriverOpts = {}",
            "*: +/Networks/narrow/DriverOpts = null",
            "*: -/Networks/narrow/IPAMConfig = {}",
            "*: +/Networks/narrow/IPAMConfig = null",
            "*: -/Networks/lab/IPAMConfig = {}",
            "*: +/Networks/lab/IPAMConfig = null",
            "*: -/Networks/lab/Links/0 = \"both:brother\"",
            "*: +/Networks/lab/Links/0 = \"<id of both>:brother\"",
        ],
    },
    Known {
        name: "A link is a line in /etc/hosts, with the name first",
        on: On::Every,
        lines: &["*: -172.17.0.2\ttie <short id of first> first", "*: +172.17.0.2\tfirst tie <short id of first>"],
    },
    Known {
        name: "Networks of one's own",
        on: On::Every,
        lines: &[
            "*: -ipv6/conf/all/disable_ipv6:1",
            "*: +ipv6/conf/all/disable_ipv6:0",
            "*: -ipv6/conf/eth0/accept_ra:1",
            "*: -ipv6/conf/lo/accept_ra:1",
            "*: +ipv6/conf/eth0/accept_ra:0",
            "*: +ipv6/conf/lo/accept_ra:0",
            "*: -ipv6/conf/eth1/accept_ra:1",
            "*: +ipv6/conf/eth1/accept_ra:0",
            "*: -default via 10.3.0.1 dev eth0",
            "*: -default via fd00:3::1 dev eth0  metric 1024",
            "*: -/Networks/shut/Gateway = \"10.3.0.1\"",
            "*: +/Networks/shut/Gateway = \"\"",
            "*: -/Networks/shut/IPv6Gateway = \"fd00:3::1\"",
            "*: +/Networks/shut/IPv6Gateway = \"\"",
            "reach: inner asks ping *: -reached",
            "reach: inner asks ping *: +not reached",
            "reach: inner asks *: -not reached at fd00:3::3",
            "reach: inner asks *: +reached at fd00:3::3: fd00:3::3 knows fd00:3::2",
            "reach: inmate asks *: -not reached",
            "reach: inmate asks *: +reached: fd00:3::2 knows fd00:3::3",
            "reach: inmate asks ping *: -reached",
            "reach: inmate asks ping *: +not reached",
            "reach: inmate asks *: -not reached at fd00:3::2",
            "reach: inmate asks *: +reached at fd00:3::2: fd00:3::2 knows fd00:3::3",
            "reach: quiet asks tcp 192.0.2.2 8081, at first: -reached: 10.4.0.3 knows 10.4.0.1",
            "reach: quiet asks tcp 192.0.2.2 8081, at first: +not reached",
            "reach: hush asks tcp 192.0.2.2 8081, at first: -reached: 10.4.0.3 knows 10.4.0.1",
            "reach: hush asks tcp 192.0.2.2 8081, at first: +not reached",
            "hosts of both, changed: +10.2.0.20\t<short id of both>",
            "hosts of both, changed: +fd00:2::3\t<short id of both>",
            "addresses of hush, changed: -eth1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue",
            "addresses of hush, changed: +eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue",
            "addresses of hush, changed: -    inet 10.2.0.99/24 brd 10.2.0.255 scope global eth1",
            "addresses of hush, changed: +    inet 10.2.0.99/24 brd 10.2.0.255 scope global eth0",
            "routes of hush, changed: -default via 10.2.0.1 dev eth1",
            "routes of hush, changed: -10.2.0.0/24 dev eth1 scope link  src 10.2.0.99",
            "routes of hush, changed: -fd00:2::/64 dev eth1  metric 256",
            "routes of hush, changed: -fe80::/64 dev eth1  metric 256",
            "routes of hush, changed: -default via fd00:2::1 dev eth1  metric 1024",
            "routes of hush, changed: -multicast ff00::/8 dev eth1  metric 256",
            "routes of hush, changed: +default via 10.2.0.1 dev eth0",
            "routes of hush, changed: +10.2.0.0/24 dev eth0 scope link  src 10.2.0.99",
            "routes of hush, changed: +fd00:2::/64 dev eth0  metric 256",
            "routes of hush, changed: +fe80::/64 dev eth0  metric 256",
            "routes of hush, changed: +default via fd00:2::1 dev eth0  metric 1024",
            "routes of hush, changed: +multicast ff00::/8 dev eth0  metric 256",
            "settings of hush, changed: -ipv6/conf/eth1/disable_ipv6:0",
            "settings of hush, changed: +ipv6/conf/eth0/disable_ipv6:0",
            "settings of hush, changed: -ipv6/conf/eth1/forwarding:0",
            "settings of hush, changed: +ipv6/conf/eth0/forwarding:0",
            "reach: inner asks *: -not reached at fd00:3::4",
            "reach: inner asks *: +reached at fd00:3::4: fd00:3::4 knows fd00:3::2",
            "reach: inmate asks *: -not reached at fd00:3::4",
            "reach: inmate asks *: +reached at fd00:3::4: fd00:3::4 knows fd00:3::3",
            "reach: quiet asks *: -not reached",
            "reach: quiet asks *: +reached: fd00:3::2 knows fd00:3::4",
            "reach: quiet asks *: -not reached at fd00:3::2",
            "reach: quiet asks *: +reached at fd00:3::2: fd00:3::2 knows fd00:3::4",
            "reach: quiet asks *: -not reached at fd00:3::3",
            "reach: quiet asks *: +reached at fd00:3::3: fd00:3::3 knows fd00:3::4",
            "create a second host network: -exit code 1",
            "create a second host network: +exit code 125",
            "create a second null network: -exit code 1",
            "create a second null network: +exit code 125",
            "create of an unknown driver: -exit code 1",
            "create of an unknown driver: +exit code 125",
            "create with a subnet that is none: -exit code 1",
            "create with a subnet that is none: +exit code 125",
            "run with an alias on the default network: -exit code 0",
            "run with an alias on the default network: +exit code 125",
        ],
    },
];

/// The differences that are to show on this machine.
pub(super) fn here() -> Vec<&'static Known> {
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let generation = if unified { On::CgroupV2 } else { On::CgroupV1 };
    KNOWN.iter().filter(|known| known.on == On::Every || known.on == generation).collect()
}
