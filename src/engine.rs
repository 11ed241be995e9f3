//! What every verb about containers works with: the directories, the networks, the images.

use anyhow::Result;
use rbox_images::Store;
use rbox_net::Networks;

use crate::cli::Global;
use crate::config::Config;
use crate::dirs::Dirs;
use crate::{report, sweep};

/// The directories, the two libraries that keep something in them, and what an administrator has decided.
pub(crate) struct Engine {
    pub(crate) dirs: Dirs,
    pub(crate) networks: Networks,
    pub(crate) store: Store,
    pub(crate) config: Config,
}

impl Engine {
    /// Open everything, and see to what the dead left behind.
    ///
    /// Errors: a directory cannot be made.
    pub(crate) fn open(global: &Global) -> Result<Engine> {
        let engine = Engine::enter(global)?;
        sweep::sweep(&engine.dirs, &engine.networks).iter().for_each(report::warn);
        Ok(engine)
    }

    /// Open everything, and leave the dead to others: for a process that is being waited for.
    ///
    /// Errors: a directory cannot be made.
    pub(crate) fn enter(global: &Global) -> Result<Engine> {
        let dirs = Dirs::new(global)?;
        let networks = dirs.networks()?;
        let store = Store::open(dirs.root())?;
        let config = Config::read(dirs.config())?;
        if !config.firewall.repair {
            networks.leave_rules_alone();
        }
        Ok(Engine { dirs, networks, store, config })
    }
}
