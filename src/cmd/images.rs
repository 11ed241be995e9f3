//! `rbox images`: the images that are here, as Docker lists them.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use rbox_images::{ImageSummary, Store};

use super::print;
use crate::cli::{Global, ImageListArgs};
use crate::dirs::Dirs;
use crate::report::Problem;
use crate::template::{List, Value, list};
use crate::units;

const TITLES: [(&str, &str); 11] = [
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "VIRTUAL SIZE"),
];

/// `rbox images`
///
/// Errors: the store cannot be read, or a filter or template is not understood.
pub(crate) fn run(global: &Global, args: &ImageListArgs) -> Result<ExitCode> {
    let store = Store::open(Dirs::new(global)?.root())?;
    let filters = Filter::all(&store, args)?;
    let mut rows = store.list()?;
    for filter in &filters {
        rows = rows
            .into_iter()
            .filter_map(|row| filter.keeps(&store, &row).map(|keeps| keeps.then_some(row)).transpose())
            .collect::<Result<_>>()?;
    }
    if args.quiet && args.format.is_none() {
        print::text(&rows.iter().map(|row| format!("{}\n", id(row, args))).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let rows: Vec<Value> = rows.iter().map(|row| fields(row, args, now)).collect();
    let shown: &[&str] = if args.digests {
        &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"]
    } else {
        &["Repository", "Tag", "ID", "CreatedSince", "Size"]
    };
    print::text(&list(&List { titles: &TITLES, shown, rows: &rows }, args.format.as_deref())?)?;
    Ok(ExitCode::SUCCESS)
}

fn id(row: &ImageSummary, args: &ImageListArgs) -> String {
    if args.no_trunc { row.id.to_string() } else { row.id.short().to_owned() }
}

fn fields(row: &ImageSummary, args: &ImageListArgs, now: Timestamp) -> Value {
    let none = || "<none>".to_owned();
    let created = row.created.as_deref().unwrap_or_default();
    let unknown = || "N/A".to_owned();
    Value::of_fields([
        ("Containers", unknown()),
        ("CreatedAt", units::local(created)),
        ("CreatedSince", units::ago(created, now)),
        ("Digest", row.digest.as_ref().map_or_else(none, ToString::to_string)),
        ("ID", id(row, args)),
        ("Repository", row.repository.clone().unwrap_or_else(none)),
        ("SharedSize", unknown()),
        ("Size", units::size(row.size)),
        ("Tag", row.tag.clone().unwrap_or_else(none)),
        ("UniqueSize", unknown()),
        ("VirtualSize", units::size(row.size)),
    ])
}

/// What a listed image has to be.
enum Filter {
    /// Named like this; `*` stands for anything but a slash.
    Named(String),
    /// Without a name, or with one.
    Dangling(bool),
    /// Made before this time.
    Before(String),
    /// Made after this time.
    Since(String),
    /// With this label, and this value of it.
    Label(String, Option<String>),
}

impl Filter {
    fn all(store: &Store, args: &ImageListArgs) -> Result<Vec<Self>> {
        let mut filters: Vec<Self> = args.name.iter().cloned().map(Self::Named).collect();
        for (key, value) in &args.filter {
            let wrong = |why: &str| Problem::new(format!("--filter {key}={value}: {why}"));
            let created = || -> Result<String> { Ok(store.find(value)?.config.created().clone().unwrap_or_default()) };
            filters.push(match key.as_str() {
                "reference" => Self::Named(value.clone()),
                "dangling" => Self::Dangling(crate::cli::value::boolean(value).map_err(|why| wrong(&why))?),
                "before" => Self::Before(created()?),
                "since" => Self::Since(created()?),
                "label" => match value.split_once('=') {
                    Some((name, value)) => Self::Label(name.into(), Some(value.into())),
                    None => Self::Label(value.clone(), None),
                },
                _ => return Err(wrong("there is no such filter").into()),
            });
        }
        Ok(filters)
    }

    fn keeps(&self, store: &Store, row: &ImageSummary) -> Result<bool> {
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let created = row.created.as_deref().and_then(time);
        Ok(match self {
            Self::Named(pattern) => row.repository.as_ref().is_some_and(|name| {
                let whole = row.tag.as_ref().map(|tag| format!("{name}:{tag}"));
                matches(pattern, name) || whole.is_some_and(|whole| matches(pattern, &whole))
            }),
            Self::Dangling(wanted) => row.repository.is_none() == *wanted,
            Self::Before(than) => created < time(than),
            Self::Since(than) => created > time(than),
            Self::Label(name, value) => {
                let image = store.by_id(&row.id)?;
                let label = image.config.labels_of_config().and_then(|labels| labels.get(name));
                label.is_some_and(|label| value.as_ref().is_none_or(|value| value == label))
            }
        })
    }
}

/// Go's path.Match, without its classes of letters: `*` and `?` stand for anything but a slash.
fn matches(pattern: &str, text: &str) -> bool {
    let mut letters = pattern.chars();
    match letters.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = letters.as_str();
            let most = text.find('/').unwrap_or(text.len());
            (0..=most).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
        }
        Some(wanted) => {
            let mut other = text.chars();
            let fits = other.next().is_some_and(|letter| letter == wanted || wanted == '?' && letter != '/');
            fits && matches(letters.as_str(), other.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stop_at_slashes() {
        for (pattern, text, wanted) in [
            ("alpine", "alpine", true),
            ("alp*", "alpine", true),
            ("alp*:3.?0", "alpine:3.20", true),
            ("*", "team/app", false),
            ("*/*", "team/app", true),
            ("alpine", "alpine:3", false),
            ("", "alpine", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }
}
