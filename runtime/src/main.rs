//! `rbox-runtime`: runc's command line for containerd, Docker and Podman.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
