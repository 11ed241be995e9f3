//! Who answers for a container: the first file that is made of it, and the last that is removed.
//!
//! ```text
//!   run, create ──make──▶ claim ──take_over──▶ the monitor's ──release──▶ nobody: the container has ended
//!   start, rm ───hold───▶   │ whoever claims is killed: the next command sweeps (`sweep.rs`)
//! ```
//!
//! A claim is a link whose text says it all. One request makes it, and only where there is none; one reads it. When somebody
//! has died (`register.rs`), the next command reads them all.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};

use super::register::Register;
use super::{Record, entries, make_private, remove_file, short};
use crate::dirs::Dirs;
use crate::report::Problem;

/// Who answers for a container.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// The container's name.
    pub(crate) name: String,
    /// The process.
    pub(crate) pid: i32,
    /// When it started: field 22 of /proc/PID/stat (proc_pid_stat(5)).
    pub(crate) start_time: u64,
    /// The boot of the kernel that it belongs to.
    pub(crate) boot_id: String,
    /// What it is doing, and so what is to be done when it is killed over it.
    pub(crate) purpose: Purpose,
}

/// What a claim is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To make the container. Of one whose program has not begun nothing stays.
    Make,
    /// To start one that is there, or to hold one that runs. It stays.
    Hold,
    /// To remove it. What was begun is brought to its end.
    Remove,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Purpose::Make => "make",
            Purpose::Hold => "hold",
            Purpose::Remove => "remove",
        }
    }

    fn of_word(word: &str) -> Option<Purpose> {
        [Purpose::Make, Purpose::Hold, Purpose::Remove].into_iter().find(|purpose| purpose.word() == word)
    }
}

/// Start time of a process, or nothing when it is gone or only waits to be collected.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    let (state, start_time) = rbox_runtime::stat(pid).ok()?;
    (!matches!(state, 'Z' | 'X')).then_some(start_time)
}

/// Whether the process of that number, start time and boot is still there.
pub(crate) fn is_alive(pid: i32, start: u64, boot: &str) -> bool {
    boot_id().is_ok_and(|now| now == boot) && start_time(pid) == Some(start)
}

/// The id of this boot of the kernel. Read once: a process does not outlive it.
pub(crate) fn boot_id() -> Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(id) = BOOT.get() {
        return Ok(id);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the kernel's boot id")?;
    Ok(BOOT.get_or_init(|| text.trim().to_owned()))
}

impl Claim {
    /// Claim `id` and `name` for this process. Nothing of the container may be made before.
    ///
    /// Errors: the name is taken (with its holder); the directories cannot be written.
    pub(crate) fn make(dirs: &Dirs, id: String, name: String) -> Result<Claim> {
        let claim = Claim::of_this_process(id, name, Purpose::Make)?;
        for directory in [dirs.claims(), dirs.names(), dirs.containers()] {
            make_private(&directory)?;
        }
        symlink(claim.text(), claim.path(dirs)).with_context(|| claim.doing(dirs))?;
        rbox_explain::mark("claim-made");
        if let Err(error) = claim.take_name(dirs) {
            claim.release(dirs)?;
            return Err(error);
        }
        Ok(claim)
    }

    /// Claim a container that is there and that nobody claims; nothing when somebody does.
    ///
    /// Errors: the directory cannot be written.
    pub(crate) fn hold(dirs: &Dirs, id: &str, name: &str, purpose: Purpose) -> Result<Option<Claim>> {
        let claim = Claim::of_this_process(id.to_owned(), name.to_owned(), purpose)?;
        make_private(&dirs.claims())?;
        // Of two that claim, one is told.
        let made = symlink(claim.text(), claim.path(dirs));
        rbox_explain::mark("claim-made");
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            made => made.with_context(|| claim.doing(dirs)).map(|()| Some(claim)),
        }
    }

    /// Make this process the one that answers, in place of `pid`, whose claim it is now. To be called under the
    /// sweep's lock: a claim whose process is killed in this moment is either still there or swept.
    ///
    /// Errors: it is not there any more, or is another's.
    pub(crate) fn take_over(dirs: &Dirs, id: &str, pid: i32) -> Result<Claim> {
        let found = Claim::of(dirs, id)?.filter(|claim| claim.pid == pid);
        let found = found.with_context(|| format!("cannot take over container {}: nobody hands it over", short(id)))?;
        found.rewritten(dirs, found.purpose)
    }

    /// The same claim, written anew as this process's, for another purpose.
    ///
    /// Errors: the directory cannot be written.
    pub(crate) fn rewritten(&self, dirs: &Dirs, purpose: Purpose) -> Result<Claim> {
        let claim = Claim::of_this_process(self.id.clone(), self.name.clone(), purpose)?;
        claim.replace(dirs, &claim.beside(dirs))?;
        Ok(claim)
    }

    fn of_this_process(id: String, name: String, purpose: Purpose) -> Result<Claim> {
        let pid = std::process::id().cast_signed();
        let start_time = start_time(pid).context("cannot read this process's start time")?;
        Ok(Claim { id, name, pid, start_time, boot_id: boot_id()?.to_owned(), purpose })
    }

    fn path(&self, dirs: &Dirs) -> PathBuf {
        dirs.claims().join(&self.id)
    }

    /// The text of the link. The name is last: it may hold dots.
    fn text(&self) -> String {
        format!("{}.{}.{}.{}.{}", self.purpose.word(), self.pid, self.start_time, self.boot_id, self.name)
    }

    fn parse(id: &str, text: &str) -> Option<Claim> {
        let mut words = text.splitn(5, '.');
        let purpose = Purpose::of_word(words.next()?)?;
        let (pid, start_time) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (boot_id, name) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Claim { id: id.to_owned(), name, pid, start_time, boot_id, purpose })
    }

    fn doing(&self, dirs: &Dirs) -> String {
        format!("cannot claim container {} in {}", self.name, dirs.claims().display())
    }

    /// Write it in place of the one that is there, by a temporary link of that name.
    fn replace(&self, dirs: &Dirs, beside: &Path) -> Result<()> {
        symlink(self.text(), beside).with_context(|| self.doing(dirs))?;
        rbox_explain::mark("claim-beside");
        fs::rename(beside, self.path(dirs))
            .inspect_err(|_| drop(fs::remove_file(beside)))
            .with_context(|| self.doing(dirs))?;
        rbox_explain::mark("claim-replaced");
        Ok(())
    }

    /// The temporary name tells its writer, so that a sweep knows what a dead one left.
    fn beside(&self, dirs: &Dirs) -> PathBuf {
        dirs.claims().join(format!(".{}.{}.{}", self.pid, self.start_time, self.id))
    }

    /// Make the name this container's.
    ///
    /// Errors: it is taken (with its holder).
    pub(super) fn take_name(&self, dirs: &Dirs) -> Result<()> {
        let link = dirs.names().join(&self.name);
        match symlink(&self.id, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let holder = fs::read_link(&link).map(|id| id.to_string_lossy().into_owned()).unwrap_or_default();
                let message =
                    format!("cannot name a container {}: name in use (by container {})", self.name, short(&holder));
                Err(Problem::new(message)
                    .hint(format!("remove that one with rbox rm {}, or take another name", self.name))
                    .into())
            }
            made => {
                rbox_explain::mark("name-taken");
                made.with_context(|| format!("cannot reserve the name {}", self.name))
            }
        }
    }

    /// A claim that nobody holds any more, for taking apart what stands in its name.
    pub(crate) fn of_nobody(id: &str, name: &str) -> Claim {
        let (id, name, boot_id) = (id.to_owned(), name.to_owned(), String::new());
        Claim { id, name, pid: 0, start_time: 0, boot_id, purpose: Purpose::Remove }
    }

    /// The claim on a container, by the name that its record has now; nothing when nobody claims it.
    ///
    /// Errors: it cannot be read or written.
    pub(super) fn renamed(dirs: &Dirs, record: &Record) -> Result<Option<Claim>> {
        let Some(claim) = Claim::of(dirs, &record.id)? else { return Ok(None) };
        let claim = Claim { name: record.name.clone(), ..claim };
        // Beside it under our own name: who holds the claim may be writing it too.
        let ours = Claim::of_this_process(claim.id.clone(), claim.name.clone(), claim.purpose)?;
        claim.replace(dirs, &ours.beside(dirs))?;
        Ok(Some(claim))
    }

    /// Give the name back, if it is ours.
    pub(crate) fn release_name(&self, dirs: &Dirs) -> Result<()> {
        let link = dirs.names().join(&self.name);
        match fs::read_link(&link) {
            Ok(holder) if holder == Path::new(&self.id) => remove_file(&link),
            _ => Ok(()),
        }
    }

    /// Give the claim back: nothing of the container is held any more.
    pub(crate) fn release(&self, dirs: &Dirs) -> Result<()> {
        remove_file(&self.path(dirs))
    }

    /// Whether the process that claims is still there.
    pub(crate) fn is_alive(&self) -> bool {
        is_alive(self.pid, self.start_time, &self.boot_id)
    }

    fn is_of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|now| now == self.boot_id)
    }

    /// Whether the container is being made: of one that is never finished nothing stays.
    pub(crate) fn is_making(&self) -> bool {
        self.purpose == Purpose::Make
    }

    /// Remove the links that processes left which were killed while they replaced a claim.
    ///
    /// Errors: one cannot be removed.
    pub(crate) fn sweep_unfinished(unfinished: &[PathBuf]) -> Result<()> {
        for path in unfinished {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut parts = name.trim_start_matches('.').split('.');
            let writer =
                parts.next().and_then(|pid| pid.parse().ok()).zip(parts.next().and_then(|start| start.parse().ok()));
            if writer.is_none_or(|(pid, start): (i32, u64)| start_time(pid) != Some(start)) {
                remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The claim on one container; nothing when nobody claims it.
    ///
    /// Errors: it cannot be read.
    pub(crate) fn of(dirs: &Dirs, id: &str) -> Result<Option<Claim>> {
        read(&dirs.claims().join(id))
    }

    /// All claims.
    ///
    /// Errors: the directory cannot be listed, or one not be read.
    pub(crate) fn all(dirs: &Dirs) -> Result<Vec<Claim>> {
        let (ids, _) = Claim::ids_and_unfinished(dirs)?;
        ids.iter().filter_map(|id| Claim::of(dirs, id).transpose()).collect()
    }

    /// Those of these containers' claims whose process is gone. Where it stands in the register it is not asked for.
    ///
    /// Errors: one cannot be read.
    pub(crate) fn dead(dirs: &Dirs, ids: &[String], register: Option<&Register>) -> Result<Vec<Claim>> {
        let living = register.map(Register::living).unwrap_or_default();
        let stands = |claim: &Claim| living.contains(&(claim.pid, claim.start_time));
        let lives = |claim: &Claim| stands(claim) && claim.is_of_this_boot() || claim.is_alive();
        let claims = ids.iter().filter_map(|id| Claim::of(dirs, id).transpose());
        claims.filter(|claim| !claim.as_ref().is_ok_and(lives)).collect()
    }

    /// The containers that are claimed, and the claims that somebody is about to put in place.
    ///
    /// Errors: the directory cannot be listed.
    pub(crate) fn ids_and_unfinished(dirs: &Dirs) -> Result<(Vec<String>, Vec<PathBuf>)> {
        let (mut ids, mut unfinished) = (Vec::new(), Vec::new());
        for path in entries(&dirs.claims(), |_| true)? {
            match path.file_name().unwrap_or_default().to_string_lossy() {
                name if name.starts_with('.') => unfinished.push(path.clone()),
                name => ids.push(name.into_owned()),
            }
        }
        Ok((ids, unfinished))
    }
}

fn read(path: &Path) -> Result<Option<Claim>> {
    let text = match fs::read_link(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let id = path.file_name().unwrap_or_default().to_string_lossy();
    let claim = Claim::parse(&id, &text.to_string_lossy());
    claim.map(Some).with_context(|| format!("{}: not what rbox wrote", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(place: &Path) -> Dirs {
        let global = crate::cli::Global {
            root: place.join("root"),
            state: place.join("state"),
            config: place.join("config.json"),
            firewall: None,
        };
        Dirs::new(&global).unwrap()
    }

    #[test]
    fn a_name_belongs_to_one_container_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let dirs = dirs(place.path());
        let first = Claim::make(&dirs, "a".repeat(64), "web".into()).unwrap();
        let taken = Claim::make(&dirs, "b".repeat(64), "web".into()).unwrap_err();
        assert_eq!(taken.to_string(), "cannot name a container web: name in use (by container aaaaaaaaaaaa)");
        assert_eq!(Claim::all(&dirs).unwrap().len(), 1, "a refused claim leaves nothing");
        first.release_name(&dirs).unwrap();
        Claim::make(&dirs, "b".repeat(64), "web".into()).unwrap();
        first.release_name(&dirs).unwrap();
        assert!(dirs.names().join("web").is_symlink(), "another's name is not given back");
    }

    #[test]
    fn a_container_is_held_by_one_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let dirs = dirs(place.path());
        let id = "a".repeat(64);
        let first = Claim::hold(&dirs, &id, "a.web.1", Purpose::Hold).unwrap().unwrap();
        assert!(Claim::hold(&dirs, &id, "web", Purpose::Remove).unwrap().is_none());
        let found = Claim::of(&dirs, &id).unwrap().unwrap();
        assert_eq!((found.purpose, &*found.name, found.is_alive()), (Purpose::Hold, "a.web.1", true));
        first.release(&dirs).unwrap();
        assert!(Claim::hold(&dirs, &id, "web", Purpose::Remove).unwrap().is_some());
        assert_eq!(fs::read_dir(dirs.claims()).unwrap().count(), 1, "nothing is left beside the claim");
    }

    #[test]
    fn only_what_is_handed_over_is_taken() {
        let place = tempfile::tempdir().unwrap();
        let dirs = dirs(place.path());
        let claim = Claim::make(&dirs, "a".repeat(64), "web".into()).unwrap();
        assert!(Claim::take_over(&dirs, &claim.id, claim.pid + 1).is_err());
        assert_eq!(Claim::take_over(&dirs, &claim.id, claim.pid).unwrap().purpose, Purpose::Make);
        claim.release(&dirs).unwrap();
        assert!(Claim::take_over(&dirs, &claim.id, claim.pid).is_err());
    }

    #[test]
    fn a_claim_of_another_boot_or_start_is_dead() {
        let place = tempfile::tempdir().unwrap();
        let dirs = dirs(place.path());
        let claim = Claim::make(&dirs, "a".repeat(64), "web".into()).unwrap();
        assert!(claim.is_alive());
        assert!(!Claim { boot_id: "another".into(), ..claim.clone() }.is_alive());
        assert!(!Claim { start_time: claim.start_time + 1, ..claim }.is_alive());
    }
}
