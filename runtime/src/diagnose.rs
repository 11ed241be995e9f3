//! The likely cause behind an errno, found by looking: why a program cannot be executed, why a mount was refused.

use crate::cgroup::Cgroup;
use crate::error::{Error, errno_words};
use crate::parent::Ended;
use crate::plan::{Plan, Process};
use crate::root::Root;
use crate::steps::Step;
use crate::sync::Report;
use crate::sys;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Why the program of `process` cannot be executed. The words that callers match (dockerd, containerd) are kept:
/// "executable file not found", "no such file or directory", "permission denied".
pub(crate) fn program(process: &Process, errno: i32, root: &Root, cgroup: &Cgroup) -> Error {
    let why = match errno {
        libc::ENOENT => not_found(process, root),
        libc::EACCES => denied(process, root),
        libc::ENOEXEC => wrong_format(process, root),
        libc::ENOMEM => too_little_memory(cgroup.memory_limit()),
        other => errno_words(other),
    };
    Error::Program { program: process.program.clone(), why, errno }
}

/// What a program with shared libraries takes to start, KiB (`true` of Debian 12); a static one may take less.
const A_START: u64 = 512;

/// The kernel does not say what was missing; what a small program takes is known.
pub(crate) fn too_little_memory(limit: Option<u64>) -> String {
    match limit.map(|bytes| bytes >> 10) {
        Some(limit) if limit < A_START => {
            let more = A_START - limit;
            format!("its memory limit of {limit} KiB is too low for it to start: a small program takes {more} KiB more")
        }
        Some(limit) => format!("its memory limit of {limit} KiB is too low for it to start"),
        None => "there is too little memory for it to start".to_owned(),
    }
}

/// Why a program that ran was killed, if it was for want of memory.
pub(crate) fn killed_for_memory(cgroup: &Cgroup, ended: Ended) -> Option<String> {
    if ended != Ended::Killed(libc::SIGKILL) || cgroup.oom_kills().unwrap_or(0) == 0 {
        return None;
    }
    Some(match cgroup.memory_limit() {
        Some(limit) if limit >> 10 >= A_START => format!("it reached its memory limit of {} KiB", limit >> 10),
        limit => too_little_memory(limit),
    })
}

/// A more telling cause than errno's own sentence, for the steps where one is known.
pub(crate) fn step(plan: &Plan, step: Step, report: Report) -> Option<String> {
    let mount = || plan.tree.as_ref().and_then(|tree| tree.mounts.get(usize::from(report.index)));
    match (step, report.errno) {
        (Step::Join, libc::EXDEV) => {
            Some("its root is not the host's: a mount namespace that somebody lives in cannot be taken over".to_owned())
        }
        (Step::Target, libc::ELOOP) => Some("it is a symbolic link, or leads into /proc".to_owned()),
        (Step::DeviceDirectory | Step::Device, libc::ELOOP) => Some("/dev is a symbolic link".to_owned()),
        (Step::Attach, libc::ENOTDIR) => {
            let kind = if mount()?.is_file {
                "not a directory: the source is a file, the target is a directory"
            } else {
                "not a directory: the source is a directory, the target is a file"
            };
            Some(kind.to_owned())
        }
        (Step::NewFilesystem, libc::ENODEV) => Some("this kernel has no such file system".to_owned()),
        (Step::Device, libc::EEXIST) => Some("another file is there already".to_owned()),
        (Step::TimeOffsets, libc::ERANGE) => Some("a clock would stand before zero".to_owned()),
        (Step::Console, libc::ENOENT) => Some("/dev/pts is not mounted in the container".to_owned()),
        _ => of_process(step, report.errno),
    }
}

/// The same for the steps behind the gate, of which `start` may hear without a plan.
pub(crate) fn of_process(step: Step, errno: i32) -> Option<String> {
    match (step, errno) {
        (Step::Rlimit, libc::EPERM) => Some("operation not permitted (the hard limit is above rbox's own)".to_owned()),
        (Step::Label, libc::ENOENT) => Some("no profile of this name is loaded".to_owned()),
        _ => None,
    }
}

/// The first candidate that is there, opened for looking.
fn found<'a>(process: &'a Process, root: &Root) -> Option<(&'a CStr, OwnedFd)> {
    process.candidates.iter().find_map(|candidate| Some((candidate.as_c_str(), open(candidate, process, root)?)))
}

fn open(path: &CStr, process: &Process, root: &Root) -> Option<OwnedFd> {
    let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    let look =
        |at: std::os::fd::BorrowedFd<'_>, path: &CStr| sys::file::openat2(at, path, libc::O_PATH, 0, resolve).ok();
    if path.to_bytes().starts_with(b"/") {
        return look(root.directory(), path);
    }
    let directory = look(root.directory(), &process.cwd.whole)?;
    look(directory.as_fd(), path)
}

/// The first bytes of a program, read through the descriptor that was found.
fn head(file: &OwnedFd) -> Option<Vec<u8>> {
    use std::os::fd::AsRawFd;
    let mut bytes = vec![0; 4096];
    let got = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?.read(&mut bytes).ok()?;
    bytes.truncate(got);
    Some(bytes)
}

fn not_found(process: &Process, root: &Root) -> String {
    let Some((_, file)) = found(process, root) else {
        return match process.program.contains('/') {
            true => "no such file or directory".to_owned(),
            false => "executable file not found in $PATH".to_owned(),
        };
    };
    // The file is there, so what execve did not find is what the file needs.
    let interpreter = head(&file).and_then(|bytes| script_interpreter(&bytes).or_else(|| loader(&file, &bytes)));
    match interpreter {
        Some(needed) => format!("no such file or directory: it needs {needed}, which the image does not have"),
        None => "no such file or directory".to_owned(),
    }
}

/// `/bin/bash` of `#!/bin/bash -e`.
fn script_interpreter(bytes: &[u8]) -> Option<String> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    text.split_whitespace().next().map(|path| format!("the interpreter {path}"))
}

/// The dynamic loader that a 64-bit ELF file names (elf(5), `PT_INTERP`).
fn loader(file: &OwnedFd, bytes: &[u8]) -> Option<String> {
    const PT_INTERP: u32 = 3;
    let elf = Elf::parse(bytes)?;
    let header = (0..elf.count).find_map(|number| {
        let at = elf.headers + number * elf.size;
        let header = bytes.get(at..at + elf.size)?;
        (u32::from_le_bytes(header.get(..4)?.try_into().ok()?) == PT_INTERP).then_some(header)
    })?;
    let offset = u64::from_le_bytes(header.get(8..16)?.try_into().ok()?);
    let length = u64::from_le_bytes(header.get(32..40)?.try_into().ok()?).min(4096);
    let mut path = vec![0; usize::try_from(length).ok()?];
    use std::os::fd::AsRawFd;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?.read_exact_at(&mut path, offset).ok()?;
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    Some(format!("the loader {}", path.to_string_lossy()))
}

/// What is needed of a 64-bit little-endian ELF header (elf(5)).
struct Elf {
    machine: u16,
    headers: usize,
    size: usize,
    count: usize,
}

impl Elf {
    fn parse(bytes: &[u8]) -> Option<Elf> {
        const CLASS_64_LITTLE: [u8; 2] = [2, 1];
        if !bytes.starts_with(b"\x7fELF") || bytes.get(4..6)? != CLASS_64_LITTLE {
            return None;
        }
        let word = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        Some(Elf {
            machine: word(18)?,
            headers: usize::try_from(u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?)).ok()?,
            size: usize::from(word(54)?),
            count: usize::from(word(56)?),
        })
    }
}

fn denied(process: &Process, root: &Root) -> String {
    let Some((path, file)) = found(process, root) else { return "permission denied".to_owned() };
    let Ok(status) = sys::file::fstat(file.as_fd()) else { return "permission denied".to_owned() };
    let path = path.to_string_lossy();
    match status.st_mode & libc::S_IFMT {
        libc::S_IFDIR => format!("permission denied: {path} is a directory"),
        libc::S_IFREG if status.st_mode & 0o111 == 0 => {
            format!("permission denied: {path} is not executable (chmod +x)")
        }
        libc::S_IFREG => {
            format!("permission denied: user {} may not execute {path}, or it is on a noexec mount", process.uid)
        }
        _ => format!("permission denied: {path} is not a regular file"),
    }
}

fn wrong_format(process: &Process, root: &Root) -> String {
    let bytes = found(process, root).and_then(|(_, file)| head(&file)).unwrap_or_default();
    match Elf::parse(&bytes) {
        Some(elf) => format!(
            "exec format error: it is a program for {}, this machine is {}",
            machine(elf.machine),
            std::env::consts::ARCH
        ),
        None if bytes.starts_with(b"\x7fELF") => {
            "exec format error: it is a program for another kind of machine".to_owned()
        }
        None if bytes.is_empty() => "exec format error: the file is empty".to_owned(),
        None => "exec format error: it is neither an ELF program nor a script that begins with #!".to_owned(),
    }
}

/// elf(5) `e_machine`, with the names that `uname -m` uses.
fn machine(number: u16) -> String {
    match number {
        3 => "i386".to_owned(),
        20 | 21 => "powerpc".to_owned(),
        22 => "s390x".to_owned(),
        40 => "arm".to_owned(),
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        243 => "riscv64".to_owned(),
        other => format!("machine type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_the_first_word_behind_the_shebang() {
        assert_eq!(script_interpreter(b"#! /usr/bin/env python\nx").as_deref(), Some("the interpreter /usr/bin/env"));
        assert_eq!(script_interpreter(b"echo"), None);
    }

    #[test]
    fn a_cut_elf_header_is_no_elf() {
        assert!(Elf::parse(b"\x7fELF\x02\x01\x01").is_none());
    }
}
