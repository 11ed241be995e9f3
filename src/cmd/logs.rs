//! `rbox logs`: what a container's program has written, and with `--follow` what it is about to write.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::state;
use crate::cli::{Global, LogsArgs};
use crate::engine::Engine;
use crate::find::find;
use crate::log::{Line, Lines, open_all};
use crate::monitor::wire::{self, Ask, Tell};
use crate::report::Problem;

/// `rbox logs`. Its standard output and error are the program's.
///
/// Errors: there is no such container, or no log of it; the log cannot be read.
pub(crate) fn run(global: &Global, args: &LogsArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let record = find(&engine.dirs, &args.container)?;
    if record.streams.unlogged {
        let problem = Problem::new(format!("container {}: its output is kept nowhere", args.container)).code(1);
        return Err(problem.hint("it was made with --log-driver none").into());
    }
    let path = engine.dirs.log(&record.id);
    let mut reader = Reader { args, path, printed: Ok(()) };
    // Asked before the log is read: what is written from now on is not missed.
    let end = if args.follow { state::knock(&engine.dirs, &record.id)? } else { None };
    let watch = args.follow.then(|| watch(&reader)).transpose()?;
    let last = reader.print_all()?;
    if let (Some(end), Some(watch)) = (end, watch) {
        reader.follow(last, &end, &watch)?;
    }
    match reader.printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write the log"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Hear of changes in the log's directory. inotify(7).
fn watch(reader: &Reader<'_>) -> Result<Inotify> {
    let doing = "cannot follow the log";
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context(doing)?;
    let directory = reader.path.parent().context(doing)?;
    let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    watch.add_watch(directory, changes).context(doing)?;
    Ok(watch)
}

struct Reader<'a> {
    args: &'a LogsArgs,
    path: PathBuf,
    /// What came of printing: a reader that went away ends it.
    printed: io::Result<()>,
}

impl Reader<'_> {
    /// Print what is there. Answers the newest file, to be read on.
    fn print_all(&mut self) -> Result<Option<Lines>> {
        let mut last = None;
        let mut kept: VecDeque<Line> = VecDeque::new();
        for mut lines in open_all(&self.path)? {
            while let Some(line) = lines.next()? {
                match self.args.tail.0 {
                    None => self.print(&line),
                    Some(0) => {}
                    Some(most) => {
                        if self.is_wanted(&line) {
                            kept.push_back(line);
                        }
                        if kept.len() > most {
                            kept.pop_front();
                        }
                    }
                }
                if self.printed.is_err() {
                    return Ok(None);
                }
            }
            last = Some(lines);
        }
        kept.iter().for_each(|line| self.print(line));
        Ok(last)
    }

    /// Print what is written until the program has ended.
    fn follow(&mut self, mut last: Option<Lines>, end: &OwnedFd, watch: &Inotify) -> Result<()> {
        // Cut off in this moment: then it has ended.
        let _ = wire::say(end.as_fd(), Ask::Wait);
        let mut has_ended = false;
        while self.printed.is_ok() {
            self.print_new(&mut last)?;
            let past = self.args.until.is_some_and(|until| Timestamp::now() >= until);
            if has_ended || past {
                break;
            }
            // Nobody reads any more: seen here, since nothing may be written for long.
            let stdout = io::stdout();
            let mut fds = [
                PollFd::new(end.as_fd(), PollFlags::POLLIN),
                PollFd::new(watch.as_fd(), PollFlags::POLLIN),
                PollFd::new(stdout.as_fd(), PollFlags::empty()),
            ];
            let left = self.args.until.map(|until| until.as_millisecond() - Timestamp::now().as_millisecond());
            let timeout = left.and_then(|left| PollTimeout::try_from(left.max(1)).ok()).unwrap_or(PollTimeout::NONE);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("cannot wait for the log"),
            }
            let ready = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
            if ready[2].contains(PollFlags::POLLERR) {
                break;
            }
            if !ready[1].is_empty() {
                // Only that something happened counts.
                let _ = watch.read_events();
            }
            if !ready[0].is_empty() {
                let packet = wire::hear(end.as_fd(), false).context("cannot hear from the container's monitor")?;
                let packet = packet.unwrap_or_default();
                has_ended = packet.is_empty() || matches!(Tell::parse(&packet), Some(Tell::Ended(_)));
            }
        }
        Ok(())
    }

    fn print_new(&mut self, last: &mut Option<Lines>) -> Result<()> {
        loop {
            if last.as_ref().is_none_or(Lines::was_emptied) {
                *last = Lines::open(&self.path)?;
            }
            let Some(lines) = last else { return Ok(()) };
            while let Some(line) = lines.next()? {
                self.print(&line);
            }
            if !lines.was_rotated(&self.path) {
                return Ok(());
            }
            *last = None;
        }
    }

    fn is_wanted(&self, line: &Line) -> bool {
        if self.args.since.is_none() && self.args.until.is_none() {
            return true;
        }
        let Ok(time) = line.time.parse::<Timestamp>() else { return true };
        self.args.since.is_none_or(|since| time >= since) && self.args.until.is_none_or(|until| time <= until)
    }

    fn print(&mut self, line: &Line) {
        if self.printed.is_err() || !self.is_wanted(line) {
            return;
        }
        let mut text = String::new();
        if self.args.timestamps {
            let time = line.time.parse::<Timestamp>().map(|time| format!("{time:.9}"));
            text = time.unwrap_or_else(|_| line.time.clone()) + " ";
        }
        text.push_str(&line.log);
        self.printed = if line.stream == "stderr" {
            io::stderr().write_all(text.as_bytes())
        } else {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        };
    }
}
