//! From a profile with conditions, as Docker writes it, to the plain one that a Spec carries: rules for another
//! architecture, an older kernel or a capability that the container does not have are left out.

use std::collections::HashSet;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::docker;
use crate::capabilities;

/// What a matching call gets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Allow,
    Errno(u32),
}

/// A rule of the built-in table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<'a> {
    /// Names with spaces between.
    pub(super) names: &'a str,
    pub(super) outcome: Outcome,
    /// Which argument `any_of` is about.
    pub(super) argument: usize,
    /// If not empty, the call must meet one of them.
    pub(super) any_of: &'a [(LinuxSeccompOperator, u64)],
    pub(super) includes: Conditions<'a>,
    pub(super) excludes: Conditions<'a>,
}

/// When a rule is there, or when it is not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conditions<'a> {
    pub(super) capabilities: &'a [Capability],
    /// By the names that Docker uses: `amd64`, `arm64`.
    pub(super) architectures: &'a [&'a str],
    /// This kernel or a later one.
    pub(super) kernel: Option<(u32, u32)>,
}

/// Whom a profile is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// The container's bounding set.
    pub(super) capabilities: &'a HashSet<Capability>,
    /// By Rust's name: `x86_64`.
    pub(super) architecture: &'a str,
    pub(super) kernel: (u32, u32),
}

impl Target<'_> {
    /// Docker's rule: all that is named must be there, and one thing named in the exclusions is enough to leave it out.
    pub(super) fn wants(&self, includes: &Conditions<'_>, excludes: &Conditions<'_>) -> bool {
        let here = docker_name(self.architecture);
        let included = (includes.architectures.is_empty() || includes.architectures.contains(&here))
            && includes.capabilities.iter().all(|capability| self.capabilities.contains(capability))
            && includes.kernel.is_none_or(|least| self.kernel >= least);
        let excluded = excludes.architectures.contains(&here)
            || excludes.capabilities.iter().any(|capability| self.capabilities.contains(capability))
            || excludes.kernel.is_some_and(|least| self.kernel >= least);
        included && !excluded
    }
}

/// Docker's default profile for a target.
pub(super) fn resolve(target: &Target<'_>) -> LinuxSeccomp {
    let syscalls: Vec<_> = docker::RULES
        .iter()
        .filter(|rule| target.wants(&rule.includes, &rule.excludes))
        .flat_map(|rule| if rule.any_of.is_empty() { vec![syscall(rule, None)] } else { alternatives(rule) })
        .collect();
    let native = native(target.architecture);
    let family = docker::ARCHITECTURES.iter().find(|family| family.first() == native.as_ref());
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(1_u32) // EPERM
        .syscalls(syscalls);
    let profile = match family {
        Some(family) => profile.architectures(family.to_vec()),
        None => profile,
    };
    profile.build().expect("a profile needs no more than a default action")
}

fn alternatives(rule: &Rule<'_>) -> Vec<LinuxSyscall> {
    rule.any_of.iter().map(|(operator, value)| syscall(rule, Some((*operator, *value)))).collect()
}

fn syscall(rule: &Rule<'_>, condition: Option<(LinuxSeccompOperator, u64)>) -> LinuxSyscall {
    let names: Vec<_> = rule.names.split_ascii_whitespace().map(str::to_owned).collect();
    let syscall = LinuxSyscallBuilder::default().names(names);
    let syscall = match rule.outcome {
        Outcome::Allow => syscall.action(LinuxSeccompAction::ScmpActAllow),
        Outcome::Errno(errno) => syscall.action(LinuxSeccompAction::ScmpActErrno).errno_ret(errno),
    };
    let syscall = match condition {
        Some((operator, value)) => syscall.args(vec![argument(rule.argument, operator, value)]),
        None => syscall,
    };
    syscall.build().expect("a rule needs no more than names and an action")
}

fn argument(index: usize, operator: LinuxSeccompOperator, value: u64) -> LinuxSeccompArg {
    let argument = LinuxSeccompArgBuilder::default().index(index).value(value).op(operator);
    argument.build().expect("an argument needs no more than index, value and operator")
}

/// The architecture in the profile's words; none where Docker has no table for it.
pub(super) fn native(architecture: &str) -> Option<Arch> {
    Some(match architecture {
        "x86_64" => Arch::ScmpArchX86_64,
        "aarch64" => Arch::ScmpArchAarch64,
        "mips64" => Arch::ScmpArchMips64,
        "s390x" => Arch::ScmpArchS390x,
        "riscv64" => Arch::ScmpArchRiscv64,
        "loongarch64" => Arch::ScmpArchLoongarch64,
        _ => return None,
    })
}

/// Docker's name for an architecture, from Rust's.
fn docker_name(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The profile that the built-in filter is made of. rbox needs a kernel far younger than the table's one condition.
#[allow(dead_code, reason = "build.rs makes the built-in filter of it")]
pub(super) fn usual(architecture: &str) -> LinuxSeccomp {
    let capabilities = HashSet::from(capabilities::DEFAULT);
    resolve(&Target { capabilities: &capabilities, architecture, kernel: (5, 6) })
}
