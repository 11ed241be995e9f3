//! `rbox ps`: the containers, as Docker lists them (A-107).
//!
//! It looks and changes nothing: one whose monitor was killed is shown as it is, and the next command that does more
//! than look sees to it.

mod filter;

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use rbox_images::Store;

use super::print;
use super::state::Status;
use crate::cli::{Global, PsArgs};
use crate::dirs::Dirs;
use crate::record::{self, Claim, Record};
use crate::template::{List, Value, list};
use crate::units;

const TITLES: [(&str, &str); 14] = [
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];

/// The longest command that is shown whole, in letters (docker/cli `formatter.Ellipsis`).
const COMMAND_LETTERS: usize = 20;
/// The longest path in the column of mounts (docker/cli `formatter/container.go`).
const MOUNT_LETTERS: usize = 15;

/// A container, and what it is doing.
pub(super) struct Seen {
    record: Record,
    status: Status,
}

/// `rbox ps`
///
/// Errors: the records cannot be read, a filter or a template is not understood.
pub(crate) fn run(global: &Global, args: &PsArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    let mut containers = all(&dirs)?;
    let filters = filter::Filters::new(&args.filter, &containers)?;
    let last = if args.latest { Some(1) } else { usize::try_from(args.last).ok().filter(|last| *last > 0) };
    let runs_only = !args.all && last.is_none() && !filters.name_a_state();
    containers.retain(|seen| filters.take(seen) && (!runs_only || seen.status.is_running()));
    containers.truncate(last.unwrap_or(usize::MAX));
    if args.quiet && args.format.is_none() {
        print::text(&containers.iter().map(|seen| format!("{}\n", id(&seen.record, args))).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let with_size = args.size || args.format.as_ref().is_some_and(|format| is_size_needed(format));
    let store = with_size.then(|| Store::open(dirs.root())).transpose()?;
    let rows: Vec<Value> = containers.iter().map(|seen| fields(seen, args, store.as_ref(), now)).collect();
    let mut shown = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
    if args.size {
        shown.push("Size");
    }
    print::text(&list(&List { titles: &TITLES, shown: &shown, rows: &rows }, args.format.as_deref())?)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether a template shows how much was written: by itself, or with the whole row.
fn is_size_needed(format: &str) -> bool {
    let words: String = format.split_whitespace().collect();
    words == "json" || words.contains(".Size") || words.contains("json.}}") || words.contains("json.|")
}

/// All containers, newest first. What a killed rbox has left of one is none.
fn all(dirs: &Dirs) -> Result<Vec<Seen>> {
    // First the claims: who has ended by the time that its record is read says there how.
    let claims: HashMap<String, Claim> = Claim::all(dirs)?.into_iter().map(|claim| (claim.id.clone(), claim)).collect();
    let seen = Record::all(dirs)?.into_iter().map(|record| {
        let status = Status::with(dirs, &record, claims.get(&record.id));
        Seen { record, status }
    });
    let gone = |seen: &Seen| seen.status == Status::Dead || seen.record.remove && seen.status == Status::Exited;
    Ok(seen.filter(|seen| !gone(seen)).collect())
}

fn id(container: &Record, args: &PsArgs) -> String {
    if args.no_trunc { container.id.clone() } else { record::short(&container.id).to_owned() }
}

fn fields(seen: &Seen, args: &PsArgs, store: Option<&Store>, now: Timestamp) -> Value {
    let Seen { record: container, status } = seen;
    let labels: Vec<String> = container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mounts: Vec<String> =
        container.mounts.iter().map(|mount| cut(mount.shown(), MOUNT_LETTERS, args.no_trunc)).collect();
    let ports = if status.is_running() { container.ports.join(", ") } else { String::new() };
    let row = Value::of_fields([
        ("Command", command(container, args)),
        ("CreatedAt", units::local(&container.created)),
        ("ID", id(container, args)),
        ("Image", container.image.clone()),
        ("Labels", labels.join(",")),
        ("LocalVolumes", "0".to_owned()),
        ("Mounts", mounts.join(",")),
        ("Names", container.name.clone()),
        ("Networks", container.network.clone()),
        ("Ports", ports),
        ("RunningFor", units::ago(&container.created, now)),
        ("Size", store.map(|store| size(container, store)).unwrap_or_default()),
        ("State", status.name().to_owned()),
        ("Status", status.words(container, now)),
    ]);
    let Value::Map(mut fields) = row else { return row };
    fields.push(("Label".to_owned(), Value::ByKey(container.labels.clone())));
    Value::Map(fields)
}

/// `2B (virtual 4.26MB)`: what it has written, and that with the image.
fn size(container: &Record, store: &Store) -> String {
    let own = store.snapshot_size(&container.id).unwrap_or(0);
    let image = container.image_id.as_ref().and_then(|id| store.find(id).ok()).map_or(0, |image| image.size);
    format!("{} (virtual {})", units::size(own), units::size(own.saturating_add(image)))
}

/// `"nginx -g 'daemon of…"`: an argument with a space stands in quotes (moby `container.snapshot`), and what would break
/// the line is escaped.
fn command(container: &Record, args: &PsArgs) -> String {
    let quoted = |(at, word): (usize, &String)| match at > 0 && word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    let words: Vec<String> = container.command.iter().enumerate().map(quoted).collect();
    quote(&cut(&words.join(" "), COMMAND_LETTERS, args.no_trunc))
}

/// As Go's `strconv.Quote`.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        // After a letter, so that one that joins the letter before it is taken for what it is.
        let escaped = format!("x{letter}").escape_debug().skip(1).collect::<String>();
        match u32::from(letter) {
            _ if letter == '\'' => quoted.push('\''),
            0x07 => quoted.push_str("\\a"),
            0x08 => quoted.push_str("\\b"),
            0x0b => quoted.push_str("\\v"),
            0x0c => quoted.push_str("\\f"),
            0x00 => quoted.push_str("\\x00"),
            _ if !escaped.starts_with("\\u{") => quoted.push_str(&escaped),
            code @ ..0x80 => quoted.push_str(&format!("\\x{code:02x}")),
            code @ ..0x1_0000 => quoted.push_str(&format!("\\u{code:04x}")),
            code => quoted.push_str(&format!("\\U{code:08x}")),
        }
    }
    quoted.push('"');
    quoted
}

fn cut(text: &str, letters: usize, whole: bool) -> String {
    if whole || text.chars().count() <= letters {
        return text.to_owned();
    }
    let begin: String = text.chars().take(letters - 1).collect();
    format!("{begin}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// strconv, quote_test.go.
    #[test]
    fn words_are_quoted_as_go_quotes_them() {
        for (text, quoted) in [
            ("it's \"so\"", r#""it's \"so\"""#),
            ("\u{7}\u{8}\u{c}\r\n\t\u{b}\\", r#""\a\b\f\r\n\t\v\\""#),
            ("\0\u{1b}[31m\u{7f}\u{9b}", r#""\x00\x1b[31m\x7f\u009b""#),
            ("é e\u{301} ☺…", "\"é e\u{301} ☺…\""),
            ("\u{202e}\u{e0001}", r#""\u202e\U000e0001""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }
}
