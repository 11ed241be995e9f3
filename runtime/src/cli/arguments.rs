//! runc's verbs and flags as plain data (man 8 runc).

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

// By path, because the library reads this file too, under another name.
#[path = "arguments/inside.rs"]
mod inside;
#[path = "arguments/life.rs"]
mod life;
#[path = "arguments/limits.rs"]
mod limits;
#[path = "arguments/look.rs"]
pub(crate) mod look;

pub(crate) use inside::Exec;
pub(crate) use life::{Create, Delete, Kill, One, Run, SpecFile};
pub(crate) use limits::Update;
pub(crate) use look::{Events, List, Nothing, Ps};

/// As runc says it, which Docker reads: `NAME version NUMBER`, and the specification's in a line of its own.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// Where root's states are, unless he says another place.
pub(crate) const STATE_ROOT: &str = "/run/rbox-runtime";

/// An OCI runtime that containerd, Docker and Podman can use in place of runc.
#[derive(Debug, Parser)]
#[command(name = "rbox-runtime", version = VERSION, disable_version_flag = true, disable_help_subcommand = true)]
#[command(max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print the version, and that of the specification
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
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
    #[arg(long, global = true, default_value = STATE_ROOT, value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Let systemd make the control groups
    #[arg(long, global = true)]
    pub(crate) systemd_cgroup: bool,
    /// Run as an ordinary user
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) rootless: Rootless,
    /// Ignored: there is no checkpoint for which to call it
    #[arg(long, global = true, value_name = "PROGRAM", hide = true)]
    pub(crate) criu: Option<PathBuf>,
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

/// `--rootless`, with the words that runc takes for true and false (Go's strconv.ParseBool).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rootless {
    Auto,
    #[value(alias = "1", alias = "t", alias = "T", alias = "TRUE", alias = "True")]
    True,
    #[value(alias = "0", alias = "f", alias = "F", alias = "FALSE", alias = "False")]
    False,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Verb {
    Create(Create),
    Start(One),
    State(One),
    Kill(Kill),
    Delete(Delete),
    Run(Run),
    Exec(Exec),
    Pause(One),
    Resume(One),
    Update(Update),
    List(List),
    Ps(Ps),
    Events(Events),
    Features,
    Spec(SpecFile),
    Checkpoint,
    Restore,
}

impl Verb {
    /// The container whose processes the verb has to do with.
    pub(crate) fn of_a_living_one(&self) -> Option<&str> {
        Some(match self {
            Verb::Start(one) | Verb::Pause(one) | Verb::Resume(one) => &one.id,
            Verb::Kill(flags) => &flags.id,
            Verb::Delete(flags) => &flags.id,
            Verb::Exec(flags) => flags.id(),
            Verb::Update(flags) => &flags.id,
            Verb::Ps(flags) => flags.id(),
            Verb::Events(flags) => &flags.id,
            _ => return None,
        })
    }
}

/// Name, one line, flags.
type Described = (&'static str, &'static str, fn(Command) -> Command);

static VERBS: [Described; 17] = [
    ("create", "Make a container from a bundle; its program does not run yet", Create::augment_args),
    ("start", "Let the program of a created container run", One::augment_args),
    ("state", "Print the state of a container as JSON", One::augment_args),
    ("kill", "Send a signal to a container's first process (SIGTERM unless named)", Kill::augment_args),
    ("delete", "Remove what is left of a container", Delete::augment_args),
    ("run", "Create and start a container, and wait for its end", Run::augment_args),
    ("exec", "Run a further process in a container", Exec::augment_args),
    ("pause", "Let all processes of a container stand still", One::augment_args),
    ("resume", "Let the processes of a paused container go on", One::augment_args),
    ("update", "Change the limits of a container", Update::augment_args),
    ("list", "List the containers below --root", List::augment_args),
    ("ps", "List the processes of a container", Ps::augment_args),
    ("events", "Print what a container uses, again and again, and each lack of memory", Events::augment_args),
    ("features", "Print what this runtime can do as JSON", Nothing::augment_args),
    ("spec", "Write a config.json to begin with", SpecFile::augment_args),
    ("checkpoint", "Save a running container (not supported)", look::anything),
    ("restore", "Go on with a saved container (not supported)", look::anything),
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
        let missing = || Arguments::command().error(ErrorKind::MissingSubcommand, "a verb is missing");
        let (name, flags) = matches.subcommand().ok_or_else(missing)?;
        Ok(match name {
            "create" => Verb::Create(Create::from_arg_matches(flags)?),
            "start" => Verb::Start(One::from_arg_matches(flags)?),
            "state" => Verb::State(One::from_arg_matches(flags)?),
            "kill" => Verb::Kill(Kill::from_arg_matches(flags)?),
            "delete" => Verb::Delete(Delete::from_arg_matches(flags)?),
            "run" => Verb::Run(Run::from_arg_matches(flags)?),
            "exec" => Verb::Exec(Exec::from_arg_matches(flags)?),
            "pause" => Verb::Pause(One::from_arg_matches(flags)?),
            "resume" => Verb::Resume(One::from_arg_matches(flags)?),
            "update" => Verb::Update(Update::from_arg_matches(flags)?),
            "list" => Verb::List(List::from_arg_matches(flags)?),
            "ps" => Verb::Ps(Ps::from_arg_matches(flags)?),
            "events" => Verb::Events(Events::from_arg_matches(flags)?),
            "features" => Verb::Features,
            "spec" => Verb::Spec(SpecFile::from_arg_matches(flags)?),
            "checkpoint" => Verb::Checkpoint,
            "restore" => Verb::Restore,
            _ => return Err(missing()),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Verb::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
        for verb in Arguments::command().get_subcommands_mut() {
            verb.build();
        }
    }

    #[test]
    fn every_verb_is_in_the_table() {
        let names = VERBS.map(|(name, ..)| name);
        for name in names {
            let words = ["rbox-runtime", name, "x"];
            let unknown =
                Arguments::try_parse_from(words).is_err_and(|error| error.kind() == ErrorKind::InvalidSubcommand);
            assert!(!unknown, "{name}");
        }
    }
}
