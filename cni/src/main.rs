//! `rbox-cni`: a CNI plugin that joins pods to networks of rbox.
//!
//! ```text
//!   containerd, cri-o, podman …                rbox-cni                        rbox-net
//!     CNI_COMMAND, CNI_NETNS …  ──▶  call.rs    what is asked, of whom
//!     the network, JSON, stdin  ──▶  conf.rs    what of it concerns us  ──▶  network.rs  the network of that name
//!     an answer, JSON, stdout   ◀──  answer.rs  ◀── add.rs, look.rs     ──▶  join, release, differences …
//!     or an error, the same     ◀──  failure.rs
//! ```
//!
//! It runs once for each verb and leaves no process: what it makes lives as long as the pod's network namespace
//! (`rbox_net::NetnsFile`). The specification is containernetworking/cni, SPEC.md, 1.1.0.

#![forbid(unsafe_code)]

mod add;
mod answer;
mod call;
mod conf;
mod failure;
mod look;
mod loopback;
mod network;
mod place;
mod publish;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use call::{Call, Command};
use conf::Basics;
use failure::{Code, Failure, Outcome};

/// What is said to a person who starts it by hand.
const USAGE: &str =
    "rbox-cni is a plugin of CNI: container engines start it, and say by CNI_COMMAND what to do. See rbox-cni(8).";

fn main() -> ExitCode {
    let mut out = io::stdout();
    let said = match std::env::args().nth(1).as_deref() {
        Some("--version" | "-V") => writeln!(out, "rbox-cni {}", env!("CARGO_PKG_VERSION")),
        Some("--help" | "-h") => writeln!(out, "{USAGE}\nCNI versions: {}", conf::VERSIONS.join(", ")),
        _ => {
            let mut version = conf::LATEST.to_owned();
            return match answer(&mut version) {
                Ok(None) => ExitCode::SUCCESS,
                Ok(Some(answer)) if writeln!(out, "{answer}").is_ok() => ExitCode::SUCCESS,
                // Who asked does not listen any more.
                Ok(Some(_)) => ExitCode::FAILURE,
                Err(failure) => {
                    let _ = writeln!(out, "{}", failure.said_in(&version));
                    ExitCode::FAILURE
                }
            };
        }
    };
    if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Do what is asked. `version` becomes the one that is spoken.
fn answer(version: &mut String) -> Outcome<Option<Value>> {
    let command = Command::asked()?;
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(Code::Io, format!("cannot read the network configuration: {error}")))?;
    if command == Command::Version {
        return versions(&text).map(Some);
    }
    let basics = Basics::read(&text)?;
    version.clone_from(&basics.version);
    let call = Call::read(command, &basics)?;
    if basics.is_loopback() {
        return loopback::raise(&call, &basics);
    }
    match command {
        Command::Add => add::add(&call, &basics, &text).map(Some),
        Command::Del => add::delete(&call, &basics).map(|()| None),
        Command::Check => look::check(&call, &basics).map(|()| None),
        Command::Gc => add::collect(&basics).map(|()| None),
        Command::Status => look::status(&basics, &text).map(|()| None),
        Command::Version => unreachable!("answered above"),
    }
}

/// `VERSION` speaks the version that it is asked in.
fn versions(text: &str) -> Outcome<Value> {
    let asked: Value = match text.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text)
            .map_err(|error| Failure::new(Code::Decoding, format!("cannot understand the question: {error}")))?,
    };
    let version = asked.get("cniVersion").and_then(Value::as_str).unwrap_or(conf::LATEST);
    Ok(json!({ "cniVersion": version, "supportedVersions": conf::VERSIONS }))
}
