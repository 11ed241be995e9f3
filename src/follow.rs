//! `--link NAME,follow`: a line in /etc/hosts that goes with the other container, whatever address it has by now, and with
//! whoever gets its name.
//!
//! ```text
//!   the follower starts ── notes whom it follows ── writes /etc/hosts ── looks once more where they are
//!   another starts ── has its address ── reads who follows it ── writes its line in each follower's /etc/hosts
//! ```
//!
//! Whichever of the two is later writes what is true: the line is changed in place under the lock of the file, for the
//! container sees that very file.

use std::fs;

use anyhow::Result;
use rbox_net::hosts;
use serde::{Deserialize, Serialize};

use crate::cli::NetworkFlags;
use crate::cli::value::LinkFlag;
use crate::cmd::run::{line_of, linked};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::record::{self, Claim};
use crate::{in_place, report};

/// The links that a container follows while it runs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Followed {
    links: Vec<LinkFlag>,
}

/// A container that follows others: noted as long as this lives.
pub(crate) struct Following {
    dirs: Dirs,
    id: String,
    links: Vec<LinkFlag>,
}

impl Following {
    /// Note whom container `id` follows. On networks with names the name server does.
    ///
    /// Errors: the state directory cannot be written.
    pub(crate) fn begin(dirs: &Dirs, id: &str, flags: &NetworkFlags) -> Result<Following> {
        let links: Vec<LinkFlag> = match flags.name() {
            "bridge" => flags.link.iter().filter(|link| link.follow.is_some()).cloned().collect(),
            _ => Vec::new(),
        };
        if !links.is_empty() {
            record::make_private(&dirs.followers())?;
            record::write_whole(&dirs.followers().join(id), &Followed { links: links.clone() })?;
        }
        Ok(Following { dirs: dirs.clone(), id: id.to_owned(), links })
    }

    /// Look once more where those are that are followed: one may have moved since the file was made.
    ///
    /// Errors: the container's /etc/hosts cannot be written.
    pub(crate) fn settle(&self, engine: &Engine) -> Result<()> {
        self.links.iter().try_for_each(|link| point(engine, &self.id, link))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if !self.links.is_empty() {
            forget(&self.dirs, &self.id);
        }
    }
}

/// A container follows nobody any more. Gone already is fine.
pub(crate) fn forget(dirs: &Dirs, id: &str) {
    let _ = fs::remove_file(dirs.followers().join(id));
}

/// Tell all who follow this container where it is now. What cannot be told is said, and keeps nobody from starting.
pub(crate) fn tell(engine: &Engine, claim: &Claim) {
    let Ok(followers) = fs::read_dir(engine.dirs.followers()) else { return };
    let ids = followers.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    for id in ids.filter(|id| !id.starts_with('.') && *id != claim.id) {
        let told = record::read::<Followed>(&engine.dirs.followers().join(&id)).and_then(|followed| {
            let links = followed.unwrap_or_default().links;
            let means_us = |link: &&LinkFlag| link.follow.as_ref() == Some(&claim.name) || link.other == claim.id;
            links.iter().filter(means_us).try_for_each(|link| point(engine, &id, link))
        });
        told.err().iter().for_each(report::warn);
    }
}

/// Write where the one that is followed is by now; one that does not run keeps its line.
fn point(engine: &Engine, follower: &str, flag: &LinkFlag) -> Result<()> {
    in_place::change(&engine.dirs.container(follower).join("hosts"), |text| {
        // By its name first: whoever has that is meant, and nobody whose id begins so.
        let found = |typed: &str| linked(engine, typed, &flag.alias).ok().flatten();
        let by_name = flag.follow.as_deref().and_then(|name| found(name).filter(|link| link.name == name));
        match by_name.or_else(|| found(&flag.other)) {
            Some(found) => hosts::relink_hosts(text, &flag.alias, &line_of(&found)),
            None => text.to_owned(),
        }
    })
}
