//! The kernel's side of a filter: its machine, its calls by number, and what they are called.

pub(super) const KILL_THREAD: u32 = 0;

/// `struct seccomp_data` of linux/seccomp.h.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) arch: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    pub(super) fn new(arch: u32, number: u32, first: u64) -> Call {
        Call { arch, number, args: [first, 0, 0, 0, 0, 0] }
    }

    fn word(&self, offset: u32) -> u32 {
        let argument = |at: u32| self.args[at as usize / 8].to_le_bytes();
        match offset {
            0 => self.number,
            4 => self.arch,
            16.. => {
                let half = (offset - 16) as usize % 8;
                u32::from_le_bytes(argument(offset - 16)[half..half + 4].try_into().unwrap())
            }
            _ => 0,
        }
    }
}

/// The kernel's classic BPF machine, as far as seccomp lets a program use it.
#[derive(Default)]
pub(super) struct Machine {
    a: u32,
    x: u32,
    memory: [u32; 16],
}

impl Machine {
    pub(super) fn run(program: &[u8], call: &Call) -> u32 {
        let mut machine = Machine::default();
        let mut at = 0;
        loop {
            let code: &[u8; 8] = program[at * 8..][..8].try_into().unwrap();
            at += 1;
            match machine.step(code, call) {
                Ok(over) => at += over,
                Err(answer) => return answer,
            }
        }
    }

    /// How many instructions to jump over, or the end.
    fn step(&mut self, code: &[u8; 8], call: &Call) -> Result<usize, u32> {
        let operation = u16::from_le_bytes([code[0], code[1]]);
        let k = u32::from_le_bytes(code[4..].try_into().unwrap());
        let test = |yes: bool| Ok(usize::from(if yes { code[2] } else { code[3] }));
        match operation {
            0x20 => self.a = call.word(k),
            0x60 => self.a = self.memory[k as usize],
            0x00 => self.a = k,
            0x02 => self.memory[k as usize] = self.a,
            0x07 => self.x = self.a,
            0x87 => self.a = self.x,
            0x54 => self.a &= k,
            0x05 => return Ok(k as usize),
            0x15 => return test(self.a == k),
            0x25 => return test(self.a > k),
            0x35 => return test(self.a >= k),
            0x45 => return test(self.a & k != 0),
            0x06 => return Err(k),
            other => panic!("unexpected instruction {other:#x}"),
        }
        Ok(0)
    }
}
