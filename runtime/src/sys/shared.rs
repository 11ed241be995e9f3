//! A page that parent and child both see: where the child notes its steps for `--explain`.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many steps the page can hold: 24 bytes each in 64 KiB. A container has some dozens.
pub(crate) const CAPACITY: usize = 2048;

/// One step of the child, as it stands in the page.
#[repr(C)]
#[derive(Default)]
struct Slot {
    /// Step in the high, index in the low 16 bits.
    what: AtomicU32,
    errno: AtomicU32,
    began_ns: AtomicU64,
    took_ns: AtomicU64,
}

#[repr(C)]
struct Page {
    count: AtomicU64,
    slots: [Slot; CAPACITY],
}

/// Memory shared by the parent and the child that it clones afterwards. Atomics only: no lock, no allocation.
pub(crate) struct SharedPage(&'static Page);

/// A step as the parent reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) step: u16,
    pub(crate) index: u16,
    pub(crate) errno: i32,
    pub(crate) took_ns: u64,
}

impl SharedPage {
    /// Map the page. mmap(2), `MAP_SHARED | MAP_ANONYMOUS`: it stays mapped until both processes have ended or exec'd.
    pub(crate) fn map() -> io::Result<SharedPage> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(ptr::null_mut(), size_of::<Page>(), protection, kind, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: page aligned, of the right size, zeroed (valid for atomics), and never unmapped: 'static holds.
        Ok(SharedPage(unsafe { &*at.cast::<Page>() }))
    }

    /// Note a finished step. Runs in the child. A full page drops it.
    pub(crate) fn note(&self, noted: Noted, began_ns: u64) {
        let at = usize::try_from(self.0.count.load(Ordering::Acquire)).unwrap_or(CAPACITY);
        let Some(slot) = self.0.slots.get(at) else { return };
        slot.what.store(u32::from(noted.step) << 16 | u32::from(noted.index), Ordering::Relaxed);
        slot.errno.store(noted.errno.unsigned_abs(), Ordering::Relaxed);
        slot.began_ns.store(began_ns, Ordering::Relaxed);
        slot.took_ns.store(noted.took_ns, Ordering::Relaxed);
        self.0.count.store(at as u64 + 1, Ordering::Release);
    }

    /// The steps from number `from` on, in order.
    pub(crate) fn since(&self, from: usize) -> Vec<Noted> {
        let count = usize::try_from(self.0.count.load(Ordering::Acquire)).unwrap_or(0).min(CAPACITY);
        let read = |slot: &Slot| {
            let what = slot.what.load(Ordering::Relaxed);
            Noted {
                step: u16::try_from(what >> 16).unwrap_or(0),
                index: u16::try_from(what & 0xffff).unwrap_or(0),
                errno: slot.errno.load(Ordering::Relaxed).cast_signed(),
                took_ns: slot.took_ns.load(Ordering::Relaxed),
            }
        };
        self.0.slots.get(from..count).map_or_else(Vec::new, |slots| slots.iter().map(read).collect())
    }
}
