//! The flags of the verbs that make, end and describe a container.

use clap::Args;
use std::path::PathBuf;

// Flags that `create` and `run` share. (No doc comment: clap would take it for the verb's line.)
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The bundle's directory
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub(crate) bundle: PathBuf,
    /// Send the terminal's master to this unix socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Send a pidfd of the container's first process to this unix socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Write the pid of the container's first process to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Change the root by chroot and not by pivot_root, which an initramfs refuses: less safe
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Stay in the caller's session keyring
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// Hand this many descriptors from 3 on to the program
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) preserve_fds: u32,
    /// The container's name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

// `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) create: Create,
    /// Do not wait for the container's end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Keep the container's state when it has ended
    #[arg(long)]
    pub(crate) keep: bool,
    /// Do not adopt the container's orphans
    #[arg(long)]
    pub(crate) no_subreaper: bool,
}

// The verbs that take a container and nothing else: `start`, `state`, `pause`, `resume`.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The container's name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

// `kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Send it to all processes of the container
    #[arg(short, long)]
    pub(crate) all: bool,
    /// The container's name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// By name or number
    #[arg(default_value = "SIGTERM", value_name = "SIGNAL", allow_hyphen_values = true)]
    pub(crate) signal: String,
}

// `delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// End it first; a container that does not exist is no error
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The container's name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

// `spec`.
#[derive(Debug, Args)]
pub(crate) struct SpecFile {
    /// The bundle's directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// For an ordinary user
    #[arg(id = "for_rootless", long = "rootless")]
    pub(crate) rootless: bool,
}
