//! Files of variables and labels (docker/cli `opts/file.go`): a line each, `#` begins a comment.

use std::path::{Path, PathBuf};

use super::host::cause;
use crate::report::Problem;

/// The variables of `--env-file` and behind them those of `-e`, each with its value; `caller` knows the caller's own.
///
/// A name without a value takes the caller's. Where the caller has none, a file's line says nothing, but `-e NAME` takes the
/// image's variable away.
pub(crate) fn environment(
    env_files: &[PathBuf],
    typed: &[String],
    caller: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, Problem> {
    let mut all = Vec::new();
    for file in env_files {
        for (name, value) in lines(file, "--env-file")? {
            let value = value.or_else(|| caller(&name));
            all.extend(value.map(|value| format!("{name}={value}")));
        }
    }
    all.extend(typed.iter().map(|variable| match caller(variable) {
        Some(value) if !variable.contains('=') => format!("{variable}={value}"),
        _ => variable.clone(),
    }));
    Ok(all)
}

/// The labels of `--label-file`; one without a value is empty.
pub(super) fn labels(label_files: &[PathBuf]) -> Result<Vec<(String, String)>, Problem> {
    let mut all = Vec::new();
    for file in label_files {
        all.extend(lines(file, "--label-file")?.into_iter().map(|(key, value)| (key, value.unwrap_or_default())));
    }
    Ok(all)
}

fn lines(file: &Path, flag: &str) -> Result<Vec<(String, Option<String>)>, Problem> {
    let wrong = |why: &str| Problem::new(format!("{flag} {}: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| wrong(&cause(&error)))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        wrong(&format!("line {line} is not UTF-8"))
    })?;
    variables(&text).map_err(|why| wrong(&why))
}

/// The variables of a file's text; an editor's byte order mark does not count.
fn variables(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut found = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line.trim_end(), None),
        };
        let number = number + 1;
        if name.is_empty() {
            return Err(format!("line {number} has no name before the ="));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!("line {number}: a name holds no white space: {name:?}"));
        }
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docker/cli opts/file_test.go and envfile_test.go.
    #[test]
    fn a_file_of_variables_is_read_line_by_line() {
        let text = "\u{feff}foo=bar\n  baz=quux\n# comment\n\n_foobar=foobaz\nwith.dots=working\nand_underscore=working too \nEMPTY=\nHOME\n";
        let got: Vec<String> = variables(text)
            .unwrap()
            .into_iter()
            .map(|(name, value)| value.map_or(name.clone(), |value| format!("{name}={value}")))
            .collect();
        assert_eq!(
            got,
            [
                "foo=bar",
                "baz=quux",
                "_foobar=foobaz",
                "with.dots=working",
                "and_underscore=working too ",
                "EMPTY=",
                "HOME"
            ]
        );
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert_eq!(variables("A=1\n=2\n"), Err("line 2 has no name before the =".into()));
        assert_eq!(variables("f   =quux"), Err("line 1: a name holds no white space: \"f   \"".into()));
        assert_eq!(variables("a b"), Err("line 1: a name holds no white space: \"a b\"".into()));
    }

    #[test]
    fn names_alone_take_the_callers_value() {
        let caller = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        let typed = ["HOME", "GONE", "A=1", "EMPTY="].map(str::to_owned);
        assert_eq!(environment(&[], &typed, caller).unwrap(), ["HOME=/root", "GONE", "A=1", "EMPTY="]);

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "HOME\nGONE\nB=2\n").unwrap();
        let got = environment(&[file.path().to_owned()], &typed[2..3], caller).unwrap();
        assert_eq!(got, ["HOME=/root", "B=2", "A=1"]);
    }

    #[test]
    fn a_file_that_is_not_there_or_not_text_is_named() {
        let missing = environment(&["/nowhere/env".into()], &[], |_| None).unwrap_err();
        assert_eq!(missing.to_string(), "--env-file /nowhere/env: no such file or directory");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"A=1\nB=\xff\n").unwrap();
        let wrong = labels(&[file.path().to_owned()]).unwrap_err().to_string();
        assert!(wrong.ends_with(": line 2 is not UTF-8"), "{wrong}");
    }
}
