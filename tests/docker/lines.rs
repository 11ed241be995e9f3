//! The command lines that both engines get. size: flat table

use super::sight::{Sight, Sight::*};

/// The words behind `run --rm`, and what of the container's answer counts.
pub(super) struct Line {
    /// How messages and the list of differences call it.
    pub(super) name: &'static str,
    /// How the answer is made comparable.
    pub(super) sight: Sight,
    /// Flags, image and program.
    pub(super) words: &'static [&'static str],
}

impl Line {
    /// Whether the container gets all that the machine has: dockerd refuses where that is not all that there is.
    pub(super) fn wants_all_capabilities(&self) -> bool {
        self.words.contains(&"--privileged") || self.words.windows(2).any(|two| two == ["--cap-add", "ALL"])
    }
}

const fn line(name: &'static str, sight: Sight, words: &'static [&'static str]) -> Line {
    Line { name, sight, words }
}

/// The image of the fixtures that both have loaded.
const I: &str = crate::support::BUSYBOX;

const ADDRESSES: &str = "ip addr";
const STATUS: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|NSpid|Cpus_allowed_list)' /proc/self/status";
const MOUNTS: &str = "cat /proc/self/mountinfo";
const DEVICES: &str = "cd /dev; find . | sort | while read f; do stat -c '%n %F %a %u:%g %t,%T %N' \"$f\"; done";
const LIMITS: &str =
    "for kind in c d e f l m n p q r s t v x; do echo $kind $(ulimit -S$kind) $(ulimit -H$kind); done 2>&1";
const MASKED: &str = "for f in /proc/asound /proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats \
    /proc/timer_list /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do [ -e $f ] || continue; \
    if [ -d $f ]; then n=$(ls $f | wc -c); else n=$(head -c 64 $f | wc -c); fi; \
    [ $n = 0 ] && echo $f hidden || echo $f open; done";
const WRITES: &str = "for f in /proc/sys/kernel/domainname /proc/sysrq-trigger /proc/irq/default_smp_affinity \
    /sys/kernel/mm/ksm/run /sys/fs/cgroup/memory/tasks /proc/self/oom_score_adj /etc/x /tmp/x /dev/x /dev/shm/x /x; do \
    (: >> $f) 2>/dev/null && echo $f yes || echo $f no; done";
const SYSCTLS: &str = "cd /proc/sys; for f in net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range \
    net/ipv4/ip_forward net/ipv4/conf/all/route_localnet net/ipv4/conf/eth0/forwarding net/ipv6/conf/all/disable_ipv6 \
    net/ipv6/conf/eth0/disable_ipv6 net/ipv6/conf/lo/disable_ipv6 net/ipv4/ip_local_port_range kernel/hostname \
    kernel/domainname kernel/shmmax kernel/msgmax fs/mqueue/msg_max; do echo $f $(cat $f); done";
const CGROUP: &str = "cd /sys/fs/cgroup; for f in memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes \
    memory/memory.soft_limit_in_bytes memory/memory.swappiness memory/memory.oom_control cpu/cpu.shares \
    cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpuset/cpuset.cpus cpuset/cpuset.mems pids/pids.max \
    devices/devices.list blkio/blkio.weight blkio/blkio.throttle.read_bps_device memory.max memory.swap.max \
    memory.low cpu.weight cpu.max cpuset.cpus pids.max io.max; do [ -e $f ] && echo $f: $(cat $f); done; \
    cat /proc/self/cgroup";
const FILES: &str =
    "cat /etc/hosts; echo; cat /etc/hostname; echo; cat /etc/resolv.conf; echo; hostname; dnsdomainname";
const IPC: &str = "ls -l /proc/sysvipc >/dev/null && cat /proc/sys/kernel/shmmni; df -k /dev/shm | tail -n 1; \
    stat -c '%n %F %a %u:%g' /dev/mqueue /dev/shm";

pub(super) const LINES: &[Line] = &[
    // Who and where the program is.
    line("id", Text, &[I, "id"]),
    line("id of a user", Text, &["--user", "33", I, "id"]),
    line("id by name and group", Text, &["--user", "www-data:daemon", I, "sh", "-c", "id; echo $HOME"]),
    line("id with unknown numbers", Text, &["--user", "1234:5678", I, "sh", "-c", "id; echo $HOME"]),
    line("added groups", Text, &["--user", "www-data", "--group-add", "wheel", "--group-add", "77", I, "id"]),
    line("status", Text, &[I, "sh", "-c", STATUS]),
    line("status of a user", Text, &["-u", "33", I, "sh", "-c", STATUS]),
    line("capability added", Text, &["--cap-add", "NET_ADMIN", "--cap-add", "CAP_SYS_TIME", I, "sh", "-c", STATUS]),
    line("capabilities dropped", Text, &["--cap-drop", "ALL", "--cap-add", "CHOWN", I, "sh", "-c", STATUS]),
    line("capabilities all but one", Text, &["--cap-add", "ALL", "--cap-drop", "MKNOD", I, "sh", "-c", STATUS]),
    line("privileged status", Text, &["--privileged", I, "sh", "-c", STATUS]),
    line("no new privileges", Text, &["--security-opt", "no-new-privileges", I, "sh", "-c", STATUS]),
    line("seccomp unconfined", Text, &["--security-opt", "seccomp=unconfined", I, "sh", "-c", STATUS]),
    line("environment", Sorted, &[I, "env"]),
    line(
        "environment typed",
        Sorted,
        &["-e", "A=1", "-e", "EMPTY=", "-e", "PATH=/bin", "-e", "NOT_SET", I, "/bin/env"],
    ),
    line("environment file", Sorted, &["--env-file", "@dir/env", I, "env"]),
    line("working directory", Text, &["-w", "/var/made/here", I, "sh", "-c", "pwd; stat -c '%A %U %G %n' /var/made"]),
    line("umask and directory", Text, &[I, "sh", "-c", "umask; pwd; cat /proc/self/oom_score_adj; echo $0 $$"]),
    line("root directory", Text, &[I, "sh", "-c", "stat -c '%n %F %a %u:%g' / /*; ls /.dockerenv 2>&1; true"]),
    line("entrypoint", Text, &["--entrypoint", "/bin/echo", I, "one", "two  three"]),
    line("command of the image", Text, &["-e", "X=1", I]),
    line("init", Text, &["--init", I, "sh", "-c", "[ $$ = 1 ] || echo $PPID; readlink /proc/1/exe | wc -l"]),
    // Its files.
    line("mounts", Mounts, &[I, "sh", "-c", MOUNTS]),
    line("mounts read-only", Mounts, &["--read-only", "--tmpfs", "/run", I, "sh", "-c", MOUNTS]),
    line("mounts privileged", Mounts, &["--privileged", I, "sh", "-c", MOUNTS]),
    line(
        "volumes",
        Mounts,
        &[
            "-v",
            "@dir:/a",
            "-v",
            "@dir:/b:ro",
            "--mount",
            "type=bind,source=@dir,target=/c,readonly",
            "--tmpfs",
            "/d:size=1m,mode=700",
            "--mount",
            "type=tmpfs,target=/e",
            I,
            "sh",
            "-c",
            MOUNTS,
        ],
    ),
    line("volume content", Text, &["-v", "@dir:/a:ro", I, "sh", "-c", "cat /a/file; echo x > /a/file"]),
    line("volume of a file", Text, &["-v", "@dir/file:/etc/motd", I, "cat", "/etc/motd"]),
    line("volume made", Text, &["-v", "@dir/new/deep:/a", I, "stat", "-c", "%F %a %u:%g", "/a"]),
    line("tmpfs", Text, &["--tmpfs", "/t", I, "sh", "-c", "echo x > /t/x && stat -c '%a %u:%g' /t; df -k /t | wc -l"]),
    line("read-only writes", Text, &["--read-only", I, "sh", "-c", WRITES]),
    line("writes", Text, &[I, "sh", "-c", WRITES]),
    line("writes privileged", Text, &["--privileged", I, "sh", "-c", WRITES]),
    line("devices", Text, &[I, "sh", "-c", DEVICES]),
    line(
        "device added",
        Text,
        &[
            "--device",
            "/dev/zero:/dev/mine:r",
            I,
            "sh",
            "-c",
            "stat -c '%F %a %u:%g %t,%T' /dev/mine; head -c 3 /dev/mine | wc -c; echo > /dev/mine",
        ],
    ),
    line("device made by hand", Text, &[I, "sh", "-c", "mknod /tmp/m b 8 0; echo $?; cat /tmp/m"]),
    line("masked paths", Text, &[I, "sh", "-c", MASKED]),
    line("masked paths privileged", Text, &["--privileged", I, "sh", "-c", MASKED]),
    line(
        "system calls",
        Text,
        &[
            "-v",
            "@probe:/probe:ro",
            I,
            "/probe",
            "syscall",
            "mount",
            "unshare",
            "setns",
            "keyctl",
            "bpf",
            "ptrace",
            "clone3",
            "personality",
        ],
    ),
    line("shared memory", Text, &["--shm-size", "1m", I, "sh", "-c", IPC]),
    line("ipc", Text, &[I, "sh", "-c", IPC]),
    // What it may use.
    line("limits", Text, &[I, "sh", "-c", LIMITS]),
    line("limits typed", Text, &["--ulimit", "nofile=100:200", "--ulimit", "core=0", I, "sh", "-c", LIMITS]),
    line("cgroup", Cgroup, &[I, "sh", "-c", CGROUP]),
    line(
        "cgroup limits",
        Cgroup,
        &[
            "--memory",
            "64m",
            "--memory-reservation",
            "32m",
            "--cpus",
            "0.5",
            "--cpu-shares",
            "512",
            "--cpuset-cpus",
            "0",
            "--pids-limit",
            "50",
            I,
            "sh",
            "-c",
            CGROUP,
        ],
    ),
    line(
        "cgroup quota",
        Cgroup,
        &[
            "--cpu-quota",
            "20000",
            "--cpu-period",
            "50000",
            "--memory",
            "64m",
            "--memory-swap",
            "-1",
            "--oom-score-adj",
            "500",
            I,
            "sh",
            "-c",
            CGROUP,
        ],
    ),
    line("cgroup privileged", Cgroup, &["--privileged", I, "sh", "-c", CGROUP]),
    line("out of memory", Text, &["-m", "32m", "-v", "@probe:/probe:ro", I, "/probe", "alloc", "128"]),
    line("fork bomb", Text, &["--pids-limit", "16", "-v", "@probe:/probe:ro", I, "/probe", "fork-bomb", "40"]),
    line("sysctls", Text, &[I, "sh", "-c", SYSCTLS]),
    line(
        "sysctl typed",
        Text,
        &["--sysctl", "net.ipv4.ip_forward=0", "--sysctl", "kernel.msgmax=4096", I, "sh", "-c", SYSCTLS],
    ),
    // Its namespaces and names.
    line("hostname", Text, &["--hostname", "web", I, "sh", "-c", FILES]),
    line("hostname with a domain", Text, &["-h", "web.example.com", I, "sh", "-c", FILES]),
    line("domain name", Text, &["--hostname", "web", "--domainname", "example.com", I, "sh", "-c", FILES]),
    line("files of names", Text, &[I, "sh", "-c", FILES]),
    line(
        "files of names typed",
        Text,
        &[
            "--dns",
            "9.9.9.9",
            "--dns-search",
            "a.test",
            "--dns-option",
            "ndots:2",
            "--add-host",
            "db:10.0.0.9",
            "--add-host",
            "gw:host-gateway",
            I,
            "sh",
            "-c",
            FILES,
        ],
    ),
    line("files of names without network", Text, &["--network", "none", I, "sh", "-c", FILES]),
    line("files of names of the host", Text, &["--network", "host", I, "sh", "-c", FILES]),
    line("files of names to write", Text, &[I, "sh", "-c", "echo 1.2.3.4 x >> /etc/hosts && grep -c . /etc/hosts"]),
    line("pid of the host", Text, &["--pid", "host", I, "sh", "-c", "[ $$ = 1 ] || echo shared"]),
    line("uts of the host", Text, &["--uts", "host", I, "hostname"]),
    line("ipc of the host", Mounts, &["--ipc", "host", I, "sh", "-c", MOUNTS]),
    // Its network.
    line("addresses", Addresses, &[I, "sh", "-c", ADDRESSES]),
    line("addresses of none", Addresses, &["--network", "none", I, "sh", "-c", ADDRESSES]),
    line("addresses of the host", Addresses, &["--network", "host", I, "sh", "-c", "ip addr show lo"]),
    line("mac address", Addresses, &["--mac-address", "02:11:22:33:44:55", I, "ip", "link", "show", "eth0"]),
    line("routes", Text, &[I, "sh", "-c", "ip route; ip -6 route; ip neigh show dev lo; arp -n"]),
    line("routes of none", Text, &["--network", "none", I, "ip", "route"]),
    line("ping of the gateway", Text, &[I, "sh", "-c", "ping -c 1 -W 2 172.17.0.1 | grep -o '1 packets received'"]),
    line(
        "ping of a neighbour",
        Text,
        &["-u", "33", I, "sh", "-c", "ping -c 1 -W 2 192.0.2.3 | grep -o '1 packets received'"],
    ),
    line("ping without network", Text, &["--network", "none", I, "ping", "-c", "1", "172.17.0.1"]),
    line("name without network", Text, &["--network", "none", I, "ping", "-c", "1", "moelove.info"]),
    line("port below 1024", Text, &["-u", "33", I, "sh", "-c", "timeout 1 nc -l -p 80; echo $?"]),
    // How it ends.
    line("standard output and error", Text, &[I, "sh", "-c", "echo out; echo err >&2; exit 42"]),
    line("false", Text, &[I, "false"]),
    line("killed below init", Text, &["--init", I, "sh", "-c", "kill -9 $$"]),
    line("terminated below init", Text, &["--init", I, "sh", "-c", "kill -15 $$"]),
    line("missing program", Text, &[I, "no-such-program"]),
    line("missing path", Text, &[I, "/no/such/program"]),
    line("missing entrypoint", Text, &["--entrypoint", "/none", I]),
    line("not executable", Text, &[I, "/etc/passwd"]),
    line("directory as program", Text, &[I, "/tmp"]),
    line("unknown user", Text, &["-u", "nobody-here", I, "true"]),
    line("unknown group", Text, &["--group-add", "no-such-group", I, "true"]),
    line("unknown image", Text, &["--pull", "never", "no-such-image", "true"]),
    line("unknown flag", Text, &["--no-such-flag", I, "true"]),
    line("unknown network", Text, &["--network", "no-such-network", I, "true"]),
    line("unknown capability", Text, &["--cap-add", "NO_SUCH", I, "true"]),
    line("bad port", Text, &["-p", "99999:80", I, "true"]),
    line("bad volume", Text, &["-v", "relative:path:to:much", I, "true"]),
    line("missing source of --mount", Text, &["--mount", "type=bind,source=@dir/absent,target=/a", I, "true"]),
    line("file as working directory", Text, &["-w", "/etc/passwd", I, "true"]),
    line("bad memory", Text, &["--memory", "much", I, "true"]),
    line("little memory", Code, &["--memory", "5m", I, "true"]),
    line(
        "address on the default bridge",
        Text,
        &["--ip", "172.17.0.77", I, "sh", "-c", "ip -4 -o addr show eth0 | grep -o 'inet [0-9.]*'"],
    ),
    line("no image", Code, &[]),
];
