//! Docker's habits on the command line, put on top of clap.
//!
//! - A flag takes the next word as its value, whatever it begins with: `--memory-swap -1`.
//! - A switch may be given its value: `--rm=false`, `-t=false`.
//! - Everything behind the image's name is the program's: clap's trailing words.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, FromArgMatches};

use super::value::{self, LogDriver, RestartPolicy};
use super::{Cli, ContainerVerb, RunArgs, Verb};
use crate::report::{self, Problem};

/// Why there is nothing to do.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The help or the version was asked for: this is it.
    Say(String),
    /// The words cannot be understood.
    Wrong(Problem),
}

/// The whole command line as clap knows it; man pages and completion are made of it too.
pub(crate) fn command() -> Command {
    take_any_value(Cli::command()).disable_colored_help(true)
}

/// Turn the words behind `rbox` into data; `words` begins with the program's own name.
///
/// Errors: the words are not understood, or ask for what rbox does not do.
pub(crate) fn parse(mut words: Vec<OsString>) -> Result<Cli, Stop> {
    let cli = loop {
        let error = match command().try_get_matches_from(&words) {
            Ok(matches) => match Cli::from_arg_matches(&matches) {
                Ok(cli) => break cli,
                Err(error) => error,
            },
            Err(error) => error,
        };
        if is_switch_with_value(&error) {
            words = settle_switch(&error, words)?;
            continue;
        }
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingSubcommand => return Err(Stop::Say(help_of(&error, &words))),
            _ => return Err(Stop::Wrong(report::usage(&error, &words))),
        }
    };
    match &cli.verb {
        Verb::Run(verb) | Verb::Container(ContainerVerb::Run(verb)) => check(&verb.flags)?,
        Verb::Create(verb) | Verb::Container(ContainerVerb::Create(verb)) => check(&verb.flags)?,
        _ => {}
    }
    Ok(cli)
}

/// Flags that do not go together.
fn check(flags: &RunArgs) -> Result<(), Stop> {
    let wrong = |words: &str| Err(Stop::Wrong(Problem::new(words)));
    let networks = flags.network.typed();
    if networks.len() > 1 {
        let alone = networks
            .iter()
            .find(|flag| ["host", "none"].contains(&flag.name.as_str()) || flag.name.starts_with("container:"));
        if let Some(alone) = alone {
            return wrong(&format!("--network {}: it can have no other beside it", alone.name));
        }
        let twice =
            networks.iter().enumerate().find(|(at, flag)| networks[..*at].iter().any(|it| it.name == flag.name));
        if let Some((_, twice)) = twice {
            return wrong(&format!("--network {}: it is there twice", twice.name));
        }
    }
    if flags.container.rm && flags.container.restart != RestartPolicy::No {
        return wrong("--restart and --rm: what is removed cannot be started again");
    }
    if flags.log.log_driver == LogDriver::None && !flags.log.log_opt.is_empty() {
        return wrong("--log-opt: there is no log with --log-driver none");
    }
    Ok(())
}

fn help_of(error: &clap::Error, words: &[OsString]) -> String {
    if error.kind() != ErrorKind::MissingSubcommand {
        return error.render().to_string();
    }
    // `rbox`, `rbox image`: the help of as much as was typed.
    let mut at = command();
    at.build();
    for word in &words[1..] {
        if let Some(below) = word.to_str().and_then(|name| at.find_subcommand(name)) {
            at = below.clone();
        }
    }
    at.render_help().to_string()
}

/// A value is the next word, even where it begins with a dash.
fn take_any_value(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let takes = arg.get_action().takes_values() && !arg.is_positional() && !arg.is_require_equals_set();
            if takes { arg.allow_hyphen_values(true) } else { arg }
        })
        .mut_subcommands(take_any_value)
}

/// clap has no value for a switch: `--rm=true` becomes `--rm`, `-it=false` becomes `-i`, and `--rm=false` goes away.
fn settle_switch(error: &clap::Error, mut words: Vec<OsString>) -> Result<Vec<OsString>, Stop> {
    let found = words.iter().enumerate().find_map(|(at, word)| {
        let (name, typed) = word.to_str()?.split_once('=')?;
        is_switch(error, name).then(|| (at, name.to_owned(), typed.to_owned()))
    });
    let Some((at, name, typed)) = found else { return Err(Stop::Wrong(report::usage(error, &words))) };
    let on = value::boolean(&typed).map_err(|why| Stop::Wrong(Problem::new(format!("{name} {typed}: {why}"))))?;
    match (on, name.starts_with("--"), name.len()) {
        (true, _, _) => words[at] = name.into(),
        (false, false, 3..) => words[at] = name[..name.len() - 1].into(),
        _ => drop(words.remove(at)),
    }
    Ok(words)
}

/// Whether `name`, typed before a `=`, is the switch that clap complains of: `--tty` by its name, `-it` as `-=`.
fn is_switch(error: &clap::Error, name: &str) -> bool {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::TooManyValues, Some(ContextValue::String(arg))) => name == arg,
        _ => {
            let letters = name.strip_prefix('-').filter(|letters| !letters.starts_with('-'));
            letters.and_then(|letters| letters.chars().last()).is_some_and(is_letter_of_switch)
        }
    }
}

fn is_letter_of_switch(letter: char) -> bool {
    let all = command();
    let mut commands = vec![&all];
    while let Some(at) = commands.pop() {
        if at.get_arguments().any(|arg| arg.get_short() == Some(letter) && !arg.get_action().takes_values()) {
            return true;
        }
        commands.extend(at.get_subcommands());
    }
    false
}

/// What clap says of `-t=false`: it reads the letters `t` and `=`.
fn is_switch_with_value(error: &clap::Error) -> bool {
    error.kind() == ErrorKind::TooManyValues
        || error.kind() == ErrorKind::UnknownArgument
            && matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(arg)) if arg.starts_with("-="))
}

#[cfg(test)]
mod tests {
    use super::super::{ExplainForm, RunVerb};
    use super::*;

    fn run(line: &str) -> RunArgs {
        verb(line).flags
    }

    fn verb(line: &str) -> Box<RunVerb> {
        match try_run(line) {
            Ok(run) => run,
            Err(message) => panic!("{line}: {message}"),
        }
    }

    fn try_run(line: &str) -> Result<Box<RunVerb>, String> {
        let words = ["rbox", "run"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
        match parse(words) {
            Ok(Cli { verb: Verb::Run(run), .. }) => Ok(run),
            Ok(other) => panic!("{other:?}"),
            Err(Stop::Say(text)) => Err(text),
            Err(Stop::Wrong(problem)) => Err(problem.to_string()),
        }
    }

    #[test]
    fn clap_finds_no_fault_in_the_table() {
        command().debug_assert();
    }

    #[test]
    fn options_end_at_the_image() {
        let got = run("--rm -it alpine sh -c --name -e");
        assert_eq!(got.image(), Some("alpine"));
        assert_eq!(got.command(), ["sh", "-c", "--name", "-e"]);
        assert!(got.container.rm && got.terminal.interactive && got.terminal.tty);
        assert_eq!(got.container.name, None);
        assert_eq!(run("alpine -it").command(), ["-it"]);
        assert_eq!(run("alpine --help").command(), ["--help"]);
    }

    #[test]
    fn a_root_directory_stands_for_the_image() {
        let got = run("--rootfs /srv/root sh -x");
        assert_eq!((got.image(), got.command()), (None, &["sh".to_owned(), "-x".to_owned()][..]));
    }

    #[test]
    fn values_may_begin_with_a_dash() {
        assert_eq!(run("--memory-swap -1 alpine").resources.memory_swap, Some(-1));
        assert_eq!(run("--pids-limit -1 alpine").resources.pids_limit, Some(-1));
        assert_eq!(run("-e A=-x alpine").container.env, ["A=-x"]);
        assert_eq!(run("-eA=x alpine").container.env, ["A=x"]);
        assert_eq!(run("-e=A=x alpine").container.env, ["A=x"]);
    }

    #[test]
    fn a_switch_may_be_told_its_value() {
        assert!(run("--rm=true alpine").container.rm);
        assert!(!run("--rm=false alpine").container.rm);
        let got = run("-it=false alpine");
        assert!(got.terminal.interactive && !got.terminal.tty);
        assert!(!run("-t=0 alpine").terminal.tty);
        assert!(!verb("--sig-proxy=false alpine").attach.sig_proxy);
        assert!(verb("--sig-proxy alpine").attach.sig_proxy);
        assert_eq!(try_run("--rm=maybe alpine").unwrap_err(), "--rm maybe: not true or false");
    }

    #[test]
    fn the_last_of_two_values_counts() {
        assert_eq!(run("--name one --name two alpine").container.name.as_deref(), Some("two"));
        assert!(run("--rm --rm alpine").container.rm);
    }

    #[test]
    fn network_has_two_names_and_a_default() {
        for (line, name) in [
            ("alpine", "bridge"),
            ("--network none alpine", "none"),
            ("--net=host alpine", "host"),
            ("--net default alpine", "bridge"),
        ] {
            assert_eq!(run(line).network.name(), name, "{line}");
        }
        assert_eq!(run("--net a1 --network name=b1,ip=10.0.0.2 alpine").network.names(), "a1,b1");
        assert_eq!(
            try_run("--net a1 --network host alpine").unwrap_err(),
            "--network host: it can have no other beside it"
        );
        assert_eq!(try_run("--net a1 --network a1 alpine").unwrap_err(), "--network a1: it is there twice");
    }

    #[test]
    fn what_is_said_beside_the_networks_is_of_the_first() {
        let flags = run("--net a1 --net b1 --ip 10.0.0.2 --network-alias db --link web:w alpine").network;
        let wanted = flags.wanted();
        assert_eq!((wanted[0].ip.unwrap().to_string(), wanted[1].ip), ("10.0.0.2".to_owned(), None));
        assert_eq!(wanted[0].aliases, ["db"]);
        assert_eq!((wanted[0].links[0].other.as_str(), wanted[0].links[0].alias.as_str()), ("web", "w"));
        // On the default network a link is a line in a file.
        assert!(run("--link web:w alpine").network.wanted()[0].links.is_empty());
    }

    #[test]
    fn explain_has_a_form() {
        assert_eq!(verb("--explain alpine").explain.explain, Some(ExplainForm::Brief));
        assert_eq!(verb("--explain=json alpine").explain.explain, Some(ExplainForm::Json));
        assert_eq!(verb("alpine").explain.explain, None);
    }

    #[test]
    fn h_is_the_host_name_and_help_is_help() {
        assert_eq!(run("-h box alpine").container.hostname.as_deref(), Some("box"));
        let help = try_run("--help").unwrap_err();
        for heading in [
            "Container:",
            "Terminal:",
            "File system:",
            "Resources:",
            "Security:",
            "Namespaces:",
            "Network:",
            "Explain:",
        ] {
            assert!(help.contains(&format!("\n{heading}\n")), "{heading} in\n{help}");
        }
        assert!(!help.contains("\nOptions:"), "every flag stands under a heading:\n{help}");
    }

    #[test]
    fn a_docker_flag_that_is_not_supported_is_refused_by_name() {
        for (line, message) in [
            ("--gpus all alpine", "--gpus is not supported"),
            ("--gpus=all alpine", "--gpus is not supported"),
            ("-a stdout alpine", "-a is not supported"),
            ("--link a:b:c alpine", "--link a:b:c: not of the form NAME[:ALIAS][,follow]"),
            ("--rm --restart always alpine", "--restart and --rm: what is removed cannot be started again"),
            ("--nmae web alpine", "unknown flag --nmae"),
            ("-net=host alpine", "unknown flag -net"),
            ("-name web alpine", "unknown flag -name"),
            ("-x alpine", "unknown flag -x"),
        ] {
            assert_eq!(try_run(line).map(|_| ()).unwrap_err(), message, "{line}");
        }
    }
}
