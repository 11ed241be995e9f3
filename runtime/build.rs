//! Compiles the default seccomp profile while rbox is built: 17 ms that no container start has to wait for.

#[path = "src/capabilities.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the library, which uses the rest")]
mod capabilities;
#[path = "src/seccomp/compile.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the library, which uses the rest")]
mod compile;
#[path = "src/seccomp/docker.rs"]
mod docker;
#[path = "src/seccomp/numbers.rs"]
mod numbers;
#[path = "src/seccomp/profile.rs"]
mod profile;
#[path = "src/seccomp/program.rs"]
mod program;

use std::error::Error;
use std::path::Path;

use sha2::{Digest, Sha256};

const SOURCES: [&str; 6] =
    ["capabilities", "seccomp/compile", "seccomp/docker", "seccomp/numbers", "seccomp/profile", "seccomp/program"];

fn main() -> Result<(), Box<dyn Error>> {
    entry();
    let out = std::env::var("OUT_DIR")?;
    let target = std::env::var("CARGO_CFG_TARGET_ARCH")?;
    let mut fingerprint = Sha256::new();
    for source in SOURCES {
        let path = format!("src/{source}.rs");
        println!("cargo::rerun-if-changed={path}");
        fingerprint.update(std::fs::read(&path)?);
    }
    let version = libseccomp::ScmpVersion::current()?;
    fingerprint.update(format!("{version}"));
    let fingerprint: String = fingerprint.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=RBOX_SECCOMP_BUILD={fingerprint}");
    println!("cargo::rerun-if-changed=build.rs");

    // The library makes filters for the machine it runs on: for another one, containers compile for themselves.
    let (program, digest) =
        if target == std::env::consts::ARCH { default_filter(&target)? } else { Default::default() };
    std::fs::write(Path::new(&out).join("default_filter.bpf"), program)?;
    std::fs::write(Path::new(&out).join("default_filter.digest"), digest)?;
    Ok(())
}

/// Where the program begins: `src/sys/entry.rs`. (The root package's build.rs says the same for `rbox`.)
fn entry() {
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    if of("CARGO_CFG_TARGET_ARCH") == "x86_64" && std::env::var_os("CARGO_FEATURE_WEAKEN").is_none() {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=rbox_entry");
    }
}

/// The program, and the digest of its profile followed by its flags.
fn default_filter(architecture: &str) -> Result<(Vec<u8>, Vec<u8>), Box<dyn Error>> {
    let profile = profile::usual(architecture);
    let filter = compile::compile(&profile)?;
    let mut digest = Sha256::digest(serde_json::to_vec(&profile)?).to_vec();
    digest.extend(filter.flags.to_le_bytes());
    Ok((filter.program, digest))
}
