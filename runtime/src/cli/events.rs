//! `events`: what a container uses, and when memory runs out, one JSON object a line.

use super::arguments::Events;
use super::verbs::os;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rbox_runtime::Result;
use rbox_runtime::cgroup::OutOfMemory;
use rbox_runtime::container::Container;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// With `--stats` once, else until the container has ended.
///
/// differs from runc: with cgroup v1 runc goes on until the container is deleted.
pub(super) fn events(root: &Path, flags: &Events) -> Result<()> {
    let container = Container::load(root, &flags.id)?;
    let ended = container.pidfd().ok_or_else(|| container.not_running("read the events of"))?;
    if flags.stats {
        return stats(&container);
    }
    let mut memory = container.cgroup().out_of_memory()?;
    let mut next = Instant::now() + flags.interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let mut watched = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        if let Some((memory, what)) = memory.as_ref().map(OutOfMemory::watched) {
            watched.push(PollFd::new(memory, what));
        }
        match poll(&mut watched, timeout(left)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(os("wait for events".to_owned(), errno.into())),
        }
        let over = watched[0].any() == Some(true);
        // Also when it is over: it may have ended for this very reason.
        let killed = memory.as_mut().map_or(0, OutOfMemory::take);
        for _ in 0..killed {
            say(&json!({ "type": "oom", "id": container.id() }))?;
        }
        if over {
            return Ok(());
        }
        if Instant::now() >= next {
            next += flags.interval;
            match stats(&container) {
                // Deleted in this moment.
                Err(_) if container.pidfd().is_none() => return Ok(()),
                told => told?,
            }
        }
    }
}

/// At most a minute, and never less than what is left.
fn timeout(left: Duration) -> PollTimeout {
    let milliseconds = left.min(Duration::from_secs(60)).as_micros().div_ceil(1000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}

fn stats(container: &Container) -> Result<()> {
    let counters = container.cgroup().counters()?;
    say(&json!({ "type": "stats", "id": container.id(), "data": counters }))
}

fn say(event: &Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{event}").and_then(|()| out.flush()).map_err(|error| os("print an event".to_owned(), error))
}
