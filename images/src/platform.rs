//! Platforms, as `linux/arm64/v8`, and the choice among the images of an index.
//!
//! image-spec image-index.md#platform-variants; the choice is that of containerd's `platforms` package.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, refused};

/// Operating system, processor, and the processor's variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// GOOS: `linux`.
    pub os: String,
    /// GOARCH: `amd64`, `arm64`.
    pub architecture: String,
    /// `v7` of `linux/arm/v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform that this program runs on.
    pub fn host() -> Self {
        let (architecture, variant) = normal(std::env::consts::ARCH, None);
        Platform { os: "linux".into(), architecture, variant }
    }

    /// Whether an image for `self` runs where `wanted` is asked for, and how well: lower is better.
    ///
    /// An ARM processor runs code for its older variants, too.
    pub(crate) fn fits(&self, wanted: &Platform) -> Option<u32> {
        let (architecture, variant) = normal(&self.architecture, self.variant.as_deref());
        let (wanted_architecture, wanted_variant) = normal(&wanted.architecture, wanted.variant.as_deref());
        if self.os != wanted.os {
            return None;
        }
        let number = |v: &Option<String>| v.as_deref().and_then(|v| v.trim_start_matches('v').parse::<u32>().ok());
        match (architecture == wanted_architecture, number(&variant), number(&wanted_variant)) {
            (true, have, want) if have == want && variant == wanted_variant => Some(0),
            (true, Some(have), Some(want)) if wanted_architecture == "arm" && have < want => Some(want - have),
            // A 64 bit ARM processor runs 32 bit code as well, if there is nothing better.
            (false, Some(have), _) if architecture == "arm" && wanted_architecture == "arm64" && have <= 8 => {
                Some(100 + (8 - have))
            }
            // amd64/v2 and v3 need more than every amd64 processor has.
            (true, None, Some(want)) => Some(want),
            _ => None,
        }
    }
}

/// One name for each thing: `aarch64` is `arm64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
fn normal(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let variant = variant.filter(|v| !v.is_empty());
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", Some("v7")),
        ("armel", _) => ("arm", Some("v6")),
        ("i386" | "x86", _) => ("386", None),
        ("powerpc64", variant) => ("ppc64le", variant),
        other => other,
    };
    let variant = match (architecture, variant) {
        ("arm64", Some("8" | "v8")) | ("amd64", Some("v1")) => None,
        ("arm", None) => Some("v7"),
        (_, variant) => variant,
    };
    (architecture.to_owned(), variant.map(str::to_owned))
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `linux/arm64`, `linux/arm/v7`, or an architecture or an operating system alone.
    fn from_str(text: &str) -> Result<Self, Error> {
        let well_formed = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(well_formed) {
            return Err(refused(format!("use platform {text:?}"), "the form is os/architecture[/variant]"));
        }
        let host = Platform::host();
        let (os, architecture, variant) = match parts.as_slice() {
            ["linux"] => ("linux", host.architecture.as_str(), host.variant.as_deref()),
            [architecture] => ("linux", *architecture, None),
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some(*variant)),
            _ => return Err(refused(format!("use platform {text:?}"), "the form is os/architecture[/variant]")),
        };
        let (architecture, variant) = normal(architecture, variant);
        Ok(Platform { os: os.to_owned(), architecture, variant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_are_one_platform() {
        assert_eq!(platform("linux/aarch64"), platform("linux/arm64/v8"));
        assert_eq!(platform("amd64"), platform("linux/x86_64"));
        assert_eq!(platform("linux/arm").to_string(), "linux/arm/v7");
        assert!("".parse::<Platform>().is_err());
        assert!("linux/amd64/v1/x".parse::<Platform>().is_err());
    }

    #[test]
    fn the_nearest_older_arm_variant_fits() {
        assert_eq!(platform("linux/arm/v6").fits(&platform("linux/arm/v7")), Some(1));
        assert_eq!(platform("linux/arm/v7").fits(&platform("linux/arm/v6")), None);
        assert_eq!(platform("linux/arm64").fits(&platform("linux/arm64")), Some(0));
        assert!(platform("linux/arm/v7").fits(&platform("linux/arm64")).is_some());
        assert_eq!(platform("linux/amd64").fits(&platform("linux/arm64")), None);
        assert_eq!(platform("windows/amd64").fits(&platform("linux/amd64")), None);
        assert_eq!(platform("linux/amd64/v3").fits(&platform("linux/amd64")), None);
    }
}
