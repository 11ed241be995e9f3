//! A profile file that the user names (`--security-opt seccomp=FILE`): the Spec's form, or Docker's with conditions.

use std::collections::HashSet;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompBuilder, LinuxSeccompFilterFlag,
    LinuxSyscall, LinuxSyscallBuilder,
};
use serde::Deserialize;

use super::compile::Error;
use super::profile::{Conditions, Target, native};

/// Docker's file format: moby/profiles, seccomp/seccomp.go.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<Family>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<std::path::PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    architecture: Arch,
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Filter {
    caps: Option<Vec<Capability>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

fn wrong(why: impl ToString) -> Error {
    Error::InvalidSpec { path: "seccomp profile".to_owned(), why: why.to_string() }
}

/// The profile of a file's text for a target.
pub(super) fn resolve(text: &str, target: &Target<'_>) -> Result<LinuxSeccomp, Error> {
    let file: File = serde_json::from_str(text).map_err(wrong)?;
    if file.architectures.as_ref().is_some_and(|list| !list.is_empty()) && file.arch_map.is_some() {
        return Err(wrong("has both architectures and archMap"));
    }
    let mut profile = LinuxSeccompBuilder::default().default_action(file.default_action);
    if let Some(errno) = file.default_errno_ret {
        profile = profile.default_errno_ret(errno);
    }
    if let Some(list) = file.architectures.or_else(|| family(file.arch_map, target.architecture)) {
        profile = profile.architectures(list);
    }
    if let Some(flags) = file.flags {
        profile = profile.flags(flags);
    }
    if let Some(path) = file.listener_path {
        profile = profile.listener_path(path);
    }
    if let Some(metadata) = file.listener_metadata {
        profile = profile.listener_metadata(metadata);
    }
    let mut syscalls = Vec::new();
    for rule in file.syscalls.into_iter().flatten() {
        if applies(&rule, target)? {
            syscalls.push(syscall(rule)?);
        }
    }
    profile.syscalls(syscalls).build().map_err(wrong)
}

fn family(map: Option<Vec<Family>>, architecture: &str) -> Option<Vec<Arch>> {
    let native = native(architecture)?;
    let family = map?.into_iter().find(|family| family.architecture == native)?;
    Some([vec![native], family.sub_architectures.unwrap_or_default()].concat())
}

fn applies(rule: &Rule, target: &Target<'_>) -> Result<bool, Error> {
    let none = Filter::default();
    let includes = rule.includes.as_ref().unwrap_or(&none);
    let excludes = rule.excludes.as_ref().unwrap_or(&none);
    let names = |filter: &Filter| filter.arches.iter().flatten().cloned().collect::<HashSet<_>>();
    let (included, excluded) = (names(includes), names(excludes));
    let (included, excluded): (Vec<_>, Vec<_>) =
        (included.iter().map(String::as_str).collect(), excluded.iter().map(String::as_str).collect());
    Ok(target.wants(&conditions(includes, &included)?, &conditions(excludes, &excluded)?))
}

fn conditions<'a>(filter: &'a Filter, architectures: &'a [&'a str]) -> Result<Conditions<'a>, Error> {
    let kernel = filter.min_kernel.as_deref().map(version).transpose()?;
    Ok(Conditions { capabilities: filter.caps.as_deref().unwrap_or_default(), architectures, kernel })
}

/// `4.8`, as Docker has it: two numbers.
fn version(text: &str) -> Result<(u32, u32), Error> {
    let numbers = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.ok_or_else(|| wrong(format!("minKernel {text} is not of the form 4.8")))
}

fn syscall(rule: Rule) -> Result<LinuxSyscall, Error> {
    let names = match (rule.name.filter(|name| !name.is_empty()), rule.names.filter(|names| !names.is_empty())) {
        (Some(_), Some(_)) => return Err(wrong("a rule has both name and names")),
        (Some(name), None) => vec![name],
        (None, Some(names)) => names,
        (None, None) => return Err(wrong("a rule has no names")),
    };
    let mut syscall = LinuxSyscallBuilder::default().names(names).action(rule.action);
    if let Some(errno) = rule.errno_ret {
        syscall = syscall.errno_ret(errno);
    }
    if let Some(args) = rule.args.filter(|args| !args.is_empty()) {
        syscall = syscall.args(args);
    }
    syscall.build().map_err(wrong)
}
