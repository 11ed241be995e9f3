//! Options of a mount, sorted by who acts on them (runtime-spec config.md#linux-mount-options).

use crate::error::{Error, Result};
use std::ffi::CString;

pub(super) const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

/// Options of a mount, sorted by who acts on them.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) set: u64,
    pub(super) clear: u64,
    /// `MOUNT_ATTR_*` for the whole tree: `rro`, `rnosuid` …
    pub(super) set_all: u64,
    pub(super) clear_all: u64,
    /// `MS_PRIVATE` … and whether for the whole tree.
    pub(super) propagation: Option<(u64, bool)>,
    pub(super) bind: Option<Bind>,
    pub(super) remount: bool,
    /// `idmap`, `ridmap`: whether for the whole tree.
    pub(super) idmap: Option<bool>,
    /// `iversion`, `noiversion`.
    pub(super) counts_changes: Option<bool>,
    /// A tmpfs that begins with what the image has there.
    pub(super) copy_up: bool,
    /// For the file system: `size=64m`, `newinstance`.
    pub(super) data: Vec<(CString, Option<CString>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bind {
    This,
    Recursive,
}

/// The flags that mean the same for every file system: (option, attributes to set, to clear), from mount(8).
static FLAGS: &[(&str, u64, u64)] = &[
    ("ro", RDONLY, 0),
    ("rw", 0, RDONLY),
    ("nosuid", libc::MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, libc::MOUNT_ATTR_NOSUID),
    ("nodev", libc::MOUNT_ATTR_NODEV, 0),
    ("dev", 0, libc::MOUNT_ATTR_NODEV),
    ("noexec", libc::MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, libc::MOUNT_ATTR_NOEXEC),
    ("noatime", libc::MOUNT_ATTR_NOATIME, ATIME),
    ("atime", 0, ATIME),
    ("strictatime", libc::MOUNT_ATTR_STRICTATIME, ATIME),
    ("nostrictatime", 0, ATIME),
    ("relatime", 0, ATIME),
    ("norelatime", 0, ATIME),
    ("nodiratime", libc::MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, libc::MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", libc::MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, libc::MOUNT_ATTR_NOSYMFOLLOW),
    ("defaults", 0, 0),
    ("async", 0, 0),
    ("silent", 0, 0),
    ("loud", 0, 0),
    ("nomand", 0, 0),
    ("quiet", 0, 0),
];

/// Options that runc knows and we have not: refused by name, for a flag must not be parsed and ignored.
static UNSUPPORTED: &[&str] = &["copy-symlink", "dest-nofollow", "src-nofollow"];

fn propagation(option: &str) -> Option<(u64, bool)> {
    Some(match option {
        "private" => (libc::MS_PRIVATE, false),
        "rprivate" => (libc::MS_PRIVATE, true),
        "slave" => (libc::MS_SLAVE, false),
        "rslave" => (libc::MS_SLAVE, true),
        "shared" => (libc::MS_SHARED, false),
        "rshared" => (libc::MS_SHARED, true),
        "unbindable" => (libc::MS_UNBINDABLE, false),
        "runbindable" => (libc::MS_UNBINDABLE, true),
        _ => return None,
    })
}

impl Options {
    pub(super) fn parse(options: &[String], path: &str) -> Result<Options> {
        let mut parsed = Options::default();
        for option in options {
            if UNSUPPORTED.contains(&option.as_str()) {
                return Err(Error::spec(path, format!("mount option {option} is not supported")));
            }
            parsed.take(option, path)?;
        }
        Ok(parsed)
    }

    fn take(&mut self, option: &str, path: &str) -> Result<()> {
        if let Some((_, set, clear)) = FLAGS.iter().find(|(name, _, _)| *name == option) {
            // The last word wins, as with mount(8).
            self.set = self.set & !clear | set;
            self.clear = self.clear & !set | clear;
        } else if let Some(change) = propagation(option) {
            self.propagation = Some(change);
        } else if let Some((_, set, clear)) = option
            .strip_prefix('r')
            .and_then(|plain| FLAGS.iter().find(|(name, set, clear)| *name == plain && (set | clear) != 0))
        {
            self.set_all = self.set_all & !clear | set;
            self.clear_all = self.clear_all & !set | clear;
        } else {
            match option {
                "bind" => self.bind = Some(Bind::This),
                "rbind" => self.bind = Some(Bind::Recursive),
                "remount" => self.remount = true,
                "iversion" => self.counts_changes = Some(true),
                "noiversion" => self.counts_changes = Some(false),
                "tmpcopyup" => self.copy_up = true,
                "idmap" => self.idmap = Some(false),
                "ridmap" => self.idmap = Some(true),
                _ => self.data.push(data(option, path)?),
            }
        }
        Ok(())
    }

    /// What a new mount is set to when it is attached; private it is from its birth.
    pub(super) fn propagation_of_new(&self) -> u64 {
        self.propagation.map_or(0, |(flag, _)| flag) & !libc::MS_PRIVATE
    }

    /// The flags of a mount that has none below it yet: the recursive ones (`rro`) are its own, too.
    pub(super) fn of_one(&self) -> u64 {
        self.set & !self.clear_all | self.set_all
    }
}

/// Whether `option` is done here, for every kind of mount; the others are words for one file system, or refused.
pub(crate) fn knows_option(option: &str) -> bool {
    Options::parse(&[option.to_owned()], "").is_ok_and(|parsed| parsed.data.is_empty())
}

fn data(option: &str, path: &str) -> Result<(CString, Option<CString>)> {
    let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
    let c = |text: &str| CString::new(text).map_err(|_| Error::spec(path, "contains a zero byte"));
    Ok((c(key)?, value.map(c).transpose()?))
}

/// mount_setattr(2) wants the access time bits cleared whenever one of them is set.
pub(super) fn atime(set: u64) -> u64 {
    if set & ATIME != 0 { ATIME } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Options {
        Options::parse(&options.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(), "mounts[0]").unwrap()
    }

    #[test]
    fn the_last_of_two_opposite_options_wins() {
        let options = parse(&["ro", "nosuid", "rw"]);
        assert_eq!((options.set, options.clear), (libc::MOUNT_ATTR_NOSUID, RDONLY));
    }

    #[test]
    fn recursive_forms_are_told_from_propagation_and_from_relatime() {
        let options = parse(&["rro", "rprivate", "relatime", "rbind"]);
        assert_eq!(options.set_all, RDONLY);
        assert_eq!(options.propagation, Some((libc::MS_PRIVATE, true)));
        assert_eq!((options.set, options.clear), (0, ATIME));
        assert_eq!(options.bind, Some(Bind::Recursive));
    }

    #[test]
    fn on_a_mount_that_has_none_below_it_the_recursive_form_wins() {
        assert_eq!(parse(&["rro", "nosuid"]).of_one(), RDONLY | libc::MOUNT_ATTR_NOSUID);
        assert_eq!(parse(&["ro", "rrw"]).of_one(), 0);
    }

    #[test]
    fn what_no_flag_knows_goes_to_the_file_system() {
        let options = parse(&["newinstance", "gid=5"]);
        assert_eq!(options.data, [(c"newinstance".to_owned(), None), (c"gid".to_owned(), Some(c"5".to_owned()))]);
    }
}
