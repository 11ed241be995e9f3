//! Whom the relay does not serve: containers of internal networks. What others publish is not for them.
//!
//! For what the kernel translates, a rule says so. The relay's sockets hear the whole host, and with it each bridge that has
//! IPv6; so it looks at each client.

use std::net::{IpAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

use nix::net::if_::if_indextoname;

use crate::dns::watched::Watched;
use crate::files;
use crate::network::{Network, Pool};

/// The internal networks with IPv6, as they are now.
pub(super) struct Internal(Watched<Vec<Segment>>);

/// What of an internal network a client is known by.
struct Segment {
    bridge: String,
    pools: Vec<Pool>,
}

impl Internal {
    /// `defined`: the directory of the user-defined networks.
    pub(super) fn new(defined: PathBuf) -> Internal {
        Internal(Watched::new(defined))
    }

    /// Whether a client is in such a network. `interface`: where its packet came in, by the index of the link; 0 where that
    /// is not known.
    ///
    /// A sender's address proves nothing. But a connection stands only after our answer has found back to it, and that goes to
    /// the network whose address it is; a link-local address is told with its interface. Of a datagram the interface counts,
    /// and the kernel says the bridge also for the host's own to the bridge's address: these are lost, as a container could send
    /// with that address too.
    pub(super) fn holds(&mut self, client: SocketAddrV6, interface: u32) -> bool {
        let segments = self.0.current(segments);
        if segments.is_empty() {
            return false;
        }
        let interface = if interface == 0 { client.scope_id() } else { interface };
        if interface == 0 {
            return segments.iter().any(|segment| segment.holds((*client.ip()).into()));
        }
        // Of a link that has just gone nobody is left who hears an answer.
        if_indextoname(interface)
            .map_or(true, |name| segments.iter().any(|segment| segment.bridge.as_bytes() == name.to_bytes()))
    }
}

impl Segment {
    /// Whether an address is a container's: that of the bridge is the host's own.
    fn holds(&self, address: IpAddr) -> bool {
        self.pools.iter().any(|pool| pool.subnet.contains(address) && pool.gateway != Some(address))
    }
}

/// A record that cannot be read says of nobody that he is kept in, and no command of rbox gets past it.
fn segments(defined: &Path) -> Vec<Segment> {
    let files = files::entries(defined).map(|entries| entries.records).unwrap_or_default();
    let networks = files.iter().filter_map(|file| files::read::<Network>(file).ok().flatten());
    let internal = networks.filter(|network| network.internal && network.ipv6);
    internal.filter_map(|it| Some(Segment { bridge: it.bridge?.name, pools: it.pools })).collect()
}
