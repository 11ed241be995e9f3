//! The register: who changes anything here stands in it meanwhile, so that nobody looks for what the dead have left as long
//! as nobody has died.
//!
//! ```text
//!   STATE/register    head     what it is, of which boot of the kernel, when all was last looked through
//!                     words    one for each process: 0, its number, or the kernel's mark that it has died
//!                     owners   whose each word is, by number and start time
//!
//!   a command ──enter──▶ its word ──leave──▶ 0          it has done all that it began
//!                           └── killed, or ended by an error ──▶ marked ──swept──▶ 0
//! ```
//!
//! The kernel sets the mark in the moment of death ([`rbox_runtime::robust`]): no process has to be there for it, and none
//! can miss it. To ask whether somebody has died is to read a file, of the same length however many containers there are.
//! It says only whether to look. What is to be done, and for whom, is in the claims and records.
//!
//! Two things make the next command look in any case. Where the register has no room, or is not what rbox wrote, it says
//! nothing; and a look is good for [`LOOK_LASTS`], lest something that no death has told of stay for ever.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc;
use nix::time::{ClockId, clock_gettime};
use rbox_runtime::robust::{self, Word};

use super::claim::{boot_id, start_time};
use super::{entries, make_private};
use crate::dirs::Dirs;
use crate::sweep;

/// For so long nobody looks again, where nobody has died.
const LOOK_LASTS: Duration = Duration::from_secs(10);

/// The head is as long as so many words.
const HEAD_WORDS: usize = 16;
/// Head and words are four pages.
const WORDS: usize = 4096;
const WORD_BYTES: usize = size_of::<u32>();
const HEAD_BYTES: usize = HEAD_WORDS * WORD_BYTES;
const OWNER_BYTES: usize = 16;
const OWNERS_AT: usize = WORDS * WORD_BYTES;
const LENGTH: u64 = (OWNERS_AT + WORDS * OWNER_BYTES) as u64;

/// The head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// Somebody is at work who does not stand in the register.
    is_short: bool,
    /// How often marks were taken away: who has not seen all of them must not take any.
    generation: u32,
    /// When all was last looked through, in seconds since the machine was started.
    looked: u64,
}

/// This process's word.
static OWN: Mutex<Option<Word>> = Mutex::new(None);

/// The register as it was when this command looked.
pub(crate) struct Register {
    file: File,
    head: Head,
    dead: Vec<usize>,
}

/// Have this process's death told to the next command, until it leaves; and look. To be done before anything is changed.
/// Nothing, where there is nothing to look at.
pub(crate) fn enter(dirs: &Dirs) -> Option<Register> {
    let file = open(dirs).ok()?;
    let mut own = OWN.lock().expect("nobody panics with it");
    if own.is_none() {
        match take(&file) {
            Ok(Some(word)) => *own = Some(word),
            // Then all have to look each time, as if there were no register.
            _ => change(dirs, &file, |head| head.is_short = true).ok()?,
        }
        rbox_explain::mark("register-entered");
    }
    Register::read(file)
}

/// All is done that this process began.
pub(crate) fn leave() {
    if let Some(word) = OWN.lock().expect("nobody panics with it").take() {
        word.give_back();
    }
}

fn take(file: &File) -> io::Result<Option<Word>> {
    let pid = std::process::id();
    let start = start_time(pid.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    let Some((number, word)) = robust::take(file.as_fd(), WORDS, HEAD_WORDS)? else { return Ok(None) };
    let mut owner = [0; OWNER_BYTES];
    owner[..4].copy_from_slice(&pid.to_ne_bytes());
    owner[8..].copy_from_slice(&start.to_ne_bytes());
    file.write_all_at(&owner, owner_at(number))?;
    Ok(Some(word))
}

impl Register {
    fn read(file: File) -> Option<Register> {
        let mut bytes = vec![0; OWNERS_AT];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let head = Head::parse(&bytes)?;
        let is_dead = |(number, word): (usize, u32)| (word & robust::DIED != 0).then_some(number);
        let dead = numbers(&bytes).enumerate().skip(HEAD_WORDS).filter_map(is_dead).collect();
        Some(Register { file, head, dead })
    }

    /// Whether nothing can have been left since somebody looked last.
    pub(crate) fn is_quiet(&self) -> bool {
        let since = now().checked_sub(self.head.looked);
        !self.head.is_short && self.dead.is_empty() && since.is_some_and(|since| since < LOOK_LASTS.as_secs())
    }

    /// Those who stand in it and live: their numbers and when they started.
    pub(crate) fn living(&self) -> HashSet<(i32, u64)> {
        let mut bytes = vec![0; usize::try_from(LENGTH).unwrap_or_default()];
        if self.file.read_exact_at(&mut bytes, 0).is_err() {
            return HashSet::new();
        }
        let (words, owners) = bytes.split_at(OWNERS_AT);
        let owners = owners.chunks_exact(OWNER_BYTES).map(owner);
        let is_own = |(word, (pid, _)): &(u32, (i32, u64))| *word != 0 && *word == pid.unsigned_abs();
        numbers(words).zip(owners).skip(HEAD_WORDS).filter(is_own).map(|(_, owner)| owner).collect()
    }

    /// Whoever had died by then, all that he left is gone.
    pub(crate) fn looked_through(&self, dirs: &Dirs) {
        let gone: Vec<usize> = self.dead.iter().copied().filter(|number| self.is_gone(*number)).collect();
        // What cannot be noted has the next command look again.
        let _ = change(dirs, &self.file, |head| {
            if head.generation != self.head.generation {
                // Another command has, and who has a word of these since may have died in this moment.
                return;
            }
            let taken =
                |number: &usize| self.file.write_all_at(&[0; WORD_BYTES], (number * WORD_BYTES) as u64).is_err();
            if !gone.iter().any(taken) {
                (head.generation, head.looked) = (head.generation.wrapping_add(1), now());
            }
        });
    }

    /// The mark is there before the process has ended: until then others take it for alive, by what /proc says of it.
    fn is_gone(&self, number: usize) -> bool {
        let mut bytes = [0; OWNER_BYTES];
        let (pid, start) = match self.file.read_exact_at(&mut bytes, owner_at(number)) {
            Ok(()) => owner(&bytes),
            Err(_) => return false,
        };
        start_time(pid) != Some(start)
    }
}

impl Head {
    const MAGIC: [u8; 8] = *b"rbox reg";

    /// Nothing where it is not the head of a register of this boot.
    fn parse(bytes: &[u8]) -> Option<Head> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (is_short, rest) = rest.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (looked, rest) = rest.split_first_chunk()?;
        let head = Head {
            is_short: u32::from_ne_bytes(*is_short) != 0,
            generation: u32::from_ne_bytes(*generation),
            looked: u64::from_ne_bytes(*looked),
        };
        let boot = boot_id().ok()?.as_bytes();
        (*magic == Head::MAGIC && rest.starts_with(boot)).then_some(head)
    }

    fn bytes(&self) -> Result<[u8; HEAD_BYTES]> {
        let parts: [&[u8]; 5] = [
            &Head::MAGIC,
            &u32::from(self.is_short).to_ne_bytes(),
            &self.generation.to_ne_bytes(),
            &self.looked.to_ne_bytes(),
            boot_id()?.as_bytes(),
        ];
        let mut bytes = [0; HEAD_BYTES];
        bytes.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
        Ok(bytes)
    }
}

/// Open the register, and make it where there is none.
fn open(dirs: &Dirs) -> Result<File> {
    make_private(dirs.state())?;
    let (path, mut options) = (dirs.register(), OpenOptions::new());
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if !is_whole(&file) {
        let _lock = sweep::lock(dirs)?;
        if !is_whole(&file) {
            make(dirs, &file).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(file)
}

fn is_whole(file: &File) -> bool {
    let mut head = [0; HEAD_BYTES];
    let is_long = file.metadata().is_ok_and(|it| it.is_file() && it.len() >= LENGTH);
    is_long && file.read_exact_at(&mut head, 0).is_ok() && Head::parse(&head).is_some()
}

/// Never made shorter: somebody may have it in his memory. The head goes in last.
fn make(dirs: &Dirs, file: &File) -> Result<()> {
    let mut magic = [0; Head::MAGIC.len()];
    let is_of_another_boot = file.read_exact_at(&mut magic, 0).is_ok() && magic == Head::MAGIC;
    // Who works already stands in none, where there was none, or one that somebody has spoilt.
    let is_short = !is_of_another_boot && !entries(&dirs.claims(), |_| true)?.is_empty();
    let length = file.metadata()?.len();
    file.write_all_at(&vec![0; usize::try_from(length.min(LENGTH))?], 0)?;
    file.set_len(length.max(LENGTH))?;
    file.write_all_at(&Head { is_short, generation: 0, looked: 0 }.bytes()?, 0)?;
    rbox_explain::mark("register-made");
    Ok(())
}

/// Change the head, while nobody else does.
fn change(dirs: &Dirs, file: &File, change: impl FnOnce(&mut Head)) -> Result<()> {
    let _lock = sweep::lock(dirs)?;
    let mut bytes = [0; HEAD_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let mut head = Head::parse(&bytes).context("not what rbox wrote")?;
    change(&mut head);
    Ok(file.write_all_at(&head.bytes()?, 0)?)
}

fn numbers(words: &[u8]) -> impl Iterator<Item = u32> {
    words.chunks_exact(WORD_BYTES).map(|word| word.try_into().map_or(0, u32::from_ne_bytes))
}

/// Whose a word is: a process's number, and when it started.
fn owner(bytes: &[u8]) -> (i32, u64) {
    let (pid, start) = bytes.split_at(OWNER_BYTES / 2);
    (pid.first_chunk().map_or(0, |pid| i32::from_ne_bytes(*pid)), start.try_into().map_or(0, u64::from_ne_bytes))
}

fn owner_at(number: usize) -> u64 {
    (OWNERS_AT + number * OWNER_BYTES) as u64
}

/// Seconds since the machine was started, sleep included (clock_gettime(2)).
fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(|now| now.tv_sec());
    now.ok().and_then(|now| u64::try_from(now).ok()).unwrap_or_default()
}
