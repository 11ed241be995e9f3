//! The program that answers system calls, in classic BPF: linux/bpf_common.h, seccomp(2).
//!
//! ```text
//!   arch == X?  no: next                              every architecture a section; none of them: the thread is killed
//!     nr >= middle?  a tree of ranges of numbers, as deep as the logarithm of how many there are
//!       a range is one answer                         or, for one number, rules: the first that holds answers
//!         argument.high, argument.low  against each condition of the rule
//! ```
//!
//! The machine has words of 32 bits: an argument of 64 is compared in two halves. Jumps go forward only.

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

/// One architecture, by the name that the kernel has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// AUDIT_ARCH_* of linux/audit.h.
    pub(super) audit: u32,
    /// Numbers in their order; the first range begins at 0.
    pub(super) ranges: Vec<Range>,
}

/// The calls from this number to the next range's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) outcome: Outcome,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// SECCOMP_RET_*, with its data.
    Answer(u32),
    /// It depends on the arguments.
    Rules {
        /// The first that holds decides.
        rules: Vec<Rule>,
        /// Where none does.
        otherwise: u32,
        /// Arguments have 64 bits; else the lower 32 are looked at.
        wide: bool,
    },
}

/// An answer for a call that meets all conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) answer: u32,
}

/// `argument & mask` compared with a value, or the opposite of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) index: u32,
    pub(super) mask: u64,
    pub(super) comparison: Comparison,
    pub(super) value: u64,
    pub(super) opposite: bool,
}

/// What BPF can ask; the other operators are the opposites of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Greater,
    AtLeast,
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Where struct seccomp_data has them.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// SECCOMP_RET_KILL_THREAD.
pub(super) const KILL_THREAD: u32 = 0;

/// The next instruction.
const NEXT: u8 = 0;
// Targets that are known at the end of a condition and of a rule; a rule is far shorter than either.
const HOLDS: u8 = u8::MAX;
const FAILS: u8 = u8::MAX - 1;

/// The whole program.
pub(super) fn assemble(sections: &[Section]) -> Vec<Instruction> {
    let mut program = vec![load(ARCHITECTURE_AT)];
    for section in sections {
        let tree = tree(&section.ranges);
        // The architecture stays in the register when it is not this one.
        program.extend([test(JUMP_EQUAL, section.audit, 1, NEXT), jump(tree.len() + 1), load(NUMBER_AT)]);
        program.extend(tree);
    }
    program.push(give(KILL_THREAD));
    program
}

/// With the number in the register.
fn tree(ranges: &[Range]) -> Vec<Instruction> {
    if let [range] = ranges {
        return match &range.outcome {
            Outcome::Answer(answer) => vec![give(*answer)],
            Outcome::Rules { rules, otherwise, wide } => {
                rules.iter().flat_map(|one| rule(one, *wide)).chain([give(*otherwise)]).collect()
            }
        };
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (below, above) = (tree(low), tree(high));
    let middle = high[0].first;
    // A conditional jump has eight bits for its way, an unconditional one 32.
    let mut program = match u8::try_from(below.len()) {
        Ok(over) => vec![test(JUMP_AT_LEAST, middle, over, NEXT)],
        Err(_) => vec![test(JUMP_AT_LEAST, middle, NEXT, 1), jump(below.len())],
    };
    program.extend(below);
    program.extend(above);
    program
}

/// The answer if all conditions hold, else on behind it.
fn rule(rule: &Rule, wide: bool) -> Vec<Instruction> {
    let mut program = Vec::new();
    for condition in &rule.conditions {
        let mut part = if wide { condition.of_two_halves() } else { condition.of_one_half() };
        aim(&mut part, HOLDS);
        program.extend(part);
    }
    program.push(give(rule.answer));
    aim(&mut program, FAILS);
    program
}

/// Let the jumps to this target go to the end.
fn aim(program: &mut [Instruction], target: u8) {
    let end = program.len();
    for (at, instruction) in program.iter_mut().enumerate() {
        let over = u8::try_from(end - at - 1).expect("six conditions of seven instructions at most");
        for jump in [&mut instruction.if_true, &mut instruction.if_false] {
            *jump = if *jump == target { over } else { *jump };
        }
    }
}

impl Condition {
    /// Whether every call meets it: no bit of the argument counts.
    pub(super) fn is_idle(&self, wide: bool) -> bool {
        self.comparison == Comparison::Equal && if wide { self.mask == 0 } else { low(self.mask) == 0 }
    }

    /// Where to go when the comparison holds, and when it does not.
    fn ways(&self) -> (u8, u8) {
        if self.opposite { (FAILS, HOLDS) } else { (HOLDS, FAILS) }
    }

    fn of_one_half(&self) -> Vec<Instruction> {
        let (yes, no) = self.ways();
        let mut program = vec![load(low_at(self.index))];
        if low(self.mask) != u32::MAX {
            program.push(and(low(self.mask)));
        }
        let value = low(self.value & self.mask);
        program.push(test(self.comparison.code(), value, yes, no));
        program
    }

    fn of_two_halves(&self) -> Vec<Instruction> {
        let (yes, no) = self.ways();
        let mut program = vec![load(high_at(self.index))];
        let value = high(self.value & self.mask);
        if self.comparison == Comparison::Equal {
            if high(self.mask) != u32::MAX {
                program.push(and(high(self.mask)));
            }
        } else {
            program.push(test(JUMP_GREATER, value, yes, NEXT));
        }
        // Decided by the upper half, or both are the same there.
        program.push(test(JUMP_EQUAL, value, NEXT, no));
        program.extend(self.of_one_half());
        program
    }
}

impl Comparison {
    fn code(self) -> u16 {
        match self {
            Comparison::Equal => JUMP_EQUAL,
            Comparison::Greater => JUMP_GREATER,
            Comparison::AtLeast => JUMP_AT_LEAST,
        }
    }
}

/// The kernel gives arguments in the byte order of the machine, which all architectures of a filter have.
fn low_at(index: u32) -> u32 {
    ARGUMENTS_AT + 8 * index + if cfg!(target_endian = "big") { 4 } else { 0 }
}

fn high_at(index: u32) -> u32 {
    low_at(index) ^ 4
}

fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn high(value: u64) -> u32 {
    low(value >> 32)
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, if_true: 0, if_false: 0, number: offset }
}

fn and(mask: u32) -> Instruction {
    Instruction { code: AND, if_true: 0, if_false: 0, number: mask }
}

fn give(action: u32) -> Instruction {
    Instruction { code: RETURN, if_true: 0, if_false: 0, number: action }
}

fn test(code: u16, number: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, number }
}

fn jump(over: usize) -> Instruction {
    // More than the kernel takes is refused by its length afterwards.
    let number = u32::try_from(over).expect("a profile is not as long as that");
    Instruction { code: JUMP, if_true: 0, if_false: 0, number }
}
