//! A program that stays: out of its caller's session, with nothing of the caller's, and with as little memory as it needs.

use crate::error::{Doing, Result};
use crate::sys;

/// As much of the program's text as one touch brings back.
const PIECE_BYTES: usize = 32 * 1024;

/// Leave the caller's session, its directory and its descriptors but for standard input, output and error.
///
/// To be called before anything is opened.
///
/// # Errors
/// `Os`.
pub fn leave_caller() -> Result<()> {
    let doing = || "leave the caller's session".to_owned();
    sys::process::close_from(3).doing(doing)?;
    sys::process::setsid().doing(doing)?;
    sys::process::set_name(c"rbox:monitor").doing(doing)?;
    std::env::set_current_dir("/").doing(doing)
}

/// Give back the memory that was needed to get here and is not needed to go on: free pages of the heap, and the
/// program's own text. What is touched again is read from the file again, which the page cache still has.
pub fn give_back_memory() {
    sys::process::trim_heap();
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return };
    for (from, to) in clean_mappings(&maps) {
        let _ = sys::process::forget_pages(from, to);
        // From Linux 6.18 on a touched page brings all of its folio along, up to 2 MiB, but never across the end of a
        // mapping: a different advice for each second piece makes small mappings of one. Once: given to all, the same
        // advice would make one of them again.
        if to - from > PIECE_BYTES {
            for piece in (from..to).step_by(2 * PIECE_BYTES) {
                let _ = sys::process::read_alone(piece, to.min(piece + PIECE_BYTES));
            }
        }
    }
    if let Some(bottom) = stack_bottom(&maps) {
        let _ = sys::process::forget_stack_below(bottom);
    }
}

/// The mappings of files that may not be written and of which no page has been changed (proc_pid_smaps(5)).
fn clean_mappings(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut range = None;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Anonymous:"), Some("0")) => found.extend(range.take()),
            (Some(begin), Some(access)) if !begin.ends_with(':') => {
                let inode = words.nth(2).unwrap_or("0");
                let ends = begin.split_once('-').map(|(from, to)| {
                    (usize::from_str_radix(from, 16).unwrap_or(0), usize::from_str_radix(to, 16).unwrap_or(0))
                });
                range = ends.filter(|_| {
                    access.starts_with('r') && access.ends_with("p") && !access.contains('w') && inode != "0"
                });
            }
            _ => {}
        }
    }
    found
}

/// Where the stack of the first thread begins.
fn stack_bottom(smaps: &str) -> Option<usize> {
    let line = smaps.lines().find(|line| line.ends_with("[stack]"))?;
    usize::from_str_radix(line.split_once('-')?.0, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_a_file_still_has_are_forgotten() {
        let smaps = "00400000-00500000 r-xp 00001000 fe:00 77 /bin/x\nSize: 1 kB\nAnonymous:             0 kB\n\
                     00500000-00600000 r--p 00101000 fe:00 77 /bin/x\nAnonymous:             8 kB\n\
                     00600000-00700000 rw-p 00201000 fe:00 77 /bin/x\nAnonymous:             0 kB\n\
                     00700000-00800000 r--p 00000000 00:00 0 [vvar]\nAnonymous:             0 kB\n";
        assert_eq!(clean_mappings(smaps), [(0x40_0000, 0x50_0000)]);
        assert_eq!(stack_bottom("7ffd0000-7ffe0000 rw-p 00000000 00:00 0    [stack]\nSize: 1 kB\n"), Some(0x7ffd_0000));
    }
}
