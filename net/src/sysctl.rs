//! Kernel switches of a network namespace: files below `/proc/sys/net`, seen by the namespace of the calling thread.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::rc::Rc;

use rbox_explain::Row;
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::error::{Doing, Result};
use crate::steps;

/// More than any number that is a switch.
const VALUE_BYTES_MAX: usize = 32;

/// Write `value` unless it stands there already. A kernel without the switch is no error: then there is nothing to switch.
///
/// Same as: `sysctl -w <name>=<value>`, with `/` for `.` in the name.
pub(crate) fn set(row: &'static Row, name: &str, value: &str) -> Result<()> {
    Switch::find(name).set(row, value)
}

/// A switch that has been found, so that nothing but to write is left.
pub(crate) struct Switch<'a> {
    name: &'a str,
    /// Nothing where the kernel has none.
    file: Option<io::Result<File>>,
}

impl Switch<'_> {
    pub(crate) fn find(name: &str) -> Switch<'_> {
        let path = format!("/proc/sys/{name}");
        // Opened once: to find a switch takes the kernel the longer, the more network namespaces there are.
        let found = found(name);
        let open = OpenOptions::new().read(true).write(true).open(found.as_ref().map_or(&*path, |(path, _)| path));
        let is_absent = matches!(&open, Err(error) if error.kind() == io::ErrorKind::NotFound);
        Switch { name, file: (!is_absent).then_some(open) }
    }

    /// What [`set`] does.
    pub(crate) fn set(self, row: &'static Row, value: &str) -> Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        let is_there = match &file {
            Ok(file) => {
                let mut now = [0; VALUE_BYTES_MAX];
                let length = file.read_at(&mut now, 0).unwrap_or(0);
                now[..length].trim_ascii_end() == value.as_bytes()
            }
            // It cannot be written, so it is well if nothing has to be.
            Err(_) => get(self.name).is_some_and(|now| now == value),
        };
        if is_there {
            return Ok(());
        }
        let words = || format!("sysctl -w {}={value}", self.name.replace('/', "."));
        rbox_explain::step(row, words, || file?.write_at(value.as_bytes(), 0).map(drop))
            .doing(|| format!("write {value} to /proc/sys/{}", self.name))
    }
}

/// The switches of one family and one network namespace: its inode, and their directory.
type Directory = (&'static str, u64, Rc<File>);

thread_local! {
    /// Those that this thread has opened. What takes the kernel long is to find the family's among all namespaces'.
    static DIRECTORIES: RefCell<Vec<Directory>> = const { RefCell::new(Vec::new()) };
}

/// The path of a switch by the open directory of its family, and what it stands on.
fn found(name: &str) -> Option<(String, Rc<File>)> {
    let (family, rest) = name.strip_prefix("net/")?.split_once('/')?;
    let family = ["ipv4", "ipv6"].into_iter().find(|known| *known == family)?;
    let namespace = fs::metadata("/proc/thread-self/ns/net").ok()?.ino();
    let directory = DIRECTORIES.with_borrow_mut(|all| {
        // The number of a namespace that is gone may be another's by now: no more than those of one are kept.
        all.retain(|(_, of, _)| *of == namespace);
        if let Some((.., directory)) = all.iter().find(|(of, ..)| *of == family) {
            return Some(Rc::clone(directory));
        }
        let is_own = fs::metadata("/proc/self/ns/net").is_ok_and(|own| own.ino() == namespace);
        let aside = if is_own { None } else { open_aside(family).ok() };
        let directory = aside.or_else(|| File::open(format!("/proc/sys/net/{family}")).ok())?;
        let directory = Rc::new(directory);
        all.push((family, namespace, Rc::clone(&directory)));
        Some(directory)
    })?;
    Some((format!("/proc/self/fd/{}/{rest}", directory.as_raw_fd()), directory))
}

/// The directory of a family's switches in a proc of its own, which ends with it.
///
/// What is looked for below `/proc/sys/net` stays in that proc's cache for as long as its namespace lives, all of one name in
/// one chain, and whoever looks next walks through it: 0.5 ms with 400 namespaces, in the host's as in any other. To make a
/// proc and end it takes 0.1 ms. fsopen(2), Linux 5.2; several at once: 5.8.
fn open_aside(family: &str) -> io::Result<File> {
    let make = || -> io::Result<OwnedFd> {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
    };
    let proc = rbox_explain::step(&steps::PROC_ASIDE, || "fsmount(proc)".to_owned(), make)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(openat(&proc, format!("sys/net/{family}"), flags, Mode::empty())?))
}

/// Read a switch; nothing when the kernel has none of this name.
pub(crate) fn get(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim_end().to_owned())
}

/// Have the host not believe routers on a link of its own that a container's frames come to: else a container could say
/// there that it is one, and the host would send to it all that it has for the world (CVE-2020-13401).
pub(crate) fn believe_no_router(link: &str) -> Result<()> {
    set(&steps::SYSCTL_IPV6_SHUT, &format!("net/ipv6/conf/{link}/accept_ra"), "0")
}

/// Switch IPv6 off there, too: a host that forwards would pass on what no rule of ours looks at.
pub(crate) fn shut_ipv6(link: &str) -> Result<()> {
    // For the day when somebody switches IPv6 on everywhere.
    believe_no_router(link)?;
    set(&steps::SYSCTL_IPV6_SHUT, &format!("net/ipv6/conf/{link}/disable_ipv6"), "1")
}
