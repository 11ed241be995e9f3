//! The device filter of cgroup v2: a [`Policy`] as a program of the kernel's eBPF machine.
//!
//! The kernel runs it at every open and mknod of a device node by a process of the group, with
//! `struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }`, where access_type is the access in its
//! upper half and the kind in its lower. 1 means yes, 0 means EPERM. bpf(2), linux/bpf.h.
//!
//! ```text
//!   r2 = kind, r3 = access, r4 = major, r5 = minor
//!   for each exception:   another kind, number or access? jump to the next
//!                         return what is not the rule
//!   return the rule
//! ```

use super::devices::{Access, Exception, Kind, Policy};

/// One instruction, 8 bytes as the kernel reads them (linux/bpf.h, `struct bpf_insn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u8,
    pub(super) to: u8,
    pub(super) from: u8,
    pub(super) offset: i16,
    pub(super) number: i32,
}

impl Instruction {
    fn bytes(self) -> [u8; 8] {
        let [o0, o1] = self.offset.to_ne_bytes();
        let [n0, n1, n2, n3] = self.number.to_ne_bytes();
        let registers =
            if cfg!(target_endian = "little") { self.from << 4 | self.to } else { self.to << 4 | self.from };
        [self.code, registers, o0, o1, n0, n1, n2, n3]
    }
}

// The operations used, as class | size or source | operation (linux/bpf_common.h, linux/bpf.h).
pub(super) const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
pub(super) const AND_32: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(super) const SHIFT_RIGHT_32: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
pub(super) const MOVE_32: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
pub(super) const SET_64: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
pub(super) const JUMP_IF_NOT_EQUAL_32: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
pub(super) const JUMP_IF_EQUAL_32: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
pub(super) const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program as the kernel loads it.
pub(super) fn program(policy: &Policy) -> Vec<u8> {
    assemble(policy).into_iter().flat_map(Instruction::bytes).collect()
}

pub(super) fn assemble(policy: &Policy) -> Vec<Instruction> {
    let op = |code, to, from, offset, number| Instruction { code, to, from, offset, number };
    let mut program = vec![
        op(LOAD_WORD, KIND, CONTEXT, 0, 0),
        op(AND_32, KIND, 0, 0, 0xffff),
        op(LOAD_WORD, ACCESS, CONTEXT, 0, 0),
        op(SHIFT_RIGHT_32, ACCESS, 0, 0, 16),
        op(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        op(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for exception in &policy.exceptions {
        program.extend(block(*exception, policy.allow));
    }
    program.push(op(SET_64, RESULT, 0, 0, i32::from(policy.allow)));
    program.push(op(EXIT, 0, 0, 0, 0));
    program
}

/// The instructions for one exception. The context's register is free here: it has been read.
fn block(exception: Exception, rule: bool) -> Vec<Instruction> {
    const SCRATCH: u8 = CONTEXT;
    let op = |code, to, from, number| Instruction { code, to, from, offset: 0, number };
    let kind = match exception.kind {
        Kind::Block => 1,
        Kind::Char => 2,
    };
    let mut block = vec![op(JUMP_IF_NOT_EQUAL_32, KIND, 0, kind)];
    // A 32-bit comparison: the number's bits are what counts, its sign is not.
    if let Some(major) = exception.major {
        block.push(op(JUMP_IF_NOT_EQUAL_32, MAJOR, 0, major.cast_signed()));
    }
    if let Some(minor) = exception.minor {
        block.push(op(JUMP_IF_NOT_EQUAL_32, MINOR, 0, minor.cast_signed()));
    }
    if rule {
        // Everything but this: refuse if any of what is asked for is excepted.
        block.push(op(MOVE_32, SCRATCH, ACCESS, 0));
        block.push(op(AND_32, SCRATCH, 0, i32::from(exception.access.0)));
        block.push(op(JUMP_IF_EQUAL_32, SCRATCH, 0, 0));
    } else if exception.access != Access::ALL {
        // Nothing but this: allow only if all of what is asked for is excepted.
        block.push(op(MOVE_32, SCRATCH, ACCESS, 0));
        block.push(op(AND_32, SCRATCH, 0, i32::from(!exception.access.0 & Access::ALL.0)));
        block.push(op(JUMP_IF_NOT_EQUAL_32, SCRATCH, 0, 0));
    }
    block.push(op(SET_64, RESULT, 0, i32::from(!rule)));
    block.push(op(EXIT, 0, 0, 0));
    // Every jump goes to the next block, which is just behind this one; the offset counts from the next instruction.
    let length = block.len();
    for (index, instruction) in block.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP_IF_NOT_EQUAL_32 | JUMP_IF_EQUAL_32) {
            instruction.offset = i16::try_from(length - index - 1).expect("a block has at most nine instructions");
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::devices;

    /// What the kernel's machine does with the program, for one question. Knows only what the assembler may use.
    fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 11];
        let mut at = 0_usize;
        for _ in 0..10_000 {
            let step = program[at];
            let (to, from) = (usize::from(step.to), usize::from(step.from));
            let mut jump = false;
            #[allow(clippy::cast_possible_truncation, reason = "32-bit operations")]
            match step.code {
                LOAD_WORD => {
                    assert_eq!(from, 1, "only the context is read");
                    registers[to] = context[usize::try_from(step.offset).unwrap() / 4].into();
                }
                AND_32 => registers[to] = u64::from(registers[to] as u32 & step.number.cast_unsigned()),
                SHIFT_RIGHT_32 => registers[to] = u64::from(registers[to] as u32 >> step.number),
                MOVE_32 => registers[to] = u64::from(registers[from] as u32),
                SET_64 => registers[to] = i64::from(step.number).cast_unsigned(),
                JUMP_IF_NOT_EQUAL_32 => jump = registers[to] as u32 != step.number.cast_unsigned(),
                JUMP_IF_EQUAL_32 => jump = registers[to] as u32 == step.number.cast_unsigned(),
                EXIT => return registers[0],
                other => panic!("unknown operation {other:#x}"),
            }
            at += 1 + if jump { usize::try_from(step.offset).expect("forward") } else { 0 };
        }
        panic!("the program does not end");
    }

    /// The rules as security/device_cgroup.c takes them, told once more and in other words: a list of lines that
    /// stand, whose sense the last line about all devices decides.
    fn kernel_says(rules: &[(bool, &str)], kind: char, access: &str, major: u32, minor: u32) -> bool {
        let mut allow = true;
        let mut standing: Vec<(String, String)> = Vec::new();
        for (yes, line) in rules {
            let mut words = line.split(' ');
            let what = format!("{} {}", words.next().unwrap(), words.next().unwrap());
            let letters = words.next().unwrap_or_default();
            if what.starts_with('a') {
                allow = *yes;
                standing.clear();
            } else if *yes == allow {
                for (_, theirs) in standing.iter_mut().filter(|(name, _)| *name == what) {
                    theirs.retain(|letter| !letters.contains(letter));
                }
            } else if let Some((_, theirs)) = standing.iter_mut().find(|(name, _)| *name == what) {
                theirs.push_str(letters);
            } else {
                standing.push((what, letters.to_owned()));
            }
        }
        let hit = |(what, letters): &(String, String)| {
            let (line_kind, number) = what.split_once(' ').unwrap();
            let (want_major, want_minor) = number.split_once(':').unwrap();
            line_kind.starts_with(kind)
                && (want_major == "*" || want_major == major.to_string())
                && (want_minor == "*" || want_minor == minor.to_string())
                && if allow {
                    access.chars().any(|letter| letters.contains(letter))
                } else {
                    access.chars().all(|letter| letters.contains(letter))
                }
        };
        standing.iter().any(hit) != allow
    }

    fn policy(rules: &[(bool, &str)]) -> Policy {
        let rule = |(allow, line): &(bool, &str)| {
            let mut words = line.split(' ');
            let kind = words.next().unwrap();
            let (major, minor) = words.next().unwrap().split_once(':').unwrap();
            let number = |text: &str| text.parse::<i64>().unwrap_or(-1);
            serde_json::from_value(serde_json::json!({
                "allow": allow, "type": kind, "major": number(major), "minor": number(minor),
                "access": words.next().unwrap_or_default(),
            }))
            .unwrap()
        };
        Policy::of(&rules.iter().map(rule).collect::<Vec<_>>()).unwrap()
    }

    const CASES: [&[(bool, &str)]; 6] = [
        &[],
        &[(false, "a *:* rwm")],
        &[
            (false, "a *:* rwm"),
            (true, "c *:* m"),
            (true, "c 1:3 rwm"),
            (true, "c 136:* rw"),
            (true, "b 8:0 r"),
            (true, "b 8:0 w"),
        ],
        &[(false, "c 1:3 w"), (false, "b *:* m"), (false, "b 8:* r"), (true, "b 8:* r")],
        &[(false, "a *:* rwm"), (true, "c 1:3 rwm"), (false, "c 1:3 m"), (false, "c *:* rwm")],
        &[
            (true, "c 1:3 rwm"),
            (false, "a *:* rwm"),
            (true, "c 4294967294:0 r"),
            (true, "a *:* rwm"),
            (false, "c 5:1 "),
        ],
    ];

    #[test]
    fn the_program_answers_as_the_v1_kernel_would() {
        for rules in CASES {
            let program = assemble(&policy(rules));
            for (kind, letter) in [(1, 'b'), (2, 'c')] {
                for major in [0, 1, 5, 8, 136, 4_294_967_294] {
                    for minor in [0, 1, 3, 7] {
                        for access in 1..8 {
                            let letters: String = [(1, 'm'), (2, 'r'), (4, 'w')]
                                .iter()
                                .filter(|(bit, _)| access & bit != 0)
                                .map(|(_, letter)| letter)
                                .collect();
                            let expected = u64::from(kernel_says(rules, letter, &letters, major, minor));
                            let answer = run(&program, kind, access, major, minor);
                            assert_eq!(answer, expected, "{letter} {major}:{minor} {letters} under {rules:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn instructions_are_laid_out_as_the_kernel_reads_them() {
        let instruction = Instruction { code: 0x56, to: 2, from: 0, offset: 4, number: -2 };
        assert_eq!(instruction.bytes(), [0x56, 0x02, 4, 0, 0xfe, 0xff, 0xff, 0xff]);
        let load = Instruction { code: LOAD_WORD, to: 4, from: 1, offset: 4, number: 0 };
        assert_eq!(load.bytes(), [0x61, 0x14, 4, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_kernel_s_verifier_accepts_every_program() {
        if !crate::skip::is_root() {
            return;
        }
        for rules in CASES {
            crate::sys::bpf::load_device_filter(&program(&policy(rules))).unwrap();
        }
        let mut rules = devices::default_rules();
        rules.insert(0, serde_json::from_str(r#"{"allow":false,"access":"rwm"}"#).unwrap());
        crate::sys::bpf::load_device_filter(&program(&Policy::of(&rules).unwrap())).unwrap();
    }
}
