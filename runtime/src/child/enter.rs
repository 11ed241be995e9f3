//! `exec`: a further process in a running container.
//!
//! The container may be hostile and it sees us from the moment we are in its pid namespace. So this process cannot be
//! looked into (not dumpable), takes no descriptor of the host with it, and follows no link of the container's.

use super::init::become_program;
use super::report::Reporter;
use super::{devices, identity};
use crate::plan::Plan;
use crate::steps::Step;
use crate::sync;
use crate::sys;
use std::os::fd::BorrowedFd;

/// Become a further process of a container. Runs in the child; never returns.
pub(crate) fn enter(plan: &mut Plan, channel: BorrowedFd<'_>) -> ! {
    // 1. As in init: the parent's end first, then its death.
    super::init::drop_parent_end(plan);
    let plan = &*plan;
    let on = Reporter::new(plan, channel);
    on.step(Step::ParentDeath, || sys::process::set_parent_death_signal(libc::SIGKILL));

    // 2. Nobody inside may read our memory, our descriptors or our program (CVE-2019-5736, CVE-2016-9962).
    on.step(Step::Name, || {
        sys::process::set_dumpable(false)?;
        sys::process::set_name(c"rbox:exec")
    });

    // 3. Into its control groups first, through doors that only the host has; then into its namespaces, all at once.
    //    The parent may have said its word and died before we asked to be told of its death: a hostile container can
    //    have stopped us since our birth.
    on.step(Step::Gate, || sync::await_word(channel, sync::GO).and_then(|()| sync::parent_is_there(channel)));
    identity::set_affinity(&on, &plan.process, 0);
    identity::join_cgroups(&on, &plan.doors);
    identity::set_affinity(&on, &plan.process, 1);
    let labels = identity::open_labels(&on, &plan.process);
    let ushered = plan.usher.as_ref().map_or(0, |usher| usher.joins);
    for (index, join) in plan.joins.iter().enumerate().skip(ushered) {
        on.nth(Step::Join, index, || join.enter());
    }
    on.step(Step::Session, sys::process::setsid);

    // 4. The terminal comes from the container's devpts; /dev/console stays the first process's.
    let terminal = plan.console.as_ref().map(|console| devices::terminal(&on, console));

    // 5. The same way to the program as init's.
    identity::enter_directory(&on, &plan.process);
    identity::find_program(&on, &plan.process);
    identity::stdio(&on, &plan.process, terminal.as_ref());
    become_program(&on, plan, &labels)
}
