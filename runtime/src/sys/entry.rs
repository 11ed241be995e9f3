//! The first instructions of both programs: the seal of `exe.rs`, made before the C library and std have begun.
//!
//! A sealed program starts twice. What the first start does beyond executing the second is wasted, and that is most
//! of it: a static glibc asks the processor some eighty questions (`cpuid`), and on a virtual machine each is a trip to
//! the host, 0.3 ms of a start's 0.5. So the entry point of the file (`--entry`, see build.rs) is not `_start` but
//! `rbox_entry`, which seals with bare system calls and only then goes on to `_start`.
//!
//! Whatever goes wrong here is left to [`crate::seal`] in `main`: it tries again and has words for it.
//!
//! Nothing of the C library may be used: no thread-local storage (errno), and no memcpy or memset, whose addresses are
//! found out later (a large value to be copied or cleared is enough for the compiler to call them). On other processors than x86-64 the programs start as usual, and `main` seals.

use crate::sys::mount::Attributes;
use std::arch::{asm, global_asm};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::ptr;

// The kernel leaves argc, argv and envp on the stack and, by the ABI, a function pointer for `_start` in rdx. The stack
// is aligned to 16 bytes here, and must be so again at the call.
global_asm!(
    ".globl rbox_entry",
    "rbox_entry:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "push rdx",
    "sub rsp, 8",
    "call {seal}",
    "add rsp, 8",
    "pop rdx",
    "jmp _start",
    seal = sym seal,
);

/// The words after which a process of ours will be inside a container (`main` knows better which one is the verb).
const VERBS: &[&CStr] = crate::exe::VERBS;

/// Execute the program again through a read-only copy of its mount, if it is not that already.
///
/// `stack` is what the kernel left: argc, argv and a null, envp and a null (execve(2), System V ABI).
extern "C" fn seal(stack: *const usize) {
    // SAFETY: argc is the first word.
    let argc = unsafe { stack.read() };
    // SAFETY: argv follows argc.
    let argv = unsafe { stack.add(1) }.cast::<*const c_char>();
    // SAFETY: envp follows the null that ends argv.
    let envp = unsafe { argv.add(argc + 1) };
    let is_verb = |at| {
        // SAFETY: argv has argc entries, and at is smaller.
        let entry = unsafe { argv.add(at) };
        // SAFETY: as above.
        let word = unsafe { entry.read() };
        // SAFETY: it is a C string.
        unsafe { is_verb(word) }
    };
    if !(1..argc).any(is_verb) {
        return;
    }
    let here = libc::AT_FDCWD as usize;
    let path = libc::O_PATH | libc::O_CLOEXEC;
    let exe = call(libc::SYS_openat, [here, c"/proc/self/exe".as_ptr() as usize, path as usize, 0, 0]);
    if let Ok(exe) = usize::try_from(exe) {
        through_a_readonly_copy(exe, argv as usize, envp as usize);
        call(libc::SYS_close, [exe, 0, 0, 0, 0]);
    }
}

/// Returns when the program runs from such a copy, or when the kernel refuses.
fn through_a_readonly_copy(exe: usize, argv: usize, envp: usize) {
    // struct statfs of asm-generic/statfs.h is fifteen words on 64 bits, f_flags the eleventh (libc does not name it).
    // Not filled with zeros first: the compiler would call memset for that.
    let mut found = MaybeUninit::<[u64; 15]>::uninit();
    if call(libc::SYS_fstatfs, [exe, found.as_mut_ptr() as usize, 0, 0, 0]) != 0 {
        return;
    }
    // SAFETY: inside the array.
    let flags = unsafe { found.as_ptr().cast::<u64>().add(10) };
    // SAFETY: fstatfs succeeded, so it has filled the structure.
    if unsafe { flags.read() } & libc::ST_RDONLY != 0 {
        return;
    }
    let empty = c"".as_ptr() as usize;
    let clone = libc::OPEN_TREE_CLONE as usize | libc::OPEN_TREE_CLOEXEC as usize | libc::AT_EMPTY_PATH as usize;
    let Ok(copy) = usize::try_from(call(libc::SYS_open_tree, [exe, empty, clone, 0, 0])) else { return };
    let readonly = Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: libc::MS_PRIVATE, userns: 0 };
    let (change, size) = (ptr::from_ref(&readonly) as usize, size_of::<Attributes>());
    if call(libc::SYS_mount_setattr, [copy, empty, libc::AT_EMPTY_PATH as usize, change, size]) == 0 {
        call(libc::SYS_execveat, [copy, empty, argv, envp, libc::AT_EMPTY_PATH as usize]);
    }
    call(libc::SYS_close, [copy, 0, 0, 0, 0]);
}

/// # Safety
/// `word` is a C string.
unsafe fn is_verb(word: *const c_char) -> bool {
    VERBS.iter().any(|verb| {
        let mut bytes = verb.to_bytes_with_nul().iter().enumerate();
        bytes.all(|(at, byte)| {
            // SAFETY: it goes on only while both are equal, so at most to the zero of the shorter one.
            let letter = unsafe { word.add(at) };
            // SAFETY: as above.
            unsafe { letter.read() }.cast_unsigned() == *byte
        })
    })
}

/// A system call without the C library: what the kernel answers, an error as a negative number.
fn call(number: i64, arguments: [usize; 5]) -> i64 {
    let [first, second, third, fourth, fifth] = arguments;
    let answer: i64;
    // SAFETY: the callers pass what the call takes; the kernel changes no register but these (syscall(2)).
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}
