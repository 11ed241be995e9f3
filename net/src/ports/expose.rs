//! `--expose 80-90/udp`, and the ports an image says it listens on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{PortRange, Protocol};
use crate::error::Error;

/// Ports a container listens on; `-P` publishes each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Expose {
    /// The container's ports.
    pub ports: PortRange,
    /// Their protocol.
    pub protocol: Protocol,
}

impl FromStr for Expose {
    type Err = Error;

    /// Read `80`, `80/udp` or `8000-8010/tcp`. Errors: `Invalid`.
    fn from_str(text: &str) -> Result<Expose, Error> {
        let read = || {
            let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            Ok(Expose { ports: PortRange::read(ports, "port")?, protocol: Protocol::read(protocol)? })
        };
        read().map_err(|why| Error::Invalid { object: format!("--expose {text}"), why })
    }
}

impl fmt::Display for Expose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ports, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposed_ports_are_read() {
        let shown = |text: &str| text.parse::<Expose>().unwrap().to_string();
        assert_eq!(shown("80"), "80/tcp");
        assert_eq!(shown("80-90/UDP"), "80-90/udp");
        let why = |text: &str| text.parse::<Expose>().unwrap_err().to_string();
        assert_eq!(why("http"), "--expose http: port http is not a number from 1 to 65535");
        assert_eq!(why("80/icmp"), "--expose 80/icmp: protocol icmp is not one of tcp, udp, sctp");
        assert_eq!(why("8080:80"), "--expose 8080:80: port 8080:80 is not a number from 1 to 65535");
    }
}
