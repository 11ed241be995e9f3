//! STORY 2: from the clone to the user's program, inside the container.
//!
//! Each line is one step: why it stands here, one call, one [`Step`] (whose row in `steps.rs` says the rest). The order
//! is the content: what needs the host's tree comes before pivot_root, what needs privilege before the identity.

use super::identity::Labels;
use super::report::Reporter;
use super::{devices, filesystem, identity, masks, reaper};
use crate::plan::{CgroupNamespace, Door, Gate, ParentDeath, Plan, Tree};
use crate::seccomp::Filter;
use crate::steps::Step;
use crate::sync;
use crate::sync::Report;
use crate::sys;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Become the container's first process. Runs in the child; never returns.
pub(crate) fn init(plan: &mut Plan, channel: BorrowedFd<'_>) -> ! {
    // 1. The parent's end of the channel was copied with everything else: close it, or its death would go unnoticed.
    drop_parent_end(plan);
    let mut tree = plan.tree.take();
    let mut doors = std::mem::take(&mut plan.doors);
    let plan = &*plan;
    let on = Reporter::new(plan, channel);

    // 2. Half a container must not outlive the rbox that builds it. One that died before this line is noticed at the gate.
    on.step(Step::ParentDeath, || sys::process::set_parent_death_signal(libc::SIGKILL));
    on.step(Step::Name, || sys::process::set_name(c"rbox:init"));

    // 3. Namespaces of others (`--network container:…`, a pod's): joined before anything is made in them.
    //    An usher has done so before our birth.
    for (index, join) in plan.joins.iter().enumerate().filter(|_| plan.usher.is_none()) {
        on.nth(Step::Join, index, || join.enter());
    }

    // 4. A session without a terminal; cgroup v2 has put us into our cgroup at birth, so its namespace can be made now.
    on.step(Step::Session, sys::process::setsid);
    if plan.cgroup_namespace == CgroupNamespace::AtBirth {
        on.step(Step::CgroupNamespace, || sys::process::unshare(libc::CLONE_NEWCGROUP));
    }
    if plan.new_network {
        if plan.clone_flags & u64::from(libc::CLONE_NEWNET.unsigned_abs()) == 0 {
            on.step(Step::NetworkNamespace, || sys::process::unshare(libc::CLONE_NEWNET));
        }
        on.step(Step::Loopback, sys::socket::loopback_up);
    }

    let labels = identity::open_labels(&on, &plan.process);
    let placed = await_place(&on, plan, channel);

    // 5. File systems. Made while the host's tree is still there, because the kernel shows a new proc only to who
    //    sees one already; attached after the pivot, because then no path can lead to the host.
    if let Some(tree) = &mut tree {
        on.step(Step::Propagation, || sys::mount::set_root_propagation(libc::MS_SLAVE | libc::MS_REC));
        filesystem::make(&on, tree, !plan.sysctls.is_empty());
        masks::copy_null(&on, tree);
        // Meanwhile the parent has made the control groups, and has written down that we exist.
        if !placed {
            on.step(Step::AwaitCgroups, || sync::await_word(channel, sync::GO));
        }
        filesystem::copy_cgroups(&on, tree);
        identity::open_doors(&on, &mut doors);
        take_root(&on, plan, tree, (&doors, channel));
    }

    // 6. The terminal comes from the container's own devpts; its master goes to rbox.
    let terminal = plan.console.as_ref().map(|console| devices::console(&on, console));

    // 7. Names and settings of the new namespaces, through a proc that only we hold.
    if let Some(name) = &plan.hostname {
        on.step(Step::Hostname, || identity::set_hostname(name));
    }
    if let Some(name) = &plan.domainname {
        on.step(Step::Domainname, || identity::set_domainname(name));
    }
    if let Some(tree) = &mut tree {
        filesystem::sysctls(&on, tree, &plan.sysctls);
        // 8. What must not be read or written is covered now, when nothing of ours needs it any more.
        masks::cover(&on, tree);
        filesystem::make_readonly(&on, tree);
    }

    // 9. Into the control groups of cgroup v1, when the memory for all of the above has been spent.
    if !plan.hooks.before_pivot() {
        identity::join_cgroups(&on, &doors);
    }
    if plan.cgroup_namespace == CgroupNamespace::AfterJoin {
        on.step(Step::CgroupNamespace, || sys::process::unshare(libc::CLONE_NEWCGROUP));
    }

    // 10. A mistyped program is found now, so that `create` fails and not `start`.
    identity::enter_directory(&on, &plan.process);
    identity::find_program(&on, &plan.process);

    // 11. What `create` was called with is not held open while we wait: containerd's shim reads its pipe to the end before
    //     it goes on, when the program has a terminal.
    identity::stdio(&on, &plan.process, terminal.as_ref());

    // 12. The gate. The container is whole; from here on it lives without the program that made it.
    let connection = gate(&on, plan, channel);
    let on = match &connection {
        Some(connection) => Reporter { channel: connection.as_fd(), trace: on.trace },
        None => on,
    };
    become_program(&on, plan, &labels)
}

/// Where systemd puts us into our cgroup, this comes before the file systems: what a cgroup2 shows depends on its namespace.
fn await_place(on: &Reporter<'_>, plan: &Plan, channel: BorrowedFd<'_>) -> bool {
    let placed = plan.cgroup_namespace == CgroupNamespace::WhenPlaced;
    if placed {
        on.step(Step::AwaitCgroups, || sync::await_word(channel, sync::GO));
        on.step(Step::CgroupNamespace, || sys::process::unshare(libc::CLONE_NEWCGROUP));
    }
    placed
}

/// The part that `exec` shares: identity, privileges, execve.
pub(super) fn become_program(on: &Reporter<'_>, plan: &Plan, labels: &Labels) -> ! {
    let process = &plan.process;

    // 13. The keyring, while we still may do everything.
    if let Some(name) = &process.new_keyring {
        on.step(Step::Keyring, || identity::new_keyring(name));
    }

    // 14. A filter needs either privilege or no_new_privs. Without the latter it is loaded while there is privilege.
    let early = process.seccomp.as_ref().filter(|_| !process.no_new_privs);
    let late = process.seccomp.as_ref().filter(|_| process.no_new_privs);
    identity::limits(on, process);
    identity::scheduling(on, process);
    labels.set(on, process);
    if let Some(filter) = early {
        load(on, filter);
    }

    // 15. Groups, then user, then capabilities: each needs the privilege that the next one gives up.
    identity::assume(on, process);
    if matches!(plan.parent_death, ParentDeath::Always | ParentDeath::UntilProgram) {
        // A change of credentials has cleared it.
        on.step(Step::ParentDeath, || sys::process::set_parent_death_signal(libc::SIGKILL));
    }
    if process.no_new_privs {
        on.step(Step::NoNewPrivs, sys::process::set_no_new_privs);
    }

    // 16. Nothing of the host goes through execve; the filter comes last, so that it need not allow what we did.
    on.step(Step::CloseOnExec, || sys::file::close_on_exec_from(3 + process.preserve_fds));
    if plan.parent_death == ParentDeath::UntilProgram {
        on.step(Step::ParentDeath, || sys::process::set_parent_death_signal(0));
    }
    if let Some(filter) = late {
        load(on, filter);
    }

    on.hooks(Step::StartContainerHook, &plan.hooks.start_container);

    // 17. `--init`: we stay as process 1, with no more rights than the program, which will be process 2.
    if process.reaper {
        on.step(Step::Reaper, reaper::split);
    }

    // 18. Become the program. The close-on-exec channel tells the parent.
    identity::execute(on, process)
}

/// Load a filter. One that notifies is answered only when somebody has its descriptor; what this needs (write, read) may be
/// notified already.
fn load(on: &Reporter<'_>, filter: &Filter) {
    let number = on.step(Step::Seccomp, || sys::process::seccomp_filter(&filter.program, filter.flags));
    if filter.asks_listener() {
        let notifies = Report { step: Step::Listener as u16, index: 0, errno: i32::try_from(number).unwrap_or(-1) };
        on.nth(Step::Listener, 1, || {
            sys::file::write_all(on.channel, &notifies.to_bytes())?;
            sync::await_word(on.channel, sync::LISTENED)
        });
    }
}

/// Once: the number may be another descriptor's later.
pub(super) fn drop_parent_end(plan: &mut Plan) {
    if plan.parent_end >= 0 {
        let _ = nix::unistd::close(plan.parent_end);
        plan.parent_end = -1;
    }
}

/// Make the container's tree `/`, with everything mounted in it; with hooks that want to look at it before, in two steps.
fn take_root(on: &Reporter<'_>, plan: &Plan, tree: &mut Tree, (doors, channel): (&[Door], BorrowedFd<'_>)) {
    if !plan.hooks.before_pivot() {
        filesystem::lay_over_root(on, tree);
        filesystem::pivot(on, tree);
        filesystem::attach(on, tree);
        devices::make(on, tree);
        return;
    }
    // A hook expects the container in its control groups, and its mounts below its root's place on the host.
    identity::join_cgroups(on, doors);
    let host = filesystem::stage(on, tree, &plan.hooks.root_place);
    filesystem::attach(on, tree);
    devices::make(on, tree);
    filesystem::leave_stage(on, tree, host.as_fd());
    hooks(on, plan, channel);
    if tree.without_pivot.is_some() {
        filesystem::lay_over_root(on, tree);
    }
    filesystem::pivot(on, tree);
}

/// Let the parent run its hooks, then run those that belong into the namespaces: the tree is whole, `/` still the host's.
fn hooks(on: &Reporter<'_>, plan: &Plan, channel: BorrowedFd<'_>) {
    if plan.hooks.parent_has_some {
        let whole = Report { step: Step::Hooks as u16, index: 0, errno: 0 };
        on.step(Step::Hooks, || {
            sys::file::write_all(channel, &whole.to_bytes())?;
            sync::await_word(channel, sync::HOOKED)
        });
    }
    on.hooks(Step::CreateContainerHook, &plan.hooks.create_container);
}

/// Say that the container is whole, and wait until it may start. Answers the connection that opened the gate.
fn gate(on: &Reporter<'_>, plan: &Plan, channel: BorrowedFd<'_>) -> Option<OwnedFd> {
    let created = Report { step: Step::Created as u16, index: 0, errno: 0 };
    match &plan.gate {
        Gate::Open => None,
        Gate::Channel => {
            on.step(Step::Created, || sys::file::write_all(channel, &created.to_bytes()));
            on.step(Step::Gate, || sync::await_word(channel, sync::START));
            if plan.parent_death == ParentDeath::UntilGate {
                on.step(Step::ParentDeath, || sys::process::set_parent_death_signal(0));
            }
            None
        }
        Gate::Listener(listener) => {
            // Disarmed first: `create` ends as soon as it has heard "created".
            on.step(Step::ParentDeath, || sys::process::set_parent_death_signal(0));
            on.step(Step::Created, || sys::file::write_all(channel, &created.to_bytes()));
            Some(on.step(Step::Gate, || {
                let connection = sys::socket::accept(listener.as_fd())?;
                sync::await_word(connection.as_fd(), sync::START)?;
                Ok(connection)
            }))
        }
    }
}
