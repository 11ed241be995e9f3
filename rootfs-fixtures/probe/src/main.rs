//! Runs inside a container under test and prints what it sees there, as JSON; or does one thing that a test asks for.
//!
//! The first argument is the verb (see [`run`]). The program is static, so it works in an empty root file system, and
//! it believes nobody but the kernel: a test compares its words with what was asked for.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "what is seen is printed: that is the program's whole purpose")]

mod act;
mod files;
mod identity;
mod network;
mod serve;
mod syscalls;

use serde_json::{Value, json};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match run(&words) {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("probe: {message}");
            ExitCode::from(111)
        }
    }
}

/// The verbs. Each returns the exit code, or a message for the test's reader (exit code 111).
fn run(words: &[&str]) -> Result<u8, String> {
    match words {
        [] | ["see"] => say(&see()),
        ["see", what @ ..] => say(&some_of(what)?),
        ["exit", code] => code.parse().map_err(|_| format!("{code} is not an exit code")),
        ["echo", text @ ..] => say(&json!(text)),
        ["sleep", seconds] => act::sleep(seconds),
        ["signal-wait", names @ ..] => act::signal_wait(names),
        ["hold"] => act::hold(),
        ["pause"] => act::pause(),
        ["spawn", rest @ ..] => act::spawn(rest),
        ["read", path] => act::read(path),
        ["write", path, text @ ..] => act::write(path, &text.join(" ")),
        ["list", path] => say(&files::list(path)),
        ["mknod", path, kind, major, minor] => act::mknod(path, kind, major, minor),
        ["open", path] => act::open(path),
        ["alloc", mebibytes] => act::alloc(mebibytes),
        ["spin", seconds] => act::spin(seconds),
        ["fork-bomb", count] => act::fork_bomb(count),
        ["exhaust"] => act::exhaust(),
        ["tty-size"] => say(&act::terminal()),
        ["syscall", names @ ..] => say(&syscalls::try_all(names)),
        ["calls", calls @ ..] => say(&syscalls::make_all(calls)?),
        ["serve", rest @ ..] => serve::serve(rest),
        ["connect", rest @ ..] => serve::connect(rest),
        other => Err(format!("unknown verb {}", other.join(" "))),
    }
}

fn say(value: &Value) -> Result<u8, String> {
    println!("{value:#}");
    Ok(0)
}

/// Everything there is to see, for a test that does not know beforehand what it will ask.
fn see() -> Value {
    let parts = ["identity", "limits", "files", "network"];
    some_of(&parts).unwrap_or(Value::Null)
}

fn some_of(what: &[&str]) -> Result<Value, String> {
    let mut seen = serde_json::Map::new();
    for part in what {
        let value = match *part {
            "identity" => identity::see(),
            "limits" => identity::limits(),
            "files" => files::see(),
            "network" => network::see(),
            other => return Err(format!("nothing called {other} to see")),
        };
        if let Value::Object(fields) = value {
            seen.extend(fields);
        }
    }
    Ok(Value::Object(seen))
}
