//! What goes before the library's filter: ENOSYS for system calls that are younger than the profile, and answers for
//! those that are younger than the library.
//!
//! A C library tries a new call first and takes the old one when it hears ENOSYS. From a profile that has never heard
//! of the call it would hear EPERM, and give up: so a number above the highest that the profile speaks of answers
//! ENOSYS, as in runc (libcontainer/seccomp/patchbpf). In classic BPF, for each architecture:
//!
//! ```text
//!   arch == X?  no: next      nr == a call the library does not know?  its answer
//!                             nr > last?  ENOSYS                       else on to the filter
//! ```

use super::numbers::X32_BIT;

/// One instruction: `struct sock_filter` of linux/filter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    number: u32,
}

impl Instruction {
    pub(super) fn bytes(self) -> [u8; 8] {
        let [c0, c1] = self.code.to_ne_bytes();
        let [n0, n1, n2, n3] = self.number.to_ne_bytes();
        [c0, c1, self.if_true, self.if_false, n0, n1, n2, n3]
    }
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_BITS: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Where struct seccomp_data has them.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// SECCOMP_RET_ERRNO with ENOSYS.
pub(super) const ENOSYS: u32 = 0x0005_0000 | 38;
/// The target of a jump to the filter, which is as far as the prologue is long: put right at the end.
const FILTER: u32 = u32::MAX;

/// What the prologue is to do for one ABI of one architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Abi {
    /// The kernel's name for the architecture (AUDIT_ARCH_*); x86-64 and x32 share one.
    pub(super) audit: u32,
    /// Numbers carry the x32 bit.
    pub(super) x32: bool,
    /// Number 0 is how s390 says "a number that the kernel does not know".
    pub(super) zero_is_unknown: bool,
    /// The highest number of the profile that the library knows.
    pub(super) last_of_library: u32,
    /// The highest number of the profile.
    pub(super) last: u32,
    /// Calls that the library does not know, and what the kernel is to answer.
    pub(super) answers: Vec<(u32, u32)>,
}

/// The instructions; `enosys` false leaves out what answers ENOSYS.
pub(super) fn assemble(abis: &[Abi], enosys: bool) -> Vec<Instruction> {
    let mut program = Vec::new();
    let mut audits: Vec<u32> = abis.iter().map(|abi| abi.audit).collect();
    audits.dedup();
    for audit in audits {
        let of_this = |x32: bool| abis.iter().find(|abi| abi.audit == audit && abi.x32 == x32);
        let section = match (of_this(false), of_this(true)) {
            (Some(plain), None) if !is_x86_64(audit) => checks(plain, enosys),
            (plain, x32) => {
                let plain = plain.map_or_else(go_on, |abi| checks(abi, enosys));
                let x32 = x32.map_or_else(go_on, |abi| checks(abi, enosys));
                let mut both = vec![test(JUMP_BITS, X32_BIT, 0, 1), jump(plain.len())];
                both.extend(plain);
                both.extend(x32);
                both
            }
        };
        if program.is_empty() {
            program.push(load(ARCHITECTURE_AT));
        }
        // The architecture stays in the register when it is not this one.
        program.extend([test(JUMP_EQUAL, audit, 1, 0), jump(section.len() + 1), load(NUMBER_AT)]);
        program.extend(section);
    }
    let length = program.len();
    for (index, instruction) in program.iter_mut().enumerate() {
        if instruction.code == JUMP && instruction.number == FILTER {
            *instruction = jump(length - index - 1);
        }
    }
    program
}

fn is_x86_64(audit: u32) -> bool {
    audit == 0xc000_003e
}

/// The checks for one ABI, with the number in the register.
fn checks(abi: &Abi, enosys: bool) -> Vec<Instruction> {
    let mut checks = Vec::new();
    if abi.zero_is_unknown && enosys {
        checks.extend(answer(0, ENOSYS));
    }
    let (young, old): (Vec<_>, Vec<_>) = abi.answers.iter().partition(|(number, _)| *number > abi.last_of_library);
    checks.extend(old.into_iter().flat_map(|(number, action)| answer(number, action)));
    // Almost every call is an old one: one comparison sends it on.
    let mut beyond: Vec<_> = young.into_iter().flat_map(|(number, action)| answer(number, action)).collect();
    if enosys {
        beyond.extend([test(JUMP_GREATER, abi.last, 0, 1), give(ENOSYS)]);
    }
    if !beyond.is_empty() {
        checks.extend([test(JUMP_GREATER, abi.last_of_library, 1, 0), jump(beyond.len())]);
        checks.extend(beyond);
    }
    checks.extend(go_on());
    checks
}

fn answer(number: u32, action: u32) -> [Instruction; 2] {
    [test(JUMP_EQUAL, number, 0, 1), give(action)]
}

fn go_on() -> Vec<Instruction> {
    vec![Instruction { code: JUMP, if_true: 0, if_false: 0, number: FILTER }]
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, if_true: 0, if_false: 0, number: offset }
}

fn give(action: u32) -> Instruction {
    Instruction { code: RETURN, if_true: 0, if_false: 0, number: action }
}

fn test(code: u16, number: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, number }
}

fn jump(over: usize) -> Instruction {
    let number = u32::try_from(over).expect("a prologue has a few hundred instructions");
    Instruction { code: JUMP, if_true: 0, if_false: 0, number }
}
