//! A seccomp profile in a file, in Docker's form (`docs.docker.com/engine/security/seccomp`), made into the OCI form.
//!
//! Docker's form has conditions that the OCI form has not: rules for some capabilities, machines or kernels only, and names of
//! architectures that go with the machine's own (moby `profiles/seccomp/seccomp_linux.go`).

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Arch, Capabilities, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;

use super::host::cause;
use crate::report::Problem;

/// Docker's name for the machine that rbox is built for.
const MACHINE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
/// libseccomp's name for it.
const NATIVE: Arch = if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 };

/// A profile as it stands in its file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Profile {
    #[serde(skip)]
    file: PathBuf,
    #[serde(rename = "$schema", default)]
    _schema: Option<String>,
    default_action: LinuxSeccompAction,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<Arch>>,
    #[serde(default)]
    arch_map: Option<Vec<Family>>,
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    #[serde(default)]
    listener_path: Option<PathBuf>,
    #[serde(default)]
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

impl Profile {
    /// Read a profile.
    ///
    /// Errors: the file cannot be read, or is no profile.
    pub(crate) fn read(file: &Path) -> Result<Self, Problem> {
        let wrong = |why: &str| Problem::new(format!("--security-opt seccomp={}: {why}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| wrong(&cause(&error)))?;
        let profile: Self = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { file: file.to_owned(), ..profile })
    }

    fn wrong(&self, why: &str) -> Problem {
        Problem::new(format!("--security-opt seccomp={}: {why}", self.file.display()))
    }
}

/// The profile as the runtime takes it, for a program with these capabilities on this kernel.
///
/// Errors: the profile contradicts itself, or names a capability that there is not.
pub(super) fn filter(
    profile: &Profile,
    capabilities: &Capabilities,
    kernel: (u32, u32),
) -> Result<LinuxSeccomp, Problem> {
    let mut filter = LinuxSeccomp::default();
    filter.set_default_action(profile.default_action);
    filter.set_default_errno_ret(profile.default_errno_ret);
    filter.set_architectures(architectures(profile)?);
    filter.set_flags(profile.flags.clone());
    filter.set_listener_path(profile.listener_path.clone());
    filter.set_listener_metadata(profile.listener_metadata.clone());
    let mut calls = Vec::new();
    for rule in profile.syscalls.iter().flatten() {
        if applies(profile, rule, capabilities, kernel)? {
            calls.push(call(profile, rule)?);
        }
    }
    filter.set_syscalls(Some(calls));
    Ok(filter)
}

fn architectures(profile: &Profile) -> Result<Option<Vec<Arch>>, Problem> {
    match (&profile.architectures, &profile.arch_map) {
        (Some(list), Some(map)) if !list.is_empty() && !map.is_empty() => {
            Err(profile.wrong("architectures and archMap cannot stand together"))
        }
        (Some(list), _) if !list.is_empty() => Ok(Some(list.clone())),
        (_, Some(map)) => Ok(map.iter().find(|family| family.architecture == NATIVE).map(|family| {
            let below = family.sub_architectures.iter().flatten().copied();
            std::iter::once(NATIVE).chain(below).collect()
        })),
        _ => Ok(None),
    }
}

fn applies(profile: &Profile, rule: &Rule, capabilities: &Capabilities, kernel: (u32, u32)) -> Result<bool, Problem> {
    let none = Condition::default();
    let (only, never) = (rule.includes.as_ref().unwrap_or(&none), rule.excludes.as_ref().unwrap_or(&none));
    let here = |arches: &Vec<String>| arches.iter().any(|arch| arch == MACHINE);
    let has = |name: &String| -> Result<bool, Problem> {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        let cap = short.parse().map_err(|_| profile.wrong(&format!("there is no capability {name}")))?;
        Ok(capabilities.contains(&cap))
    };
    let new_enough = |version: &String| -> Result<bool, Problem> {
        let wrong = || profile.wrong(&format!("minKernel {version}: not of the form 5.8"));
        let (major, minor) = version.split_once('.').ok_or_else(wrong)?;
        Ok(kernel >= (major.parse().map_err(|_| wrong())?, minor.parse().map_err(|_| wrong())?))
    };
    // moby: an excluded machine, capability or kernel takes the rule out; of the included, all capabilities are needed.
    if never.arches.as_ref().is_some_and(here)
        || only.arches.as_ref().is_some_and(|arches| !arches.is_empty() && !here(arches))
    {
        return Ok(false);
    }
    for name in never.caps.iter().flatten() {
        if has(name)? {
            return Ok(false);
        }
    }
    for name in only.caps.iter().flatten() {
        if !has(name)? {
            return Ok(false);
        }
    }
    if let Some(version) = &never.min_kernel
        && new_enough(version)?
    {
        return Ok(false);
    }
    only.min_kernel.as_ref().map_or(Ok(true), new_enough)
}

fn call(profile: &Profile, rule: &Rule) -> Result<LinuxSyscall, Problem> {
    let names = match (&rule.name, &rule.names) {
        (Some(_), Some(names)) if !names.is_empty() => {
            return Err(profile.wrong("name and names cannot stand in one rule"));
        }
        (Some(name), _) => vec![name.clone()],
        (None, Some(names)) if !names.is_empty() => names.clone(),
        _ => return Err(profile.wrong("a rule names no system call")),
    };
    let mut call = LinuxSyscall::default();
    call.set_names(names);
    call.set_action(rule.action);
    call.set_errno_ret(rule.errno_ret);
    call.set_args(rule.args.clone().filter(|args| !args.is_empty()));
    Ok(call)
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Capability;

    use super::*;

    const TEXT: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390x"]},
             "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["s390_guarded_storage"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
            {"name": "clone3", "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "comment": "ENOSYS"},
            {"names": ["newest"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}}
        ]}"#;

    fn names(filter: &LinuxSeccomp) -> Vec<&str> {
        filter.syscalls().iter().flatten().flat_map(|call| call.names().iter().map(String::as_str)).collect()
    }

    #[test]
    fn conditions_choose_the_rules() {
        let profile: Profile = serde_json::from_str(TEXT).unwrap();
        let plain = filter(&profile, &Capabilities::new(), (6, 1)).unwrap();
        assert_eq!(names(&plain), ["read", "write", "ptrace", "clone", "clone3"]);
        assert_eq!(plain.default_errno_ret(), Some(1));
        let admin = filter(&profile, &Capabilities::from([Capability::SysAdmin]), (4, 7)).unwrap();
        assert_eq!(names(&admin), ["read", "write", "mount", "clone3"]);
        let own = plain.architectures().as_ref().unwrap();
        assert_eq!(own[0], NATIVE);
        assert!(own.len() > 1);
    }

    #[test]
    fn a_profile_that_contradicts_itself_is_refused() {
        for (text, why) in [
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ERRNO"}]}"#,
                "name and names cannot stand in one rule",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["b"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_X"]}}]}"#,
                "there is no capability CAP_X",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
                "architectures and archMap cannot stand together",
            ),
        ] {
            let profile: Profile = serde_json::from_str(text).unwrap();
            let error = filter(&profile, &Capabilities::new(), (6, 1)).unwrap_err().to_string();
            assert!(error.ends_with(why), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_profile_is_named() {
        let missing = Profile::read(Path::new("/nowhere.json")).unwrap_err().to_string();
        assert_eq!(missing, "--security-opt seccomp=/nowhere.json: no such file or directory");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{").unwrap();
        assert!(Profile::read(file.path()).unwrap_err().to_string().contains("line 1 column 1"));
    }
}
