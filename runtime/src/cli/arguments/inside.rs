//! The flags of `exec`.

use clap::{ArgAction, Args};
use std::path::PathBuf;

// `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Send the terminal's master to this unix socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Send a pidfd of the process to this unix socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// NAME=value, more than once
    #[arg(short, long, value_name = "ENV", action = ArgAction::Append)]
    pub(crate) env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// UID[:GID]
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// Further groups, more than once
    #[arg(short = 'g', long, value_name = "GID", action = ArgAction::Append)]
    pub(crate) additional_gids: Vec<u32>,
    /// The process of a config.json, as a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Write its pid to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Set-user-id programs gain nothing
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// One more capability, more than once
    #[arg(short, long, value_name = "CAP", action = ArgAction::Append)]
    pub(crate) cap: Vec<String>,
    /// Hand this many descriptors from 3 on to the program
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) preserve_fds: u32,
    /// Join this control group below the container's own; with controllers, in these hierarchies alone
    #[arg(long, value_name = "[CONTROLLER,...:]PATH", action = ArgAction::Append)]
    pub(crate) cgroup: Vec<String>,
    /// Go into a paused container; the process waits there until it is resumed
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// Confine it by this AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub(crate) apparmor: Option<String>,
    /// Give it this SELinux label
    #[arg(long, value_name = "LABEL")]
    pub(crate) process_label: Option<String>,
    // `exec` never adopts orphans, so this is always obeyed.
    #[arg(long, hide = true)]
    pub(crate) no_subreaper: bool,
    /// The container's name, the program and its arguments: whatever stands behind the name is the program's
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["ID", "COMMAND"])]
    words: Vec<String>,
}

impl Exec {
    pub(crate) fn id(&self) -> &str {
        &self.words[0]
    }

    /// Empty with `--process`.
    pub(crate) fn command(&self) -> &[String] {
        &self.words[1..]
    }
}
