//! A seccomp profile as the program that the kernel runs at every system call.
//!
//! The rules go through libseccomp, as in runc, crun and youki; [`super::prologue`] goes before its program. The child
//! loads the bytes: nothing here runs after the clone. seccomp(2), runtime-spec config-linux.md#seccomp.

use std::io::{Read, Seek};
use std::str::FromStr;

use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};

use super::numbers;
use super::prologue::{self, Abi};

/// A profile that cannot become a filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile asks for something that makes no sense.
    #[error("{path}: {why}")]
    InvalidSpec {
        /// The place in config.json, as `linux.seccomp.architectures`.
        path: &'static str,
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

/// libseccomp 2.5 goes wrong with a tree of few rules; runc draws the line here too.
const TREE_ABOVE: usize = 32;

/// Make the filter.
pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Filter, Error> {
    check_notify(profile)?;
    let default = returned(profile.default_action(), profile.default_errno_ret());
    let otherwise = action(profile.default_action(), profile.default_errno_ret());
    let refused = |doing: &str| {
        let doing = doing.to_owned();
        move |source| Error::Refused { doing, source }
    };
    let mut filter = ScmpFilterContext::new(otherwise).map_err(refused("make a seccomp filter"))?;
    for arch in profile.architectures().iter().flatten() {
        let doing = format!("add {arch} to the seccomp filter");
        filter.add_arch(library_arch(*arch)?).map_err(refused(&doing))?;
    }
    let rules: usize = rules_of(profile).map(|rule| rule.names().len()).sum();
    if rules > TREE_ABOVE {
        filter.set_ctl_optimize(2).map_err(refused("sort the seccomp filter as a tree"))?;
    }
    for rule in rules_of(profile) {
        // The library refuses a rule that says what the default says.
        if returned(rule.action(), rule.errno_ret()) != default {
            for name in rule.names() {
                add(&mut filter, name, rule)?;
            }
        }
    }
    let mut program: Vec<u8> = prologue(profile, default)?.into_iter().flat_map(prologue::Instruction::bytes).collect();
    program.extend(export(&filter)?);
    match program.len() / INSTRUCTION_BYTES {
        instructions if instructions > MOST => Err(Error::TooLong { instructions }),
        _ => Ok(Filter { program, flags: flags(profile) }),
    }
}

fn rules_of(profile: &LinuxSeccomp) -> impl Iterator<Item = &LinuxSyscall> {
    profile.syscalls().iter().flatten()
}

/// The child must be able to tell us the listener's descriptor, and nobody listens before that.
fn check_notify(profile: &LinuxSeccomp) -> Result<(), Error> {
    let notify = LinuxSeccompAction::ScmpActNotify;
    if profile.default_action() == notify {
        let why = "SCMP_ACT_NOTIFY cannot be the default".to_owned();
        return Err(Error::InvalidSpec { path: "linux.seccomp.defaultAction", why });
    }
    if rules_of(profile).any(|rule| rule.action() == notify && rule.names().iter().any(|name| name == "write")) {
        let why = "SCMP_ACT_NOTIFY cannot be used for write".to_owned();
        return Err(Error::InvalidSpec { path: "linux.seccomp.syscalls", why });
    }
    Ok(())
}

/// Without an errno of its own, an action that carries one carries EPERM.
fn carried(errno: Option<u32>) -> u16 {
    errno.map_or(1, |errno| u16::try_from(errno).unwrap_or(u16::MAX))
}

/// The action as the library takes it.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let carried = carried(errno);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(carried.into()),
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(carried),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
    }
}

/// The action as a filter returns it: SECCOMP_RET_* of linux/seccomp.h.
fn returned(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    let carried = u32::from(carried(errno));
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

fn library_arch(arch: Arch) -> Result<ScmpArch, Error> {
    ScmpArch::from_str(&arch.to_string())
        .map_err(|source| Error::Refused { doing: format!("use the seccomp architecture {arch}"), source })
}

/// Add the rule for one name. A name that the library does not know is for the prologue, or for a kernel to come.
fn add(filter: &mut ScmpFilterContext, name: &str, rule: &LinuxSyscall) -> Result<(), Error> {
    let action = action(rule.action(), rule.errno_ret());
    let Ok(call) = ScmpSyscall::from_name(name) else { return Ok(()) };
    let refused = |source| Error::Refused { doing: format!("add {name} to the seccomp filter"), source };
    let conditions = rule.args().iter().flatten().map(|arg| condition(name, arg)).collect::<Result<Vec<_>, _>>()?;
    let arguments: Vec<_> = rule.args().iter().flatten().map(LinuxSeccompArg::index).collect();
    let repeated = (1..arguments.len()).any(|at| arguments[..at].contains(&arguments[at]));
    if conditions.is_empty() {
        filter.add_rule(action, call).map_err(refused)?;
    } else if repeated {
        // Several conditions on one argument are alternatives, as runc has always taken them.
        for condition in conditions {
            filter.add_rule_conditional(action, call, &[condition]).map_err(refused)?;
        }
    } else {
        filter.add_rule_conditional(action, call, &conditions).map_err(refused)?;
    }
    Ok(())
}

fn condition(name: &str, arg: &LinuxSeccompArg) -> Result<ScmpArgCompare, Error> {
    let index = match u32::try_from(arg.index()) {
        Ok(index @ 0..6) => index,
        _ => {
            let why = format!("{name} has no argument {}: a system call has at most 6", arg.index());
            return Err(Error::InvalidSpec { path: "linux.seccomp.syscalls", why });
        }
    };
    let second = arg.value_two().unwrap_or(0);
    let (operator, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(arg.value()), second),
    };
    Ok(ScmpArgCompare::new(index, operator, value))
}

/// The program before the library's: for each architecture of the profile, its newest calls.
fn prologue(profile: &LinuxSeccomp, default: u32) -> Result<Vec<prologue::Instruction>, Error> {
    // Where the default lets calls through (a tracer too), an unknown call is not ours to answer; and ENOSYS for all is
    // ENOSYS for the new ones.
    let lets_through =
        [LinuxSeccompAction::ScmpActAllow, LinuxSeccompAction::ScmpActLog, LinuxSeccompAction::ScmpActTrace];
    let enosys = !lets_through.contains(&profile.default_action()) && default != prologue::ENOSYS;
    let mut abis: Vec<Abi> = Vec::new();
    let native = [Arch::ScmpArchNative];
    let listed = profile.architectures().as_deref().filter(|list| !list.is_empty()).unwrap_or(&native);
    for arch in listed {
        let abi = abi(library_arch(*arch)?, profile, default);
        if abi.last > 0 && !abis.iter().any(|known| (known.audit, known.x32) == (abi.audit, abi.x32)) {
            abis.push(abi);
        }
    }
    abis.sort_by_key(|abi| (abi.audit, abi.x32));
    abis.retain(|abi| enosys || !abi.answers.is_empty());
    Ok(prologue::assemble(&abis, enosys))
}

fn abi(arch: ScmpArch, profile: &LinuxSeccomp, default: u32) -> Abi {
    let arch = if arch == ScmpArch::Native { ScmpArch::native() } else { arch };
    let x32 = arch == ScmpArch::X32;
    let mut abi = Abi {
        audit: audit(arch),
        x32,
        zero_is_unknown: matches!(arch, ScmpArch::S390 | ScmpArch::S390X),
        ..Abi::default()
    };
    for rule in rules_of(profile) {
        for name in rule.names() {
            match ScmpSyscall::from_name_by_arch(name, arch).map(|call| call.as_raw_syscall()) {
                // A negative number: the library knows the call, but not on this architecture.
                Ok(number) => {
                    abi.last_of_library = abi.last_of_library.max(u32::try_from(number).unwrap_or(0));
                }
                Err(_) => answer(&mut abi, name, arch, rule, default),
            }
        }
    }
    abi.last = abi.last.max(abi.last_of_library);
    abi
}

/// Note a call that the library does not know. With conditions on its arguments it stays unknown, as in runc.
fn answer(abi: &mut Abi, name: &str, arch: ScmpArch, rule: &LinuxSyscall, default: u32) {
    let wanted = returned(rule.action(), rule.errno_ret());
    let conditional = rule.args().as_ref().is_some_and(|args| !args.is_empty());
    let Some(number) = numbers::of(name, arch).filter(|_| !conditional) else { return };
    abi.last = abi.last.max(number);
    if wanted != default && !abi.answers.iter().any(|(known, _)| *known == number) {
        abi.answers.push((number, wanted));
    }
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

/// The library's program as bytes; it writes to files only.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, Error> {
    let failed = |source: std::io::Error| Error::Os { doing: "hold the seccomp filter in memory".to_owned(), source };
    let memory = memfd_create(c"rbox-seccomp", MFdFlags::MFD_CLOEXEC).map_err(|errno| failed(errno.into()))?;
    filter
        .export_bpf(&memory)
        .map_err(|source| Error::Refused { doing: "write the seccomp filter".to_owned(), source })?;
    let mut file = std::fs::File::from(memory);
    let mut program = Vec::with_capacity(MOST * INSTRUCTION_BYTES);
    file.rewind().and_then(|()| file.read_to_end(&mut program)).map_err(failed)?;
    Ok(program)
}
