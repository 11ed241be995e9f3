//! Mistakes on the command line, in our words: clap says what is wrong, this says it to the person.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::flags;
use super::{INCOMPLETE, Problem};
use crate::cli;

/// Word what clap found wrong with `words`.
pub(crate) fn usage(error: &clap::Error, words: &[OsString]) -> Problem {
    let arg = flag_name(&text(error, ContextKind::InvalidArg));
    match error.kind() {
        ErrorKind::UnknownArgument => unknown_flag(error, &arg, words),
        ErrorKind::InvalidSubcommand => unknown_verb(error),
        ErrorKind::ValueValidation => {
            let typed = text(error, ContextKind::InvalidValue);
            let why = std::error::Error::source(error).map_or_else(|| "not understood".to_owned(), ToString::to_string);
            let mut problem = Problem::new(format!("{arg} {typed}: {why}"));
            if flags::is_judged_late(&verb_of(words), &arg, &why) {
                problem = problem.code(INCOMPLETE);
            }
            match flags::VALUES.iter().find(|(reason, _)| why.contains(reason)) {
                Some((_, hint)) => problem.hint(*hint),
                None => problem,
            }
        }
        ErrorKind::InvalidValue | ErrorKind::NoEquals => {
            let typed = text(error, ContextKind::InvalidValue);
            if typed.is_empty() {
                return Problem::new(format!("{arg} needs a value"));
            }
            let valid = text(error, ContextKind::ValidValue);
            Problem::new(format!("{arg} {typed}: not one of {valid}"))
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = arg.replace(['<', '>'], "").replace("...", "");
            let missing = missing.split(" [").next().unwrap_or(&missing).trim().to_owned();
            let hint = format!("see {} --help", verb_of(words));
            Problem::new(format!("{missing} is missing")).hint(hint).code(INCOMPLETE)
        }
        ErrorKind::TooManyValues => Problem::new(format!("{arg} takes no value")),
        ErrorKind::InvalidUtf8 => Problem::new("an argument is not UTF-8"),
        _ => {
            let whole = error.render().to_string();
            let first = whole.lines().next().unwrap_or_default();
            Problem::new(first.strip_prefix("error: ").unwrap_or(first))
        }
    }
}

fn unknown_flag(error: &clap::Error, arg: &str, words: &[OsString]) -> Problem {
    let verb = verb_of(words);
    if !arg.starts_with('-') {
        return Problem::new(format!("unexpected argument {arg}")).hint(format!("see {verb} --help")).code(INCOMPLETE);
    }
    // `-net=host` reaches clap as the letters n, e, t: look for the word that was typed.
    if let Some((typed, meant)) = single_dash(arg, words) {
        return Problem::new(format!("unknown flag {typed}")).hint(format!("did you mean -{meant}?"));
    }
    if ["rbox run", "rbox create", "rbox container run", "rbox container create"].contains(&verb.as_str())
        && let Some(refusal) = flags::refused(arg)
    {
        let problem = Problem::new(format!("{arg} is not supported"));
        return if refusal.is_empty() { problem } else { problem.hint(refusal) };
    }
    let problem = Problem::new(format!("unknown flag {arg}"));
    if ["--root", "--state"].contains(&arg) {
        return problem.hint(format!("it goes before the verb: rbox {arg} DIR {}", verb.trim_start_matches("rbox ")));
    }
    match text(error, ContextKind::SuggestedArg) {
        none if none.is_empty() => problem.hint(format!("see {verb} --help")),
        meant => problem.hint(format!("did you mean {}?", flag_name(&meant))),
    }
}

/// The word behind a letter that clap does not know, when it is a long flag with one dash: (`-net`, `-net=host`).
fn single_dash(arg: &str, words: &[OsString]) -> Option<(String, String)> {
    let letter = arg.strip_prefix('-').filter(|rest| rest.chars().count() == 1)?;
    let all = cli::command();
    let run = all.find_subcommand("run")?;
    words.iter().filter_map(|word| word.to_str()).find_map(|word| {
        let name = word.split('=').next().unwrap_or(word);
        let long = name.strip_prefix('-').filter(|long| long.len() > 2 && long.contains(letter))?;
        let known = run.get_arguments().any(|arg| {
            arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|names| names.contains(&long))
        }) || flags::refused(&format!("--{long}")).is_some();
        known.then(|| (name.to_owned(), word.to_owned()))
    })
}

fn unknown_verb(error: &clap::Error) -> Problem {
    let typed = text(error, ContextKind::InvalidSubcommand);
    if flags::is_docker_verb(&typed) {
        return Problem::new(format!("the command {typed} is not supported"));
    }
    let problem = Problem::new(format!("unknown command {typed}"));
    match text(error, ContextKind::SuggestedSubcommand) {
        none if none.is_empty() => problem.hint("see rbox --help"),
        // The one that is meant most likely is said last.
        meant => {
            let likely: Vec<&str> = meant.rsplit(", ").collect();
            problem.hint(format!("did you mean {}?", likely.join(" or ")))
        }
    }
}

/// `rbox run`, `rbox image ls`: the verb in `words`, for pointing to its help.
fn verb_of(words: &[OsString]) -> String {
    let all = cli::command();
    let mut at = &all;
    let mut name = "rbox".to_owned();
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        match at.find_subcommand(word) {
            Some(below) => {
                at = below;
                name = format!("{name} {}", below.get_name());
            }
            None if at.has_subcommands() => {}
            None => break,
        }
    }
    name
}

/// `--memory <BYTES>`, `--tty[=<X>]`: the flag alone.
fn flag_name(text: &str) -> String {
    if text.starts_with('-') { text.split([' ', '[', '=']).next().unwrap_or(text).to_owned() } else { text.to_owned() }
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report;
    use crate::cli::{Stop, parse};

    /// The line and the hint that a person gets, without `rbox: `.
    fn said(line: &str) -> (String, Option<String>) {
        let words = line.split(' ').map(Into::into).collect();
        match parse(words) {
            Err(Stop::Wrong(problem)) => {
                let report = report(&problem.into());
                let is_late = report.message.ends_with(" is missing")
                    || ["unexpected", "--signal"].iter().any(|words| report.message.starts_with(words));
                assert_eq!(report.code, if is_late { 1 } else { 125 }, "{line}");
                (report.message, report.hint)
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn each_mistake_has_its_line_and_its_hint() {
        for (line, message, hint) in [
            ("rbox run --nmae x alpine", "unknown flag --nmae", Some("did you mean --name?")),
            ("rbox run -net=host alpine", "unknown flag -net", Some("did you mean --net=host?")),
            ("rbox run -name web alpine", "unknown flag -name", Some("did you mean --name?")),
            ("rbox run -zzz alpine", "unknown flag -z", Some("see rbox run --help")),
            ("rbox run --root /x alpine", "unknown flag --root", Some("it goes before the verb: rbox --root DIR run")),
            ("rbox run --memory 5x alpine", "--memory 5x: not a size: write 512m, 1.5g or a number of bytes", None),
            ("rbox run -m 5x alpine", "--memory 5x: not a size: write 512m, 1.5g or a number of bytes", None),
            ("rbox run --pull sometimes alpine", "--pull sometimes: not one of always, missing, never", None),
            ("rbox run --cpu-quota many alpine", "--cpu-quota many: invalid digit found in string", None),
            ("rbox run --name", "--name needs a value", None),
            ("rbox run --rm", "IMAGE is missing", Some("see rbox run --help")),
            ("rbox pull", "NAME[:TAG|@DIGEST] is missing", Some("see rbox pull --help")),
            ("rbox pul alpine", "unknown command pul", Some("did you mean pull or publish?")),
            ("rbox events", "the command events is not supported", None),
            ("rbox image inspekt x", "unknown command inspekt", Some("did you mean inspect?")),
            ("rbox tag a b c", "unexpected argument c", Some("see rbox tag --help")),
            ("rbox kill -s NO x", "--signal NO: not a signal", None),
            ("rbox run --network container: alpine", "--network container:: not of the form container:NAME", None),
            (
                "rbox run -v data:/x alpine",
                "--volume data:/x: named volumes are not supported",
                Some("a path on the left shows a directory of the host: -v /srv/data:/x"),
            ),
        ] {
            let (got, got_hint) = said(line);
            assert_eq!((got.as_str(), got_hint.as_deref()), (message, hint), "{line}");
        }
    }
}
