//! config.json that is nearly right: understood or refused in one line that names the place, and never a panic.
//!
//! `RBOX_TEST_CASES=100000 RBOX_TEST_SEED=7 cargo nextest run -p rbox-runtime plan::tests` takes other ones, and more.

use super::{CgroupView, Gate, ParentDeath, Request, build};
use crate::cgroup;
use crate::config::Config;
use crate::dice::cases;
use crate::error::{Error, Result, printable};
use crate::hooks::{self, CreateHooks, LaterHooks};
use crate::mutate::{mutate, rich_spec, rich_spec_with_users, spoil};
use crate::root::Root;
use crate::seccomp;
use oci_spec::runtime::{LinuxResources, Spec};
use std::path::Path;

/// Everything that `create` does with config.json before it makes anything.
fn understand(text: &[u8], bundle: &Path, root: &Root) -> Result<()> {
    let spec: Spec = Config::parse(text, "config.json")?.content;
    LaterHooks::of(&spec)?;
    let create_hooks = CreateHooks::of(&spec)?;
    let hooks = hooks::of_init(&spec, bundle, !create_hooks.is_empty())?;
    let linux = spec.linux().as_ref();
    if let Some(resources) = linux.and_then(|linux| linux.resources().as_ref()) {
        understand_resources(resources)?;
    }
    let profile = linux.and_then(|linux| linux.seccomp().as_ref());
    let filter = profile.map(|profile| seccomp::cached(profile, None)).transpose()?;
    let cgroup =
        CgroupView { controllers: vec![], links: vec![], lacking: false, own_namespace: true, born_inside: true };
    build(Request {
        spec: &spec,
        bundle,
        root,
        cgroup,
        doors: vec![],
        seccomp: filter,
        console: None,
        stdio: [None, None, None],
        preserve_fds: 0,
        new_keyring: None,
        reaper: false,
        no_pivot: false,
        hooks,
        parent_end: -1,
        gate: Gate::Channel,
        parent_death: ParentDeath::UntilGate,
        trace: None,
    })?;
    Ok(())
}

/// What only one version of control groups has is no error of both.
fn understand_resources(resources: &LinuxResources) -> Result<()> {
    let [first, second] = cgroup::understood(resources);
    first.and(second)?;
    Ok(())
}

fn is_good(error: &Error, text: &[u8]) {
    let said = error.to_string();
    let shown = printable(&said);
    let names_it = ["config.json", "linux.", "cannot "].iter().any(|begin| shown.starts_with(begin));
    let text = String::from_utf8_lossy(text);
    assert!(names_it && !shown.contains(char::is_control), "{shown:?}: {text}");
    assert!(!shown.contains("os error") && shown.len() < 200_000, "{shown:?}: {text}");
}

/// A folder with the root file system that the config speaks of; nothing where the machine does not let us open it.
fn bundle() -> Option<(tempfile::TempDir, Root)> {
    if !crate::skip::is_root() {
        return None;
    }
    let bundle = tempfile::tempdir().unwrap();
    for folder in ["rootfs/tmp", "rootfs/bin", "rootfs/etc"] {
        std::fs::create_dir_all(bundle.path().join(folder)).unwrap();
    }
    let root = Root::open(&bundle.path().join("rootfs")).unwrap();
    Some((bundle, root))
}

#[test]
fn a_config_that_is_nearly_right_is_understood_or_refused_in_one_line() {
    let Some((bundle, root)) = bundle() else { return };
    let templates = [rich_spec(), rich_spec_with_users()];
    for template in &templates {
        understand(&serde_json::to_vec(template).unwrap(), bundle.path(), &root).unwrap();
    }
    let mut understood = 0;
    for mut case in cases(1500) {
        let mut document = templates[case.dice.below(2)].clone();
        for _ in 0..case.dice.pick(&[1, 1, 1, 2, 4]) {
            mutate(&mut document, &mut case.dice);
        }
        let text = serde_json::to_vec(&document).unwrap();
        match understand(&text, bundle.path(), &root) {
            Ok(()) => understood += 1,
            Err(error) => is_good(&error, &text),
        }
    }
    eprintln!("{understood} were understood");
}

#[test]
fn a_config_of_spoiled_bytes_is_understood_or_refused_in_one_line() {
    let Some((bundle, root)) = bundle() else { return };
    let whole = serde_json::to_vec(&rich_spec()).unwrap();
    for mut case in cases(3000) {
        let mut text = whole.clone();
        for _ in 0..case.dice.pick(&[1, 1, 3]) {
            spoil(&mut text, &mut case.dice);
            text.push(b' ');
        }
        if let Err(error) = understand(&text, bundle.path(), &root) {
            is_good(&error, &text);
        }
    }
}

#[test]
fn a_config_that_is_torn_or_deep_is_refused_in_one_line() {
    let Some((bundle, root)) = bundle() else { return };
    let whole = serde_json::to_vec(&rich_spec()).unwrap();
    for length in 0..whole.len() {
        is_good(&understand(&whole[..length], bundle.path(), &root).unwrap_err(), &whole[..length]);
    }
    for text in ["[".repeat(1 << 20), "{\"a\":".repeat(1 << 18), format!("{}1e999", " ".repeat(1 << 20))] {
        is_good(&understand(text.as_bytes(), bundle.path(), &root).unwrap_err(), b"");
    }
}
