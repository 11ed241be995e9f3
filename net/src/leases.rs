//! What is leased: the addresses and ports of all endpoints, which every reservation has to know.
//!
//! They stand in the endpoints' records. To open hundreds of those takes longer than all else that a reservation does, so
//! one file more keeps what was read in them: an endpoint's leases hardly ever change, and its record's name tells it from any
//! other. Of those that do change the names stand in a third file. Both may be lost or be old at any time; what they do not
//! tell is read in the records.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::endpoint::EndpointRecord;
use crate::error::{Doing, Result};
use crate::files::{self, Lock};
use crate::networks::Networks;
use crate::ports::PortMapping;

/// So many records are read again at each reservation before what they tell is written down too: to write takes longer.
const NEW_MAX: usize = 16;

/// What others must know of an endpoint who want an address or a port themselves.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Leases {
    /// The container's id: the file's name begins with it.
    #[serde(skip)]
    pub(crate) container: String,
    pub(crate) network_id: String,
    pub(crate) owner: Holder,
    pub(crate) attachment: Option<Place>,
    pub(crate) ports: Vec<PortMapping>,
}

/// Of an [`Owner`](crate::Owner), what is said of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) name: String,
}

/// Of an [`Attachment`](crate::endpoint::Attachment), what nobody else may have.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    address: Ipv4Addr,
    #[serde(default)]
    v6: Option<Place6>,
}

/// The same of IPv6.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Place6 {
    address: Ipv6Addr,
}

impl Leases {
    /// Every address.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let place = self.attachment.as_ref();
        let v6 = place.and_then(|place| place.v6.as_ref()).map(|v6| IpAddr::V6(v6.address));
        place.map(|place| IpAddr::V4(place.address)).into_iter().chain(v6)
    }
}

impl Networks {
    /// What all endpoints lease.
    pub(crate) fn leases(&self, lock: &Lock) -> Result<Vec<Leases>> {
        let kept = self.leases_file();
        let mut known: HashMap<String, Leases> = files::read(&kept).ok().flatten().unwrap_or_default();
        let changed = fs::read_to_string(self.changed_leases_file()).unwrap_or_default();
        changed.lines().for_each(|name| drop(known.remove(name)));
        let mut leases = HashMap::new();
        let mut new = 0;
        for file in files::entries(&self.endpoints_dir())?.records {
            let name = file_name(&file);
            let lease = match known.remove(&name) {
                Some(lease) => lease,
                None => {
                    new += 1;
                    // Gone in between.
                    let Some(lease) = files::read(&file)? else { continue };
                    lease
                }
            };
            leases.insert(name, lease);
        }
        if new > NEW_MAX {
            files::write(lock, &kept, &leases)?;
            files::remove(&self.changed_leases_file())?;
        }
        let of = |(name, lease): (String, Leases)| {
            let container = name.split_once('.').unwrap_or_default().0.to_owned();
            Leases { container, ..lease }
        };
        Ok(leases.into_iter().map(of).collect())
    }

    /// What an endpoint leases is about to change: its record is read anew. Before it is written, so that nobody who is
    /// killed in between leaves what was.
    pub(crate) fn forget_lease(&self, _lock: &Lock, record: &EndpointRecord) -> Result<()> {
        if !self.leases_file().exists() {
            // Nothing is kept that could be old.
            return Ok(());
        }
        let path = self.changed_leases_file();
        let append = || -> io::Result<()> {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            let [whole, half] = record.file_names();
            file.write_all(format!("{whole}\n{half}\n").as_bytes())
        };
        append().doing(|| format!("write {}", path.display()))
    }

    /// They are all read anew.
    pub(crate) fn forget_leases(&self, _lock: &Lock) -> Result<()> {
        files::remove(&self.leases_file())?;
        files::remove(&self.changed_leases_file())
    }

    fn changed_leases_file(&self) -> PathBuf {
        self.endpoints_dir().join("leases-changed")
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
