//! `tc qdisc`: how fast, how late and how incompletely a link sends.

use std::time::Duration;

use rtnetlink::packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use super::Netlink;
use crate::error::{Error, Result};
use crate::firewall::wire::nest;
use crate::steps;

/// What a link does to what it sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Bytes in a second, at most.
    pub(crate) rate: Option<u64>,
    /// How much later it all comes.
    pub(crate) delay: Option<Duration>,
    /// How many of a million packets are lost.
    pub(crate) loss: Option<u32>,
}

/// linux/rtnetlink.h.
const TCA_OPTIONS: u16 = 2;
/// linux/pkt_sched.h.
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_NETEM_LATENCY64: u16 = 10;
const TC_LINKLAYER_ETHERNET: u8 = 1;
/// What may be sent at once after a pause: that of a hundredth of a second, and never less than a large packet.
const BURSTS_A_SECOND: u64 = 100;
const BURST_MIN_BYTES: u64 = 64 * 1024;
/// What may wait: that of a tenth of a second, and room for some large packets. What comes beyond is lost, and senders slow down.
const WAITS_A_SECOND: u64 = 10;
const WAITS_MIN_BYTES: u64 = 256 * 1024;
/// So many packets may be late at once: those of 100 ms at 1 Gbit/s.
const LATE_PACKETS: u32 = 10_000;

impl Netlink {
    /// Have a link send so from now on, and as fast as it can where nothing is said.
    ///
    /// Same as: `tc qdisc del dev <name> root`, then `tc qdisc add dev <name> root netem …` and `… tbf …`
    /// Errors: `Invalid` where the kernel knows no such queue.
    pub(crate) fn set_queue(&mut self, (index, name): (u32, &str), queue: Queue) -> Result<()> {
        let mut message = queue_of(index, TcHandle::ROOT, 0);
        let words = || format!("tc qdisc del dev {name} root");
        let delete = || self.change(RouteNetlinkMessage::DelQueueDiscipline(message.clone()), 0);
        match rbox_explain::step(&steps::QUEUE, words, delete) {
            Err(refusal) if !refusal.is_absence() => return Err(refusal.doing(format!("let {name} send freely"))),
            _ => {}
        }
        let is_late = queue.delay.is_some() || queue.loss.is_some();
        if is_late {
            message = queue_of(index, TcHandle::ROOT, 1);
            message.attributes = of_kind("netem", netem(queue));
            self.add_queue(name, message, &netem_words(queue))?;
        }
        if let Some(rate) = queue.rate {
            let parent = if is_late { TcHandle { major: 1, minor: 1 } } else { TcHandle::ROOT };
            message = queue_of(index, parent, 2);
            message.attributes = of_kind("tbf", tbf(rate));
            self.add_queue(name, message, &format!("tbf rate {}bit burst {}", rate * 8, burst(rate)))?;
        }
        Ok(())
    }

    fn add_queue(&mut self, name: &str, message: TcMessage, words: &str) -> Result<()> {
        let parent = message.header.parent;
        let place = || match parent {
            TcHandle::ROOT => "root".to_owned(),
            TcHandle { major, minor } => format!("parent {major:x}:{minor:x}"),
        };
        let said = || format!("tc qdisc add dev {name} {} {words}", place());
        let add = || self.change(RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_EXCL);
        rbox_explain::step(&steps::QUEUE, said, add).map_err(|refusal| match refusal.is_absence() {
            true => {
                let kind = words.split(' ').next().unwrap_or_default();
                let why = format!("this kernel has no {kind} (its module is sch_{kind}; Debian has it in linux-image)");
                Error::Invalid { object: if kind == "netem" { "--delay, --loss" } else { "--rate" }.into(), why }
            }
            false => refusal.doing(format!("slow {name} down")),
        })
    }
}

fn queue_of(index: u32, parent: TcHandle, major: u16) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.parent = parent;
    message.header.handle = TcHandle { major, minor: 0 };
    message
}

fn of_kind(kind: &str, options: Vec<u8>) -> Vec<TcAttribute> {
    vec![TcAttribute::Kind(kind.into()), TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options))]
}

fn burst(rate: u64) -> u64 {
    (rate / BURSTS_A_SECOND).max(BURST_MIN_BYTES)
}

fn small(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// struct tc_tbf_qopt, and what does not fit into it. The kernel reckons in bytes by TCA_TBF_BURST, so no table of times is sent.
fn tbf(rate: u64) -> Vec<u8> {
    let spec = |rate: u64| [&[0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0][..], &small(rate).to_ne_bytes()].concat();
    let limit = (rate / WAITS_A_SECOND).max(WAITS_MIN_BYTES);
    let parameters = [&spec(rate)[..], &spec(0), &small(limit).to_ne_bytes(), &[0; 8]].concat();
    let mut options = Vec::new();
    let attributes = [
        (TCA_TBF_PARMS, parameters),
        (TCA_TBF_RATE64, rate.to_ne_bytes().to_vec()),
        (TCA_TBF_BURST, small(burst(rate)).to_ne_bytes().to_vec()),
    ];
    nest(&mut options, &attributes);
    options
}

/// struct tc_netem_qopt (latency, limit, loss, gap, duplicate, jitter), then attributes.
fn netem(queue: Queue) -> Vec<u8> {
    let loss = u64::from(queue.loss.unwrap_or(0)) * u64::from(u32::MAX) / 1_000_000;
    let mut options: Vec<u8> = [0, LATE_PACKETS, small(loss), 0, 0, 0].map(u32::to_ne_bytes).concat();
    let delay = queue.delay.unwrap_or_default().as_nanos();
    nest(&mut options, &[(TCA_NETEM_LATENCY64, u64::try_from(delay).unwrap_or(u64::MAX).to_ne_bytes().to_vec())]);
    options
}

fn netem_words(queue: Queue) -> String {
    let delay = queue.delay.map(|delay| format!(" delay {}us", delay.as_micros())).unwrap_or_default();
    let percent = |loss: u32| format!("{}.{:04}", loss / 10_000, loss % 10_000);
    let loss = queue.loss.map(|loss| format!(" loss {}%", percent(loss))).unwrap_or_default();
    format!("netem limit {LATE_PACKETS}{delay}{loss}")
}
