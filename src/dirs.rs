//! Where things are kept: the data directory (`--root`) and the state directory (`--state`).
//!
//! ```text
//!   ROOT  /var/lib/rbox                       survives a reboot
//!     containers/ID/                          the bundle: config.json, hosts, hostname, resolv.conf; record.json, what is
//!                                             shown; intent.json, what it is made of; ID-json.log, its output
//!     names/NAME -> ID                        a link for each name: making it is what reserves the name
//!     networks/NAME.json                      the user-defined networks (rbox-net)
//!     …                                       images, layers, snapshots (rbox-images)
//!   STATE /run/rbox                           gone after a reboot
//!     claims/ID -> PURPOSE.PID.START.BOOT.NAME  who makes or holds a container; the first thing made, the last removed
//!     register                                who changes anything here, and whether somebody has died over it
//!     live/ID/                                of one that runs: the socket of who holds it, its output's FIFOs
//!     runtime/ID/                             the OCI runtime's state
//!     net/                                    networks and endpoints (rbox-net)
//!     followers/ID                            of one that runs: the links that it follows
//!     boot                                    the boot of the machine that was last seen
//!     lock                                    held while the dead are swept
//! ```

use std::path::{Path, PathBuf};

use rbox_net::{Backend, Networks};

use crate::cli::Global;
use crate::config::Config;
use crate::report::Problem;

/// The two directories, and what is where in them.
#[derive(Clone, Debug)]
pub(crate) struct Dirs {
    root: PathBuf,
    state: PathBuf,
    config: PathBuf,
    firewall: Option<Backend>,
}

impl Dirs {
    /// The directories of the command line, made absolute: the container's mounts outlive our working directory.
    pub(crate) fn new(global: &Global) -> std::io::Result<Dirs> {
        Ok(Dirs {
            root: std::path::absolute(&global.root)?,
            state: std::path::absolute(&global.state)?,
            config: std::path::absolute(&global.config)?,
            firewall: global.firewall,
        })
    }

    /// Data.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// State.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// What an administrator has decided.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// The networks, which are in both.
    ///
    /// Errors: a directory cannot be made; the configuration cannot be read, where it is asked; `--firewall` names another
    /// packet filter than the one that has the rules.
    pub(crate) fn networks(&self) -> anyhow::Result<Networks> {
        let networks = Networks::open_choosing(&self.state, &self.root, || self.backend())?;
        match self.firewall {
            Some(wanted) if !networks.backend().is(wanted) => {
                let words =
                    format!("cannot use packet filter {wanted}: what there is was made for {}", networks.backend());
                Err(Problem::new(words)
                    .hint("when no container runs, `rbox --firewall … network reset` moves them")
                    .into())
            }
            _ => {
                networks.respect(Config::read(&self.config)?.firewall.respect)?;
                Ok(networks)
            }
        }
    }

    /// The same, when all their rules are about to be taken out: they may go elsewhere from then on.
    ///
    /// Errors: the same but for the last.
    pub(crate) fn networks_to_reset(&self) -> anyhow::Result<Networks> {
        Networks::open_choosing(&self.state, &self.root, || self.backend())
    }

    /// Where the rules are to go; nothing where nobody has said.
    ///
    /// Errors: the configuration cannot be read.
    pub(crate) fn backend(&self) -> anyhow::Result<Option<Backend>> {
        Ok(self.firewall.or(Config::read(&self.config)?.firewall.backend))
    }

    /// The bundles, one directory for each container.
    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// One container's bundle.
    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// The names, one link for each.
    pub(crate) fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// The claims, one link for each container that somebody makes or holds.
    pub(crate) fn claims(&self) -> PathBuf {
        self.state.join("claims")
    }

    /// The file in which everybody stands who changes anything.
    pub(crate) fn register(&self) -> PathBuf {
        self.state.join("register")
    }

    /// What there is of one container while its program runs: the socket, and the FIFOs of its output.
    pub(crate) fn live(&self, id: &str) -> PathBuf {
        self.state.join("live").join(id)
    }

    /// One container's log file.
    pub(crate) fn log(&self, id: &str) -> PathBuf {
        self.container(id).join(format!("{id}-json.log"))
    }

    /// The OCI runtime's states.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.state.join("runtime")
    }

    /// Who follows other containers by `--link`, a file for each that runs.
    pub(crate) fn followers(&self) -> PathBuf {
        self.state.join("followers")
    }

    /// The boot of the machine that was last seen.
    pub(crate) fn boot(&self) -> PathBuf {
        self.state.join("boot")
    }

    /// The file whose lock is held while the dead are swept.
    pub(crate) fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }
}
