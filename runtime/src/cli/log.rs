//! The log as runc writes it: containerd shows its users the last error line of the file.

use super::arguments::LogFormat;
use rbox_runtime::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// One line for a person.
pub(crate) fn stderr(message: &str) {
    let _ = writeln!(std::io::stderr(), "rbox-runtime: {}", rbox_runtime::printable(message));
}

/// Where errors and, with `--debug`, steps go: standard error, and the file of `--log`.
#[derive(Clone)]
pub(crate) struct Log {
    file: Option<Arc<File>>,
    format: LogFormat,
}

impl Log {
    /// Begin to log: to `file` too, which is made when it is not there.
    ///
    /// # Errors
    /// `Os` when the file cannot be written: its reader would take the silence for success.
    pub(crate) fn open(file: Option<&Path>, format: LogFormat) -> Result<Log> {
        Ok(Log { file: file.map(append).transpose()?.map(Arc::new), format })
    }

    /// Log each step from now on, with the time it took.
    pub(crate) fn steps(&self) {
        let log = self.clone();
        rbox_explain::listen(move |record| {
            let answer = match &record.result {
                Ok(answer) if answer.is_empty() => "ok".to_owned(),
                Ok(answer) => answer.clone(),
                Err(cause) => cause.clone(),
            };
            let took = record.took.as_micros();
            log.line("debug", &format!("{} {}: {answer} ({took} µs)", record.actor, record.request));
        });
    }

    /// One line for an error: to the log, and to standard error for a person. Without a file standard error is the log, and
    /// who asks for JSON there gets nothing else.
    pub(crate) fn error(&self, message: &str) {
        if self.file.is_some() || self.format == LogFormat::Json {
            self.line("error", message);
        }
        if self.file.is_some() || self.format == LogFormat::Text {
            stderr(message);
        }
    }

    /// One line for what was asked for and is not done, though that is no error.
    pub(crate) fn warning(&self, message: &str) {
        self.line("warning", message);
    }

    fn line(&self, level: &str, message: &str) {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let line = match self.format {
            LogFormat::Json => serde_json::json!({ "level": level, "msg": message, "time": time }).to_string(),
            LogFormat::Text => format!("time={time:?} level={level} msg={}", quoted(message)),
        };
        // One write a line: several runtimes may share the file. One that is full keeps nobody from working.
        let _ = match &self.file {
            Some(file) => (&**file).write_all(format!("{line}\n").as_bytes()),
            None => writeln!(std::io::stderr(), "{line}"),
        };
    }
}

/// With the mode that runc gives it.
fn append(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
    opened.map_err(|source| Error::Os { doing: format!("write the log {}", path.display()), source })
}

/// A message as logrus writes it: as it is when it is one word, else as a string of Go.
fn quoted(message: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !message.is_empty() && message.chars().all(plain) { message.to_owned() } else { format!("{message:?}") }
}
