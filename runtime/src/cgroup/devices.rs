//! Which device files a container may make, read and write.
//!
//! The Spec's rules are in the language of v1's `devices.allow` and `devices.deny`, and there the kernel itself takes
//! them in order. v2 has no such files: a small eBPF program is asked at every open and mknod. So that both mean the
//! same, [`Policy`] first does what the v1 kernel does with the rules (security/device_cgroup.c), and [`super::filter`]
//! makes a program of the outcome.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType};

use super::{Error, Setting, invalid};

/// The rules that runc adds to every container's: the standard devices, terminals, and mknod of anything (a node
/// that cannot be opened is harmless). libcontainer/specconv, `AllowedDevices`.
pub fn default_rules() -> Vec<LinuxDeviceCgroup> {
    use LinuxDeviceType::{B, C};
    let rule = |typ, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(typ).access(access);
        if let Some(major) = major {
            rule = rule.major(major);
        }
        if let Some(minor) = minor {
            rule = rule.minor(minor);
        }
        rule.build().expect("every field of a device rule has a default")
    };
    vec![
        rule(C, None, None, "m"),
        rule(B, None, None, "m"),
        rule(C, Some(1), Some(3), "rwm"), // null
        rule(C, Some(1), Some(8), "rwm"), // random
        rule(C, Some(1), Some(7), "rwm"), // full
        rule(C, Some(5), Some(0), "rwm"), // tty
        rule(C, Some(1), Some(5), "rwm"), // zero
        rule(C, Some(1), Some(9), "rwm"), // urandom
        rule(C, Some(136), None, "rwm"),  // the terminals of /dev/pts
        rule(C, Some(5), Some(2), "rwm"), // ptmx
        // net/tun: not made in /dev, but VPN programs make it (runc took it away in 1.2.0, and gave it back in 1.2.4)
        rule(C, Some(10), Some(200), "rwm"),
    ]
}

/// What may be done with a device, as bits. The numbers are the kernel's, for both generations (linux/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access(pub(super) u8);

impl Access {
    pub(super) const MKNOD: Access = Access(1);
    pub(super) const READ: Access = Access(2);
    pub(super) const WRITE: Access = Access(4);
    pub(super) const ALL: Access = Access(7);

    fn parse(text: &str) -> Result<Access, Error> {
        text.chars().try_fold(Access(0), |sum, letter| match letter {
            'r' => Ok(Access(sum.0 | Access::READ.0)),
            'w' => Ok(Access(sum.0 | Access::WRITE.0)),
            'm' => Ok(Access(sum.0 | Access::MKNOD.0)),
            _ => Err(invalid("devices", &format!("the access {text} has other letters than r, w and m"))),
        })
    }
}

/// Block or character device. The numbers are the eBPF program's (linux/bpf.h, `BPF_DEVCG_DEV_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Block = 1,
    Char = 2,
}

/// Devices that are treated otherwise than the rest. `None` is every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exception {
    pub(super) kind: Kind,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) access: Access,
}

/// What the rules come to: all devices but some, or none but some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) allow: bool,
    pub(super) exceptions: Vec<Exception>,
}

impl Policy {
    /// Apply the rules one after the other to a group that may use everything, as the v1 kernel does.
    pub(super) fn of(rules: &[LinuxDeviceCgroup]) -> Result<Policy, Error> {
        let mut policy = Policy { allow: true, exceptions: Vec::new() };
        for rule in rules {
            match exception_of(rule)? {
                None => policy = Policy { allow: rule.allow(), exceptions: Vec::new() },
                Some(exception) if rule.allow() == policy.allow => policy.withdraw(exception),
                Some(exception) => policy.except(exception),
            }
        }
        Ok(policy)
    }

    fn except(&mut self, new: Exception) {
        match self.exceptions.iter_mut().find(|old| old.same_devices(new)) {
            Some(old) => old.access.0 |= new.access.0,
            None if new.access.0 != 0 => self.exceptions.push(new),
            None => {}
        }
    }

    /// Only an exception for the very same devices is taken back: `deny c *:* w` leaves `allow c 1:3 rw` as it is.
    fn withdraw(&mut self, gone: Exception) {
        for old in self.exceptions.iter_mut().filter(|old| old.same_devices(gone)) {
            old.access.0 &= !gone.access.0;
        }
        self.exceptions.retain(|old| old.access.0 != 0);
    }

    /// Whether there is nothing that a filter would ever refuse.
    pub(super) fn allows_everything(&self) -> bool {
        self.allow && self.exceptions.is_empty()
    }
}

impl Exception {
    fn same_devices(self, other: Exception) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }
}

/// The devices that a rule speaks of; `None` for a rule about all devices, whose access the kernel does not look at.
fn exception_of(rule: &LinuxDeviceCgroup) -> Result<Option<Exception>, Error> {
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => {
            // The kernel would take `a 1:3 r` for everything: rather say no.
            return match (number(rule.major())?, number(rule.minor())?) {
                (None, None) => Ok(None),
                _ => Err(invalid("devices", "a rule of type a has a number, which the kernel would ignore")),
            };
        }
        LinuxDeviceType::B => Kind::Block,
        LinuxDeviceType::C => Kind::Char,
        other => return Err(invalid("devices", &format!("the type {} is not a, b or c", other.as_str()))),
    };
    let access = Access::parse(rule.access().as_deref().unwrap_or_default())?;
    Ok(Some(Exception { kind, major: number(rule.major())?, minor: number(rule.minor())?, access }))
}

/// A device number; absent and -1 mean every number.
fn number(given: Option<i64>) -> Result<Option<u32>, Error> {
    match given {
        None | Some(-1) => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(invalid("devices", &format!("{number} is not a device number"))),
        },
    }
}

/// The rules as lines for v1's `devices.allow` and `devices.deny`.
pub(super) fn lines(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Setting>, Error> {
    let mut lines = Vec::new();
    for rule in rules {
        let value = match exception_of(rule)? {
            None => "a *:* rwm".to_owned(),
            Some(exception) if exception.access.0 == 0 => continue,
            Some(exception) => line(exception),
        };
        let file = if rule.allow() { "devices.allow" } else { "devices.deny" };
        lines.push(Setting::new("devices", file, value));
    }
    Ok(lines)
}

fn line(exception: Exception) -> String {
    let kind = match exception.kind {
        Kind::Block => 'b',
        Kind::Char => 'c',
    };
    let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    let letters: String = [('r', Access::READ), ('w', Access::WRITE), ('m', Access::MKNOD)]
        .into_iter()
        .filter(|(_, bit)| exception.access.0 & bit.0 != 0)
        .map(|(letter, _)| letter)
        .collect();
    format!("{kind} {}:{} {letters}", number(exception.major), number(exception.minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn rules_become_lines_in_their_order() {
        let rules = rules(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
                {"allow":false,"type":"b","major":8,"access":"w"},{"allow":true,"type":"c","major":-1,"minor":-1,"access":"m"},
                {"allow":true,"type":"c","major":1,"minor":5}]"#,
        );
        let lines = lines(&rules).unwrap();
        let written: Vec<_> = lines.iter().map(|line| (&*line.file, &*line.value)).collect();
        assert_eq!(
            written,
            [
                ("devices.deny", "a *:* rwm"),
                ("devices.allow", "c 1:3 rw"),
                ("devices.deny", "b 8:* w"),
                ("devices.allow", "c *:* m"),
            ]
        );
    }

    #[test]
    fn rules_for_the_same_device_add_up_and_are_taken_back() {
        let policy = Policy::of(&rules(
            r#"[{"allow":false},{"allow":true,"type":"c","major":1,"minor":3,"access":"r"},
                {"allow":true,"type":"c","major":1,"minor":3,"access":"wm"},
                {"allow":true,"type":"b","major":8,"minor":0,"access":"rw"},
                {"allow":false,"type":"c","major":1,"minor":3,"access":"m"},
                {"allow":false,"type":"b","major":8,"minor":0,"access":"rwm"}]"#,
        ))
        .unwrap();
        let null = Exception { kind: Kind::Char, major: Some(1), minor: Some(3), access: Access(6) };
        assert_eq!(policy, Policy { allow: false, exceptions: vec![null] });
    }

    #[test]
    fn a_rule_about_all_devices_forgets_those_before_it() {
        let text = r#"[{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},{"allow":false,"access":"rwm"}]"#;
        assert_eq!(Policy::of(&rules(text)).unwrap(), Policy { allow: false, exceptions: vec![] });
        assert!(Policy::of(&rules(r#"[{"allow":false},{"allow":true}]"#)).unwrap().allows_everything());
    }

    #[test]
    fn rules_that_the_kernel_would_misread_are_refused() {
        for text in [
            r#"[{"allow":true,"type":"a","major":1,"access":"rwm"}]"#,
            r#"[{"allow":true,"type":"p","access":"rwm"}]"#,
            r#"[{"allow":true,"type":"c","major":1,"minor":3,"access":"rx"}]"#,
            r#"[{"allow":true,"type":"c","major":-7,"access":"r"}]"#,
        ] {
            assert!(Policy::of(&rules(text)).is_err(), "{text}");
            assert!(lines(&rules(text)).is_err(), "{text}");
        }
    }
}
