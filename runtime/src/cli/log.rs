//! The log as runc writes it: containerd shows its users the last error line of the file.

use super::arguments::{Arguments, LogFormat};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// One line for a person.
pub(crate) fn stderr(message: &str) {
    let _ = writeln!(std::io::stderr(), "rbox-runtime: {message}");
}

/// Where errors and, with `--debug`, steps go: standard error, and the file of `--log`.
pub(crate) struct Log {
    file: Option<PathBuf>,
    format: LogFormat,
}

impl Log {
    pub(crate) fn new(arguments: &Arguments) -> Log {
        let log = Log { file: arguments.log.clone(), format: arguments.log_format };
        if arguments.debug {
            let steps = Log { file: log.file.clone(), format: log.format };
            rbox_explain::listen(move |record| {
                let answer = match &record.result {
                    Ok(answer) if answer.is_empty() => "ok".to_owned(),
                    Ok(answer) => answer.clone(),
                    Err(cause) => cause.clone(),
                };
                let took = record.took.as_micros();
                steps.line("debug", &format!("{} {}: {answer} ({took} µs)", record.actor, record.request));
            });
        }
        log
    }

    /// One line for an error: to the log, and to standard error for a person.
    pub(crate) fn error(&self, message: &str) {
        if self.file.is_some() {
            self.line("error", message);
        }
        stderr(message);
    }

    fn line(&self, level: &str, message: &str) {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let line = match self.format {
            LogFormat::Json => serde_json::json!({ "level": level, "msg": message, "time": time }).to_string(),
            LogFormat::Text => format!("time={time:?} level={level} msg={message:?}"),
        };
        let Some(path) = &self.file else {
            let _ = writeln!(std::io::stderr(), "{line}");
            return;
        };
        // One write a line: several runtimes may share the file.
        if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}
