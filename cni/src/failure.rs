//! What can go wrong, as CNI says it: a number for the engine, words for a person. SPEC.md, section 5, "Error".

use rbox_net::Error;
use serde_json::{Value, json};

/// An answer, or why there is none.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// The numbers below 100 are CNI's own, the others ours: docs/networks.md lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// No version of CNI that we both speak.
    Version = 1,
    /// A key of the network's configuration that we do not have, and that would change what it does.
    Unsupported = 2,
    /// One of the `CNI_` variables is missing or wrong.
    Environment = 4,
    /// The configuration cannot be read.
    Io = 5,
    /// It is no JSON.
    Decoding = 6,
    /// It says what cannot be.
    Configuration = 7,
    /// Somebody else is at it, and will soon be done.
    Again = 11,
    /// `STATUS`: no pod can join.
    Unavailable = 50,
    /// `STATUS`: no pod can join, and those that have are hindered too.
    Limited = 51,
    /// The kernel refused.
    Kernel = 100,
    /// The packet filter refused.
    Firewall = 101,
    /// A port of the host cannot be had.
    Port = 102,
    /// An address belongs to another.
    Address = 103,
    /// There is no address left, no subnet.
    Exhausted = 104,
    /// `CHECK`: something is not as it was made.
    Differs = 105,
    /// A file of rbox's is damaged.
    Record = 106,
}

/// An error of CNI.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
    details: String,
}

impl Failure {
    /// Say what was to be done, and why it cannot.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), details: String::new() }
    }

    /// And what a person could do about it.
    pub(crate) fn hint(self, details: impl Into<String>) -> Failure {
        Failure { details: details.into(), ..self }
    }

    /// The same with another number.
    pub(crate) fn by_code(self, code: Code) -> Failure {
        Failure { code, ..self }
    }

    /// As it is said in this version.
    pub(crate) fn said_in(&self, version: &str) -> Value {
        let mut said = json!({ "cniVersion": version, "code": self.code as u32, "msg": self.message });
        if !self.details.is_empty() {
            said["details"] = self.details.as_str().into();
        }
        said
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match &error {
            Error::NetworkNotFound(_)
            | Error::Ambiguous(_)
            | Error::Exists(_)
            | Error::Predefined(_)
            | Error::Invalid { .. } => Code::Configuration,
            Error::PortInUse { .. } | Error::PortUnavailable { .. } => Code::Port,
            Error::AddressInUse { .. } => Code::Address,
            Error::Exhausted { .. } => Code::Exhausted,
            Error::Gone { .. } | Error::Busy { .. } => Code::Again,
            Error::Os { .. } => Code::Kernel,
            Error::Firewall { .. } => Code::Firewall,
            Error::Record { .. } => Code::Record,
        };
        Failure::new(code, error.to_string())
    }
}
