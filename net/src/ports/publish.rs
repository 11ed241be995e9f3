//! `-p` in every form that Docker has, as the user typed it and before any port is chosen.
//!
//! ```text
//!   [host address:][host port[s]:]container port[s][/protocol]
//!
//!   80                    a free host port            127.0.0.1::80         the same, one address
//!   8080:80               this one                    [::1]:8080:80/udp     IPv6 in brackets
//!   8000-8010:80-90       a range, pairwise           8000-8010:80          the first free one of a range
//! ```

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Expose, PortRange, Protocol};
use crate::error::Error;

/// One `-p` of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The one address to listen on; nothing means `0.0.0.0` and `[::]`.
    pub host_ip: Option<IpAddr>,
    /// The host's ports; nothing means free ones. More ports than the container's single one means: the first free.
    pub host: Option<PortRange>,
    /// The container's ports.
    pub container: PortRange,
    /// Their protocol.
    pub protocol: Protocol,
}

impl From<Expose> for Publish {
    /// `-P`: publish an exposed port on a free host port.
    fn from(expose: Expose) -> Publish {
        Publish { host_ip: None, host: None, container: expose.ports, protocol: expose.protocol }
    }
}

impl FromStr for Publish {
    type Err = Error;

    /// Read one `-p`. Errors: `Invalid` with the reason.
    fn from_str(text: &str) -> Result<Publish, Error> {
        read(text).map_err(|why| Error::Invalid { object: format!("-p {text}"), why })
    }
}

fn read(text: &str) -> Result<Publish, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = Protocol::read(protocol)?;
    // From the right: only the address may contain colons.
    let (rest, container) = ports.rsplit_once(':').map_or((None, ports), |(rest, port)| (Some(rest), port));
    let container = match container {
        "" => return Err("the container port is missing".into()),
        container => PortRange::read(container, "container port")?,
    };
    let (ip, host) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            None => (None, rest),
            Some((ip, host)) => (Some(ip), host),
        },
    };
    let host_ip = ip.map(read_ip).transpose()?.flatten();
    let host = match host {
        // Docker takes port 0 for "any", as bind(2) does.
        "" | "0" => None,
        host => Some(PortRange::read(host, "host port")?),
    };
    if let Some(host) = host.filter(|host| container.count() != 1 && host.count() != container.count()) {
        return Err(format!("host ports {host} and container ports {container} are not equally many"));
    }
    Ok(Publish { host_ip, host, container, protocol })
}

/// An address before the first of two colons; `::80:80` has none (Docker takes it so).
fn read_ip(text: &str) -> Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(|| format!("{text} is not an IP address"))?,
        None if text.contains(':') => return Err(format!("an IPv6 address is written in brackets, [{text}]")),
        None => text,
    };
    bare.parse().map(Some).map_err(|_| format!("{text} is not an IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<String>, Option<String>, String, String) {
        let publish: Publish = text.parse().unwrap();
        (
            publish.host_ip.map(|ip| ip.to_string()),
            publish.host.map(|ports| ports.to_string()),
            publish.container.to_string(),
            publish.protocol.to_string(),
        )
    }

    fn want(ip: &str, host: &str, container: &str, protocol: &str) -> (Option<String>, Option<String>, String, String) {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (some(ip), some(host), container.into(), protocol.into())
    }

    #[test]
    fn every_form_of_docker_is_understood() {
        // docker run --help, docs: publish; github.com/docker/go-connections nat_test.go
        assert_eq!(parsed("80"), want("", "", "80", "tcp"));
        assert_eq!(parsed(":80"), want("", "", "80", "tcp"));
        assert_eq!(parsed("8080:80"), want("", "8080", "80", "tcp"));
        assert_eq!(parsed("0:80"), want("", "", "80", "tcp"));
        assert_eq!(parsed("8080:80/UDP"), want("", "8080", "80", "udp"));
        assert_eq!(parsed("127.0.0.1:8080:80"), want("127.0.0.1", "8080", "80", "tcp"));
        assert_eq!(parsed("127.0.0.1::80"), want("127.0.0.1", "", "80", "tcp"));
        assert_eq!(parsed("[::1]:8080:80/sctp"), want("::1", "8080", "80", "sctp"));
        assert_eq!(parsed("[fe80::1]::80"), want("fe80::1", "", "80", "tcp"));
        assert_eq!(parsed("8000-8010:80-90"), want("", "8000-8010", "80-90", "tcp"));
        assert_eq!(parsed("8000-8010:80"), want("", "8000-8010", "80", "tcp"));
        assert_eq!(parsed("1234-1236/udp"), want("", "", "1234-1236", "udp"));
        assert_eq!(parsed("0.0.0.0:20000-29999:20000-29999/udp"), want("0.0.0.0", "20000-29999", "20000-29999", "udp"));
    }

    #[test]
    fn bad_forms_are_refused_with_the_reason() {
        let table = [
            ("", "the container port is missing"),
            ("8080:", "the container port is missing"),
            ("http", "container port http is not a number from 1 to 65535"),
            ("0", "container port 0 is not a number from 1 to 65535"),
            ("70000", "container port 70000 is not a number from 1 to 65535"),
            ("x:80", "host port x is not a number from 1 to 65535"),
            ("70000:80", "host port 70000 is not a number from 1 to 65535"),
            ("80:80/icmp", "protocol icmp is not one of tcp, udp, sctp"),
            ("80/", "protocol  is not one of tcp, udp, sctp"),
            ("8000-8001:80-82", "host ports 8000-8001 and container ports 80-82 are not equally many"),
            ("8000:80-82", "host ports 8000 and container ports 80-82 are not equally many"),
            ("90-80", "container port range 90-80 ends before it begins"),
            ("localhost:80:80", "localhost is not an IP address"),
            ("::1:80:80", "an IPv6 address is written in brackets, [::1]"),
            ("[::1:80:80", "[::1 is not an IP address"),
            ("1.2.3.4:5:6:7", "1.2.3.4:5 is not"),
        ];
        for (text, why) in table {
            let error = text.parse::<Publish>().unwrap_err().to_string();
            let expected = format!("-p {text}: {why}");
            match text {
                "1.2.3.4:5:6:7" => assert!(error.contains("IP"), "{error}"),
                _ => assert_eq!(error, expected),
            }
        }
    }
}
