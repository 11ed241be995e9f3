//! `rbox top`: the processes of a container, as the host's ps(1) shows them.

use std::collections::HashSet;
use std::io;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::print;
use crate::cli::{Global, TopArgs};
use crate::dirs::Dirs;
use crate::find::{self, find};
use crate::pad;
use crate::report::{self, Problem};
use crate::sweep;

/// The least width of a column, and the space between two (docker/cli `container/top.go`).
const COLUMN_MIN: usize = 20;
const COLUMN_PADDING: usize = 3;

/// The most processes in one word for ps(1).
const WORD_MAX: usize = 10_000;

/// `rbox top`
///
/// Errors: there is no such container, or it does not run; ps(1) does not take the options, or shows no PID.
pub(crate) fn run(global: &Global, args: &TopArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    sweep::sweep(&dirs, &dirs.networks()?).iter().for_each(report::warn);
    let (typed, options) = args.words.split_first().context("CONTAINER is missing")?;
    let container = find::container(&dirs, &find(&dirs, typed)?, typed, "list the processes of")?;
    let pids = container.cgroup().pids()?;
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default } else { options };
    let rows = rows(&ps(options, &pids)?, &pids)?;
    print::text(&columns(&rows))?;
    Ok(ExitCode::SUCCESS)
}

/// What ps(1) says. Some of its options cannot stand beside a choice of processes: then all are listed.
fn ps(options: &[String], pids: &[i32]) -> Result<String> {
    let chosen = Command::new("ps").args(options).args(choice(pids)).output();
    let output = match chosen {
        Ok(chosen) if chosen.status.success() => chosen,
        // So many that there is no room for them (execve(2), E2BIG).
        Err(error) if error.kind() != io::ErrorKind::ArgumentListTooLong => {
            return Err(error).context("cannot start ps");
        }
        _ => Command::new("ps").args(options).output().context("cannot start ps")?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it fails without a word");
        let first = first.trim().trim_start_matches("error: ").to_owned();
        return Err(Problem::new(format!("ps {}: {first}", options.join(" "))).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The words that choose processes. One word may be 128 KiB long (execve(2), MAX_ARG_STRLEN): 10,000 numbers of at most
/// seven digits are 80 kB. `-q`, the quick one, may stand there once only; `-p` looks at every process.
fn choice(pids: &[i32]) -> Vec<String> {
    let option = if pids.len() <= WORD_MAX { "-q" } else { "-p" };
    let list = |pids: &[i32]| pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    pids.chunks(WORD_MAX).map(|pids| format!("{option}{}", list(pids))).collect()
}

/// The title and the container's own lines, cut into columns; the last column takes what is left of a line.
fn rows(listed: &str, pids: &[i32]) -> Result<Vec<Vec<String>>> {
    let mut lines = listed.lines();
    let titles: Vec<String> = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let pid = titles.iter().position(|title| title == "PID");
    let pid = pid.ok_or_else(|| Problem::new("ps: it shows no column PID").hint("add pid to the columns of -o"))?;
    let count = titles.len();
    let pids: HashSet<i32> = pids.iter().copied().collect();
    let mut rows = vec![titles];
    for line in lines {
        let cells = cells(line, count);
        if cells.get(pid).and_then(|cell| cell.parse().ok()).is_some_and(|number| pids.contains(&number)) {
            rows.push(cells);
        }
    }
    Ok(rows)
}

fn cells(line: &str, count: usize) -> Vec<String> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let last = words.split_off(words.len().min(count.saturating_sub(1))).join(" ");
    words.into_iter().map(str::to_owned).chain([last]).collect()
}

fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let longest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        (longest.unwrap_or(0) + COLUMN_PADDING).max(COLUMN_MIN)
    };
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = if column + 1 < row.len() { widths[column] } else { 0 };
            text.push_str(&pad::right(cell, width));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_stay_and_the_command_is_one_column() {
        let listed = "UID   PID CMD\nroot    1 init\nroot   42 sh -c  sleep 1\n";
        let rows = rows(listed, &[42]).unwrap();
        assert_eq!(rows, [["UID", "PID", "CMD"], ["root", "42", "sh -c sleep 1"]]);
        let line = columns(&rows).lines().nth(1).unwrap().to_owned();
        assert_eq!(line, "root                42                  sh -c sleep 1");
    }

    #[test]
    fn more_processes_than_fit_into_one_word_are_several() {
        let own = std::process::id().cast_signed();
        let many: Vec<i32> = (4_200_000..4_230_000).chain([own]).collect();
        assert!(choice(&many).iter().all(|word| word.len() < 128 * 1024));
        // The second are too many for all words together.
        for (count, options) in [(30_000, "-opid,cmd"), (500_000, "-ef")] {
            let many: Vec<i32> = (4_200_000..4_200_000 + count).chain([own]).collect();
            let listed = ps(&[options.to_owned()], &many).unwrap();
            assert_eq!(rows(&listed, &many).unwrap().len(), 2, "the title and this process");
        }
    }

    #[test]
    fn a_list_without_pids_is_refused() {
        assert_eq!(rows("USER\nroot\n", &[1]).unwrap_err().to_string(), "ps: it shows no column PID");
    }
}
