//! `iversion`, `noiversion`: whether each change of a file is counted in its inode (mount(8)).
//!
//! fsconfig(2) has no word for it, and mount(2) alone can change it, by a remount that says everything else again.

use std::ffi::{CStr, CString, NulError};

/// linux/mount.h; what reads the count is NFS and IMA.
const MS_I_VERSION: u64 = 1 << 23;
const MS_NOSYMFOLLOW: u64 = 256;

/// The remount, as mount(2) takes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InodeVersions {
    pub(crate) flags: u64,
    pub(crate) data: CString,
}

/// `MOUNT_ATTR_*` and what mount(2) calls it.
static FLAGS: &[(u64, u64)] = &[
    (libc::MOUNT_ATTR_RDONLY, libc::MS_RDONLY),
    (libc::MOUNT_ATTR_NOSUID, libc::MS_NOSUID),
    (libc::MOUNT_ATTR_NODEV, libc::MS_NODEV),
    (libc::MOUNT_ATTR_NOEXEC, libc::MS_NOEXEC),
    (libc::MOUNT_ATTR_NOATIME, libc::MS_NOATIME),
    (libc::MOUNT_ATTR_STRICTATIME, libc::MS_STRICTATIME),
    (libc::MOUNT_ATTR_NODIRATIME, libc::MS_NODIRATIME),
    (libc::MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
];

/// The options that are flags for mount(2) and words for fsconfig(2).
static WORDS: &[(&CStr, u64)] = &[
    (c"sync", libc::MS_SYNCHRONOUS),
    (c"dirsync", libc::MS_DIRSYNC),
    (c"mand", libc::MS_MANDLOCK),
    (c"lazytime", libc::MS_LAZYTIME),
];

/// The same, taken away.
static OPPOSITES: &[(&CStr, u64)] = &[(c"nolazytime", libc::MS_LAZYTIME)];

impl InodeVersions {
    /// The remount of a file system that has been made with `attributes` and `options`.
    pub(super) fn new(
        counts: bool,
        attributes: u64,
        options: &[(CString, Option<CString>)],
    ) -> Result<InodeVersions, NulError> {
        let mut flags = libc::MS_REMOUNT | if counts { MS_I_VERSION } else { 0 };
        flags |= FLAGS.iter().filter(|(attribute, _)| attributes & attribute != 0).fold(0, |all, (_, one)| all | one);
        if attributes & libc::MOUNT_ATTR__ATIME == 0 {
            flags |= libc::MS_RELATIME;
        }
        let mut data = Vec::new();
        for (key, value) in options.iter().filter(|(key, _)| key.as_c_str() != c"source") {
            if let Some((_, flag)) = WORDS.iter().find(|(word, _)| *word == key.as_c_str()) {
                flags |= flag;
            } else if let Some((_, flag)) = OPPOSITES.iter().find(|(word, _)| *word == key.as_c_str()) {
                flags &= !flag;
            } else {
                data.extend((!data.is_empty()).then_some(b','));
                data.extend(key.as_bytes());
                data.extend(value.iter().flat_map(|value| [b"=", value.as_bytes()].concat()));
            }
        }
        Ok(InodeVersions { flags, data: CString::new(data)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_else_is_said_again() {
        let options = [
            (c"source".to_owned(), Some(c"tmpfs".to_owned())),
            (c"size".to_owned(), Some(c"1m".to_owned())),
            (c"sync".to_owned(), None),
            (c"lazytime".to_owned(), None),
            (c"nolazytime".to_owned(), None),
            (c"noswap".to_owned(), None),
        ];
        let made = InodeVersions::new(true, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOATIME, &options).unwrap();
        assert_eq!(made.data.as_c_str(), c"size=1m,noswap");
        let named = libc::MS_NOSUID | libc::MS_NOATIME | libc::MS_SYNCHRONOUS;
        assert_eq!(made.flags, libc::MS_REMOUNT | MS_I_VERSION | named);
        let without = InodeVersions::new(false, 0, &[]).unwrap();
        assert_eq!(without.flags, libc::MS_REMOUNT | libc::MS_RELATIME);
    }
}
