//! What a container must not be able to do that may not reach everything (`--egress`, or the network of one that has it):
//! change the rules, or send beside them.

use oci_spec::runtime::{
    Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompOperator, LinuxSyscallBuilder,
};

use super::Request;
use crate::cli::RunArgs;
use crate::cli::value::{CapabilityFlag, EgressFlag, SeccompChoice, SecurityOpt, SeparateMode};
use crate::report::Problem;

/// With these the rules can be taken out, packets sent beside them, the host's own network be entered, the kernel be
/// changed. The first two are taken from Docker's default set.
const WAYS_ROUND: [Capability; 4] =
    [Capability::NetAdmin, Capability::NetRaw, Capability::SysAdmin, Capability::SysModule];
/// With this, where it sees the host's processes, one of those can be made to send for it.
const BY_OTHERS: Capability = Capability::SysPtrace;
/// The kinds of socket whose packets the rules see, and those that have none: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK.
/// Others write to the wire beside IP (AF_PPPOX asks for no capability for it).
const FAMILIES: [u64; 4] = [1, 2, 10, 16];

/// Whether the container may not reach everything.
pub(super) fn is_guarded(request: &Request<'_>) -> bool {
    let joined = request.host.joined.as_ref().is_some_and(|joined| joined.is_guarded);
    joined || request.flags.network.egress().is_some()
}

/// Whether a program of a guarded container must not have this.
pub(super) fn is_way_round(capability: Capability) -> bool {
    WAYS_ROUND.contains(&capability)
}

/// What cannot stand beside `--egress`.
///
/// Errors: the flag that cannot.
pub(super) fn check(request: &Request<'_>) -> Result<(), Problem> {
    let flags = request.flags;
    check_flags(flags)?;
    if !is_guarded(request) {
        return Ok(());
    }
    let because = match &request.host.joined {
        Some(_) => format!("the container of --network {} has --egress", flags.network.name()),
        None => "it cannot stand beside --egress".to_owned(),
    };
    match way_round(flags) {
        Some((flag, hint)) => Err(Problem::new(format!("{flag}: {because}")).hint(hint)),
        None => Ok(()),
    }
}

/// The same, whatever is joined.
fn check_flags(flags: &RunArgs) -> Result<(), Problem> {
    let typed = &flags.network.egress;
    if typed.is_empty() {
        return Ok(());
    }
    if typed.contains(&EgressFlag::None) && typed.iter().any(|flag| *flag != EgressFlag::None) {
        return Err(Problem::new("--egress none: it cannot stand beside --egress allow=…"));
    }
    match flags.network.name() {
        "host" => Err(Problem::new("--egress: the network is the host's, and so are its rules")
            .hint("a network of the container's own can be restricted: leave out --network host")),
        "none" => Err(Problem::new("--egress: nothing leads out of network none anyway").hint("leave out one of both")),
        _ => Ok(()),
    }
}

/// The first flag that would lead round the rules, and what to do about it.
fn way_round(flags: &RunArgs) -> Option<(String, &'static str)> {
    let security = &flags.security;
    let rules = "with it the container could take the rules out, or send beside them";
    if security.privileged {
        return Some(("--privileged".into(), rules));
    }
    let sees_hosts = flags.namespaces.pid == SeparateMode::Host;
    for flag in &security.cap_add {
        match flag {
            CapabilityFlag::All => return Some(("--cap-add ALL".into(), "name those that the program needs")),
            CapabilityFlag::One(one) if is_way_round(*one) || (sees_hosts && *one == BY_OTHERS) => {
                return Some((format!("--cap-add {}", one.to_string().trim_start_matches("CAP_")), rules));
            }
            CapabilityFlag::One(_) => {}
        }
    }
    let seccomp = security.security_opt.iter().rev().find(|option| matches!(option, SecurityOpt::Seccomp(_)));
    let is_bare = seccomp == Some(&SecurityOpt::Seccomp(SeccompChoice::Unconfined));
    let hint = "the filter keeps the program from sockets that send beside the rules; a profile of your own is taken";
    is_bare.then(|| ("--security-opt seccomp=unconfined".into(), hint))
}

/// Let a program open only sockets whose packets the rules see.
pub(super) fn narrow(mut profile: LinuxSeccomp) -> LinuxSeccomp {
    let mut calls = profile.syscalls().clone().unwrap_or_default();
    for call in &mut calls {
        // socketcall(2) is the old way of 32 bit programs, and its arguments cannot be seen from here.
        let names = call.names().iter().filter(|name| !["socket", "socketcall"].contains(&name.as_str())).cloned();
        let names: Vec<String> = names.collect();
        call.set_names(names);
    }
    calls.retain(|call| !call.names().is_empty());
    for family in FAMILIES {
        let argument =
            LinuxSeccompArgBuilder::default().index(0_usize).value(family).op(LinuxSeccompOperator::ScmpCmpEq);
        let call = LinuxSyscallBuilder::default()
            .names(["socket".to_owned()])
            .action(LinuxSeccompAction::ScmpActAllow)
            .args([argument.build().expect("all of it is said")]);
        calls.push(call.build().expect("all of it is said"));
    }
    profile.set_syscalls(Some(calls));
    profile
}
