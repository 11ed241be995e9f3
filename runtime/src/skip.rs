//! How a unit test leaves early: out loud, and where `RBOX_TEST_NO_SKIP=1` is set not at all.

/// Print why a test is skipped; with `RBOX_TEST_NO_SKIP=1` fail instead, so that no test is lost unseen.
///
/// # Panics
///
/// With `RBOX_TEST_NO_SKIP=1`.
pub(crate) fn skip(why: &str) {
    let strict = std::env::var("RBOX_TEST_NO_SKIP").is_ok_and(|value| value == "1");
    assert!(!strict, "cannot skip with RBOX_TEST_NO_SKIP=1: {why}");
    eprintln!("skipped: {why}");
}

/// Skip what only another kind of host can show, and where the tests run too: cgroup v1 on a host of v2, the reverse.
pub(crate) fn leave_to_another_host(why: &str) {
    eprintln!("skipped: {why}");
}

/// Whether this test may make groups and load programs; where not, it is skipped.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("it needs root");
    }
    root
}
