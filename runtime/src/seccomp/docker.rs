// size: flat table
//! Docker's default seccomp profile: which system calls a container may make, as a table.
//!
//! About 350 calls always, some only with certain arguments, some only to a container with the capability that they
//! are about. Everything else answers EPERM. Source: moby/profiles, seccomp/default.json at commit 02e898b137ae,
//! its rules in their order.

use oci_spec::runtime::{Arch, Capability, LinuxSeccompOperator};

use super::profile::{Conditions, Outcome, Rule};

/// The architectures whose programs a kernel of the first one also runs.
pub(super) const ARCHITECTURES: [&[Arch]; 9] = [
    &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
    &[Arch::ScmpArchAarch64, Arch::ScmpArchArm],
    &[Arch::ScmpArchMips64, Arch::ScmpArchMips, Arch::ScmpArchMips64n32],
    &[Arch::ScmpArchMips64n32, Arch::ScmpArchMips, Arch::ScmpArchMips64],
    &[Arch::ScmpArchMipsel64, Arch::ScmpArchMipsel, Arch::ScmpArchMipsel64n32],
    &[Arch::ScmpArchMipsel64n32, Arch::ScmpArchMipsel, Arch::ScmpArchMipsel64],
    &[Arch::ScmpArchS390x, Arch::ScmpArchS390],
    &[Arch::ScmpArchRiscv64],
    &[Arch::ScmpArchLoongarch64],
];

/// Every flag of clone that makes a namespace: NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWNS.
const NAMESPACES: u64 = 0x7e02_0000;

const ANY: Conditions<'static> = Conditions { capabilities: &[], architectures: &[], kernel: None };
const ALLOW: Rule<'static> =
    Rule { names: "", outcome: Outcome::Allow, argument: 0, any_of: &[], includes: ANY, excludes: ANY };

const fn with(capability: &'static [Capability]) -> Conditions<'static> {
    Conditions { capabilities: capability, ..ANY }
}

const fn on(architectures: &'static [&'static str]) -> Conditions<'static> {
    Conditions { architectures, ..ANY }
}

const SYS_ADMIN: Conditions<'static> = with(&[Capability::SysAdmin]);

/// One line of a rule's arguments: the rule holds for a call that meets any of them.
const fn equal(value: u64) -> (LinuxSeccompOperator, u64) {
    (LinuxSeccompOperator::ScmpCmpEq, value)
}

pub(super) const RULES: &[Rule<'static>] = &[
    Rule {
        names: "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 \
            clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep \
            clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create \
            epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 \
            execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir \
            fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork \
            fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex \
            futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 \
            getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid \
            getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit \
            get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 \
            getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy \
            io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill \
            landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat \
            listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise \
            map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 \
            mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 \
            mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall \
            munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open \
            pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv \
            preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead \
            readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr \
            removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending \
            rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
            rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max \
            sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 \
            sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget \
            semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 \
            setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 \
            setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt \
            set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown \
            sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs \
            statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create \
            timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
            timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 \
            ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice \
            wait4 waitid waitpid write writev",
        ..ALLOW
    },
    // Before 4.8 a process could use ptrace to get around its own filter.
    Rule {
        names: "process_vm_readv process_vm_writev ptrace",
        includes: Conditions { kernel: Some((4, 8)), ..ANY },
        ..ALLOW
    },
    // Address families below AF_DECnet and a list of others; not AF_ALG (CVE-2026-31431) and not AF_VSOCK.
    Rule {
        names: "socket",
        any_of: &[
            (LinuxSeccompOperator::ScmpCmpLt, 12),
            equal(13),
            equal(14),
            equal(15),
            equal(16),
            equal(17),
            equal(18),
            equal(21),
            equal(22),
            equal(24),
            equal(26),
            equal(27),
            equal(28),
            equal(29),
            equal(30),
            equal(31),
            equal(32),
            equal(33),
            equal(35),
            equal(36),
            equal(39),
            equal(41),
            equal(42),
            equal(43),
            equal(44),
            equal(45),
        ],
        ..ALLOW
    },
    // Linux, Linux 32 bit, both with UNAME26, and "what is it?".
    Rule {
        names: "personality",
        any_of: &[equal(0), equal(8), equal(0x2_0000), equal(0x2_0008), equal(0xffff_ffff)],
        ..ALLOW
    },
    Rule { names: "sync_file_range2 swapcontext", includes: on(&["ppc64le"]), ..ALLOW },
    Rule {
        names: "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        includes: on(&["arm", "arm64"]),
        ..ALLOW
    },
    Rule { names: "arch_prctl", includes: on(&["amd64", "x32"]), ..ALLOW },
    Rule { names: "modify_ldt", includes: on(&["amd64", "x32", "x86"]), ..ALLOW },
    Rule {
        names: "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
        includes: on(&["s390", "s390x"]),
        ..ALLOW
    },
    Rule { names: "riscv_flush_icache", includes: on(&["riscv64"]), ..ALLOW },
    Rule { names: "open_by_handle_at", includes: with(&[Capability::DacReadSearch]), ..ALLOW },
    Rule {
        names: "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
            lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
            quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
        includes: SYS_ADMIN,
        ..ALLOW
    },
    // New processes yes, new namespaces no. On s390 the flags are the second argument.
    Rule {
        names: "clone",
        any_of: &[(LinuxSeccompOperator::ScmpCmpMaskedEq, NAMESPACES)],
        excludes: Conditions { capabilities: &[Capability::SysAdmin], architectures: &["s390", "s390x"], kernel: None },
        ..ALLOW
    },
    Rule {
        names: "clone",
        argument: 1,
        any_of: &[(LinuxSeccompOperator::ScmpCmpMaskedEq, NAMESPACES)],
        includes: on(&["s390", "s390x"]),
        excludes: SYS_ADMIN,
        ..ALLOW
    },
    // clone3's flags are behind a pointer, where no filter can look. ENOSYS makes the C libraries try clone.
    Rule { names: "clone3", outcome: Outcome::Errno(38), excludes: SYS_ADMIN, ..ALLOW },
    Rule { names: "reboot", includes: with(&[Capability::SysBoot]), ..ALLOW },
    Rule { names: "chroot", includes: with(&[Capability::SysChroot]), ..ALLOW },
    Rule { names: "delete_module init_module finit_module", includes: with(&[Capability::SysModule]), ..ALLOW },
    Rule { names: "acct", includes: with(&[Capability::SysPacct]), ..ALLOW },
    Rule {
        names: "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
        includes: with(&[Capability::SysPtrace]),
        ..ALLOW
    },
    Rule { names: "iopl ioperm", includes: with(&[Capability::SysRawio]), ..ALLOW },
    Rule { names: "settimeofday stime clock_settime clock_settime64", includes: with(&[Capability::SysTime]), ..ALLOW },
    Rule { names: "vhangup", includes: with(&[Capability::SysTtyConfig]), ..ALLOW },
    Rule {
        names: "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
        includes: with(&[Capability::SysNice]),
        ..ALLOW
    },
    Rule { names: "syslog", includes: with(&[Capability::Syslog]), ..ALLOW },
    Rule { names: "bpf", includes: with(&[Capability::Bpf]), ..ALLOW },
    Rule { names: "perf_event_open", includes: with(&[Capability::Perfmon]), ..ALLOW },
];
