//! The usher: a process that goes before init, or before an exec, into namespaces which one must be in before one is born.
//!
//! A namespace belongs to the user namespace in which it is made, so that one comes first (user_namespaces(7)); and a pid
//! or time namespace takes only children (pid_namespaces(7), time_namespaces(7)). The usher enters them, has its child
//! there, which is the parent's child and not its own (`CLONE_PARENT`), and ends.
//!
//! ```text
//!  parent                                       usher                                      init
//!    clone3 ──────────────────────────────────▶ joins; unshare(CLONE_NEWUSER)
//!    ◀──────────────────────────── MapMe ──────
//!    writes its uid_map and gid_map
//!    Mapped ──────────────────────────────────▶ becomes root in it; clone3(CLONE_PARENT) ─▶ waits
//!    ◀──────────────────────────── Born(pid) ── ends
//!    Known ───────────────────────────────────────────────────────────────────────────────▶ goes on as ever
//! ```

use super::report::Reporter;
use super::{enter, init};
use crate::plan::{Plan, UserNamespace, Usher};
use crate::steps::Step;
use crate::sync;
use crate::sync::Report;
use crate::sys;
use crate::sys::process::Cloned;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Go before the child of `plan`. Runs in the child; never returns.
pub(crate) fn usher(plan: &mut Plan, channel: BorrowedFd<'_>) -> ! {
    super::init::drop_parent_end(plan);
    let Some(usher) = &plan.usher else { sys::process::exit(1) };
    let on = Reporter::new(plan, channel);
    on.step(Step::ParentDeath, || sys::process::set_parent_death_signal(libc::SIGKILL));
    on.step(Step::Name, || {
        sys::process::set_dumpable(false)?;
        sys::process::set_name(c"rbox:usher")
    });

    // 1. Namespaces of others, with the rights that we have on the host; and what those do not suffice for, with the
    //    rights that we have inside.
    let later = join(&on, plan, usher, 0);
    enter_user(&on, plan, usher, channel);
    join(&on, plan, usher, later);

    // 2. A clock of its own: its offsets can be set only as long as nobody lives by it.
    if let Some(offsets) = &usher.time_offsets {
        on.step(Step::TimeNamespace, || sys::process::unshare(libc::CLONE_NEWTIME));
        on.step(Step::TimeOffsets, || {
            let file = sys::file::open(c"/proc/self/timens_offsets", libc::O_WRONLY)?;
            sys::file::write_all(file.as_fd(), offsets.to_bytes())
        });
    }

    // 3. The child. It is told to go on when the parent knows its pid.
    let flags = plan.clone_flags | libc::CLONE_PARENT as u64;
    match on.nth(Step::Birth, 1, || sys::process::clone3(flags, None)) {
        Cloned::Child => {
            if sync::await_word(channel, sync::KNOWN).is_err() {
                sys::process::exit(1);
            }
            if plan.tree.is_some() { init(plan, channel) } else { enter(plan, channel) }
        }
        Cloned::Parent { pid, .. } => {
            let born = Report { step: Step::Birth as u16, index: 0, errno: pid };
            on.quietly(Step::Birth, 1, || sys::file::write_all(channel, &born.to_bytes()));
            sys::process::exit(0)
        }
    }
}

/// Join the namespaces before the user namespace, or of those the ones of `only` (a bit each). Answers which were refused.
fn join(on: &Reporter<'_>, plan: &Plan, usher: &Usher, only: u64) -> u64 {
    let mut refused = 0;
    for (index, join) in plan.joins.iter().take(usher.joins).enumerate() {
        let bit = 1 << (index & 63);
        if join.kind & libc::CLONE_NEWUSER != 0 || (only != 0 && only & bit == 0) {
            continue;
        }
        on.nth(Step::Join, index, || match join.enter() {
            Err(error)
                if only == 0 && error.raw_os_error() == Some(libc::EPERM) && usher.user != UserNamespace::Same =>
            {
                refused |= bit;
                Ok(())
            }
            answer => answer,
        });
    }
    refused
}

/// Enter or make the user namespace, and become root there.
fn enter_user(on: &Reporter<'_>, plan: &Plan, usher: &Usher, channel: BorrowedFd<'_>) {
    match usher.user {
        UserNamespace::Same => return,
        UserNamespace::Joined => {
            let found = plan.joins.iter().enumerate().find(|(_, join)| join.kind & libc::CLONE_NEWUSER != 0);
            if let Some((index, join)) = found {
                on.nth(Step::Join, index, || join.enter());
            }
        }
        UserNamespace::New => {
            on.step(Step::UserNamespace, || sys::process::unshare(libc::CLONE_NEWUSER));
            on.step(Step::AwaitMaps, || {
                // Readable by its own user until the maps are there: an ordinary user's parent has no other rights.
                sys::process::set_dumpable(true)?;
                let ready = Report { step: Step::AwaitMaps as u16, index: 0, errno: 0 };
                sys::file::write_all(channel, &ready.to_bytes())?;
                sync::await_word(channel, sync::MAPPED)
            });
        }
    }
    on.step(Step::RootInside, become_root);
    // A change of credentials has cleared the one, and with nobody else in the pid namespace the other does no harm:
    // files of /proc/self would else be the host's root's.
    on.step(Step::ParentDeath, || sys::process::set_parent_death_signal(libc::SIGKILL));
    if usher.alone {
        on.step(Step::Name, || sys::process::set_dumpable(true));
    }
}

fn become_root() -> io::Result<()> {
    sys::process::setresgid(0)?;
    sys::process::setresuid(0)
}
