//! What every test stands on: programs, a private host for each test, bundles, a terminal.

mod ask;
mod bundle;
mod container;
mod dice;
mod filter;
mod host;
mod managers;
pub(crate) mod meaning;
pub(crate) mod mutate;
mod output;
mod places;
mod programs;
mod pty;
mod snapshot;

pub(crate) use ask::known_as;
pub(crate) use bundle::{Bundle, Oci, make_rootfs, spec_template};
pub(crate) use container::{BUSYBOX, fixture};
pub(crate) use dice::{Case, Dice, cases};
pub(crate) use filter::is_on_nftables;
pub(crate) use host::{Host, NEIGHBOUR4, Running};
pub(crate) use managers::firewall_cmd;
pub(crate) use output::Output;
pub(crate) use places::{Placed, Places};
pub(crate) use programs::{built_with, find_program, lacks, plugin, probe, rbox, runtime, skip};
pub(crate) use pty::Pty;
pub(crate) use snapshot::Snapshot;

/// Leave the test with a printed reason when the machine lacks something: `need!(Runtime, CgroupV2)`.
///
/// With `RBOX_TEST_NO_SKIP=1` the reason is a failure, so that a test can never be lost unseen.
macro_rules! need {
    ($($what:ident),+ $(,)?) => {
        $(if let Some(reason) = $crate::support::lacks($crate::support::Need::$what) {
            $crate::support::skip(&reason);
            return;
        })+
    };
}
pub(crate) use need;
pub(crate) use programs::Need;
