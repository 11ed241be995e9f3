//! The program: its words, environment, directory, user and limits.

use oci_spec::image::Config;
use oci_spec::runtime::{Capabilities, PosixRlimit, Process, User};

use super::{Request, capabilities};
use crate::cli::RunArgs;
use crate::cli::value::SecurityOpt;
use crate::report::Problem;

/// The search path of an image that names none (moby `pkg/system/path_unix.go`).
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The container's program.
pub(super) fn process(
    request: &Request<'_>,
    capabilities: &Capabilities,
    groups: Vec<u32>,
) -> Result<Process, Problem> {
    let (flags, config) = (request.flags, request.config());
    let mut process = Process::default();
    process.set_terminal(Some(flags.terminal.tty));
    process.set_user(user(flags, config, groups));
    process.set_args(Some(words(flags, config)?));
    process.set_env(Some(environment(&request.hostname(), flags.terminal.tty, &variables(request))));
    process.set_cwd(directory(flags, config)?.into());
    process.set_capabilities(Some(capabilities::sets(capabilities)));
    process.set_rlimits(rlimits(&flags.resources.ulimit));
    process.set_no_new_privileges(Some(no_new_privileges(flags)));
    process.set_apparmor_profile(apparmor(request)?);
    process.set_oom_score_adj(Some(flags.resources.oom_score_adj.unwrap_or(0)));
    Ok(process)
}

/// `--group-add`: numbers, and names that the root file system knows.
pub(super) fn groups(typed: &[String]) -> (Vec<u32>, Vec<String>) {
    let number = |group: &String| group.parse::<u32>().ok();
    (typed.iter().filter_map(number).collect(), typed.iter().filter(|group| number(group).is_none()).cloned().collect())
}

fn user(flags: &RunArgs, config: Option<&Config>, groups: Vec<u32>) -> User {
    let of_image = config.and_then(|config| config.user().clone());
    let typed = flags.container.user.clone().or(of_image).filter(|user| !user.is_empty());
    let mut user = User::default();
    user.set_username(typed);
    user.set_additional_gids((!groups.is_empty()).then_some(groups));
    user
}

/// The entry point and the command behind it, which together are the program's words.
fn words(flags: &RunArgs, config: Option<&Config>) -> Result<Vec<String>, Problem> {
    let (entrypoint, command) = entrypoint_and_command(flags, config);
    let words: Vec<String> = entrypoint.into_iter().chain(command).collect();
    if words.is_empty() {
        let what = flags.image().map_or_else(|| "--rootfs".to_owned(), |image| format!("image {image}"));
        return Err(Problem::new(format!("{what}: it names no program to run")).hint("write the program behind it"));
    }
    Ok(words)
}

/// The entry point and the command. A typed entry point takes the image's command away too, and `--entrypoint ""` takes
/// both (moby `daemon/commit.go`, `merge`; docker/cli `container/opts.go`).
pub(super) fn entrypoint_and_command(flags: &RunArgs, config: Option<&Config>) -> (Vec<String>, Vec<String>) {
    let of_image = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    let image_entrypoint = of_image(config.and_then(|config| config.entrypoint().as_ref()));
    let image_command = of_image(config.and_then(|config| config.cmd().as_ref()));
    let typed = flags.command().to_vec();
    match flags.container.entrypoint.as_deref() {
        Some("") => (Vec::new(), typed),
        Some(program) => (vec![program.to_owned()], typed),
        None if typed.is_empty() => (image_entrypoint, image_command),
        None => (image_entrypoint, typed),
    }
}

/// The user's variables, and those of the image that he did not set (moby `daemon/commit.go`, `merge`).
pub(super) fn variables(request: &Request<'_>) -> Vec<String> {
    let typed = &request.host.env;
    let of_image = request.config().and_then(|config| config.env().as_deref()).unwrap_or_default();
    let image_only = of_image.iter().filter(|variable| !typed.iter().any(|typed| name_of(typed) == name_of(variable)));
    typed.iter().chain(image_only).cloned().collect()
}

/// Docker's own variables first, then `variables` over them. HOME comes from the runtime, which knows the user.
pub(crate) fn environment(hostname: &str, tty: bool, variables: &[String]) -> Vec<String> {
    let mut all = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if tty {
        all.push("TERM=xterm".into());
    }
    for variable in variables {
        replace_or_append(&mut all, variable);
    }
    all
}

/// moby `container/env.go`, ReplaceOrAppendEnvVars: a name without `=` takes the variable away.
pub(crate) fn replace_or_append(all: &mut Vec<String>, variable: &str) {
    let known = all.iter().position(|other| name_of(other) == name_of(variable));
    match (known, variable.contains('=')) {
        (Some(at), true) => all[at] = variable.to_owned(),
        (Some(at), false) => drop(all.remove(at)),
        (None, true) => all.push(variable.to_owned()),
        (None, false) => {}
    }
}

fn name_of(variable: &str) -> &str {
    variable.split('=').next().unwrap_or(variable)
}

fn directory(flags: &RunArgs, config: Option<&Config>) -> Result<String, Problem> {
    let of_image = config.and_then(|config| config.working_dir().clone());
    let typed = flags.container.workdir.clone().filter(|dir| !dir.is_empty());
    match typed.or(of_image).filter(|dir| !dir.is_empty()) {
        Some(dir) if dir.starts_with('/') => Ok(dir),
        Some(dir) => Err(Problem::new(format!("image: working directory {dir}: not an absolute path"))),
        None => Ok("/".into()),
    }
}

/// Of two limits of one kind the last counts.
fn rlimits(typed: &[PosixRlimit]) -> Option<Vec<PosixRlimit>> {
    let mut all: Vec<PosixRlimit> = Vec::new();
    for limit in typed {
        all.retain(|other| other.typ() != limit.typ());
        all.push(*limit);
    }
    (!all.is_empty()).then_some(all)
}

fn no_new_privileges(flags: &RunArgs) -> bool {
    let last = flags.security.security_opt.iter().rev().find_map(|option| match option {
        SecurityOpt::NoNewPrivileges(on) => Some(*on),
        _ => None,
    });
    last.unwrap_or(false)
}

fn apparmor(request: &Request<'_>) -> Result<Option<String>, Problem> {
    let typed = request.flags.security.security_opt.iter().rev().find_map(|option| match option {
        SecurityOpt::Apparmor(profile) => Some(profile.as_str()),
        _ => None,
    });
    match typed {
        None | Some("unconfined") => Ok(None),
        Some(profile) if request.host.apparmor => {
            Err(Problem::new(format!("--security-opt apparmor={profile}: profiles of AppArmor are not supported")))
        }
        Some(profile) => {
            Err(Problem::new(format!("--security-opt apparmor={profile}: AppArmor is not enabled on this host")))
        }
    }
}
