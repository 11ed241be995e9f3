//! runc's verbs and flags as plain data (man 8 runc).

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// An OCI runtime that containerd, Docker and Podman can use in place of runc.
#[derive(Debug, Parser)]
#[command(name = "rbox-runtime", version, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Write warnings and errors to this file as well
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// The form of the log's lines
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Log each step with the time it took
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// Directory for the states of containers
    #[arg(long, global = true, default_value = "/run/rbox-runtime", value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Let systemd make the control groups
    #[arg(long, global = true)]
    pub(crate) systemd_cgroup: bool,
    /// Run as an ordinary user
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) rootless: String,
    /// The verb
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Verb {
    Create(Create),
    Start(Start),
    State(State),
    Kill(Kill),
    Delete(Delete),
    Run(Run),
    Exec(Exec),
    Spec(SpecFile),
}

/// Name, one line, flags.
type Described = (&'static str, &'static str, fn(Command) -> Command);

static VERBS: [Described; 8] = [
    ("create", "Make a container from a bundle; its program does not run yet", Create::augment_args),
    ("start", "Let the program of a created container run", Start::augment_args),
    ("state", "Print the state of a container as JSON", State::augment_args),
    ("kill", "Send a signal to a container's first process (SIGTERM unless named)", Kill::augment_args),
    ("delete", "Remove what is left of a container", Delete::augment_args),
    ("run", "Create and start a container, and wait for its end", Run::augment_args),
    ("exec", "Run a further process in a container", Exec::augment_args),
    ("spec", "Write a config.json to begin with", SpecFile::augment_args),
];

/// By hand and not derived for one reason: only the flags of the verb that is called are built (`defer`). All of them
/// took 0.3 ms, a tenth of a container's start.
impl Subcommand for Verb {
    fn augment_subcommands(command: Command) -> Command {
        command.subcommands(VERBS.map(|(name, about, flags)| Command::new(name).about(about).defer(flags)))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Verb::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        VERBS.iter().any(|(known, _, _)| *known == name)
    }
}

impl FromArgMatches for Verb {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Verb, clap::Error> {
        Ok(match matches.subcommand() {
            Some(("create", flags)) => Verb::Create(Create::from_arg_matches(flags)?),
            Some(("start", flags)) => Verb::Start(Start::from_arg_matches(flags)?),
            Some(("state", flags)) => Verb::State(State::from_arg_matches(flags)?),
            Some(("kill", flags)) => Verb::Kill(Kill::from_arg_matches(flags)?),
            Some(("delete", flags)) => Verb::Delete(Delete::from_arg_matches(flags)?),
            Some(("run", flags)) => Verb::Run(Run::from_arg_matches(flags)?),
            Some(("exec", flags)) => Verb::Exec(Exec::from_arg_matches(flags)?),
            Some(("spec", flags)) => Verb::Spec(SpecFile::from_arg_matches(flags)?),
            _ => return Err(Arguments::command().error(ErrorKind::MissingSubcommand, "a verb is missing")),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Verb::from_arg_matches(matches)?;
        Ok(())
    }
}

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
    /// Use MS_MOVE instead of pivot_root (not supported)
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

// `start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The container's name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

// `state`.
#[derive(Debug, Args)]
pub(crate) struct State {
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
    /// The container's name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
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
