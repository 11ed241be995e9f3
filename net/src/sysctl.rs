//! Kernel switches of a network namespace: files below `/proc/sys/net`, seen by the namespace of the calling thread.

use std::fs;
use std::io;

use rbox_explain::Row;

use crate::error::{Doing, Result};

/// Write `value` unless it stands there already. A kernel without the switch is no error: then there is nothing to switch.
///
/// Same as: `sysctl -w <name>=<value>`, with `/` for `.` in the name.
pub(crate) fn set(row: &'static Row, name: &str, value: &str) -> Result<()> {
    let file = format!("/proc/sys/{name}");
    match fs::read_to_string(&file) {
        Ok(now) if now.trim_end() == value => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    let words = || format!("sysctl -w {}={value}", name.replace('/', "."));
    rbox_explain::step(row, words, || fs::write(&file, value)).doing(|| format!("write {value} to {file}"))
}

/// Read a switch; nothing when the kernel has none of this name.
pub(crate) fn get(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim_end().to_owned())
}
