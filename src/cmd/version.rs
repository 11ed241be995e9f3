//! `rbox version`: which rbox this is, and what it stands on.

use std::process::ExitCode;

use anyhow::Result;
use rbox_images::Platform;
use serde::Serialize;

use super::print;
use crate::cli::VersionArgs;
use crate::spec::OCI_VERSION;
use crate::template::{Template, Value};

/// Docker has a client and a server; rbox is both.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    client: Version,
    server: Version,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: &'static str,
    oci_version: &'static str,
    os: String,
    arch: String,
    kernel_version: String,
}

/// `rbox version`
///
/// Errors: the template is not understood.
pub(crate) fn run(args: &VersionArgs) -> Result<ExitCode> {
    let platform = Platform::host();
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        oci_version: OCI_VERSION,
        os: platform.os,
        arch: platform.architecture,
        kernel_version: kernel,
    };
    match args.format.as_deref() {
        None => print::text(&format!(
            "rbox:\n Version:      {}\n OCI version:  {}\n OS/Arch:      {}/{}\n Kernel:       {}\n",
            version.version, version.oci_version, version.os, version.arch, version.kernel_version
        ))?,
        Some(format) => {
            let versions = Value::of(&Versions { client: version.clone(), server: version })?;
            let template = if format == "json" { "{{json .}}" } else { format };
            print::line(&Template::parse(template)?.fill(&versions)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
