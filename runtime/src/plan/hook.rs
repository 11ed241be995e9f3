//! Hooks of config.json -> [`Hook`]s that can be run after the clone (runtime-spec config.md#posix-platform-hooks).

use super::Argv;
use crate::error::{Error, Result, errno_words};
use crate::steps::Step;
use std::ffi::CString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// A program of the administrator's, to be run at one point of a container's life.
pub(crate) struct Hook {
    pub(crate) path: CString,
    pub(crate) argv: Argv,
    pub(crate) envp: Argv,
    pub(crate) timeout: Option<Duration>,
}

/// The hooks that init runs, and whether it waits for those of its parent.
#[derive(Default)]
pub(crate) struct InitHooks {
    /// There are prestart or createRuntime hooks: the parent runs them when init says that everything is there.
    pub(crate) parent_has_some: bool,
    pub(crate) create_container: InitHookList,
    pub(crate) start_container: InitHookList,
    /// Where the root file system is attached while hooks before pivot_root look at it: its own place on the host.
    pub(crate) root_place: CString,
}

/// Hooks of one kind.
#[derive(Default)]
pub(crate) struct InitHookList {
    pub(crate) hooks: Vec<Hook>,
    /// Their standard input: the container's state, written by the parent once it knows the pid.
    pub(crate) state: Option<OwnedFd>,
}

impl InitHooks {
    /// The hooks that a step of init runs.
    pub(crate) fn of_step(&self, step: Step) -> Option<(&'static str, &InitHookList)> {
        match step {
            Step::CreateContainerHook => Some(("createContainer", &self.create_container)),
            Step::StartContainerHook => Some(("startContainer", &self.start_container)),
            _ => None,
        }
    }

    /// Whether some want to see the container's tree from outside, before pivot_root.
    pub(crate) fn before_pivot(&self) -> bool {
        self.parent_has_some || !self.create_container.hooks.is_empty()
    }
}

impl Hook {
    /// The hooks of one kind; `env` is the environment of those that name none.
    ///
    /// # Errors
    /// `InvalidSpec` with the JSON path.
    pub(crate) fn all(kind: &str, hooks: &[oci_spec::runtime::Hook], env: &[CString]) -> Result<Vec<Hook>> {
        let one =
            |(number, hook)| Hook::new(hook, env).map_err(|why| Error::spec(&format!("hooks.{kind}[{number}]"), why));
        hooks.iter().enumerate().map(one).collect()
    }

    fn new(hook: &oci_spec::runtime::Hook, env: &[CString]) -> std::result::Result<Hook, String> {
        if !hook.path().is_absolute() {
            return Err(format!("path {} is not absolute", hook.path().display()));
        }
        let zero = |_| "contains a zero byte".to_owned();
        let path = CString::new(hook.path().as_os_str().as_bytes()).map_err(zero)?;
        let strings = |texts: &[String]| {
            texts.iter().map(|text| CString::new(text.as_str())).collect::<std::result::Result<Vec<_>, _>>()
        };
        let argv = match hook.args() {
            Some(args) if !args.is_empty() => strings(args).map_err(zero)?,
            _ => vec![path.clone()],
        };
        let envp = hook.env().as_ref().map_or_else(|| Ok(env.to_vec()), |env| strings(env)).map_err(zero)?;
        let timeout = match hook.timeout() {
            None => None,
            Some(seconds @ 1..) => Some(Duration::from_secs(seconds.unsigned_abs())),
            Some(_) => return Err("timeout must be greater than zero".to_owned()),
        };
        Ok(Hook { path, argv: Argv::new(argv), envp: Argv::new(envp), timeout })
    }
}

/// How a hook ended, when not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadEnd {
    /// With this status, which is not 0.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It took longer than its timeout, and was killed.
    TimedOut,
    /// It could not be run: errno.
    NotRun(i32),
}

const EXITED: i32 = 1 << 16;
const KILLED: i32 = 1 << 17;
const TIMED_OUT: i32 = 1 << 18;

impl BadEnd {
    /// As the errno of a report: the numbers of errno(3) are smaller than those that are no errno.
    pub(crate) fn to_number(self) -> i32 {
        match self {
            BadEnd::Exited(status) => EXITED | status,
            BadEnd::Killed(signal) => KILLED | signal,
            BadEnd::TimedOut => TIMED_OUT,
            BadEnd::NotRun(errno) => errno,
        }
    }

    /// The end that has this number.
    pub(crate) fn from_number(number: i32) -> BadEnd {
        match number {
            TIMED_OUT.. => BadEnd::TimedOut,
            KILLED.. => BadEnd::Killed(number & !KILLED),
            EXITED.. => BadEnd::Exited(number & !EXITED),
            errno => BadEnd::NotRun(errno),
        }
    }
}

impl fmt::Display for BadEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadEnd::Exited(status) => write!(f, "it ended with status {status}"),
            BadEnd::Killed(signal) => write!(f, "it was killed by signal {signal}"),
            BadEnd::TimedOut => f.write_str("it took longer than its timeout and was killed"),
            BadEnd::NotRun(errno) => f.write_str(&errno_words(*errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_survives_the_channel() {
        for end in [BadEnd::Exited(1), BadEnd::Exited(255), BadEnd::Killed(9), BadEnd::TimedOut, BadEnd::NotRun(2)] {
            assert_eq!(BadEnd::from_number(end.to_number()), end);
        }
    }

    fn refused(json: &str) -> String {
        let hooks: Vec<oci_spec::runtime::Hook> = serde_json::from_str(json).unwrap();
        Hook::all("poststart", &hooks, &[]).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_hook_that_cannot_be_is_named() {
        assert_eq!(
            refused(r#"[{"path":"/ok"},{"path":"x"}]"#),
            "config.json: hooks.poststart[1]: path x is not absolute"
        );
        assert!(refused(r#"[{"path":"/ok","timeout":0}]"#).ends_with("timeout must be greater than zero"));
        assert_eq!(refused(r#"[{"path":"/ok","timeout":1,"args":["a","b"],"env":["A=b"]}]"#), "");
    }
}
