//! Devices of the host on the command line: `/dev/fuse:/dev/x:rw`, `c 10:229 rwm`, `/dev/sda:1mb`.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType};

use super::{Parsed, bytes};
use serde::{Deserialize, Serialize};

/// A device of the host to be seen in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceFlag {
    /// Where it is on the host; a directory stands for all devices in it.
    pub(crate) source: PathBuf,
    /// Where it is to be in the container.
    pub(crate) target: PathBuf,
    /// What may be done with it: of `r`, `w` and `m`.
    pub(crate) access: String,
}

/// A rate for one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Throttle {
    /// The disk's device file.
    pub(crate) device: PathBuf,
    /// Bytes or requests in a second.
    pub(crate) rate: u64,
}

/// A weight for one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Weight {
    /// The disk's device file.
    pub(crate) device: PathBuf,
    /// 10 to 1000.
    pub(crate) weight: u16,
}

/// `/dev/fuse`, `/dev/fuse:rw`, `/dev/fuse:/dev/f`, `/dev/fuse:/dev/f:rw`.
pub(crate) fn device(text: &str) -> Parsed<DeviceFlag> {
    if !text.starts_with('/') && text.contains('=') {
        return Err("CDI devices are not supported".into());
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, access) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, access] if is_access(access) => (*source, *source, *access),
        [source, target] => (*source, *target, "rwm"),
        [source, target, access] if is_access(access) => (*source, *target, *access),
        [_, _, access] => return Err(format!("{access} is not made of r, w and m")),
        _ => return Err("not of the form DEVICE[:TARGET][:MODE]".into()),
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        return Err("not an absolute path".into());
    }
    Ok(DeviceFlag { source: source.into(), target: target.into(), access: access.into() })
}

fn is_access(text: &str) -> bool {
    !text.is_empty()
        && "rwm".chars().map(|c| text.matches(c).count()).sum::<usize>() == text.len()
        && no_letter_twice(text)
}

fn no_letter_twice(text: &str) -> bool {
    "rwm".chars().all(|c| text.matches(c).count() <= 1)
}

/// `c 10:229 rwm`, `b *:* r`, `a *:* rwm`.
pub(crate) fn device_rule(text: &str) -> Parsed<LinuxDeviceCgroup> {
    let wrong = || "not a rule such as c 10:229 rwm".to_owned();
    let [kind, numbers, access] = text.split(' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(wrong()),
    };
    let number = |s: &str| match s {
        "*" => Ok(-1),
        _ => s.parse::<u32>().map(i64::from).map_err(|_| wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    if !is_access(access) {
        return Err(wrong());
    }
    LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(kind)
        .major(number(major)?)
        .minor(number(minor)?)
        .access(access)
        .build()
        .map_err(|error| error.to_string())
}

/// `/dev/sda:1mb`.
pub(crate) fn throttle_bytes(text: &str) -> Parsed<Throttle> {
    let (device, rate) = disk_and(text, "BYTES")?;
    let rate = bytes(rate)?;
    Ok(Throttle { device, rate: u64::try_from(rate).map_err(|error| error.to_string())? })
}

/// `/dev/sda:1000`.
pub(crate) fn throttle_number(text: &str) -> Parsed<Throttle> {
    let (device, rate) = disk_and(text, "NUMBER")?;
    Ok(Throttle { device, rate: rate.parse().map_err(|_| format!("{rate} is not a number"))? })
}

/// `/dev/sda:500`.
pub(crate) fn weight_device(text: &str) -> Parsed<Weight> {
    let (device, weight) = disk_and(text, "WEIGHT")?;
    Ok(Weight { device, weight: blkio_weight(weight)? })
}

/// A weight for disks; 0 is Docker's word for "not set".
pub(crate) fn blkio_weight(text: &str) -> Parsed<u16> {
    match text.parse() {
        Ok(weight @ (0 | 10..=1000)) => Ok(weight),
        _ => Err("not a weight from 10 to 1000".into()),
    }
}

fn disk_and<'a>(text: &'a str, what: &str) -> Parsed<(PathBuf, &'a str)> {
    match text.split_once(':') {
        Some((device, value)) if device.starts_with("/dev/") => Ok((device.into(), value)),
        _ => Err(format!("not of the form /dev/DISK:{what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docker/cli opts, TestValidateDevice and TestParseDevice.
    #[test]
    fn a_device_has_up_to_three_parts() {
        let flag = |source: &str, target: &str, access: &str| {
            Ok(DeviceFlag { source: source.into(), target: target.into(), access: access.into() })
        };
        assert_eq!(device("/dev/snd"), flag("/dev/snd", "/dev/snd", "rwm"));
        assert_eq!(device("/dev/snd:rw"), flag("/dev/snd", "/dev/snd", "rw"));
        assert_eq!(device("/dev/snd:/something"), flag("/dev/snd", "/something", "rwm"));
        assert_eq!(device("/dev/snd:/something:mr"), flag("/dev/snd", "/something", "mr"));
        for text in ["", "dev/snd", "/dev/a:b", "/dev/a:/b:rr", "/dev/a:/b:ro", "/a:/b:rw:x", "vendor.com/gpu=all"] {
            assert!(device(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_rule_names_type_numbers_and_access() {
        assert_eq!(device_rule("c 10:229 rwm").unwrap().to_string(), "c 10:229 rwm");
        let all = device_rule("b *:* r").unwrap();
        assert_eq!((all.major(), all.minor(), all.allow()), (Some(-1), Some(-1), true));
        for text in ["c", "c 10 rwm", "d 1:2 r", "c 1:2", "c 1:2 x", "c  1:2 r", "c -1:2 r"] {
            assert!(device_rule(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn disks_have_rates_and_weights() {
        assert_eq!(throttle_bytes("/dev/sda:1mb"), Ok(Throttle { device: "/dev/sda".into(), rate: 1 << 20 }));
        assert_eq!(throttle_number("/dev/sda:100"), Ok(Throttle { device: "/dev/sda".into(), rate: 100 }));
        assert_eq!(weight_device("/dev/sda:100"), Ok(Weight { device: "/dev/sda".into(), weight: 100 }));
        for text in ["sda:1", "/dev/sda", "/dev/sda:-1", "/dev/sda:"] {
            assert!(throttle_bytes(text).is_err() && throttle_number(text).is_err(), "{text:?}");
        }
        assert!(weight_device("/dev/sda:5").is_err() && blkio_weight("1001").is_err());
    }
}
