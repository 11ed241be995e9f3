//! `rbox ps`: the containers, as Docker lists them.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use rbox_net::Networks;

use super::print;
use crate::cli::{Global, PsArgs};
use crate::dirs::Dirs;
use crate::record::{self, Claim, Record};
use crate::template::{List, Value, list};
use crate::{sweep, units};

const TITLES: [(&str, &str); 10] = [
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
];

/// The longest command that is shown whole, in letters (docker/cli `formatter.Ellipsis`).
const COMMAND_LETTERS: usize = 20;

/// `rbox ps`
///
/// Errors: the records cannot be read, or a template is not understood.
pub(crate) fn run(global: &Global, args: &PsArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    sweep::sweep(&dirs, &Networks::open(dirs.state())?).iter().for_each(crate::report::warn);
    let claims = Claim::all(&dirs)?;
    let mut containers = Record::all(&dirs)?;
    let last = if args.latest { Some(1) } else { args.last };
    if !args.all && last.is_none() {
        containers.retain(|container| is_running(container, &claims));
    }
    containers.truncate(last.unwrap_or(usize::MAX));
    if args.quiet && args.format.is_none() {
        print::text(&containers.iter().map(|container| format!("{}\n", id(container, args))).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let rows: Vec<Value> = containers.iter().map(|container| fields(container, &claims, args, now)).collect();
    let shown = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
    print::text(&list(&List { titles: &TITLES, shown: &shown, rows: &rows }, args.format.as_deref())?)?;
    Ok(ExitCode::SUCCESS)
}

/// Begun, not ended, and somebody answers for it.
pub(super) fn is_running(container: &Record, claims: &[Claim]) -> bool {
    let held = claims.iter().any(|claim| claim.id == container.id && claim.is_alive());
    container.started.is_some() && container.finished.is_none() && held
}

fn id(container: &Record, args: &PsArgs) -> String {
    if args.no_trunc { container.id.clone() } else { record::short(&container.id).to_owned() }
}

fn fields(container: &Record, claims: &[Claim], args: &PsArgs, now: Timestamp) -> Value {
    let labels: Vec<String> = container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Value::of_fields([
        ("Command", command(container, args)),
        ("CreatedAt", units::local(&container.created)),
        ("ID", id(container, args)),
        ("Image", container.image.clone()),
        ("Labels", labels.join(",")),
        ("Names", container.name.clone()),
        ("Networks", container.network.clone()),
        ("Ports", container.ports.join(", ")),
        ("RunningFor", units::ago(&container.created, now)),
        ("Status", status(container, claims, now)),
    ])
}

/// `"nginx -g 'daemon of…"`: an argument with a space stands in quotes (moby `container.snapshot`), and what would break
/// the line is escaped.
fn command(container: &Record, args: &PsArgs) -> String {
    let quoted = |(at, word): (usize, &String)| match at > 0 && word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    let words: Vec<String> = container.command.iter().enumerate().map(quoted).collect();
    let whole = words.join(" ");
    if args.no_trunc || whole.chars().count() <= COMMAND_LETTERS {
        return format!("{whole:?}");
    }
    let begin: String = whole.chars().take(COMMAND_LETTERS - 1).collect();
    format!("{:?}", format!("{begin}…"))
}

/// `Up 10 seconds`, `Exited (0) 2 hours ago`, `Created`.
fn status(container: &Record, claims: &[Claim], now: Timestamp) -> String {
    match (&container.started, &container.finished, container.exit_code) {
        (Some(started), None, _) if is_running(container, claims) => {
            let ago = units::ago(started, now);
            format!("Up {}", ago.strip_suffix(" ago").unwrap_or(&ago))
        }
        (_, Some(finished), Some(code)) => format!("Exited ({code}) {}", units::ago(finished, now)),
        // Of another boot: nobody was there to see how it ended.
        (Some(_), _, _) => "Exited (255)".to_owned(),
        (None, _, _) => "Created".to_owned(),
    }
}
