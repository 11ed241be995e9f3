//! A seccomp profile as the program that the kernel runs at every system call.
//!
//! The program is ours, from libseccomp's tables of names and numbers. libseccomp 2.5 itself answers wrongly where a call
//! has several rules with conditions: one that does not hold can decide (tests.rs has such a profile). What a profile means
//! is what runc makes of it:
//!
//! - A rule without conditions goes before one with them; of several, the first stands.
//! - Of rules with conditions the first that holds decides (libseccomp leaves the order to chance).
//! - A rule that answers what the default answers is left out.
//! - A number above the highest that the profile speaks of is a call that is younger than it: ENOSYS, unless the default
//!   lets calls through. A C library tries a new call first and takes the old one when it hears ENOSYS; hearing EPERM
//!   it would give up (runc: libcontainer/seccomp/patchbpf).
//!
//! The child loads the bytes: nothing here runs after the clone. seccomp(2), runtime-spec config-linux.md#seccomp.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use libseccomp::ScmpArch;
use libseccomp::error::SeccompError;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};

use super::numbers::{self, Number, Numbers, X32_BIT};
use super::program::{self, Comparison, Condition, KILL_THREAD, Outcome, Range, Rule, Section};

/// A profile that cannot become a filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile asks for something that makes no sense.
    #[error("{path}: {why}")]
    InvalidSpec {
        /// The place in config.json, as `linux.seccomp.architectures`.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// libseccomp or the kernel refuses a part of it.
    #[error("cannot {doing}: {source}")]
    Refused {
        /// Verb and object.
        doing: String,
        /// The library's words.
        source: SeccompError,
    },
    /// The kernel takes at most 4096 instructions.
    #[error("cannot load a seccomp filter of {instructions} instructions: the kernel takes at most {MOST}")]
    TooLong {
        /// How many there are.
        instructions: usize,
    },
    /// No memory for the program, or a profile file that cannot be read.
    #[error("cannot {doing}: {source}")]
    Os {
        /// Verb and object.
        doing: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// BPF_MAXINSNS of linux/bpf_common.h.
const MOST: usize = 4096;
/// The size of `struct sock_filter`.
const INSTRUCTION_BYTES: usize = 8;

/// A filter as seccomp(2) SECCOMP_SET_MODE_FILTER takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// An array of `struct sock_filter`, 8 bytes each, at most 4096 of them.
    pub(crate) program: Vec<u8>,
    /// SECCOMP_FILTER_FLAG_*.
    pub(crate) flags: u64,
}

impl Filter {
    /// Whether loading it answers a descriptor on which somebody has to listen.
    pub(crate) fn asks_listener(&self) -> bool {
        self.flags & NEW_LISTENER != 0
    }
}

// SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
const LOG: u64 = 1 << 1;
const SPEC_ALLOW: u64 = 1 << 2;
const NEW_LISTENER: u64 = 1 << 3;
const WAIT_KILLABLE: u64 = 1 << 5;

/// Make the filter.
pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Filter, Error> {
    check_notify(profile)?;
    check_errnos(profile)?;
    let mut sections: Vec<Section> = Vec::new();
    for abi in abis(profile)? {
        let ranges = abi.ranges(profile)?;
        match sections.iter_mut().find(|section| section.audit == abi.audit) {
            Some(section) => section.ranges.extend(ranges),
            None => sections.push(Section { audit: abi.audit, ranges }),
        }
    }
    for section in &mut sections {
        complete(section, returned(profile.default_action(), profile.default_errno_ret()));
    }
    let program: Vec<u8> = program::assemble(&sections).into_iter().flat_map(program::Instruction::bytes).collect();
    match program.len() / INSTRUCTION_BYTES {
        instructions if instructions > MOST => Err(Error::TooLong { instructions }),
        _ => Ok(Filter { program, flags: flags(profile) }),
    }
}

/// x32 shares the kernel's name of x86-64, and its numbers have a bit of their own.
fn complete(section: &mut Section, default: u32) {
    section.ranges.sort_by_key(|range| range.first);
    let known = |first| section.ranges.iter().any(|range| range.first == first);
    let mut more = Vec::new();
    if !known(0) {
        more.push(Range { first: 0, outcome: Outcome::Answer(KILL_THREAD) });
    }
    if section.audit == audit(ScmpArch::X8664) && !known(X32_BIT) {
        more.push(Range { first: X32_BIT, outcome: Outcome::Answer(KILL_THREAD) });
        // Not x32: -1 is what a tracer writes over the number of a call that is not to be made.
        more.push(Range { first: u32::MAX, outcome: Outcome::Answer(default) });
    }
    section.ranges.extend(more);
    section.ranges.sort_by_key(|range| range.first);
    section.ranges.dedup_by(|next, last| next.outcome == last.outcome);
}

fn rules_of(profile: &LinuxSeccomp) -> impl Iterator<Item = &LinuxSyscall> {
    profile.syscalls().iter().flatten()
}

/// The child must be able to tell us the listener's descriptor, and nobody listens before that.
fn check_notify(profile: &LinuxSeccomp) -> Result<(), Error> {
    let notify = LinuxSeccompAction::ScmpActNotify;
    if profile.default_action() == notify {
        let why = "SCMP_ACT_NOTIFY cannot be the default".to_owned();
        return Err(Error::InvalidSpec { path: "linux.seccomp.defaultAction".to_owned(), why });
    }
    if rules_of(profile).any(|rule| rule.action() == notify && rule.names().iter().any(|name| name == "write")) {
        let why = "SCMP_ACT_NOTIFY cannot be used for write".to_owned();
        return Err(Error::InvalidSpec { path: "linux.seccomp.syscalls".to_owned(), why });
    }
    Ok(())
}

/// The highest that the kernel takes for an error: MAX_ERRNO of linux/err.h.
const LAST_ERRNO: u32 = 4095;

/// config-linux.md#seccomp: where an action takes no number, "the runtime MUST print and error and fail if this property
/// is set". (runc drops it; crun refuses it as well.)
fn check_errnos(profile: &LinuxSeccomp) -> Result<(), Error> {
    let check = |path: String, action: LinuxSeccompAction, errno: Option<u32>| {
        let most = match action {
            LinuxSeccompAction::ScmpActErrno => Some(LAST_ERRNO),
            LinuxSeccompAction::ScmpActTrace => Some(u16::MAX.into()),
            _ => None,
        };
        let why = match (errno, most) {
            (Some(_), None) => format!("{action} takes none"),
            (Some(errno), Some(most)) if errno > most => format!("{errno} is above {most}, the highest there is"),
            _ => return Ok(()),
        };
        Err(Error::InvalidSpec { path, why })
    };
    let default = "linux.seccomp.defaultErrnoRet".to_owned();
    check(default, profile.default_action(), profile.default_errno_ret())?;
    for (at, rule) in rules_of(profile).enumerate() {
        check(format!("linux.seccomp.syscalls[{at}].errnoRet"), rule.action(), rule.errno_ret())?;
    }
    Ok(())
}

/// The action as a filter returns it: SECCOMP_RET_* of linux/seccomp.h.
fn returned(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    // EPERM where nothing is said; what is more than 16 bits has been refused.
    let carried = errno.unwrap_or(1) & 0xffff;
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActErrno => 0x0005_0000 | carried,
        LinuxSeccompAction::ScmpActNotify => 0x7fc0_0000,
        LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 | carried,
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        LinuxSeccompAction::ScmpActAllow => 0x7fff_0000,
    }
}

/// One ABI of the filter.
struct Abi {
    arch: ScmpArch,
    audit: u32,
    numbers: Numbers,
    /// The profile names it, so that calls which are younger than the profile can be told.
    listed: bool,
}

/// The machine's own first, and those of the profile.
fn abis(profile: &LinuxSeccomp) -> Result<Vec<Abi>, Error> {
    let named = profile.architectures().as_deref().unwrap_or_default();
    let listed = named.iter().map(|arch| library_arch(*arch)).collect::<Result<Vec<_>, _>>()?;
    let mut all: Vec<Abi> = Vec::new();
    let own = (ScmpArch::native(), Arch::ScmpArchNative);
    for (arch, name) in [own].into_iter().chain(listed.iter().copied().zip(named.iter().copied())) {
        if all.iter().any(|known| known.arch == arch) {
            continue;
        }
        let refused = |why: &str| {
            let path = "linux.seccomp.architectures".to_owned();
            Err(Error::InvalidSpec { path, why: format!("{name} {why}") })
        };
        let Some(numbers) = Numbers::of(arch) else { return refused("is younger than this build's libseccomp") };
        if is_big_endian(arch) != cfg!(target_endian = "big") {
            return refused("has another byte order than this machine");
        }
        let listed = listed.is_empty() || listed.contains(&arch);
        all.push(Abi { arch, audit: audit(arch), numbers, listed });
    }
    Ok(all)
}

fn library_arch(arch: Arch) -> Result<ScmpArch, Error> {
    let found = ScmpArch::from_str(&arch.to_string())
        .map_err(|source| Error::Refused { doing: format!("use the seccomp architecture {arch}"), source })?;
    Ok(if found == ScmpArch::Native { ScmpArch::native() } else { found })
}

impl Abi {
    /// What every number of this ABI is answered.
    fn ranges(&self, profile: &LinuxSeccomp) -> Result<Vec<Range>, Error> {
        let default = returned(profile.default_action(), profile.default_errno_ret());
        let wide = is_wide(self.arch);
        let mut last = None;
        let mut rules: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
        for (at, rule) in rules_of(profile).enumerate() {
            let answer = returned(rule.action(), rule.errno_ret());
            let alternatives = alternatives(at, rule, wide)?;
            for number in rule.names().iter().flat_map(|name| self.numbers.named(name)) {
                last = last.max(Some(number.number));
                if answer != default {
                    let known = rules.entry(number.number).or_default();
                    known.extend(alternatives.iter().map(|all| Rule { conditions: behind(all, number), answer }));
                }
            }
        }
        let unknown = Outcome::Answer(ENOSYS);
        let unknown_from = last.filter(|_| self.listed && !lets_through(profile)).map(|last| last + 1);
        let first = numbers::first_of_all(self.arch);
        let mut outcomes: BTreeMap<u32, Outcome> = BTreeMap::from([(first, Outcome::Answer(default))]);
        outcomes.extend(unknown_from.map(|number| (number, unknown.clone())));
        for (number, rules) in rules {
            // Behind it goes on what is before it.
            outcomes.entry(number + 1).or_insert(Outcome::Answer(default));
            outcomes.insert(number, outcome(rules, default, wide));
        }
        if unknown_from.is_some() && is_s390(self.arch) {
            // How s390 says "a number that the kernel does not know".
            outcomes.entry(1).or_insert(Outcome::Answer(default));
            outcomes.insert(0, unknown);
        }
        Ok(outcomes.into_iter().map(|(first, outcome)| Range { first, outcome }).collect())
    }
}

/// SECCOMP_RET_ERRNO with ENOSYS.
const ENOSYS: u32 = 0x0005_0000 | 38;

/// Where the default lets calls through (a tracer too), an unknown call is not ours to answer.
fn lets_through(profile: &LinuxSeccomp) -> bool {
    use LinuxSeccompAction::{ScmpActAllow, ScmpActLog, ScmpActTrace};
    [ScmpActAllow, ScmpActLog, ScmpActTrace].contains(&profile.default_action())
}

fn outcome(rules: Vec<Rule>, otherwise: u32, wide: bool) -> Outcome {
    if let Some(whole) = rules.iter().find(|rule| rule.conditions.is_empty()) {
        return Outcome::Answer(whole.answer);
    }
    let mut different: Vec<Rule> = Vec::new();
    for rule in rules {
        if !different.contains(&rule) {
            different.push(rule);
        }
    }
    Outcome::Rules { rules: different, otherwise, wide }
}

/// The conditions for a call that is behind another: its arguments are behind a pointer, but for which call it is. (As
/// libseccomp: conditions on the first are dropped, those on others compared with what stands there.)
fn behind(conditions: &[Condition], number: Number) -> Vec<Condition> {
    let Some(which) = number.which else { return conditions.to_vec() };
    let which =
        Condition { index: 0, mask: u64::MAX, comparison: Comparison::Equal, value: which.into(), opposite: false };
    [which].into_iter().chain(conditions.iter().copied().filter(|condition| condition.index != 0)).collect()
}

/// The conditions of a rule: one list that has to hold altogether, or several of which one has to.
fn alternatives(at: usize, rule: &LinuxSyscall, wide: bool) -> Result<Vec<Vec<Condition>>, Error> {
    let arguments = rule.args().as_deref().unwrap_or_default();
    let conditions = arguments.iter().enumerate().map(|(arg, one)| condition((at, arg), rule, one));
    let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
    let indexes: BTreeSet<u32> = conditions.iter().map(|condition| condition.index).collect();
    let all = if indexes.len() < conditions.len() {
        // Several conditions on one argument are alternatives, as runc has always taken them.
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    };
    let needed = |all: Vec<Condition>| all.into_iter().filter(|condition| !condition.is_idle(wide)).collect();
    Ok(all.into_iter().map(needed).collect())
}

fn condition((rule, arg): (usize, usize), syscall: &LinuxSyscall, one: &LinuxSeccompArg) -> Result<Condition, Error> {
    let index = match u32::try_from(one.index()) {
        Ok(index @ 0..6) => index,
        _ => {
            let name = syscall.names().first().map_or("", String::as_str);
            let why = format!("{name} has no argument {}: a system call has at most 6", one.index());
            return Err(Error::InvalidSpec { path: format!("linux.seccomp.syscalls[{rule}].args[{arg}].index"), why });
        }
    };
    let is = |comparison, opposite| Condition { index, mask: u64::MAX, comparison, value: one.value(), opposite };
    Ok(match one.op() {
        LinuxSeccompOperator::ScmpCmpEq => is(Comparison::Equal, false),
        LinuxSeccompOperator::ScmpCmpNe => is(Comparison::Equal, true),
        LinuxSeccompOperator::ScmpCmpGt => is(Comparison::Greater, false),
        LinuxSeccompOperator::ScmpCmpLe => is(Comparison::Greater, true),
        LinuxSeccompOperator::ScmpCmpGe => is(Comparison::AtLeast, false),
        LinuxSeccompOperator::ScmpCmpLt => is(Comparison::AtLeast, true),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            Condition { mask: one.value(), value: one.value_two().unwrap_or(0), ..is(Comparison::Equal, false) }
        }
    })
}

fn is_s390(arch: ScmpArch) -> bool {
    matches!(arch, ScmpArch::S390 | ScmpArch::S390X)
}

/// Arguments have 64 bits. For x32 the lower 32 are looked at, as in libseccomp: its calls ignore what is above.
fn is_wide(arch: ScmpArch) -> bool {
    use ScmpArch::{Aarch64, Loongarch64, Mips64, Mipsel64, Parisc64, Ppc64, Ppc64Le, Riscv64, S390X, X8664};
    [X8664, Aarch64, Mips64, Mipsel64, Ppc64, Ppc64Le, S390X, Parisc64, Riscv64, Loongarch64].contains(&arch)
}

fn is_big_endian(arch: ScmpArch) -> bool {
    use ScmpArch::{M68k, Mips, Mips64, Mips64N32, Parisc, Parisc64, Ppc, Ppc64, S390, S390X, Sheb};
    [Mips, Mips64, Mips64N32, Ppc, Ppc64, S390, S390X, Parisc, Parisc64, M68k, Sheb].contains(&arch)
}

/// AUDIT_ARCH_* of linux/audit.h, which are the library's own tokens but for x32.
fn audit(arch: ScmpArch) -> u32 {
    match arch {
        ScmpArch::X86 => 0x4000_0003,
        ScmpArch::X8664 | ScmpArch::X32 | ScmpArch::Native => 0xc000_003e,
        ScmpArch::Arm => 0x4000_0028,
        ScmpArch::Aarch64 => 0xc000_00b7,
        ScmpArch::Mips => 0x0000_0008,
        ScmpArch::Mips64 => 0x8000_0008,
        ScmpArch::Mips64N32 => 0xa000_0008,
        ScmpArch::Mipsel => 0x4000_0008,
        ScmpArch::Mipsel64 => 0xc000_0008,
        ScmpArch::Mipsel64N32 => 0xe000_0008,
        ScmpArch::Ppc => 0x0000_0014,
        ScmpArch::Ppc64 => 0x8000_0015,
        ScmpArch::Ppc64Le => 0xc000_0015,
        ScmpArch::S390 => 0x0000_0016,
        ScmpArch::S390X => 0x8000_0016,
        ScmpArch::Parisc => 0x0000_000f,
        ScmpArch::Parisc64 => 0x8000_000f,
        ScmpArch::Riscv64 => 0xc000_00f3,
        ScmpArch::Loongarch64 => 0xc000_0102,
        ScmpArch::M68k => 0x0000_0004,
        ScmpArch::Sh => 0x4000_002a,
        ScmpArch::Sheb => 0x0000_002a,
        // The library may learn more: without a name nothing matches, and the filter itself decides.
        _ => u32::MAX,
    }
}

fn flags(profile: &LinuxSeccomp) -> u64 {
    let mut flags = match profile.flags() {
        // Not even an empty list: as runc, do not slow every container down for a class of attacks that the kernel
        // defends against elsewhere (the kernel's own default since 5.16).
        None => SPEC_ALLOW,
        Some(list) => list.iter().fold(0, |flags, flag| {
            flags
                | match flag {
                    LinuxSeccompFilterFlag::SeccompFilterFlagLog => LOG,
                    LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
                    LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => WAIT_KILLABLE,
                    // The process that loads the filter has one thread: there is nothing to keep in step.
                    LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
                }
        }),
    };
    if rules_of(profile).any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify) {
        flags |= NEW_LISTENER;
    } else {
        // Means something only to a listener; the kernel refuses it without one.
        flags &= !WAIT_KILLABLE;
    }
    flags
}
