//! `rbox dns`: the host asks for containers by name.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rbox_net::Error;
use rbox_net::dns::Resolver;

use super::print;
use crate::cli::{DnsArgs, Global};
use crate::config::Config;
use crate::dirs::Dirs;
use crate::report::Problem;

/// `rbox dns`: answers until it is ended. It has nothing that must be taken away.
///
/// Errors: the address is taken, or is not the host's.
pub(crate) fn run(global: &Global, args: &DnsArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    let (networks, config) = (dirs.networks()?, Config::read(dirs.config())?);
    let (domain, listen) = (config.domain(), args.listen);
    let mut resolver = Resolver::of_host(&networks, domain, listen).map_err(|error| refused(error, listen))?;
    print::line(&format!("containers are called NAME.{domain} at {listen}"))?;
    loop {
        let mut fds = [PollFd::new(resolver.fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            waited => {
                waited.context("cannot wait for questions")?;
                resolver.ready();
            }
        }
    }
}

fn refused(error: Error, listen: SocketAddr) -> anyhow::Error {
    let Error::Os { source, .. } = &error else { return error.into() };
    let hint = match source.kind() {
        ErrorKind::AddrInUse => format!("somebody serves at {listen} already: see ss -lnp"),
        ErrorKind::AddrNotAvailable => "--listen takes an address that this host has".to_owned(),
        _ => return error.into(),
    };
    Problem::new(error.to_string()).hint(hint).into()
}
