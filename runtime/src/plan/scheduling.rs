//! How the kernel is to treat the program: its turn on processors and disks, its memory nodes, and as what the kernel
//! presents itself (runtime-spec config.md#linux-process, config-linux.md#memory-policy, #personality).

use crate::error::{Error, Result};
use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, Linux, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonality,
    LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType,
    Scheduler,
};

/// As numbers of the system calls that set them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scheduling {
    /// ioprio_set(2): class and priority.
    pub(crate) io_priority: Option<i32>,
    /// sched_setattr(2).
    pub(crate) scheduler: Option<SchedAttr>,
    /// set_mempolicy(2): mode with its flags, and a bit for each node.
    pub(crate) memory_policy: Option<(i32, Vec<u64>)>,
    /// personality(2).
    pub(crate) personality: Option<u64>,
    /// sched_setaffinity(2), for `exec` alone: while it is on its way in, and when it has entered its control groups.
    pub(crate) affinity: [Option<Vec<u64>>; 2],
}

/// `struct sched_attr` of linux/sched/types.h in its first version.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct SchedAttr {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime_ns: u64,
    pub(crate) deadline_ns: u64,
    pub(crate) period_ns: u64,
}

impl Scheduling {
    /// What config.json asks for. Affinity is for `exec`: runtime-spec says that it does not apply to init.
    ///
    /// # Errors
    /// `InvalidSpec` with the JSON path.
    pub(crate) fn of(process: &oci_spec::runtime::Process, linux: Option<&Linux>, is_exec: bool) -> Result<Scheduling> {
        let affinity = process.exec_cpu_affinity().as_ref().map(affinity).transpose()?;
        let policy = linux.and_then(|linux| linux.memory_policy().as_ref());
        let personality = linux.and_then(|linux| linux.personality().as_ref());
        Ok(Scheduling {
            io_priority: process.io_priority().as_ref().map(io_priority).transpose()?,
            scheduler: process.scheduler().as_ref().map(scheduler).transpose()?,
            memory_policy: policy.map(memory_policy).transpose()?,
            personality: personality.map(self::personality).transpose()?,
            affinity: affinity.filter(|_| is_exec).unwrap_or_default(),
        })
    }
}

/// linux/ioprio.h: the class above 13 bits of priority.
fn io_priority(wish: &LinuxIOPriority) -> Result<i32> {
    let class = match wish.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match i32::try_from(wish.priority()) {
        Ok(priority @ 0..=7) => Ok(class << 13 | priority),
        _ => Err(Error::spec("process.ioPriority.priority", format!("{} is not 0 to 7", wish.priority()))),
    }
}

fn scheduler(wish: &Scheduler) -> Result<SchedAttr> {
    use LinuxSchedulerPolicy::{SchedBatch, SchedDeadline, SchedFifo, SchedIdle, SchedIso, SchedOther, SchedRr};
    let odd = |field: &str, why: &str| Err(Error::spec(&format!("process.scheduler.{field}"), why));
    let policy = match wish.policy() {
        SchedOther => 0,
        SchedFifo => 1,
        SchedRr => 2,
        SchedBatch => 3,
        SchedIso => 4,
        SchedIdle => 5,
        SchedDeadline => 6,
    };
    let nice = wish.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return odd("nice", "is not -20 to 19");
    }
    let priority = wish.priority().unwrap_or(0);
    if priority != 0 && !matches!(wish.policy(), SchedFifo | SchedRr) {
        return odd("priority", "is only for SCHED_FIFO and SCHED_RR");
    }
    let Ok(priority) = u32::try_from(priority) else { return odd("priority", "is negative") };
    let (runtime_ns, deadline_ns, period_ns) =
        (wish.runtime().unwrap_or(0), wish.deadline().unwrap_or(0), wish.period().unwrap_or(0));
    if runtime_ns | deadline_ns | period_ns != 0 && *wish.policy() != SchedDeadline {
        return odd("runtime", "is, as deadline and period, only for SCHED_DEADLINE");
    }
    let size = u32::try_from(size_of::<SchedAttr>()).unwrap_or(0);
    let flags = wish.flags().iter().flatten().fold(0, |all, flag| all | scheduler_flag(*flag));
    Ok(SchedAttr { size, policy, flags, nice, priority, runtime_ns, deadline_ns, period_ns })
}

/// `SCHED_FLAG_*` of linux/sched.h.
fn scheduler_flag(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 1,
        LinuxSchedulerFlag::SchedFlagReclaim => 2,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 4,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 8,
        LinuxSchedulerFlag::SchedFlagKeepParams => 16,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 32,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 64,
    }
}

/// linux/mempolicy.h.
fn memory_policy(wish: &LinuxMemoryPolicy) -> Result<(i32, Vec<u64>)> {
    let mode = match wish.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flags = wish.flags().iter().flatten().fold(0, |all, flag| {
        all | match flag {
            MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
            MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        }
    });
    let nodes = wish.nodes().as_deref().unwrap_or("");
    let mask = if nodes.is_empty() { vec![] } else { list(nodes, "linux.memoryPolicy.nodes")? };
    Ok((mode | flags, mask))
}

/// sys/personality.h: PER_LINUX, PER_LINUX32.
fn personality(wish: &LinuxPersonality) -> Result<u64> {
    if wish.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        return Err(Error::spec("linux.personality.flags", "are not defined by the specification"));
    }
    Ok(match wish.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

fn affinity(wish: &ExecCPUAffinity) -> Result<[Option<Vec<u64>>; 2]> {
    let set = |text: &Option<String>, key: &str| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        text.map(|text| list(text, &format!("process.execCPUAffinity.{key}"))).transpose()
    };
    Ok([set(wish.initial(), "initial")?, set(wish.cpu_affinity_final(), "final")?])
}

/// `0-3,7` as a mask: a bit for each number. cpuset(7), FORMATS, List format.
fn list(text: &str, path: &str) -> Result<Vec<u64>> {
    /// More processors and nodes than any kernel has (`CONFIG_NR_CPUS` 8192).
    const MOST: usize = 1 << 16;
    let odd = || Error::spec(path, format!("{text:?} is not a list as 0-3,7"));
    let mut mask = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number < MOST).ok_or_else(odd);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(odd());
        }
        mask.resize(mask.len().max(last / 64 + 1), 0);
        (first..=last).for_each(|number| mask[number / 64] |= 1 << (number % 64));
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(process: &str, linux: &str) -> Result<Scheduling> {
        let mut json: serde_json::Value = serde_json::from_str(process).unwrap();
        json["cwd"] = "/".into();
        json["user"] = serde_json::json!({ "uid": 0, "gid": 0 });
        let linux: Linux = serde_json::from_str(linux).unwrap();
        Scheduling::of(&serde_json::from_value(json).unwrap(), Some(&linux), true)
    }

    fn refused(process: &str, linux: &str) -> String {
        of(process, linux).unwrap_err().to_string()
    }

    #[test]
    fn a_list_becomes_a_mask() {
        for (text, mask) in
            [("0", vec![1]), ("0-3,7", vec![0x8f]), ("64", vec![0, 1]), ("1, 63-64", vec![1 << 63 | 2, 1])]
        {
            assert_eq!(list(text, "x").unwrap(), mask, "{text}");
        }
        for text in ["", "3-1", "x", "1-", "-1", "99999999"] {
            assert!(list(text, "x").unwrap_err().to_string().contains("is not a list"), "{text}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_kernels_headers() {
        let process = r#"{"ioPriority":{"class":"IOPRIO_CLASS_IDLE","priority":7},
            "scheduler":{"policy":"SCHED_BATCH","nice":5,"flags":["SCHED_RESET_ON_FORK"]},
            "execCPUAffinity":{"initial":"0","final":"0-1"}}"#;
        let linux = r#"{"memoryPolicy":{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES"]},
            "personality":{"domain":"LINUX32"}}"#;
        let scheduling = of(process, linux).unwrap();
        assert_eq!(scheduling.io_priority, Some(0x6007));
        let attr = SchedAttr { size: 48, policy: 3, flags: 1, nice: 5, ..SchedAttr::default() };
        assert_eq!(scheduling.scheduler, Some(attr));
        assert_eq!(scheduling.memory_policy, Some((0x8002, vec![1])));
        assert_eq!(scheduling.personality, Some(8));
        assert_eq!(scheduling.affinity, [Some(vec![1]), Some(vec![3])]);
    }

    #[test]
    fn every_policy_flag_and_mode_has_the_kernels_number() {
        let attr = |json: &str| of(&format!(r#"{{"scheduler":{json}}}"#), "{}").unwrap().scheduler.unwrap();
        // linux/sched.h
        for (name, number) in [("OTHER", 0), ("FIFO", 1), ("RR", 2), ("BATCH", 3), ("ISO", 4), ("IDLE", 5)] {
            assert_eq!(attr(&format!(r#"{{"policy":"SCHED_{name}"}}"#)).policy, number, "{name}");
        }
        assert_eq!(attr(r#"{"policy":"SCHED_RR","priority":7}"#).priority, 7);
        let deadline = attr(r#"{"policy":"SCHED_DEADLINE","runtime":1,"deadline":2,"period":3}"#);
        assert_eq!((deadline.policy, deadline.runtime_ns, deadline.deadline_ns, deadline.period_ns), (6, 1, 2, 3));
        let flags = ["RECLAIM", "KEEP_POLICY", "KEEP_PARAMS", "UTIL_CLAMP_MIN", "UTIL_CLAMP_MAX"];
        for (name, bit) in flags.into_iter().zip([2, 8, 16, 32, 64]) {
            let json = format!(r#"{{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_{name}"]}}"#);
            assert_eq!(attr(&json).flags, bit, "{name}");
        }
        // linux/mempolicy.h
        let modes = ["DEFAULT", "PREFERRED", "BIND", "INTERLEAVE", "LOCAL", "PREFERRED_MANY", "WEIGHTED_INTERLEAVE"];
        for (number, name) in modes.into_iter().enumerate() {
            let linux = format!(r#"{{"memoryPolicy":{{"mode":"MPOL_{name}","nodes":"1"}}}}"#);
            let expected = (i32::try_from(number).unwrap(), vec![2]);
            assert_eq!(of("{}", &linux).unwrap().memory_policy, Some(expected), "{name}");
        }
        for (name, bit) in [("STATIC_NODES", 15), ("RELATIVE_NODES", 14), ("NUMA_BALANCING", 13)] {
            let linux = format!(r#"{{"memoryPolicy":{{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_{name}"]}}}}"#);
            assert_eq!(of("{}", &linux).unwrap().memory_policy, Some((2 | 1 << bit, vec![1])), "{name}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_path() {
        let refused = |process| refused(process, "{}");
        assert!(
            refused(r#"{"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}}"#).contains("ioPriority.priority: 8")
        );
        assert!(refused(r#"{"scheduler":{"policy":"SCHED_OTHER","nice":20}}"#).contains("scheduler.nice"));
        assert!(refused(r#"{"scheduler":{"policy":"SCHED_OTHER","priority":1}}"#).contains("scheduler.priority"));
        assert!(refused(r#"{"scheduler":{"policy":"SCHED_FIFO","runtime":1}}"#).contains("scheduler.runtime"));
    }
}
