// size: flat table
//! The flags of `rbox run`: those of `docker run`, in the groups that `--help` shows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use oci_spec::runtime::{LinuxDeviceCgroup, PosixRlimit};
use rbox_net::egress::Policy;
use serde::{Deserialize, Serialize};

use super::value::{
    self, DetachKeys, DeviceFlag, EgressFlag, IpcMode, LogDriver, LogOpt, MountFlag, NamespaceMode, NetworkFlag,
    RestartPolicy, SecurityOpt, SeparateMode, ShapeFlag, Throttle, Weight,
};

/// `rbox run [FLAGS] IMAGE [COMMAND] [ARG...]`
#[derive(Args, Debug)]
#[command(disable_help_flag = true, override_usage = RUN_USAGE)]
pub(crate) struct RunVerb {
    #[command(flatten)]
    pub(crate) attach: AttachFlags,
    #[command(flatten)]
    pub(crate) explain: ExplainFlags,
    #[command(flatten)]
    pub(crate) flags: RunArgs,
}

/// `rbox create [FLAGS] IMAGE [COMMAND] [ARG...]`
#[derive(Args, Debug)]
#[command(disable_help_flag = true, override_usage = CREATE_USAGE)]
pub(crate) struct CreateVerb {
    #[command(flatten)]
    pub(crate) flags: RunArgs,
}

/// What a container is made of: kept beside it as data, since each start makes the configuration anew.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) container: ContainerFlags,
    #[command(flatten)]
    pub(crate) terminal: TerminalFlags,
    #[command(flatten)]
    pub(crate) files: FileFlags,
    #[command(flatten)]
    pub(crate) resources: ResourceFlags,
    #[command(flatten)]
    pub(crate) security: SecurityFlags,
    #[command(flatten)]
    pub(crate) namespaces: NamespaceFlags,
    #[command(flatten)]
    pub(crate) network: NetworkFlags,
    #[command(flatten)]
    pub(crate) log: LogFlags,
    /// The image, then the program and its arguments in place of the image's own
    #[arg(trailing_var_arg = true, required_unless_present = "rootfs", value_name = "IMAGE [COMMAND] [ARG...]")]
    pub(crate) words: Vec<String>,
}

const RUN_USAGE: &str =
    "rbox run [FLAGS] IMAGE [COMMAND] [ARG...]\n       rbox run [FLAGS] --rootfs DIR [COMMAND] [ARG...]";
const CREATE_USAGE: &str =
    "rbox create [FLAGS] IMAGE [COMMAND] [ARG...]\n       rbox create [FLAGS] --rootfs DIR [COMMAND] [ARG...]";

impl RunArgs {
    /// The image's name as it was typed; `None` with `--rootfs`.
    pub(crate) fn image(&self) -> Option<&str> {
        match self.files.rootfs {
            Some(_) => None,
            None => self.words.first().map(String::as_str),
        }
    }

    /// The words behind the image: the program and its arguments, or arguments of the image's entry point.
    pub(crate) fn command(&self) -> &[String] {
        let skip = usize::from(self.files.rootfs.is_none());
        self.words.get(skip..).unwrap_or_default()
    }
}

/// When to fetch the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum PullPolicy {
    /// Always ask the registry
    Always,
    /// When it is not here
    Missing,
    /// Not at all
    Never,
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Container")]
pub(crate) struct ContainerFlags {
    /// Give the container a name
    #[arg(long, value_name = "NAME", value_parser = value::container_name)]
    pub(crate) name: Option<String>,
    /// Remove the container when its program has ended
    #[arg(long)]
    pub(crate) rm: bool,
    /// Write the container's identifier to a file that is not there yet
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// When to fetch the image
    #[arg(long, value_enum, value_name = "WHEN", default_value = "missing", hide_possible_values = false)]
    pub(crate) pull: PullPolicy,
    /// Fetch without a word
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The machine to run for, when the image has several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// Run this in place of the image's entry point; "" takes the entry point away
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Set an environment variable; without a value, hand on the caller's
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = value::env)]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Begin in this directory
    #[arg(short, long, value_name = "DIR", value_parser = value::workdir)]
    pub(crate) workdir: Option<String>,
    /// Run as this user: a name or number of the image's own /etc/passwd
    #[arg(short, long, value_name = "USER[:GROUP]", value_parser = value::user)]
    pub(crate) user: Option<String>,
    /// The container's host name
    #[arg(short = 'h', long, value_name = "NAME", value_parser = value::hostname)]
    pub(crate) hostname: Option<String>,
    /// The container's NIS domain name
    #[arg(long, value_name = "NAME")]
    pub(crate) domainname: Option<String>,
    /// Put a label on the container
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = value::label)]
    pub(crate) label: Vec<(String, String)>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) label_file: Vec<PathBuf>,
    /// Put an annotation into the OCI configuration
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::annotation)]
    pub(crate) annotation: Vec<(String, String)>,
    /// Run a small init as process 1, which passes signals on and reaps orphans
    #[arg(long)]
    pub(crate) init: bool,
    /// The signal that asks the program to end
    #[arg(long, value_name = "SIGNAL", value_parser = value::signal)]
    #[serde(with = "value::signal_name")]
    pub(crate) stop_signal: Option<nix::sys::signal::Signal>,
    /// Seconds between that signal and SIGKILL; -1 waits for ever
    #[arg(long, value_name = "SECONDS", value_parser = value::stop_timeout)]
    pub(crate) stop_timeout: Option<i32>,
    /// Start it again when it has ended: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = value::restart_policy, default_value = "no")]
    pub(crate) restart: RestartPolicy,
    /// Print this help
    #[arg(long, action = clap::ArgAction::HelpShort)]
    #[serde(skip)]
    help: Option<bool>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Terminal")]
pub(crate) struct AttachFlags {
    /// Leave the container to itself, and print its identifier
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// The keys that leave a terminal while its program goes on
    #[arg(long, value_name = "KEYS", value_parser = value::detach_keys, default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: DetachKeys,
    /// Pass the signals that rbox gets to the program, if it has no terminal
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        value_parser = value::boolean
    )]
    pub(crate) sig_proxy: bool,
}

/// Where the program's output is kept.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogFlags {
    /// How the output is kept for rbox logs: json-file or none
    #[arg(long, value_name = "DRIVER", value_parser = value::log_driver, default_value = "json-file")]
    pub(crate) log_driver: LogDriver,
    /// max-size=10m: begin a new file at this size; max-file=3: keep as many files
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::log_opt)]
    pub(crate) log_opt: Vec<LogOpt>,
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Terminal")]
pub(crate) struct TerminalFlags {
    /// Keep the standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal of its own
    #[arg(short, long)]
    pub(crate) tty: bool,
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "File system")]
pub(crate) struct FileFlags {
    /// Run on this directory: no image is needed, and no copy of it is made
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,
    /// Make the root file system read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Show a directory or file of the host in the container; MODE: ro, rshared, rslave, rprivate, z and others
    #[arg(short, long, value_name = "SOURCE:TARGET[:MODE]", value_parser = value::volume)]
    pub(crate) volume: Vec<MountFlag>,
    /// The same with named fields: type=bind|tmpfs,source=PATH,target=PATH,readonly and others
    #[arg(long, value_name = "FIELD=VALUE[,...]", value_parser = value::mount)]
    pub(crate) mount: Vec<MountFlag>,
    /// Mount an empty file system in memory
    #[arg(long, value_name = "TARGET[:OPTIONS]", value_parser = value::tmpfs)]
    pub(crate) tmpfs: Vec<MountFlag>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = value::shm_size, default_value = "64m")]
    pub(crate) shm_size: i64,
}

#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[command(next_help_heading = "Resources")]
pub(crate) struct ResourceFlags {
    /// Most memory it may use
    #[arg(short, long, value_name = "BYTES", value_parser = value::bytes)]
    pub(crate) memory: Option<i64>,
    /// Most memory and swap together; -1: as much swap as there is
    #[arg(long, value_name = "BYTES", value_parser = value::bytes_or_unlimited)]
    pub(crate) memory_swap: Option<i64>,
    /// Memory to be pushed back to when the host is short of it
    #[arg(long, value_name = "BYTES", value_parser = value::bytes)]
    pub(crate) memory_reservation: Option<i64>,
    /// How readily its memory is swapped out, 0 to 100
    #[arg(long, value_name = "PERCENT", value_parser = value::swappiness)]
    pub(crate) memory_swappiness: Option<i64>,
    /// Let it wait, not die, when its memory is used up
    #[arg(long)]
    pub(crate) oom_kill_disable: bool,
    /// How gladly the kernel kills it when the host has no memory left, -1000 to 1000
    #[arg(long, value_name = "SCORE", value_parser = value::oom_score_adj)]
    pub(crate) oom_score_adj: Option<i32>,
    /// How many processors' time it may use: 1.5
    #[arg(long, value_name = "NUMBER", value_parser = value::cpus)]
    pub(crate) cpus: Option<i64>,
    /// Its share when processors are short; 1024 is usual
    #[arg(short, long, value_name = "SHARES", value_parser = value::cpu_shares)]
    pub(crate) cpu_shares: Option<u64>,
    /// Microseconds of processor time in each period
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_quota: Option<i64>,
    /// The period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<i64>,
    /// The processors it may use: 0-3,7
    #[arg(long, value_name = "LIST", value_parser = value::number_list)]
    pub(crate) cpuset_cpus: Option<String>,
    /// The memory nodes it may use: 0-1
    #[arg(long, value_name = "LIST", value_parser = value::number_list)]
    pub(crate) cpuset_mems: Option<String>,
    /// Most processes and threads; -1: no limit
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pids_limit: Option<i64>,
    /// A limit of getrlimit(2): nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = value::ulimit)]
    pub(crate) ulimit: Vec<PosixRlimit>,
    /// Its weight for disks, 10 to 1000
    #[arg(long, value_name = "WEIGHT", value_parser = value::blkio_weight)]
    pub(crate) blkio_weight: Option<u16>,
    /// Its weight for one disk
    #[arg(long, value_name = "DEVICE:WEIGHT", value_parser = value::weight_device)]
    pub(crate) blkio_weight_device: Vec<Weight>,
    /// Most bytes a second to read from a disk
    #[arg(long, value_name = "DEVICE:BYTES", value_parser = value::throttle_bytes)]
    pub(crate) device_read_bps: Vec<Throttle>,
    /// Most bytes a second to write to a disk
    #[arg(long, value_name = "DEVICE:BYTES", value_parser = value::throttle_bytes)]
    pub(crate) device_write_bps: Vec<Throttle>,
    /// Most requests a second to read from a disk
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = value::throttle_number)]
    pub(crate) device_read_iops: Vec<Throttle>,
    /// Most requests a second to write to a disk
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = value::throttle_number)]
    pub(crate) device_write_iops: Vec<Throttle>,
    /// The control group to stand in
    #[arg(long, value_name = "PATH", value_parser = value::cgroup)]
    pub(crate) cgroup_parent: Option<PathBuf>,
}

impl ResourceFlags {
    /// Put in what `rbox update` changes; what it does not name stays.
    pub(crate) fn change(&mut self, typed: &ResourceFlags) {
        fn put<T: Clone>(old: &mut Option<T>, new: Option<&T>) {
            if let Some(new) = new {
                *old = Some(new.clone());
            }
        }
        put(&mut self.memory, typed.memory.as_ref());
        put(&mut self.memory_swap, typed.memory_swap.as_ref());
        put(&mut self.memory_reservation, typed.memory_reservation.as_ref());
        put(&mut self.cpus, typed.cpus.as_ref());
        put(&mut self.cpu_shares, typed.cpu_shares.as_ref());
        put(&mut self.cpu_quota, typed.cpu_quota.as_ref());
        put(&mut self.cpu_period, typed.cpu_period.as_ref());
        put(&mut self.cpuset_cpus, typed.cpuset_cpus.as_ref());
        put(&mut self.cpuset_mems, typed.cpuset_mems.as_ref());
        put(&mut self.pids_limit, typed.pids_limit.as_ref());
        put(&mut self.blkio_weight, typed.blkio_weight.as_ref());
    }
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Security")]
pub(crate) struct SecurityFlags {
    /// Give a capability, or ALL
    #[arg(long, value_name = "CAPABILITY", value_parser = value::capability)]
    pub(crate) cap_add: Vec<value::CapabilityFlag>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAPABILITY", value_parser = value::capability)]
    pub(crate) cap_drop: Vec<value::CapabilityFlag>,
    /// Give all capabilities and devices, and take the shields away
    #[arg(long)]
    pub(crate) privileged: bool,
    /// seccomp=FILE|unconfined, no-new-privileges, systempaths=unconfined, apparmor=PROFILE, label=disable
    #[arg(long, value_name = "OPTION", value_parser = value::security_opt)]
    pub(crate) security_opt: Vec<SecurityOpt>,
    /// Add the user to a group of the image's own /etc/group
    #[arg(long, value_name = "GROUP", value_parser = value::group)]
    pub(crate) group_add: Vec<String>,
    /// Give a device of the host; MODE of r, w and m
    #[arg(long, value_name = "DEVICE[:TARGET][:MODE]", value_parser = value::device)]
    pub(crate) device: Vec<DeviceFlag>,
    /// Add a rule to the devices it may use: c 42:* rmw
    #[arg(long, value_name = "RULE", value_parser = value::device_rule)]
    pub(crate) device_cgroup_rule: Vec<LinuxDeviceCgroup>,
    /// Set a kernel parameter of its own namespaces
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::sysctl)]
    pub(crate) sysctl: Vec<(String, String)>,
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Namespaces")]
pub(crate) struct NamespaceFlags {
    /// Processes: private or host
    #[arg(long, value_name = "MODE", value_parser = value::pid_mode, default_value = "private")]
    pub(crate) pid: SeparateMode,
    /// Shared memory, semaphores and message queues: private, shareable, none or host
    #[arg(long, value_name = "MODE", value_parser = value::ipc_mode, default_value = "private")]
    pub(crate) ipc: IpcMode,
    /// Host name: private or host
    #[arg(long, value_name = "MODE", value_parser = value::uts_mode, default_value = "private")]
    pub(crate) uts: SeparateMode,
    /// View of the control groups: private or host
    #[arg(long, value_name = "MODE", value_parser = value::cgroupns_mode)]
    pub(crate) cgroupns: Option<SeparateMode>,
    /// Users: host
    #[arg(long, value_name = "MODE", value_parser = value::userns_mode)]
    pub(crate) userns: Option<NamespaceMode>,
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkFlags {
    /// A network to join: bridge, host, none, a name, or container:NAME for that of a container [default: bridge]; also
    /// name=NET,ip=ADDRESS,ip6=ADDRESS,mac=ADDRESS,alias=NAME,link=NAME:ALIAS,ifname=NAME,gw-priority=NUMBER
    #[arg(long, visible_alias = "net", value_name = "NETWORK", value_parser = value::network)]
    network: Vec<NetworkFlag>,
    /// A person has taken it out of its last network.
    #[arg(skip)]
    #[serde(default)]
    is_alone: bool,
    /// Its address on the first network
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<Ipv4Addr>,
    /// Its IPv6 address there
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<Ipv6Addr>,
    /// A further name for it there
    #[arg(long, visible_alias = "net-alias", value_name = "NAME", value_parser = value::alias)]
    pub(crate) network_alias: Vec<String>,
    /// The hardware address of its interface
    #[arg(long, value_name = "ADDRESS", value_parser = value::mac_address)]
    pub(crate) mac_address: Option<rbox_net::MacAddress>,
    /// Ask this name server
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<IpAddr>,
    /// Complete names with this domain; . takes all away
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// An option of resolv.conf(5): ndots:2
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
    /// Put a line into /etc/hosts; host-gateway stands for the host's address
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = value::add_host)]
    pub(crate) add_host: Vec<(String, String)>,
    /// Know a running container by its name and, if given, by another: on the bridge by a line in /etc/hosts, which with
    /// ,follow is written anew when that container, or another of its name, starts with another address
    #[arg(long, value_name = "NAME[:ALIAS][,follow]", value_parser = value::link)]
    pub(crate) link: Vec<value::LinkFlag>,
    /// Publish a port: 80, 8080:80, 127.0.0.1:8080:80, [::1]:8080:80, 8000-8010:80-90/udp
    #[arg(short, long, value_name = "[[ADDRESS:]PORT:]PORT[/PROTOCOL]")]
    pub(crate) publish: Vec<String>,
    /// Publish every exposed port on a free port of the host
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Say that the program listens on a port: 80, 53/udp, 8000-8010
    #[arg(long, value_name = "PORT[/PROTOCOL]", value_parser = value::exposed)]
    pub(crate) expose: Vec<String>,
    /// What it may open connections to, and nothing else: none, or allow= with names, *.NAME, addresses and subnets, each
    /// with :PORT and /tcp or /udp where only that is meant
    #[arg(long, value_name = "none|allow=ENTRY,...", value_parser = value::egress)]
    #[serde(default)]
    pub(crate) egress: Vec<EgressFlag>,
    /// How fast it is in its networks: `rbox network shape`.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) shapes: Vec<ShapeFlag>,
}

/// How `-P` stands among the words of published ports.
pub(crate) const ALL_PORTS: &str = "-P";

impl NetworkFlags {
    /// Be so fast from now on: in one network, or in all, whatever was said of single ones.
    pub(crate) fn shape_by(&mut self, flag: ShapeFlag) {
        match flag.network {
            None => self.shapes.clear(),
            Some(_) => self.shapes.retain(|it| it.network != flag.network),
        }
        // A network that is to be free is said to be, where something else was said of all.
        if !flag.shape.is_free() || !self.shapes.is_empty() {
            self.shapes.push(flag);
        }
    }

    /// What the container may reach; nothing where that is everything.
    pub(crate) fn egress(&self) -> Option<Policy> {
        EgressFlag::policy(&self.egress)
    }

    /// What was said of published ports: each `-p`, and `-P`.
    pub(crate) fn port_words(&self) -> Vec<String> {
        let all = self.publish_all.then(|| ALL_PORTS.to_owned());
        self.publish.iter().cloned().chain(all).collect()
    }

    /// Have said this instead.
    pub(crate) fn take_port_words(&mut self, words: Vec<String>) {
        self.publish_all = words.iter().any(|word| word == ALL_PORTS);
        self.publish = words.into_iter().filter(|word| word != ALL_PORTS).collect();
    }

    /// Every network, the first with what the flags beside it say; `bridge` when none was typed, and for Docker's `default`.
    pub(crate) fn wanted(&self) -> Vec<NetworkFlag> {
        let mut all = self.network.clone();
        if all.is_empty() && self.is_alone {
            return all;
        }
        if all.is_empty() {
            all.push(NetworkFlag::named(DEFAULT));
        }
        for flag in all.iter_mut().filter(|flag| flag.name == DEFAULT) {
            flag.name = "bridge".into();
        }
        let first = &mut all[0];
        first.ip = first.ip.or(self.ip);
        first.ip6 = first.ip6.or(self.ip6);
        first.mac = first.mac.or(self.mac_address);
        first.aliases.extend(self.network_alias.iter().cloned());
        if first.name != "bridge" {
            first.links.extend(self.link.iter().cloned());
        }
        all
    }

    /// The name of the first network.
    pub(crate) fn name(&self) -> &str {
        match self.mode() {
            DEFAULT => "bridge",
            typed => typed,
        }
    }

    /// As [`NetworkFlags::name`], with Docker's word where none was typed: `default`.
    pub(crate) fn mode(&self) -> &str {
        self.network.first().map_or(DEFAULT, |flag| flag.name.as_str())
    }

    /// Every network by its name, as `ps` shows them.
    pub(crate) fn names(&self) -> String {
        self.wanted().into_iter().map(|flag| flag.name).collect::<Vec<_>>().join(",")
    }

    /// The networks as they were typed.
    pub(crate) fn typed(&self) -> &[NetworkFlag] {
        &self.network
    }

    /// From now on these are the networks, with all that was said of them.
    pub(crate) fn settle(&mut self, networks: Vec<NetworkFlag>) {
        if self.name() != "bridge" {
            // They stand with their network now.
            self.link.clear();
        }
        self.is_alone = networks.is_empty();
        self.network = networks;
        (self.ip, self.ip6, self.mac_address) = (None, None, None);
        self.network_alias.clear();
    }

    /// The container whose network is to be joined, as typed.
    pub(crate) fn joined(&self) -> Option<&str> {
        self.name().strip_prefix("container:")
    }

    /// Name the container whose network is to be joined by its id.
    pub(crate) fn join(&mut self, id: &str) {
        self.network = vec![NetworkFlag::named(&format!("container:{id}"))];
    }

    /// Whether the container stays in the host's network namespace.
    pub(crate) fn is_host(&self) -> bool {
        self.name() == "host"
    }
}

/// Docker's word for the network of a container of which nothing was said.
const DEFAULT: &str = "default";

/// How `--explain` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainForm {
    /// One line for each step
    Brief,
    /// One JSON object for each step
    Json,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Explain")]
pub(crate) struct ExplainFlags {
    /// Print each request to the kernel as it answers, with the reason
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "brief", value_enum)]
    pub(crate) explain: Option<ExplainForm>,
    /// Print that to a file, not to the standard error
    #[arg(long, value_name = "FILE", requires = "explain")]
    pub(crate) explain_file: Option<PathBuf>,
}
