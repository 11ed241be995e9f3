//! What is leased: the addresses and ports of all endpoints, which every reservation has to know.
//!
//! They stand in the endpoints' records. To open hundreds of those takes longer than all else that a reservation does, so
//! one file more keeps what was read in them: an endpoint's leases never change, and its record's name tells it from any
//! other. That file may be lost or be old at any time; what it does not tell is read in the records.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::files::{self, Lock};
use crate::networks::Networks;
use crate::ports::PortMapping;

/// So many records are read again at each reservation before what they tell is written down too: to write takes longer.
const NEW_MAX: usize = 16;

/// What others must know of an endpoint who want an address or a port themselves.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Leases {
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
        let mut leases = HashMap::new();
        let mut new = 0;
        for file in files::entries(&self.endpoints_dir())?.records {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
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
        }
        Ok(leases.into_values().collect())
    }

    /// Of one of them a name has changed: they are all read anew.
    pub(crate) fn forget_leases(&self, _lock: &Lock) -> Result<()> {
        files::remove(&self.leases_file())
    }
}
