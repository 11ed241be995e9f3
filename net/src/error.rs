//! What can go wrong, cut by what the caller does about it, in words that a person can act on.

use std::io;

use nix::errno::Errno;

/// The answer of every call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the container network, worded as `cannot <verb> <object>: <cause>`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No network has this name or begins with this id.
    #[error("network {0}: not found")]
    NetworkNotFound(String),
    /// More than one network's id begins with these digits.
    #[error("network {0}: more than one id begins like this")]
    Ambiguous(String),
    /// A network of this name is there already.
    #[error("network {0}: there is one of this name already")]
    Exists(String),
    /// One that rbox makes by itself cannot be removed.
    #[error("network {0}: it is there from the beginning, and cannot be removed")]
    Predefined(String),
    /// Something the user typed cannot be understood or cannot be had.
    #[error("{object}: {why}")]
    Invalid {
        /// What was typed, as it was typed.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// A host port is taken.
    #[error("cannot publish port {port}: address already in use{}", by(.holder))]
    PortInUse {
        /// The host port, with its address where the user named one.
        port: String,
        /// Who has it: `container web`, `nginx, pid 812`; unknown when the holder cannot be seen.
        holder: Option<String>,
    },
    /// A host port can be had by nobody: no such address here, no right to it, no such protocol.
    #[error("cannot publish port {port}: {why}")]
    PortUnavailable {
        /// The host port, with its address where the user named one.
        port: String,
        /// The kernel's reason.
        why: String,
    },
    /// An asked-for address belongs to another container.
    #[error("cannot lease address {address}: already in use{}", by(.holder))]
    AddressInUse {
        /// The address.
        address: std::net::IpAddr,
        /// Who has it.
        holder: Option<String>,
    },
    /// Every address, port or subnet of a pool is taken.
    #[error("cannot find a free {what}: {why}")]
    Exhausted {
        /// `address on network bridge`, `host port`, `subnet for network bridge`.
        what: String,
        /// What fills the pool.
        why: String,
    },
    /// A container has ended while something was done to its network.
    #[error("container {container}: it has ended meanwhile")]
    Gone {
        /// The container's name.
        container: String,
    },
    /// A container is still connected.
    #[error("cannot {doing}: {holder} is connected")]
    Busy {
        /// What was refused.
        doing: String,
        /// Who is in the way.
        holder: String,
    },
    /// The kernel refused.
    #[error("cannot {doing}: {}", words(.source))]
    Os {
        /// Verb and object, in the words of the message.
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The firewall's program refused, or is not here.
    #[error("cannot {doing}: {said}")]
    Firewall {
        /// Verb and object.
        doing: String,
        /// The program's own sentence.
        said: String,
    },
    /// A file of the state directory does not hold what it should.
    #[error("{file}: {why}")]
    Record {
        /// Its path.
        file: String,
        /// What is wrong.
        why: String,
    },
}

fn by(holder: &Option<String>) -> String {
    holder.as_ref().map(|holder| format!(" (by {holder})")).unwrap_or_default()
}

/// An error of the kernel as a person reads it: no number, no capital, no full stop.
pub(crate) fn words(error: &io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    };
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        // "No such device", but not "RTNETLINK answers".
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text,
    }
}

/// Adds the verb and the object to what the kernel answered, at the place of the call.
pub(crate) trait Doing<T> {
    /// `doing` begins with a verb and contains the object: `write /proc/sys/net/ipv4/ip_forward`.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Os { doing: doing(), source: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_errors_read_as_words() {
        let error: Result<()> = Err(io::Error::from_raw_os_error(13)).doing(|| "write /proc/x".into());
        assert_eq!(error.unwrap_err().to_string(), "cannot write /proc/x: permission denied");
    }

    #[test]
    fn holders_stand_in_brackets() {
        let error = Error::PortInUse { port: "8080".into(), holder: Some("nginx, pid 812".into()) };
        assert_eq!(error.to_string(), "cannot publish port 8080: address already in use (by nginx, pid 812)");
        let error = Error::PortInUse { port: "8080".into(), holder: None };
        assert_eq!(error.to_string(), "cannot publish port 8080: address already in use");
    }
}
