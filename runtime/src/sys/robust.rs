//! A word of a file that the kernel marks when this process ends without having given it back: a robust futex.
//!
//! set_robust_list(2), and robust-futex-ABI.rst of the kernel's documentation. A thread tells the kernel once where its list
//! of such words is. When it ends, by whatever signal, the kernel walks the list, and where a word holds the thread's
//! number it puts [`DIED`] in its place (exit_robust_list in kernel/futex/core.c). Whoever reads the file sees it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicPtr, AtomicU32, Ordering};

use super::done;

/// The kernel's mark in the word of one that has died (linux/futex.h, `FUTEX_OWNER_DIED`).
pub const DIED: u32 = 0x4000_0000;

/// linux/futex.h, `struct robust_list_head`, of a list of one word or of none. The last entry leads back to the head. Atomics,
/// because the kernel may read it between any two steps.
#[repr(C)]
struct Head {
    next: AtomicPtr<libc::c_void>,
    /// From an entry to its word.
    offset: AtomicIsize,
    pending: AtomicPtr<libc::c_void>,
}

static HEAD: Head = Head {
    next: AtomicPtr::new(ptr::null_mut()),
    offset: AtomicIsize::new(0),
    pending: AtomicPtr::new(ptr::null_mut()),
};

/// The one entry: where the next one is.
static ENTRY: AtomicPtr<libc::c_void> = AtomicPtr::new(ptr::null_mut());

static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// A word that is this process's.
#[derive(Debug)]
pub struct Word(&'static AtomicU32);

/// Take a word that is 0, of the `count` words that `file` begins with, those before `first` left out: it gets the number of
/// the calling thread, which must be the process's first for the word to last as long as the process.
///
/// Answers with the number of the word, from 0; with nothing, where all are others'. The file must be that long, and stay
/// so: a process that touches what a file does not have ends by SIGBUS.
///
/// # Errors
/// `EBUSY`, where this process has asked before; those of mmap(2), madvise(2) and set_robust_list(2).
pub fn take(file: BorrowedFd<'_>, count: usize, first: usize) -> io::Result<Option<(usize, Word)>> {
    if IS_TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let words = map(file, count)?;
    // SAFETY: it asks for nothing, and cannot fail.
    let own = unsafe { libc::gettid() }.unsigned_abs();
    lead_to(None);
    // SAFETY: the list is static, so it is there for as long as the thread is, and it is one: it ends at its head.
    done(unsafe { libc::syscall(libc::SYS_set_robust_list, &raw const HEAD, size_of::<Head>()) })?;
    for (number, word) in words.iter().enumerate().skip(first) {
        if word.load(Ordering::Relaxed) != 0 {
            continue;
        }
        // Before it is ours, so that it is never ours and not on the list. One that is not ours the kernel leaves alone.
        lead_to(Some(word));
        if word.compare_exchange(0, own, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            return Ok(Some((number, Word(word))));
        }
    }
    lead_to(None);
    Ok(None)
}

impl Word {
    /// Nobody is to be told of this process's end any more.
    pub fn give_back(self) {
        // Off the list afterwards: one that is killed in between has no word that could be marked.
        self.0.store(0, Ordering::SeqCst);
        lead_to(None);
    }
}

/// Put one word, or none, on the list. Each step leaves a list that the kernel can walk.
fn lead_to(word: Option<&AtomicU32>) {
    let (head, entry) = (ptr::from_ref(&HEAD), ptr::from_ref(&ENTRY));
    HEAD.next.store(head.cast_mut().cast(), Ordering::SeqCst);
    let Some(word) = word else { return };
    let offset = ptr::from_ref(word).addr().wrapping_sub(entry.addr()).cast_signed();
    HEAD.offset.store(offset, Ordering::SeqCst);
    ENTRY.store(head.cast_mut().cast(), Ordering::SeqCst);
    HEAD.next.store(entry.cast_mut().cast(), Ordering::SeqCst);
}

/// The file's words, for as long as this process lives. Its children do not get them: they are not their words.
fn map(file: BorrowedFd<'_>, count: usize) -> io::Result<&'static [AtomicU32]> {
    let (length, protection) = (count * size_of::<AtomicU32>(), libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping of just now.
    done(unsafe { libc::madvise(at, length, libc::MADV_DONTFORK) }.into())?;
    // SAFETY: page aligned, of that length, any value is valid for them, written by atomics alone, and never unmapped.
    Ok(unsafe { std::slice::from_raw_parts(at.cast::<AtomicU32>(), count) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    fn word(file: &File, number: u64) -> u32 {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, number * 4).unwrap();
        u32::from_ne_bytes(bytes)
    }

    #[test]
    fn the_word_of_a_thread_that_ends_is_marked_and_no_other() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        file.write_all_at(&1u32.to_ne_bytes(), 8).unwrap();
        let taken = std::thread::scope(|scope| {
            let act = || {
                // It is not given back, as by one that is killed.
                let (number, _own) = take(file.as_fd(), 1024, 2).unwrap().unwrap();
                assert_eq!(take(file.as_fd(), 1024, 2).unwrap_err().raw_os_error(), Some(libc::EBUSY));
                // SAFETY: it asks for nothing, and cannot fail.
                assert_eq!(word(&file, 3), unsafe { libc::gettid() }.unsigned_abs());
                number
            };
            scope.spawn(act).join().unwrap()
        });
        assert_eq!(taken, 3, "the second is another's");
        assert_eq!((word(&file, 2), word(&file, 3)), (1, DIED));
    }
}
