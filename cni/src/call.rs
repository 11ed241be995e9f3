//! What is asked, and of whom: the `CNI_` variables. SPEC.md, section 2, "Parameters".

use std::env;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rbox_net::{MacAddress, NetnsFile};
use sha2::{Digest, Sha256};

use crate::conf::Basics;
use crate::failure::{Code, Failure, Outcome};

/// The verbs of CNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Command {
    /// Read `CNI_COMMAND`.
    pub(crate) fn asked() -> Outcome<Command> {
        match variable("CNI_COMMAND")?.as_deref() {
            Some("ADD") => Ok(Command::Add),
            Some("DEL") => Ok(Command::Del),
            Some("CHECK") => Ok(Command::Check),
            Some("GC") => Ok(Command::Gc),
            Some("STATUS") => Ok(Command::Status),
            Some("VERSION") => Ok(Command::Version),
            Some(other) => Err(wrong("CNI_COMMAND", &format!("{other} is no verb of CNI"))),
            None => Err(wrong("CNI_COMMAND", "it is missing").hint(crate::USAGE)),
        }
    }

    /// The first version of CNI that has it.
    fn since(self) -> (&'static str, &'static str) {
        match self {
            Command::Check => ("CHECK", "0.4.0"),
            Command::Gc => ("GC", "1.1.0"),
            Command::Status => ("STATUS", "1.1.0"),
            Command::Add | Command::Del | Command::Version => ("", "0.3.1"),
        }
    }
}

/// Whom a verb is about. What a verb does not need is empty.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) command: Option<Command>,
    /// The container's id as rbox keeps it, and as the engine says it.
    pub(crate) container: String,
    pub(crate) said_id: String,
    pub(crate) interface: String,
    pub(crate) netns: Option<PathBuf>,
    pub(crate) args: Args,
}

/// `CNI_ARGS`, as far as we have a use for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) pod: Option<String>,
    pub(crate) pod_namespace: Option<String>,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) mac: Option<MacAddress>,
}

impl Call {
    /// Read what the verb needs.
    pub(crate) fn read(command: Command, basics: &Basics) -> Outcome<Call> {
        let (verb, since) = command.since();
        if basics.is_before(since) {
            let why = format!("{verb} is of CNI {since}, and the configuration of {}", basics.version);
            return Err(Failure::new(Code::Version, why));
        }
        let mut call = Call { command: Some(command), ..Call::default() };
        if matches!(command, Command::Gc | Command::Status | Command::Version) {
            return Ok(call);
        }
        call.said_id = needed("CNI_CONTAINERID")?;
        if !is_id(&call.said_id) {
            let why =
                format!("{}: it begins with a letter or digit, and has no others than those and _ . -", call.said_id);
            return Err(wrong("CNI_CONTAINERID", &why));
        }
        call.container = kept(&call.said_id);
        call.interface = needed("CNI_IFNAME")?;
        let interface = &call.interface;
        if interface.len() > 15
            || [".", ".."].contains(&interface.as_str())
            || interface.contains(['/', ':', ' ', '\t'])
        {
            return Err(wrong("CNI_IFNAME", &format!("{interface} cannot be the name of an interface")));
        }
        call.netns = match command {
            Command::Del => variable("CNI_NETNS")?.map(PathBuf::from),
            _ => Some(needed("CNI_NETNS")?.into()),
        };
        // Who is to go is known without them.
        if command != Command::Del {
            call.args = args(&variable("CNI_ARGS")?.unwrap_or_default())?;
        }
        Ok(call)
    }

    /// The pod's network namespace, open, and how it is told from others; and its path as it was said.
    pub(crate) fn open_netns(&self) -> Outcome<(File, NetnsFile, &Path)> {
        let path = self.netns.as_deref().ok_or_else(|| wrong("CNI_NETNS", "it is missing"))?;
        let (file, netns) = NetnsFile::open(path).map_err(|error| wrong("CNI_NETNS", &error.to_string()))?;
        Ok((file, netns, path))
    }
}

/// SPEC.md: "Must start with an alphanumeric character, optionally followed by …".
pub(crate) fn is_id(id: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    id.starts_with(|letter: char| letter.is_ascii_alphanumeric()) && id.chars().all(is_letter)
}

/// A container's id as rbox keeps it, in names of files and comments of rules: as it is, where it fits there.
pub(crate) fn kept(id: &str) -> String {
    if id.len() <= 64 && !id.contains('.') {
        return id.to_owned();
    }
    Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn variable(name: &str) -> Outcome<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(wrong(name, "it is not UTF-8")),
    }
}

fn needed(name: &str) -> Outcome<String> {
    variable(name)?.ok_or_else(|| wrong(name, "it is missing"))
}

fn wrong(name: &str, why: &str) -> Failure {
    Failure::new(Code::Environment, format!("{name}: {why}"))
}

/// `K=V;K=V`. Keys that we do not know are refused, unless `IgnoreUnknown` is among them (CONVENTIONS.md).
fn args(text: &str) -> Outcome<Args> {
    let mut args = Args::default();
    let mut unknown = Vec::new();
    let mut ignores = false;
    for pair in text.split(';').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| wrong("CNI_ARGS", &format!("{pair} is no KEY=VALUE")))?;
        let bad = |what: &str| wrong("CNI_ARGS", &format!("{key}={value}: it is no {what}"));
        match key {
            "IgnoreUnknown" => ignores = ["1", "true", "TRUE", "True", "t", "T"].contains(&value),
            "IP" => {
                // host-local takes a prefix too.
                let address = value.split_once('/').map_or(value, |(address, _)| address);
                args.ip = Some(address.parse().map_err(|_| bad("IP address"))?);
            }
            "MAC" => args.mac = Some(value.parse().map_err(|_| bad("hardware address"))?),
            "K8S_POD_NAME" => args.pod = Some(value.to_owned()),
            "K8S_POD_NAMESPACE" => args.pod_namespace = Some(value.to_owned()),
            _ if key.starts_with("K8S_POD_") => {}
            _ => unknown.push(key),
        }
    }
    match unknown.as_slice() {
        [] => Ok(args),
        _ if ignores => Ok(args),
        _ => Err(wrong("CNI_ARGS", &format!("{} is not known here", unknown.join(", ")))
            .hint("with IgnoreUnknown=1 it would be passed over")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_as_it_is_where_it_fits_the_name_of_a_file() {
        let hex = "ab".repeat(32);
        assert_eq!(kept(&hex), hex);
        assert_eq!(kept("cnitool-0a1b"), "cnitool-0a1b");
        assert_eq!(kept("a.b").len(), 64);
        assert_ne!(kept("a.b"), kept("a.c"));
        assert_eq!(kept(&"x".repeat(300)).len(), 64);
        assert!(is_id("a.b_c-d") && !is_id("") && !is_id("-a") && !is_id("a/b"));
    }

    #[test]
    fn arguments_are_understood_and_unknown_ones_are_refused_unless_they_may_be_passed_over() {
        let all = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=7;IP=10.1.2.3/24;X=y";
        let read = args(all).unwrap();
        assert_eq!((read.pod.as_deref(), read.pod_namespace.as_deref()), (Some("web"), Some("default")));
        assert_eq!(read.ip, Some("10.1.2.3".parse().unwrap()));
        assert_eq!(args("MAC=02:00:00:00:00:01").unwrap().mac, Some("02:00:00:00:00:01".parse().unwrap()));
        let why = |text: &str| args(text).unwrap_err().said_in("1.1.0")["msg"].as_str().unwrap().to_owned();
        assert_eq!(why("X=y;Z=1"), "CNI_ARGS: X, Z is not known here");
        assert_eq!(why("IP=here"), "CNI_ARGS: IP=here: it is no IP address");
        assert_eq!(why("MAC=1"), "CNI_ARGS: MAC=1: it is no hardware address");
        assert_eq!(why("IP"), "CNI_ARGS: IP is no KEY=VALUE");
        assert_eq!(args("").unwrap(), Args::default());
    }
}
