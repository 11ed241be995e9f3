//! The program and its identity: `process` of config.json -> [`Process`] (runtime-spec config.md#process).

use super::{Argv, Capabilities, Label, Place, Process, Scheduling};
use crate::capabilities::ALL;
use crate::error::{Error, Result};
use crate::grant::last_capability;
use crate::root::Root;
use crate::seccomp::Filter;
use crate::security;
use oci_spec::runtime::{Linux, LinuxCapabilities, PosixRlimitType};
use std::collections::HashSet;
use std::ffi::CString;

/// What [`process`] needs beside the specification.
pub(crate) struct Extra<'a> {
    pub(crate) seccomp: Option<Filter>,
    pub(crate) preserve_fds: u32,
    pub(crate) new_keyring: Option<CString>,
    pub(crate) reaper: bool,
    pub(crate) make_cwd: bool,
    /// `linux` of config.json.
    pub(crate) linux: Option<&'a Linux>,
    /// A further process, not init.
    pub(crate) is_exec: bool,
}

/// Plan the program of `spec`; `root` is where its users are looked up.
///
/// # Errors
/// `InvalidSpec` with the JSON path of what cannot be had.
pub(crate) fn process(spec: &oci_spec::runtime::Process, root: &Root, extra: Extra<'_>) -> Result<Process> {
    let args = spec.args().as_deref().unwrap_or(&[]);
    let program = args.first().filter(|first| !first.is_empty());
    let program = program.ok_or_else(|| Error::spec("process.args", "must not be empty"))?.clone();
    if !spec.cwd().is_absolute() {
        return Err(Error::spec("process.cwd", "must be an absolute path"));
    }
    let user = spec.user();
    let environment = environment(spec.env().as_deref().unwrap_or(&[]), user.uid(), root)?;
    Ok(Process {
        candidates: candidates(&program, &environment)?,
        program,
        argv: Argv::new(strings(args, "process.args")?),
        envp: Argv::new(strings(&environment, "process.env")?),
        cwd: Place::new(&spec.cwd().to_string_lossy())
            .ok_or_else(|| Error::spec("process.cwd", "contains a zero byte"))?,
        make_cwd: extra.make_cwd,
        umask: user.umask(),
        uid: user.uid(),
        gid: user.gid(),
        groups: groups(user.additional_gids().as_deref().unwrap_or_default())?,
        capabilities: capabilities(spec.capabilities().as_ref())?,
        no_new_privs: spec.no_new_privileges().unwrap_or(false),
        seccomp: extra.seccomp,
        scheduling: Scheduling::of(spec, extra.linux, extra.is_exec)?,
        labels: labels(spec)?,
        rlimits: rlimits(spec)?,
        stdio: [None, None, None],
        preserve_fds: extra.preserve_fds,
        new_keyring: extra.new_keyring,
        reaper: extra.reaper,
    })
}

/// The further groups; none at all where the user namespace denies to set any (user_namespaces(7)).
fn groups(wanted: &[u32]) -> Result<Option<Vec<u32>>> {
    let denied = std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
    match (denied, wanted) {
        (false, wanted) => Ok(Some(wanted.to_vec())),
        (true, []) => Ok(None),
        (true, _) => Err(Error::spec("process.user.additionalGids", "cannot be set where one group alone is mapped")),
    }
}

/// AppArmor's profile and SELinux's context. One that no module of this kernel takes is an error: the program would run
/// without the protection that it was promised.
fn labels(spec: &oci_spec::runtime::Process) -> Result<Vec<Label>> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut labels = Vec::new();
    match given(spec.apparmor_profile()).as_deref() {
        Some(profile) if security::apparmor() => labels.push(Label {
            file: security::apparmor_file().to_owned(),
            text: string(&format!("exec {profile}"), "process.apparmorProfile")?,
            kind: "AppArmor profile",
        }),
        // Where nothing confines, this is what it is.
        None | Some("unconfined") => {}
        Some(_) => return Err(Error::spec("process.apparmorProfile", "this kernel runs without AppArmor")),
    }
    if let Some(context) = given(spec.selinux_label()) {
        if !security::selinux() {
            return Err(Error::spec("process.selinuxLabel", "this kernel runs without SELinux"));
        }
        let text = string(&context, "process.selinuxLabel")?;
        labels.push(Label { file: c"attr/exec".to_owned(), text, kind: "SELinux context" });
    }
    Ok(labels)
}

fn string(text: &str, path: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::spec(path, "contains a zero byte"))
}

fn strings(texts: &[String], path: &str) -> Result<Vec<CString>> {
    texts.iter().map(|text| string(text, path)).collect()
}

/// The environment with `HOME`, which comes from the container's own /etc/passwd where it is not given (as in runc).
fn environment(given: &[String], uid: u32, root: &Root) -> Result<Vec<String>> {
    if let Some(odd) = given.iter().find(|entry| !entry.contains('=') || entry.starts_with('=')) {
        return Err(Error::spec("process.env", format!("{odd:?} is not NAME=value")));
    }
    // Of two with the same name the last one counts, but at the place of the first (as in runc).
    let mut environment: Vec<String> = Vec::with_capacity(given.len() + 1);
    for entry in given {
        let name = &entry[..=entry.find('=').unwrap_or(0)];
        match environment.iter_mut().find(|known| known.starts_with(name)) {
            Some(known) => known.clone_from(entry),
            None => environment.push(entry.clone()),
        }
    }
    if !environment.iter().any(|entry| entry.starts_with("HOME=") && entry.len() > 5) {
        environment.retain(|entry| entry != "HOME=");
        environment.push(format!("HOME={}", root.home(uid)));
    }
    Ok(environment)
}

/// Where execve is tried: the path itself, or the name in each directory of PATH.
fn candidates(program: &str, environment: &[String]) -> Result<Vec<CString>> {
    if program.contains('/') {
        return Ok(vec![string(program, "process.args")?]);
    }
    let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("");
    let directories = path.split(':').filter(|directory| directory.starts_with('/'));
    directories.map(|directory| string(&format!("{directory}/{program}"), "process.env")).collect()
}

fn capabilities(spec: Option<&LinuxCapabilities>) -> Result<Capabilities> {
    let last = last_capability();
    let Some(spec) = spec else { return Ok(Capabilities { last, ..Capabilities::default() }) };
    let mask = |set: &Option<HashSet<oci_spec::runtime::Capability>>| -> Result<u64> {
        let mut mask = 0;
        for one in set.iter().flatten() {
            mask |= capability_bit(*one)?;
        }
        // What this kernel does not have is left out; who reads config.json has warned (grant.rs).
        Ok(mask & (u64::MAX >> (63 - last.min(63))))
    };
    let sets = Capabilities {
        bounding: mask(spec.bounding())?,
        effective: mask(spec.effective())?,
        permitted: mask(spec.permitted())?,
        inheritable: mask(spec.inheritable())?,
        ambient: mask(spec.ambient())?,
        last,
    };
    // The kernel refuses what is not permitted and inheritable (capabilities(7)); runc ignores those with a warning.
    let ambient = sets.ambient & sets.permitted & sets.inheritable;
    Ok(Capabilities { ambient, effective: sets.effective & sets.permitted, ..sets })
}

fn capability_bit(capability: oci_spec::runtime::Capability) -> Result<u64> {
    let number = ALL.iter().position(|known| *known == capability);
    let number = number.ok_or_else(|| {
        Error::spec("process.capabilities", format!("capability CAP_{capability} has no number that is known"))
    })?;
    Ok(1 << number)
}

fn rlimits(spec: &oci_spec::runtime::Process) -> Result<Vec<(u32, u64, u64, String)>> {
    let mut limits: Vec<(u32, u64, u64, String)> = Vec::new();
    for limit in spec.rlimits().iter().flatten() {
        let (number, name) = rlimit_number(limit.typ());
        if limits.iter().any(|known| known.0 == number) {
            return Err(Error::spec("process.rlimits", format!("{name} is there twice")));
        }
        limits.push((number, limit.soft(), limit.hard(), name.to_owned()));
    }
    Ok(limits)
}

fn rlimit_number(kind: PosixRlimitType) -> (u32, &'static str) {
    match kind {
        PosixRlimitType::RlimitCpu => (libc::RLIMIT_CPU, "RLIMIT_CPU"),
        PosixRlimitType::RlimitFsize => (libc::RLIMIT_FSIZE, "RLIMIT_FSIZE"),
        PosixRlimitType::RlimitData => (libc::RLIMIT_DATA, "RLIMIT_DATA"),
        PosixRlimitType::RlimitStack => (libc::RLIMIT_STACK, "RLIMIT_STACK"),
        PosixRlimitType::RlimitCore => (libc::RLIMIT_CORE, "RLIMIT_CORE"),
        PosixRlimitType::RlimitRss => (libc::RLIMIT_RSS, "RLIMIT_RSS"),
        PosixRlimitType::RlimitNproc => (libc::RLIMIT_NPROC, "RLIMIT_NPROC"),
        PosixRlimitType::RlimitNofile => (libc::RLIMIT_NOFILE, "RLIMIT_NOFILE"),
        PosixRlimitType::RlimitMemlock => (libc::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"),
        PosixRlimitType::RlimitAs => (libc::RLIMIT_AS, "RLIMIT_AS"),
        PosixRlimitType::RlimitLocks => (libc::RLIMIT_LOCKS, "RLIMIT_LOCKS"),
        PosixRlimitType::RlimitSigpending => (libc::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"),
        PosixRlimitType::RlimitMsgqueue => (libc::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"),
        PosixRlimitType::RlimitNice => (libc::RLIMIT_NICE, "RLIMIT_NICE"),
        PosixRlimitType::RlimitRtprio => (libc::RLIMIT_RTPRIO, "RLIMIT_RTPRIO"),
        PosixRlimitType::RlimitRttime => (libc::RLIMIT_RTTIME, "RLIMIT_RTTIME"),
    }
}
