//! What an administrator has decided for this machine: `/etc/rbox/config.json`. Without it everything is as it comes.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use rbox_net::{Backend, HostFirewall};
use serde::Deserialize;

use crate::cli::value;
use crate::report::Problem;

/// The whole file. A key that is not here is an error, so that none is written in vain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// About the default network.
    pub(crate) bridge: Bridge,
    /// About names on the host.
    pub(crate) dns: Dns,
    /// About the packet filter.
    pub(crate) firewall: Firewall,
    /// About published ports.
    pub(crate) publish: Publish,
}

/// `"bridge": {…}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bridge {
    /// Whether its containers know each other by name, as on networks of one's own.
    pub(crate) dns: bool,
}

/// `"dns": {…}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dns {
    /// What stands behind a container's name where the host asks for it (`rbox dns`). No container is told of it.
    domain: Option<Domain>,
}

/// `"firewall": {…}`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Firewall {
    /// Where the rules go; to iptables where that is installed, if nothing is said.
    pub(crate) backend: Option<Backend>,
    /// Whether rules that somebody takes away come back.
    pub(crate) repair: bool,
    /// Whose decision counts for published ports: ufw's, firewalld's, or nobody's.
    pub(crate) respect: Option<HostFirewall>,
}

impl Default for Firewall {
    fn default() -> Firewall {
        Firewall { backend: None, repair: true, respect: None }
    }
}

/// `"publish": {…}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Publish {
    /// Where `-p 8080:80` publishes, in networks that name no address of their own; at all addresses where this is missing.
    pub(crate) default_ip: Option<IpAddr>,
}

/// Words of letters, digits and `-`, with dots between them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Domain(String);

impl TryFrom<String> for Domain {
    type Error = String;

    fn try_from(text: String) -> Result<Domain, String> {
        value::domain(&text).map(Domain)
    }
}

impl Config {
    /// The domain of containers' names on the host.
    pub(crate) fn domain(&self) -> &str {
        self.dns.domain.as_ref().map_or("rbox", |domain| &domain.0)
    }

    /// Read it; where there is none, nothing was decided.
    ///
    /// Errors: it cannot be read, or says what cannot be.
    pub(crate) fn read(path: &Path) -> Result<Config> {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
            text => text.map_err(|error| Problem::new(format!("cannot read {}: {}", path.display(), error.kind())))?,
        };
        let parsed = serde_json::from_slice(&text);
        Ok(parsed.map_err(|error| Problem::new(format!("{}: {error}", path.display())))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_it_comes_and_what_is_not_known_is_an_error() {
        let read = |text: &str| serde_json::from_str::<Config>(text).map_err(|error| error.to_string());
        assert_eq!(read("{}").unwrap(), Config::default());
        assert!(read(r#"{ "bridge": { "dns": true } }"#).unwrap().bridge.dns);
        assert!(read(r#"{ "bridge": { "names": true } }"#).unwrap_err().starts_with("unknown field `names`"));
        assert!(read(r#"{ "bridge": { "dns": "yes" } }"#).unwrap_err().starts_with("invalid type"));
        assert_eq!(read("{}").unwrap().domain(), "rbox");
        assert_eq!(read(r#"{ "dns": { "domain": "box.example" } }"#).unwrap().domain(), "box.example");
        let published = |ip: &str| read(&format!(r#"{{ "publish": {{ "default_ip": "{ip}" }} }}"#));
        assert_eq!(published("127.0.0.1").unwrap().publish.default_ip.unwrap().to_string(), "127.0.0.1");
        assert!(published("localhost").unwrap_err().starts_with("invalid IP address"));
        assert!(read("{}").unwrap().firewall.repair);
        assert!(!read(r#"{ "firewall": { "backend": "nftables", "repair": false } }"#).unwrap().firewall.repair);
        assert!(read(r#"{ "firewall": { "backend": "ipfw" } }"#).unwrap_err().starts_with("no packet filter ipfw"));
        let respect = |name: &str| read(&format!(r#"{{ "firewall": {{ "respect": "{name}" }} }}"#));
        assert_eq!(respect("ufw").unwrap().firewall.respect, Some(HostFirewall::Ufw));
        assert!(respect("shorewall").unwrap_err().starts_with("no firewall shorewall: ufw or firewalld"));
        assert!(read(r#"{ "dns": { "domain": "a b" } }"#).unwrap_err().starts_with("not a domain"));
        assert_eq!(Config::read(Path::new("/nonexistent/config.json")).unwrap(), Config::default());
    }
}
