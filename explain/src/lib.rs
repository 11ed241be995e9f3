//! What rbox tells while it works: one [`Record`] for each request to the kernel.
//!
//! Every library has a table of [`Row`]s, one for each kind of request it makes. A request goes through
//! [`step`] (or [`step_saying`]), at the very place where it is made:
//!
//! ```text
//!   runtime, net, images ──step(&ROW, || "ip link add …", || request)──▶ listener (set by `rbox --explain`)
//! ```
//!
//! so an explanation is the kernel's own answer and cannot drift from what the code does. While nobody
//! listens, a step costs one relaxed load; its words are never made.
//!
//! This crate is a leaf: the three libraries know it, and it knows nobody.

use std::fmt::Display;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One kind of request: why rbox makes it, and where to read more. The same row words the errors.
#[derive(Debug)]
pub struct Row {
    /// Stable short name, as it stands in `--explain=json` (`"clone3"`, `"veth"`).
    pub key: &'static str,
    /// One line for a learner: why this is done at all.
    pub why: &'static str,
    /// Where it is written down: `"pivot_root(2)"`, `"runtime-spec config-linux.md#namespaces"`.
    pub see: &'static str,
}

/// Who made the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// rbox, outside the container.
    Host,
    /// The container's first process, before it becomes the user's program.
    Init,
}

impl Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Actor::Host => "host",
            Actor::Init => "init",
        })
    }
}

/// One request as the kernel answered it.
#[derive(Debug)]
pub struct Record {
    /// Who made it.
    pub actor: Actor,
    /// The kind of request.
    pub row: &'static Row,
    /// The request in the words of `strace`, `ip` or `iptables-restore`.
    pub request: String,
    /// What came back: `Ok("pid 4121")`, `Ok("")` where there is nothing to say, or the error.
    pub result: Result<String, String>,
    /// How long the request took.
    pub took: Duration,
}

type Listener = Box<dyn Fn(Record) + Send + Sync>;

static LISTENING: AtomicBool = AtomicBool::new(false);
static LISTENER: OnceLock<Listener> = OnceLock::new();

/// Pass every later record to `listener`. The first call wins; later ones change nothing.
pub fn listen(listener: impl Fn(Record) + Send + Sync + 'static) {
    if LISTENER.set(Box::new(listener)).is_ok() {
        LISTENING.store(true, Ordering::Release);
    }
}

/// Whether anybody listens: lets a caller skip work that only serves an explanation.
pub fn listening() -> bool {
    LISTENING.load(Ordering::Relaxed)
}

/// Make a request, and tell the listener how the kernel answered.
///
/// # Errors
/// Those of `act`, unchanged.
pub fn step<T, E: Display>(
    row: &'static Row,
    request: impl FnOnce() -> String,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    step_saying(row, request, act, |_| String::new())
}

/// As [`step`], with words for a good answer (`pid 4121`, `ifindex 7`).
///
/// # Errors
/// Those of `act`, unchanged.
pub fn step_saying<T, E: Display>(
    row: &'static Row,
    request: impl FnOnce() -> String,
    act: impl FnOnce() -> Result<T, E>,
    say: impl FnOnce(&T) -> String,
) -> Result<T, E> {
    if !listening() {
        let answer = act();
        crash::point(row.key);
        return answer;
    }
    let began = Instant::now();
    let answer = act();
    let took = began.elapsed();
    let result = answer.as_ref().map(say).map_err(ToString::to_string);
    tell(Record { actor: Actor::Host, row, request: request(), result, took });
    crash::point(row.key);
    answer
}

/// Pass on a record of a request that was made elsewhere (the container's init notes its own in a shared page).
pub fn tell(record: Record) {
    if let Some(listener) = LISTENER.get() {
        listener(record);
    }
}

/// Something of ours was written, moved or removed: explained to nobody, and one more place where the crash tests' program
/// can end.
pub fn mark(key: &'static str) {
    crash::point(key);
}

/// The crash tests' way to end the program after any step; nothing at all in an ordinary build.
mod crash {
    #[cfg(not(feature = "crash-points"))]
    pub(super) fn point(_key: &'static str) {}

    /// `RBOX_CRASH_AFTER=7` kills after the seventh step, `RBOX_CRASH_AFTER=veth` after the first of that key.
    /// `RBOX_CRASH_TRACE=FILE` writes down the keys, so that a test knows how many there are.
    #[cfg(feature = "crash-points")]
    pub(super) fn point(key: &'static str) {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        if let Ok(file) = std::env::var("RBOX_CRASH_TRACE")
            && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(file)
        {
            let _ = std::io::Write::write_all(&mut file, format!("{key}\n").as_bytes());
        }
        let Ok(wanted) = std::env::var("RBOX_CRASH_AFTER") else { return };
        if wanted == key || wanted.parse() == Ok(nth) {
            // SIGKILL, so that no destructor runs: exactly what `kill -9` from outside would do.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        }
    }
}
