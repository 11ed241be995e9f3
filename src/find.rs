//! Which container a person means: by its name, its whole id, or a beginning of its id that no other has.
//!
//! Every verb asks here, so every verb understands the same words and refuses with the same sentence.

use std::fs;
use std::io;

use anyhow::{Context, Result};
use rbox_runtime::container::{Container, Status};

use crate::dirs::Dirs;
use crate::record::{Record, short};
use crate::report::Problem;

/// The container of that name, id, or unique beginning of an id. A name goes before an id, as in Docker.
///
/// Costs one look at a link and one record for a name; a beginning of an id costs the listing of one directory.
///
/// Errors: none is called so, or several ids begin so.
pub(crate) fn find(dirs: &Dirs, typed: &str) -> Result<Record> {
    // Docker's own names begin with a slash, and people copy them from `inspect`.
    let name = typed.strip_prefix('/').unwrap_or(typed);
    if !is_plain(name) {
        return Err(unknown(typed));
    }
    if let Some(id) = id_of_name(dirs, name)?
        && let Some(record) = Record::load(dirs, &id)?
    {
        return Ok(record);
    }
    let mut ids = ids_that_begin(dirs, name)?;
    match (ids.pop(), ids.pop()) {
        (Some(id), None) => Record::load(dirs, &id)?.ok_or_else(|| unknown(typed)),
        (None, _) => Err(unknown(typed)),
        (Some(one), Some(other)) => {
            let both = format!("{} and {}", short(&other), short(&one));
            Err(Problem::new(format!("container {typed}: more than one id begins like this, {both}")).into())
        }
    }
}

/// A container that runs, as the runtime knows it.
///
/// Errors: as [`find`]; it does not run, or is paused.
pub(crate) fn find_running(dirs: &Dirs, typed: &str, doing: &str) -> Result<(Record, Container)> {
    let record = find(dirs, typed)?;
    let container = container(dirs, &record, typed, doing)?;
    match container.status() {
        have @ Status::Paused => Err(refusal(typed, doing, have).into()),
        // Asked after the container was found: one that is being made has a process before it has all its control groups.
        _ if !find(dirs, &record.id)?.is_begun() => Err(refusal(typed, doing, Status::Stopped).into()),
        _ => Ok((record, container)),
    }
}

/// The same, also when it is paused.
///
/// Errors: it does not run.
pub(crate) fn container(dirs: &Dirs, record: &Record, typed: &str, doing: &str) -> Result<Container> {
    let stopped = || refusal(typed, doing, Status::Stopped);
    match Container::load(&dirs.runtime(), &record.id) {
        Err(rbox_runtime::Error::NotFound { .. }) => Err(stopped().into()),
        container => {
            let container = container?;
            match container.status() {
                Status::Running | Status::Paused => Ok(container),
                _ => Err(stopped().into()),
            }
        }
    }
}

/// What is said to who wants to do something with a container that does not run, or stands still.
pub(crate) fn refusal(typed: &str, doing: &str, have: Status) -> Problem {
    match have {
        Status::Paused => Problem::new(format!("cannot {doing} container {typed}: it is paused"))
            .hint(format!("rbox unpause {typed} lets it go on")),
        _ => Problem::new(format!("cannot {doing} container {typed}: it is not running")),
    }
}

/// A word that can stand in a path: no container is called otherwise.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn id_of_name(dirs: &Dirs, name: &str) -> Result<Option<String>> {
    match fs::read_link(dirs.names().join(name)) {
        Ok(id) => Ok(Some(id.to_string_lossy().into_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look up container {name}")),
    }
}

/// At most two are needed to know that one is not enough.
fn ids_that_begin(dirs: &Dirs, prefix: &str) -> Result<Vec<String>> {
    if prefix.len() == 64 {
        return Ok(vec![prefix.to_owned()]);
    }
    let directory = dirs.containers();
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", directory.display()))?,
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut ids: Vec<String> = names.filter(|id| id.starts_with(prefix)).collect();
    // A container that is only being made has no record yet, and cannot be meant.
    ids.retain(|id| matches!(Record::load(dirs, id), Ok(Some(_))));
    ids.sort();
    Ok(ids)
}

fn unknown(typed: &str) -> anyhow::Error {
    Problem::new(format!("container {typed}: not found")).hint("rbox ps -a lists them").into()
}
