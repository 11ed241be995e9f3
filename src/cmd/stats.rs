//! `rbox stats`: what containers use, as a table that renews itself.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use rbox_runtime::cgroup::Stats;
use rbox_runtime::container::{Container, Status};

use super::print;
use crate::cli::{Global, StatsArgs};
use crate::dirs::Dirs;
use crate::find::find;
use crate::record::{Record, short};
use crate::template::{List, Value, list};
use crate::{report, sweep, units};

const TITLES: [(&str, &str); 9] = [
    ("BlockIO", "BLOCK I/O"),
    ("CPUPerc", "CPU %"),
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("MemPerc", "MEM %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("Name", "NAME"),
    ("NetIO", "NET I/O"),
    ("PIDs", "PIDS"),
];
const SHOWN: [&str; 8] = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];

/// How long the first share of the processors is measured.
const FIRST_LOOK: Duration = Duration::from_millis(500);
/// How often the live view is renewed (docker/cli `container/stats.go`: the engine tells once a second).
const RENEWED_EVERY: Duration = Duration::from_secs(1);
/// ANSI: clear the screen, cursor to the upper left.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// `rbox stats`. The live view ends with Ctrl-C.
///
/// Errors: there is no such container; the template is not understood.
pub(crate) fn run(global: &Global, args: &StatsArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    sweep::sweep(&dirs, &dirs.networks()?).iter().for_each(report::warn);
    let mut before = HashMap::new();
    look(&dirs, args, &mut before)?;
    std::thread::sleep(FIRST_LOOK);
    loop {
        let rows = look(&dirs, args, &mut before)?;
        let text = list(&List { titles: &TITLES, shown: &SHOWN, rows: &rows }, args.format.as_deref())?;
        if args.no_stream {
            print::text(&text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut out = io::stdout().lock();
        let shown = write!(out, "{CLEAR}{text}").and_then(|()| out.flush());
        match shown {
            // Nobody looks any more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            shown => shown.context("cannot write to the standard output")?,
        }
        drop(out);
        std::thread::sleep(RENEWED_EVERY);
    }
}

/// When a container was looked at, and how much of the processors it had used by then.
type Before = HashMap<String, (Instant, u64)>;

fn look(dirs: &Dirs, args: &StatsArgs, before: &mut Before) -> Result<Vec<Value>> {
    let named: Vec<(String, Record)> = if args.containers.is_empty() {
        Record::all(dirs)?.into_iter().map(|record| (record.name.clone(), record)).collect()
    } else {
        let find = |name: &String| Ok((name.clone(), find(dirs, name)?));
        args.containers.iter().map(find).collect::<Result<_>>()?
    };
    let wanted = args.all || !args.containers.is_empty();
    let row = |(typed, record): &(String, Record)| {
        let used = Used::of(dirs, record);
        (used.is_some() || wanted).then(|| fields(typed, record, used.as_ref(), args, before))
    };
    Ok(named.iter().filter_map(row).collect())
}

/// What a container that runs has used.
struct Used {
    stats: Stats,
    at: Instant,
    network: (u64, u64),
}

impl Used {
    fn of(dirs: &Dirs, record: &Record) -> Option<Used> {
        let container = Container::load(&dirs.runtime(), &record.id).ok()?;
        if !matches!(container.status(), Status::Running | Status::Paused) {
            return None;
        }
        let stats = container.cgroup().stats().ok()?;
        // The host's own traffic is not the container's.
        let own = record.network != "host";
        let network = container.pid().filter(|_| own).map(traffic).unwrap_or_default();
        Some(Used { stats, at: Instant::now(), network })
    }
}

/// Bytes received and sent by the interfaces of a process's network namespace, lo aside. proc_pid_net(5).
fn traffic(pid: i32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut sum = (0, 0);
    for (name, numbers) in text.lines().filter_map(|line| line.split_once(':')) {
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if name.trim() != "lo" {
            sum.0 += numbers.first().copied().unwrap_or(0);
            sum.1 += numbers.get(8).copied().unwrap_or(0);
        }
    }
    sum
}

fn fields(typed: &str, record: &Record, used: Option<&Used>, args: &StatsArgs, before: &mut Before) -> Value {
    let id = if args.no_trunc { record.id.clone() } else { short(&record.id).to_owned() };
    let percent = |share: f64| format!("{share:.2}%");
    let stats = used.map(|used| used.stats.clone()).unwrap_or_default();
    // As Docker: page cache that nobody has touched lately is not counted.
    let memory = stats.memory.usage.saturating_sub(stats.memory.inactive_file);
    let limit = if used.is_some() { stats.memory.limit.unwrap_or(u64::MAX).min(total_memory()) } else { 0 };
    let sum = |pick: fn(&rbox_runtime::cgroup::BlockIo) -> u64| stats.block_io.iter().map(pick).sum::<u64>();
    let network = used.map(|used| used.network).unwrap_or_default();
    Value::of_fields([
        ("BlockIO", pair(sum(|it| it.read_bytes), sum(|it| it.written_bytes))),
        ("CPUPerc", percent(used.map_or(0.0, |used| cpu_share(&record.id, used, before)))),
        ("Container", typed.to_owned()),
        ("ID", id),
        ("MemPerc", percent(ratio(memory, limit))),
        ("MemUsage", format!("{} / {}", units::binary_size(memory), units::binary_size(limit))),
        ("Name", record.name.clone()),
        ("NetIO", pair(network.0, network.1)),
        ("PIDs", stats.pids.current.to_string()),
    ])
}

fn pair(first: u64, second: u64) -> String {
    format!("{} / {}", units::size(first), units::size(second))
}

/// Percent of one processor since the last look: two busy processors are 200.
fn cpu_share(id: &str, used: &Used, before: &mut Before) -> f64 {
    let now = (used.at, used.stats.cpu.usage_ns);
    let Some((then, had)) = before.insert(id.to_owned(), now) else { return 0.0 };
    let elapsed = u64::try_from((used.at - then).as_nanos()).unwrap_or(u64::MAX);
    ratio(now.1.saturating_sub(had), elapsed)
}

/// Percent; of nothing, nothing.
fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// Bytes of memory that the host has: proc_meminfo(5).
pub(super) fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}
