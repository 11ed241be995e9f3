//! rbox-net against the kernel, each test on a "host" of its own: a private network namespace with a neighbour.
//!
//! As root. Needs ip (iproute2) and iptables. Nothing of the machine's own network changes.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, helpers of tests too")]

/// Skip the test, with the reason printed, where the machine lacks something; with `RBOX_TEST_NO_SKIP=1` fail.
macro_rules! need {
    ($($what:ident),+) => {
        $(if let Err(why) = crate::world::Need::$what.is_met() {
            crate::world::skip(why);
            return;
        })+
    };
}

mod bad_input;
mod crash;
#[path = "../../tests/support/dice.rs"]
mod dice;
mod dns;
mod parallel;
mod ports;
mod reach;
mod relay;
mod shape;
mod world;
