//! From the text of a flag to its value: one function for each form, its error being the reason alone
//! (`rbox: --memory 5x: not a size`; [`crate::report`] puts the flag before it).
//!
//! The forms are those of docker/cli `opts/` and docker/go-units. What holds between two flags is not checked here.

mod device;
mod egress;
mod life;
mod limit;
mod mount;
mod network;
mod security;
mod shape;

pub(crate) use device::{
    DeviceFlag, Throttle, Weight, blkio_weight, device, device_rule, throttle_bytes, throttle_number, weight_device,
};
pub(crate) use egress::{EgressFlag, egress};
pub(crate) use life::{
    DetachKeys, LogDriver, LogOpt, RestartPolicy, Tail, detach_keys, log_driver, log_opt, restart_policy, signal_name,
    tail, time,
};
pub(crate) use limit::{
    bytes, bytes_or_unlimited, cgroup, cpu_shares, cpus, expand_list, number_list, oom_score_adj, shm_size, swappiness,
    ulimit,
};
pub(crate) use mount::{Bind, MountFlag, Propagation, Tmpfs, mount, tmpfs, volume};
pub(crate) use network::{NetworkFlag, alias, driver, network, reserved, subnet};
pub(crate) use security::{CapabilityFlag, SeccompChoice, SecurityOpt, capability, security_opt, sysctl};
pub(crate) use shape::{ShapeFlag, delay, loss, rate};

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

type Parsed<T> = Result<T, String>;

/// A namespace that is either the container's own or the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SeparateMode {
    /// A new one.
    Private,
    /// The one that rbox runs in.
    Host,
}

/// The modes of `--ipc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum IpcMode {
    /// A new namespace and a /dev/shm of its own.
    Private,
    /// As private, and others may join it.
    Shareable,
    /// A new namespace without a /dev/shm.
    None,
    /// The host's namespace and its /dev/shm.
    Host,
}

/// The modes of `--userns`: rbox starts in the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NamespaceMode {
    /// The one that rbox runs in.
    Host,
}

/// `true`, `1`, `t` … as Go's strconv.ParseBool.
pub(crate) fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("not true or false".into()),
    }
}

/// `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Parsed<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("not of the form KEY=VALUE".into()),
    }
}

/// An annotation: as [`key_value`], a value may be left empty.
pub(crate) fn annotation(text: &str) -> Parsed<(String, String)> {
    key_value(text)
}

/// `KEY` or `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Parsed<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.trim().is_empty() { Err("a label has a name".into()) } else { Ok((key.into(), value.into())) }
}

/// `KEY=VALUE`, or `KEY` for the caller's value of it.
pub(crate) fn env(text: &str) -> Parsed<String> {
    match text.split('=').next() {
        Some("") | None => Err("a variable has a name".into()),
        _ => Ok(text.into()),
    }
}

/// A container's name: Docker's `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) fn container_name(text: &str) -> Parsed<String> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let mut letters = name.chars();
    let begins = letters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    if begins && name.len() > 1 && letters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        Ok(name.into())
    } else {
        Err("a name is two or more of a-z, A-Z, 0-9, _ . and -, and begins with a letter or digit".into())
    }
}

/// A host name that sethostname(2) takes and a hosts file can hold.
pub(crate) fn hostname(text: &str) -> Parsed<String> {
    if text.len() > 63 {
        return Err("a host name has at most 63 bytes".into());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/' || c == '#') {
        return Err("not a host name".into());
    }
    Ok(text.into())
}

/// A directory inside the container.
pub(crate) fn workdir(text: &str) -> Parsed<String> {
    if text.is_empty() || text.starts_with('/') { Ok(text.into()) } else { Err("not an absolute path".into()) }
}

/// `USER`, `USER:GROUP`, `:GROUP`: names and numbers are looked up later, in the root file system.
pub(crate) fn user(text: &str) -> Parsed<String> {
    if text.matches(':').count() > 1 { Err("not of the form USER[:GROUP]".into()) } else { Ok(text.into()) }
}

/// A group's name or number.
pub(crate) fn group(text: &str) -> Parsed<String> {
    if text.is_empty() || text.contains(':') { Err("not a group".into()) } else { Ok(text.into()) }
}

/// `TERM`, `SIGTERM`, `term`, `15`.
pub(crate) fn signal(text: &str) -> Parsed<nix::sys::signal::Signal> {
    use nix::sys::signal::Signal;
    let unknown = || "not a signal".to_owned();
    if let Ok(number) = text.parse::<i32>() {
        return Signal::try_from(number).map_err(|_| unknown());
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    name.parse().map_err(|_| unknown())
}

/// Seconds, or -1 for ever.
pub(crate) fn stop_timeout(text: &str) -> Parsed<i32> {
    in_range(text, -1, i32::MAX)
}

/// `--pid`.
pub(crate) fn pid_mode(text: &str) -> Parsed<SeparateMode> {
    separate(text, "process")
}

/// `--uts`.
pub(crate) fn uts_mode(text: &str) -> Parsed<SeparateMode> {
    separate(text, "host name")
}

/// `--cgroupns`.
pub(crate) fn cgroupns_mode(text: &str) -> Parsed<SeparateMode> {
    separate(text, "control group")
}

fn separate(text: &str, what: &str) -> Parsed<SeparateMode> {
    match text {
        "" | "private" => Ok(SeparateMode::Private),
        "host" => Ok(SeparateMode::Host),
        other if other.starts_with("container:") => {
            Err(format!("joining another container's {what} namespace is not supported"))
        }
        _ => Err("neither private nor host".into()),
    }
}

/// `--ipc`.
pub(crate) fn ipc_mode(text: &str) -> Parsed<IpcMode> {
    match text {
        "" | "private" => Ok(IpcMode::Private),
        "shareable" => Ok(IpcMode::Shareable),
        "none" => Ok(IpcMode::None),
        "host" => Ok(IpcMode::Host),
        other if other.starts_with("container:") => {
            Err("joining another container's ipc namespace is not supported".into())
        }
        _ => Err("not one of private, shareable, none and host".into()),
    }
}

/// `--userns`.
pub(crate) fn userns_mode(text: &str) -> Parsed<NamespaceMode> {
    match text {
        "" | "host" => Ok(NamespaceMode::Host),
        _ => Err("only host is supported: containers share the host's users".into()),
    }
}

/// Another container that this one knows by a name of its own. Kept as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkFlag {
    /// Which: as typed, and its id once it is known who is meant.
    pub(crate) other: String,
    /// What it is to be called.
    pub(crate) alias: String,
    /// Whoever has this name is meant, also another that gets it later, and wherever it is.
    pub(crate) follow: Option<String>,
}

/// `127.0.0.153`, `127.0.0.153:5353`, `[::1]:53`; without a port it is that of name servers, 53.
pub(crate) fn name_server(text: &str) -> Parsed<SocketAddr> {
    let with_port = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
    text.parse().ok().or_else(with_port).ok_or_else(|| "not of the form ADDRESS[:PORT]".into())
}

/// A domain: words of letters, digits and `-`, with dots between them (RFC 1123, 2.1).
pub(crate) fn domain(text: &str) -> Parsed<String> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_word = |word: &str| (1..=63).contains(&word.len()) && word.chars().all(is_letter);
    match text.len() <= 180 && text.split('.').all(is_word) {
        true => Ok(text.into()),
        false => Err("not a domain: words of letters, digits and - with dots between them".into()),
    }
}

/// `--link NAME[:ALIAS][,follow]`
pub(crate) fn link(text: &str) -> Parsed<LinkFlag> {
    let (words, follows) = text.strip_suffix(",follow").map_or((text, false), |words| (words, true));
    let (name, alias) = words.split_once(':').unwrap_or((words, words));
    let is_word = |word: &str| !word.is_empty() && !word.contains(|c: char| ":,".contains(c) || c.is_whitespace());
    if !is_word(name) || !is_word(alias) {
        return Err("not of the form NAME[:ALIAS][,follow]".into());
    }
    let name = name.trim_start_matches('/').to_owned();
    let follow = follows.then(|| name.clone());
    Ok(LinkFlag { other: name, alias: alias.trim_start_matches('/').into(), follow })
}

/// `02:42:ac:11:00:02`, also with dashes.
pub(crate) fn mac_address(text: &str) -> Parsed<rbox_net::MacAddress> {
    text.parse().map_err(|error| match error {
        rbox_net::Error::Invalid { why, .. } => why,
        other => other.to_string(),
    })
}

/// `name:address`, `name=address`, `name:[::1]`, `name:host-gateway`.
pub(crate) fn add_host(text: &str) -> Parsed<(String, String)> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))
        .ok_or("not of the form NAME:ADDRESS")?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok() {
        Ok((name.into(), address.into()))
    } else {
        Err(format!("{address} is not an address"))
    }
}

/// `80`, `53/udp`, `8000-8010/tcp`.
pub(crate) fn exposed(text: &str) -> Parsed<String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |s: &str| s.parse::<u16>().ok().filter(|port| *port > 0);
    let protocol = protocol.to_ascii_lowercase();
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last && ["tcp", "udp", "sctp"].contains(&protocol.as_str()) => {
            Ok(format!("{ports}/{protocol}"))
        }
        _ => Err("not a port: write 80, 53/udp or 8000-8010".into()),
    }
}

fn in_range<T: std::str::FromStr + PartialOrd + std::fmt::Display>(text: &str, low: T, high: T) -> Parsed<T> {
    match text.parse::<T>() {
        Ok(number) if number >= low && number <= high => Ok(number),
        _ => Err(format!("not a number from {low} to {high}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docker/go-units size_test.go, TestRAMInBytes.
    #[test]
    fn sizes_are_read_as_go_units_reads_them() {
        for (text, wanted) in [
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32Kb", 32 << 10),
            ("32Kib", 32 << 10),
            ("32KIB", 32 << 10),
            ("32Mb", 32 << 20),
            ("32Gb", 32 << 30),
            ("32Tb", 32 << 40),
            ("32Pb", 32 << 50),
            ("32.5kB", 33280),
            ("32.5 kB", 33280),
            ("0.3MB", 314_572),
            ("300 kb", 307_200),
        ] {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        for text in ["", "hello", "-32", ".3kB.", " 32 ", "32m b", "32bm", "32 gigs", "9999999999g", "32  k"] {
            assert!(bytes(text).is_err(), "{text:?} is no size");
        }
        assert_eq!(bytes_or_unlimited("-1"), Ok(-1));
    }

    #[test]
    fn cpus_are_billionths() {
        for (text, wanted) in [("1", 1_000_000_000), ("1.5", 1_500_000_000), (".01", 10_000_000), ("0.000000001", 1)] {
            assert_eq!(cpus(text), Ok(wanted), "{text}");
        }
        for text in ["", ".", "-1", "1.0000000001", "two", "99999999999"] {
            assert!(cpus(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_follow_the_rule_of_docker() {
        for name in ["web", "a1", "a.b-c_d", "0x"] {
            assert_eq!(container_name(name).as_deref(), Ok(name));
        }
        assert_eq!(container_name("/web").as_deref(), Ok("web"));
        for name in ["", "a", "-web", "_web", "we b", "web/x", "wéb", "--rm"] {
            assert!(container_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn ulimits_have_a_name_and_two_limits() {
        let limit = ulimit("nofile=512:1024").unwrap();
        assert_eq!(
            (limit.typ(), limit.soft(), limit.hard()),
            (oci_spec::runtime::PosixRlimitType::RlimitNofile, 512, 1024)
        );
        let limit = ulimit("core=-1").unwrap();
        assert_eq!((limit.soft(), limit.hard()), (u64::MAX, u64::MAX));
        for text in ["nofile", "nofile=", "nofile=x", "notype=1", "nofile=1024:1", "nofile=1:2:3", "nofile=-2"] {
            assert!(ulimit(text).is_err(), "{text:?}");
        }
        for name in [
            "core",
            "cpu",
            "data",
            "fsize",
            "locks",
            "memlock",
            "msgqueue",
            "nice",
            "nofile",
            "nproc",
            "rss",
            "rtprio",
            "rttime",
            "sigpending",
            "stack",
        ] {
            assert!(ulimit(&format!("{name}=1")).is_ok(), "{name}");
        }
    }

    #[test]
    fn lists_expand() {
        assert_eq!(expand_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(expand_list(""), Some(vec![]));
        for text in ["3-1", "a", "1-", "0-100000"] {
            assert_eq!(expand_list(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_server_has_an_address_and_a_domain() {
        for (text, wanted) in
            [("127.0.0.153", "127.0.0.153:53"), ("10.0.0.1:5353", "10.0.0.1:5353"), ("::1", "[::1]:53")]
        {
            assert_eq!(name_server(text).unwrap().to_string(), wanted);
        }
        assert!(["", "53", "localhost:53", "1.2.3.4:", "1.2.3.4:99999"].iter().all(|text| name_server(text).is_err()));
        assert!(["rbox", "my-box.example"].iter().all(|text| domain(text).unwrap() == *text));
        assert!(["", ".", "a..b", "rbox.", "a b", "a_b", "é"].iter().all(|text| domain(text).is_err()));
    }

    #[test]
    fn hosts_and_ports_and_hardware_addresses() {
        assert_eq!(add_host("db:10.0.0.1"), Ok(("db".into(), "10.0.0.1".into())));
        assert_eq!(add_host("db=::1"), Ok(("db".into(), "::1".into())));
        assert_eq!(add_host("db:[::1]"), Ok(("db".into(), "::1".into())));
        assert_eq!(add_host("db:::1"), Ok(("db".into(), "::1".into())));
        assert_eq!(add_host("me:host-gateway"), Ok(("me".into(), "host-gateway".into())));
        for text in ["db", ":1.2.3.4", "db:", "db:nowhere"] {
            assert!(add_host(text).is_err(), "{text:?}");
        }
        assert_eq!(exposed("80").as_deref(), Ok("80/tcp"));
        assert_eq!(exposed("53-54/UDP").as_deref(), Ok("53-54/udp"));
        for text in ["0", "80/icmp", "9-8", "65536", ""] {
            assert!(exposed(text).is_err(), "{text:?}");
        }
        assert_eq!(mac_address("02:42:AC:11:00:02").ok(), Some(rbox_net::MacAddress([2, 0x42, 0xac, 0x11, 0, 2])));
        for text in ["02:42", "01:00:5e:00:00:01", "2:42:ac:11:0:2", "zz:42:ac:11:00:02"] {
            assert!(mac_address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_control_group_does_not_lead_up() {
        assert!(cgroup("/batch").is_ok() && cgroup("batch/night").is_ok());
        assert!(cgroup("../up").is_err() && cgroup("/a/../../b").is_err() && cgroup("").is_err());
    }

    #[test]
    fn signals_have_names_and_numbers() {
        use nix::sys::signal::Signal::{SIGINT, SIGTERM};
        for (text, wanted) in [("15", SIGTERM), ("TERM", SIGTERM), ("SIGTERM", SIGTERM), ("int", SIGINT)] {
            assert_eq!(signal(text), Ok(wanted));
        }
        assert!(signal("SIGNONE").is_err() && signal("0").is_err() && signal("").is_err());
    }
}
