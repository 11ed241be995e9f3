//! `publish` and `unpublish`: ports of a container that runs come and go.
//!
//! ```text
//!   publish    lease, the record half ──▶ rules in, flows forgotten  ┐ between these and the end the caller settles what is
//!   unpublish  the record half ──▶ rules out, flows forgotten        ┘ his: who holds and relays the ports, `ps`, the flags
//!   complete   the record whole
//! ```
//!
//! As long as the record is half, it says what is kept whatever happens ([`Kept`]): the ports without those that are to come, or
//! to go. When whoever works at it is killed, the next sweep finds it among [`Networks::abandoned`], and [`Networks::keep`] makes
//! it so: a port that was about to come has not come, and one that was about to go has gone.

use serde::{Deserialize, Serialize};

use crate::connect::{Changes, Maker, Running, gone};
use crate::driver::bridge;
use crate::endpoint::{EndpointRecord, published_at};
use crate::error::{Error, Result};
use crate::firewall::Rule;
use crate::leases::Ledger;
use crate::network::Network;
use crate::networks::Networks;
use crate::ports::{Held, PortMapping};
use crate::reservation::{Request, lease_ports, word_rules};

/// What an endpoint keeps while ports come or go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The ports that stay.
    pub ports: Vec<PortMapping>,
    /// What the caller keeps in mind beside them: his words, not read here.
    pub words: Vec<String>,
}

impl Networks {
    /// Publish further ports of a running container: those of `request`. They are held by nobody when this returns, and the
    /// endpoint is half until [`Networks::complete`]. Answers the endpoint, and what is new.
    ///
    /// # Errors
    /// `Invalid`, where no port can lead to the container; `PortInUse`, `PortUnavailable`, `Exhausted` as of
    /// [`Networks::reserve`]; `Gone`; `Os`, `Firewall`. Nothing has changed then.
    pub fn publish_more(
        &self,
        changes: &Changes,
        running: &Running<'_>,
        (request, words): (&Request, &[String]),
    ) -> Result<(EndpointRecord, Vec<PortMapping>)> {
        running.check_netns()?;
        let rules = self.lock_rules()?;
        let (whole, half, held) = self.lease_more(running, request, words)?;
        let new: Vec<Rule> = half.rules.iter().filter(|rule| !whole.rules.contains(rule)).cloned().collect();
        let network = self.find_pinned(&half.network, &half.network_id);
        let opened = network.and_then(|network| bridge::publish(self, &network, &new));
        // Its owner holds them from now on.
        drop((held, rules));
        if let Err(error) = opened {
            // What cannot be taken back now is left to the next sweep.
            let _ = self.keep(changes, running, &half).and_then(|half| self.complete(changes, &half));
            return Err(error);
        }
        let new = half.ports[whole.ports.len()..].to_vec();
        Ok((half, new))
    }

    /// The endpoint as it is, as it is to be, and the sockets that keep the new ports meanwhile.
    fn lease_more(
        &self,
        running: &Running<'_>,
        request: &Request,
        words: &[String],
    ) -> Result<(EndpointRecord, EndpointRecord, Vec<Held>)> {
        let mut ledger = Ledger::open(self)?;
        let (whole, network) = self.publishing(running)?;
        let taken = ledger.choose(|leases| lease_ports(request, &network, &whole, leases))?;
        let mut half = whole.clone();
        half.ports.extend(taken.mappings);
        half.unheld.extend(taken.unheld);
        word_rules(&network, &mut half);
        let kept = Kept { ports: whole.ports.clone(), words: words.to_vec() };
        half.maker = Some(Maker::that_publishes(running.maker, kept));
        self.mark(&ledger.lock, &half)?;
        self.enter(&ledger.lock, &half)?;
        Ok((whole, half, taken.held))
    }

    /// Take ports of a running container back: those of `kept` stay. The endpoint is half until [`Networks::complete`].
    ///
    /// Connections that stand go on; who sends datagrams is heard no more.
    ///
    /// # Errors
    /// `Invalid`, where no port can lead to the container; `Gone`; `Os`, `Firewall`: then the next sweep tries again.
    pub fn unpublish(&self, _changes: &Changes, running: &Running<'_>, kept: Kept) -> Result<EndpointRecord> {
        running.check_netns()?;
        let _rules = self.lock_rules()?;
        let (half, network) = {
            let lock = self.lock()?;
            let (whole, network) = self.publishing(running)?;
            let half = EndpointRecord { maker: Some(Maker::that_publishes(running.maker, kept.clone())), ..whole };
            self.mark(&lock, &half)?;
            self.put(&lock, &half)?;
            (half, network)
        };
        let left = with_ports(&half, &network, &kept.ports);
        let closed: Vec<Rule> = half.rules.iter().filter(|rule| !left.rules.contains(rule)).cloned().collect();
        match left.rules.is_empty() {
            // All that carry its comment: the kernel is asked for that at once.
            true => self.delete_rules(&half)?,
            false => self.firewall().take_out(&closed, &left.rules)?,
        }
        bridge::forget_senders(&closed)?;
        self.rewrite(&left)?;
        rbox_explain::mark("ports-kept");
        Ok(left)
    }

    /// Have an endpoint that is half for its ports keep those that it keeps in any case, whatever has been done to it. It is
    /// half until [`Networks::complete`].
    ///
    /// # Errors
    /// `Gone`; `Os`, `Firewall`: then the next sweep tries again.
    pub fn keep(&self, _changes: &Changes, running: &Running<'_>, half: &EndpointRecord) -> Result<EndpointRecord> {
        let kept = half.kept().cloned().unwrap_or_default();
        let _rules = self.lock_rules()?;
        // Who was killed may have been putting in its rules.
        self.settle(half)?;
        let taken_over =
            EndpointRecord { maker: Some(Maker::that_publishes(running.maker, kept.clone())), ..half.clone() };
        {
            let lock = self.lock()?;
            self.read_again(half)?.ok_or_else(|| gone(half))?;
            self.put(&lock, &taken_over)?;
        }
        let network = self.find_pinned(&half.network, &half.network_id)?;
        let left = with_ports(&taken_over, &network, &kept.ports);
        // Nobody knows which of them are there.
        self.delete_rules(half)?;
        bridge::publish(self, &network, &left.rules)?;
        bridge::forget_senders(&half.rules)?;
        self.rewrite(&left)?;
        rbox_explain::mark("ports-kept");
        Ok(left)
    }

    /// The endpoint that a container's ports lead to, and its network.
    fn publishing(&self, running: &Running<'_>) -> Result<(EndpointRecord, Network)> {
        let records = self.staying(&running.owner.container)?;
        let object = || format!("container {}", running.owner.name);
        let why = "it is in no network from which a port of the host could lead to it";
        let Some(record) = published_at(&records) else {
            return Err(Error::Invalid { object: object(), why: why.into() });
        };
        if record.maker.is_some() {
            let why = "another command was killed over its networks, and what it left cannot be mended";
            return Err(Error::Invalid { object: object(), why: why.into() });
        }
        Ok((record.clone(), self.find_pinned(&record.network, &record.network_id)?))
    }
}

/// An endpoint with these of its ports alone.
fn with_ports(record: &EndpointRecord, network: &Network, ports: &[PortMapping]) -> EndpointRecord {
    let mut left = EndpointRecord { ports: ports.to_vec(), ..record.clone() };
    left.unheld.retain(|mapping| ports.contains(mapping));
    word_rules(network, &mut left);
    left
}
