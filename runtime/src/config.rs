//! Reading config.json, and parts of it: an error names the place by its JSON path.
//!
//! What the specification wants tolerated is tolerated, on a second reading: the first, which nearly always is enough,
//! takes 30 µs and asks for no paths.

mod place;

use crate::error::{Doing, Error, Result};
use oci_spec::runtime::{Capability, LinuxSchedulerFlag};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

/// The content of a file that has the form of config.json, or of its `process`, or of its `linux.resources`.
#[derive(Debug)]
pub struct Config<T> {
    /// As the specification says.
    pub content: T,
    /// What was left out because the specification wants a warning and no error.
    pub warnings: Vec<String>,
}

impl<T: DeserializeOwned> Config<T> {
    /// Read `path`.
    ///
    /// # Errors
    /// `Os`; `InvalidSpec` with the JSON path of what is wrong.
    pub fn read(path: &Path) -> Result<Config<T>> {
        let text = std::fs::read(path).doing(|| format!("read {}", path.display()))?;
        // "config.json" is what the errors of the plan begin with, wherever the bundle lies.
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        Config::parse(&text, &name)
    }

    /// Understand `text`; `name` is what its errors begin with.
    ///
    /// # Errors
    /// `InvalidSpec`.
    pub fn parse(text: &[u8], name: &str) -> Result<Config<T>> {
        if let Ok(content) = serde_json::from_slice(text) {
            return Ok(Config { content, warnings: vec![] });
        }
        let odd = |path: String, why: String| Error::InvalidSpec { path, why };
        let mut value: Value = serde_json::from_slice(text).map_err(|error| odd(name.to_owned(), error.to_string()))?;
        let mut warnings = Vec::new();
        tolerate(&mut value, &mut warnings);
        let text = value.to_string();
        let content = serde_json::from_slice(text.as_bytes()).map_err(|error| {
            let position = format!(" at line {} column {}", error.line(), error.column());
            let why = error.to_string().replace(&position, "");
            // One line, so that the column counts from its beginning. A value that was read well and then not liked is told of
            // behind the end of what it is the last part of; a field that is missing, too, and there that is right.
            let behind = error.column().saturating_sub(usize::from(
                !why.starts_with("missing field")
                    && text.as_bytes().get(..error.column()).is_some_and(|behind| behind.ends_with(b"}")),
            ));
            let place = match place::place(text.as_bytes(), behind) {
                way if way.is_empty() => name.to_owned(),
                way => format!("{name}: {way}"),
            };
            odd(place, why)
        })?;
        Ok(Config { content, warnings })
    }
}

/// Change what the specification allows and oci-spec does not read.
fn tolerate(value: &mut Value, warnings: &mut Vec<String>) {
    let process = if value.get("process").is_some() { &mut value["process"] } else { value };
    // config.md#linux-process: "Any value which cannot be mapped to a relevant kernel interface […] MUST be logged as a
    // warning by the runtime. Runtimes SHOULD NOT fail".
    if let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.retain(|one| {
                let known = serde_json::from_value::<Capability>(one.clone()).is_ok() || !one.is_string();
                let words = format!("process.capabilities: {one} is unknown and left out");
                if !known && !warnings.contains(&words) {
                    warnings.push(words);
                }
                known
            });
        }
    }
    // Names that oci-spec 0.10 spells otherwise than config.md#linux-process.
    let names = [
        ("SCHED_FLAG_RESET_ON_FORK", LinuxSchedulerFlag::SchedResetOnFork),
        ("SCHED_FLAG_DL_OVERRUN", LinuxSchedulerFlag::SchedFlagDLOverrun),
    ];
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        if let Some((_, known)) = names.iter().find(|(name, _)| flag == name) {
            *flag = serde_json::to_value(known).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{Process, Spec};

    fn spec(process: &str, linux: &str) -> String {
        format!(
            r#"{{"ociVersion":"1.0.2","root":{{"path":"x"}},"process":{{"cwd":"/","user":{{"uid":0,"gid":0}}{process}}},"linux":{{{linux}}}}}"#
        )
    }

    fn refused(text: &str) -> String {
        Config::<Spec>::parse(text.as_bytes(), "config.json").unwrap_err().to_string()
    }

    #[test]
    fn an_error_has_the_path_of_its_place() {
        let text = spec("", r#""namespaces":[{"type":"pid"},{"type":"paper"}]"#);
        assert!(
            refused(&text).starts_with("config.json: linux.namespaces[1].type: unknown variant `paper`"),
            "{}",
            refused(&text)
        );
        let text = spec(r#","rlimits":[{"type":"RLIMIT_X","hard":1,"soft":1}]"#, "");
        assert!(
            refused(&text).starts_with("config.json: process.rlimits[0].type: unknown variant `RLIMIT_X`"),
            "{}",
            refused(&text)
        );
        let affinity = refused(&spec(r#","execCPUAffinity":{"final":"a-b"}"#, ""));
        assert!(affinity.starts_with("config.json: process.execCPUAffinity.final: Invalid"), "{affinity}");
        let missing = refused(&spec("", r#""namespaces":[{"type":"pid"},{}]"#));
        assert_eq!(missing, "config.json: linux.namespaces[1]: missing field `type`");
        assert!(refused("{").starts_with("config.json: EOF"), "{}", refused("{"));
    }

    #[test]
    fn unknown_capabilities_are_left_out_with_a_warning_each() {
        let process = r#"{"cwd":"/","user":{"uid":0,"gid":0},"capabilities":{"bounding":["CAP_KILL","CAP_FLY"],"permitted":["CAP_FLY"]}}"#;
        let read = Config::<Process>::parse(process.as_bytes(), "process.json").unwrap();
        let bounding = read.content.capabilities().as_ref().unwrap().bounding().clone().unwrap();
        assert_eq!(bounding.into_iter().collect::<Vec<_>>(), [Capability::Kill]);
        assert_eq!(read.warnings, ["process.capabilities: \"CAP_FLY\" is unknown and left out"]);
    }

    #[test]
    fn flags_of_the_scheduler_have_the_names_of_the_specification() {
        let text = spec(
            r#","scheduler":{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_DL_OVERRUN"]}"#,
            "",
        );
        let read = Config::<Spec>::parse(text.as_bytes(), "config.json").unwrap();
        let process = read.content.process().clone().unwrap();
        let flags = process.scheduler().clone().unwrap().flags().clone().unwrap();
        assert_eq!(flags, [LinuxSchedulerFlag::SchedResetOnFork, LinuxSchedulerFlag::SchedFlagDLOverrun]);
        assert!(read.warnings.is_empty());
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let text = spec(r#","novelty":1"#, r#""resources":{"novelty":{}}"#);
        assert!(Config::<Spec>::parse(text.as_bytes(), "config.json").is_ok());
    }
}
