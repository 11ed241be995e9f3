//! What a seccomp profile means, read by other code than the compiler: names from the kernel's headers, rules one by one.

use super::dice::Dice;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The bit that tells a call of the x32 ABI from one of x86-64.
pub(crate) const X32_BIT: u32 = 0x4000_0000;
// AUDIT_ARCH_* of linux/audit.h.
pub(crate) const X86_64: u32 = 0xc000_003e;
pub(crate) const I386: u32 = 0x4000_0003;
pub(crate) const AARCH64: u32 = 0xc000_00b7;
/// SECCOMP_RET_ALLOW.
pub(crate) const ALLOW: u32 = 0x7fff_0000;
/// SECCOMP_RET_ERRNO with ENOSYS.
pub(crate) const ENOSYS: u32 = 0x0005_0026;

/// One ABI as the kernel and its headers have it.
pub(crate) struct Abi {
    pub(crate) word: &'static str,
    pub(crate) audit: u32,
    pub(crate) header: &'static str,
    #[allow(dead_code, reason = "each package uses its own part")]
    pub(crate) bit: u32,
    pub(crate) is_32_bit: bool,
}

/// The ABIs whose numbers the headers of the package linux-libc-dev have.
pub(crate) const ABIS: [Abi; 5] = [
    Abi {
        word: "SCMP_ARCH_X86_64",
        audit: X86_64,
        header: "x86_64-linux-gnu/asm/unistd_64.h",
        bit: 0,
        is_32_bit: false,
    },
    Abi {
        word: "SCMP_ARCH_X32",
        audit: X86_64,
        header: "x86_64-linux-gnu/asm/unistd_x32.h",
        bit: X32_BIT,
        is_32_bit: true,
    },
    Abi { word: "SCMP_ARCH_X86", audit: I386, header: "x86_64-linux-gnu/asm/unistd_32.h", bit: 0, is_32_bit: true },
    Abi { word: "SCMP_ARCH_AARCH64", audit: AARCH64, header: "asm-generic/unistd.h", bit: 0, is_32_bit: false },
    Abi { word: "SCMP_ARCH_RISCV64", audit: 0xc000_00f3, header: "asm-generic/unistd.h", bit: 0, is_32_bit: false },
];

/// Whether the arguments, which are cut already, meet a condition whose values are cut by `cut`.
pub(crate) fn holds(condition: &LinuxSeccompArg, args: &[u64; 6], cut: impl Fn(u64) -> u64) -> bool {
    let (is, value) = (args[condition.index()], cut(condition.value()));
    match condition.op() {
        LinuxSeccompOperator::ScmpCmpNe => is != value,
        LinuxSeccompOperator::ScmpCmpLt => is < value,
        LinuxSeccompOperator::ScmpCmpLe => is <= value,
        LinuxSeccompOperator::ScmpCmpEq => is == value,
        LinuxSeccompOperator::ScmpCmpGe => is >= value,
        LinuxSeccompOperator::ScmpCmpGt => is > value,
        // seccomp_rule_add(3): "Matches when the masked argument value is equal to the masked datum value".
        LinuxSeccompOperator::ScmpCmpMaskedEq => is & value == value & cut(condition.value_two().unwrap_or(0)),
    }
}

/// Calls that the kernel headers at hand may be too old for. Written apart from the runtime's own table: what judges it must
/// not share its mistakes.
pub(crate) const YOUNG: [(&str, u32); 15] = [
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
];

/// Names and numbers of one ABI, from the kernel's headers below /usr/include.
pub(crate) fn header(name: &str) -> Option<HashMap<u32, Vec<String>>> {
    let text = std::fs::read_to_string(format!("/usr/include/{name}")).ok()?;
    // The generic table ends with names for 64-bit words, and then for 32-bit ones.
    let text = text.split("#define __NR_fcntl64 __NR3264_").next()?;
    let x32 = name.ends_with("unistd_x32.h");
    let is_generic = name.starts_with("asm-generic");
    let mut calls: HashMap<u32, Vec<String>> = HashMap::new();
    let defined = text.lines().filter_map(|line| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        // The last is an older name of another architecture's.
        if ["syscalls", "arch_specific_syscall", "sync_file_range2"].contains(&name) && is_generic {
            return None;
        }
        let number = match number.strip_prefix("__NR3264_") {
            Some(name) => text.lines().find_map(|line| line.strip_prefix(&format!("#define __NR3264_{name} ")))?,
            None => number,
        };
        let digits = number.trim_matches(|other: char| !other.is_ascii_digit());
        let digits = if x32 { digits.rsplit([' ', '+']).next()? } else { digits };
        Some((name.to_owned(), digits.parse::<u32>().ok()?))
    });
    // What the generic table has for 32-bit words alone: times of 64 bits.
    let defined = defined.filter(|(_, number)| !is_generic || !(403..=423).contains(number));
    let young = YOUNG.iter().map(|(name, number)| ((*name).to_owned(), *number));
    let special = match name.rsplit('/').next()? {
        "unistd_64.h" => vec![("map_shadow_stack".to_owned(), 453), ("uretprobe".to_owned(), 335)],
        // The kernel has no shadow stacks for x32.
        "unistd_x32.h" => vec![],
        _ => vec![("map_shadow_stack".to_owned(), 453)],
    };
    for (name, number) in defined.chain(young).chain(special) {
        let number = if x32 { number | X32_BIT } else { number };
        let names = calls.entry(number).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Some(calls)
}

const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

/// Values around which comparisons go wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    9,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0xffff_ffff_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fffe,
    u64::MAX,
];

pub(crate) fn value(dice: &mut Dice) -> u64 {
    match dice.below(4) {
        0 => dice.bits(),
        1 => dice.below(40) as u64,
        _ => dice.pick(&EDGES),
    }
}

pub(crate) fn condition(dice: &mut Dice, index: usize) -> Value {
    let operator = dice.pick(&OPERATORS);
    let first = value(dice);
    let mut condition = json!({ "index": index, "value": first, "op": format!("SCMP_CMP_{operator}") });
    if operator == "MASKED_EQ" || dice.one_in(4) {
        condition["valueTwo"] = json!(if dice.one_in(2) { first & dice.bits() } else { value(dice) });
    }
    condition
}

/// The action as a filter returns it: SECCOMP_RET_* of linux/seccomp.h.
pub(crate) fn answer(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    match action {
        LinuxSeccompAction::ScmpActAllow => ALLOW,
        LinuxSeccompAction::ScmpActErrno => 0x0005_0000 + errno.unwrap_or(1),
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 + errno.unwrap_or(1),
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
        LinuxSeccompAction::ScmpActNotify => 0x7fc0_0000,
    }
}

/// The numbers of an ABI by name.
pub(crate) fn numbers(abi: &Abi) -> Option<HashMap<String, u32>> {
    let mut calls = header(abi.header)?;
    if abi.word == "SCMP_ARCH_RISCV64" {
        calls.remove(&38); // renameat: asm/unistd.h of RISC-V does not ask for it.
    }
    Some(calls.into_iter().flat_map(|(number, names)| names.into_iter().map(move |name| (name, number))).collect())
}

/// The calls that socketcall(2) and ipc(2) of i386 stand for: linux/net.h and linux/ipc.h.
const MULTIPLEXED: [(&str, u32, u64); 32] = [
    ("socket", 102, 1),
    ("bind", 102, 2),
    ("connect", 102, 3),
    ("listen", 102, 4),
    ("accept", 102, 5),
    ("getsockname", 102, 6),
    ("getpeername", 102, 7),
    ("socketpair", 102, 8),
    ("send", 102, 9),
    ("recv", 102, 10),
    ("sendto", 102, 11),
    ("recvfrom", 102, 12),
    ("shutdown", 102, 13),
    ("setsockopt", 102, 14),
    ("getsockopt", 102, 15),
    ("sendmsg", 102, 16),
    ("recvmsg", 102, 17),
    ("accept4", 102, 18),
    ("recvmmsg", 102, 19),
    ("sendmmsg", 102, 20),
    ("semop", 117, 1),
    ("semget", 117, 2),
    ("semctl", 117, 3),
    ("semtimedop", 117, 4),
    ("msgsnd", 117, 11),
    ("msgrcv", 117, 12),
    ("msgget", 117, 13),
    ("msgctl", 117, 14),
    ("shmat", 117, 21),
    ("shmdt", 117, 22),
    ("shmget", 117, 23),
    ("shmctl", 117, 24),
];

/// What one rule says of one number: all of these conditions, and then this answer.
#[derive(Debug, Clone)]
struct Says {
    all: Vec<LinuxSeccompArg>,
    answer: u32,
}

/// The profile's meaning for one ABI.
pub(crate) struct Meaning {
    is_32_bit: bool,
    otherwise: u32,
    /// Above it is what the profile has never heard of.
    last: Option<u32>,
    by_number: BTreeMap<u32, Vec<Says>>,
}

fn door(name: &str, abi: &Abi) -> Option<(u32, u64)> {
    let door = MULTIPLEXED.iter().find(|(known, ..)| abi.audit == I386 && *known == name);
    door.map(|(_, number, which)| (*number, *which))
}

fn equals(index: usize, value: u64) -> LinuxSeccompArg {
    serde_json::from_value(json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" })).unwrap()
}

impl Meaning {
    pub(crate) fn of(profile: &LinuxSeccomp, abi: &Abi, listed: bool, numbers: &HashMap<String, u32>) -> Meaning {
        let otherwise = answer(profile.default_action(), profile.default_errno_ret());
        let lets_through =
            ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"].contains(&&*profile.default_action().to_string());
        let mut meaning = Meaning { is_32_bit: abi.is_32_bit, otherwise, last: None, by_number: BTreeMap::new() };
        let mut last = None;
        for rule in profile.syscalls().iter().flatten() {
            let answer = answer(rule.action(), rule.errno_ret());
            let conditions = rule.args().clone().unwrap_or_default();
            let indexes: BTreeSet<usize> = conditions.iter().map(LinuxSeccompArg::index).collect();
            // Several conditions on one argument are alternatives, as in runc.
            let alternatives: Vec<Vec<LinuxSeccompArg>> = if indexes.len() < conditions.len() {
                conditions.into_iter().map(|one| vec![one]).collect()
            } else {
                vec![conditions]
            };
            for name in rule.names() {
                last = last.max(numbers.get(name).copied()).max(door(name, abi).map(|(number, _)| number));
                if answer == otherwise {
                    continue;
                }
                for all in &alternatives {
                    meaning.add(name, abi, numbers, Says { all: all.clone(), answer });
                }
            }
        }
        meaning.last = last.filter(|_| !lets_through && listed && otherwise != ENOSYS);
        meaning
    }

    fn add(&mut self, name: &str, abi: &Abi, numbers: &HashMap<String, u32>, says: Says) {
        if let Some((number, which)) = door(name, abi) {
            // The arguments are behind a pointer; what is known of the first is which call it is.
            let mut muxed = says.clone();
            muxed.all.retain(|condition| condition.index() != 0);
            muxed.all.push(equals(0, which));
            self.by_number.entry(number).or_default().push(muxed);
        }
        if let Some(number) = numbers.get(name) {
            self.by_number.entry(*number).or_default().push(says);
        }
    }

    fn holds(&self, condition: &LinuxSeccompArg, args: &[u64; 6]) -> bool {
        holds(condition, args, |value| self.cut(value))
    }

    /// What the rules make of this call.
    pub(crate) fn says(&self, number: u32, args: &[u64; 6]) -> u32 {
        if self.last.is_some_and(|last| number > last) {
            return ENOSYS;
        }
        let rules = self.by_number.get(&number).map_or(&[][..], Vec::as_slice);
        let holds = |says: &&Says| says.all.iter().all(|condition| self.holds(condition, args));
        // One that is for all arguments goes before; of several of a kind the first stands.
        let whole = rules.iter().find(|says| says.all.iter().all(|condition| self.is_idle(condition)));
        whole.or_else(|| rules.iter().find(holds)).map_or(self.otherwise, |says| says.answer)
    }

    /// A mask of nothing holds always.
    fn is_idle(&self, condition: &LinuxSeccompArg) -> bool {
        condition.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && self.cut(condition.value()) == 0
    }

    fn cut(&self, value: u64) -> u64 {
        if self.is_32_bit { value & 0xffff_ffff } else { value }
    }

    /// Arguments that try each condition from both sides.
    pub(crate) fn arguments(&self, number: u32, dice: &mut Dice) -> Vec<[u64; 6]> {
        let mut all = vec![[0; 6], [self.cut(u64::MAX); 6]];
        let rules = self.by_number.get(&number).map_or(&[][..], Vec::as_slice);
        let conditions: Vec<_> = rules.iter().flat_map(|says| &says.all).collect();
        for says in rules {
            for _ in 0..12 {
                let mut args = [0; 6].map(|_| self.cut(value(dice)));
                // Meet the one rule nearly, and others by chance.
                let others: Vec<_> = (0..conditions.len().min(2)).map(|_| dice.pick(&conditions)).collect();
                for condition in says.all.iter().chain(others) {
                    args[condition.index()] = self.cut(near(condition, dice));
                }
                all.push(args);
            }
        }
        all
    }
}

fn near(condition: &LinuxSeccompArg, dice: &mut Dice) -> u64 {
    let (value, two) = (condition.value(), condition.value_two().unwrap_or(0));
    if condition.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && !dice.one_in(4) {
        return two & value | dice.bits() & !value;
    }
    match dice.below(6) {
        0 => value.wrapping_sub(1),
        1 => value.wrapping_add(1),
        2 => value ^ 1 << 32,
        3 => value ^ 1 << dice.below(64),
        _ => value,
    }
}
