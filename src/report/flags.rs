// size: flat table
//! What Docker has on its command line and rbox has not, so that it is refused by name.
//!
//! Source: docker/cli 28 `cli/command/container/opts.go` (`addFlags`, hidden ones too) and `docker --help`.

/// Each flag of `docker run` that rbox refuses, with advice where there is any.
const REFUSED: &[(&str, &str)] = &[
    ("-a", "rbox run attaches all three streams; -i keeps the standard input open"),
    ("--attach", "rbox run attaches all three streams; -i keeps the standard input open"),
    ("--cpu-count", "it is for Windows; use --cpus"),
    ("--cpu-percent", "it is for Windows; use --cpus"),
    ("--cpu-rt-period", ""),
    ("--cpu-rt-runtime", ""),
    ("--disable-content-trust", ""),
    ("--gpus", "give the devices one by one with --device"),
    ("--health-cmd", ""),
    ("--health-interval", ""),
    ("--health-retries", ""),
    ("--health-start-interval", ""),
    ("--health-start-period", ""),
    ("--health-timeout", ""),
    ("--io-maxbandwidth", "it is for Windows; use --device-read-bps and --device-write-bps"),
    ("--io-maxiops", "it is for Windows; use --device-read-iops and --device-write-iops"),
    ("--isolation", "it is for Windows"),
    ("--kernel-memory", "the kernel has no such limit any more; use --memory"),
    ("--link-local-ip", ""),
    ("--no-healthcheck", "rbox runs no health checks"),
    ("--runtime", ""),
    ("--storage-opt", ""),
    ("--use-api-socket", ""),
    ("--volume-driver", "a path of the host can be shown with -v SOURCE:TARGET"),
    ("--volumes-from", "name the paths with -v SOURCE:TARGET"),
];

/// Flags whose value docker's client hands on as it is: its daemon refuses them, so every verb but `run` ends with 1.
const JUDGED_LATE: &[&str] = &["--name", "--restart", "--signal", "--since", "--until"];

/// Whether docker refuses this value only after it has understood the command line. The number of `--restart` it reads
/// at once.
pub(super) fn is_judged_late(verb: &str, flag: &str, why: &str) -> bool {
    !verb.ends_with(" run") && JUDGED_LATE.contains(&flag) && !why.ends_with("not a number of times")
}

/// The verbs of docker that rbox has not.
const VERBS: &[&str] = &[
    "build",
    "builder",
    "buildx",
    "checkpoint",
    "commit",
    "compose",
    "config",
    "connect",
    "context",
    "diff",
    "disconnect",
    "events",
    "export",
    "history",
    "login",
    "logout",
    "manifest",
    "node",
    "plugin",
    "prune",
    "push",
    "search",
    "secret",
    "service",
    "stack",
    "swarm",
    "system",
    "trust",
    "volume",
];

/// The advice for a flag that is refused; empty where there is none to give.
pub(super) fn refused(flag: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(name, _)| *name == flag).map(|(_, hint)| *hint)
}

/// Whether docker has this verb.
pub(super) fn is_docker_verb(name: &str) -> bool {
    VERBS.contains(&name)
}

/// Advice for values that are refused, by a part of the reason.
pub(super) const VALUES: &[(&str, &str)] = &[
    ("named volumes are not supported", "a path on the left shows a directory of the host: -v /srv/data:/x"),
    (
        "anonymous volumes are not supported",
        "leave it out: what the program writes there goes to the container's own files",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every flag of `docker run --help` (docker-ce-cli 28) is either taken or refused by name.
    #[test]
    fn no_flag_of_docker_run_is_unknown() {
        let all = crate::cli::command();
        let run = all.find_subcommand("run").unwrap();
        let taken = |long: &str| {
            run.get_arguments().any(|arg| {
                arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|names| names.contains(&long))
            })
        };
        for flag in "add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns \
                     cidfile cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems \
                     detach detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps \
                     device-write-iops disable-content-trust dns dns-option dns-opt dns-search domainname entrypoint env \
                     env-file expose gpus group-add health-cmd health-interval health-retries health-start-interval \
                     health-start-period health-timeout help hostname init interactive io-maxbandwidth io-maxiops ip ip6 \
                     ipc isolation kernel-memory label label-file link link-local-ip log-driver log-opt mac-address \
                     memory memory-reservation memory-swap memory-swappiness mount name net net-alias network \
                     network-alias no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform privileged \
                     publish publish-all pull quiet read-only restart rm runtime security-opt shm-size sig-proxy \
                     stop-signal stop-timeout storage-opt sysctl tmpfs tty ulimit use-api-socket user userns uts volume \
                     volume-driver volumes-from workdir cpu-count cpu-percent"
            .split_whitespace()
        {
            assert!(taken(flag) != refused(&format!("--{flag}")).is_some(), "--{flag} is taken or refused, and not both");
        }
        let letters: Vec<char> = run.get_arguments().filter_map(clap::Arg::get_short).collect();
        for letter in "cdehilmpPqtuvw".chars() {
            assert!(letters.contains(&letter), "-{letter}");
        }
        assert!(refused("-a").is_some());
    }
}
