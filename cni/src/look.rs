//! `CHECK` and `STATUS`: is a pod still as it was joined, and could another join?

use std::net::IpAddr;
use std::os::fd::AsFd;

use rbox_net::{EndpointRecord, Networks, Way};
use serde_json::Value;

use crate::call::Call;
use crate::conf::{Basics, Conf};
use crate::failure::{Code, Failure, Outcome};
use crate::network;
use crate::place::Place;

/// `CHECK`
pub(crate) fn check(call: &Call, basics: &Basics) -> Outcome<()> {
    let Some(previous) = &basics.prev_result else {
        return Err(Failure::new(Code::Configuration, "CHECK: prevResult is missing"));
    };
    let who = format!("container {} on network {}", call.said_id, basics.name);
    let differs = |why: &str| Failure::new(Code::Differs, format!("{who}: {why}"));
    let (netns, ..) = call.open_netns()?;
    let networks: Networks = Place::of(basics).networks()?;
    let record = networks.pod(&basics.name, &call.container, &call.interface)?;
    let record = record.ok_or_else(|| differs("it is not connected by rbox-cni"))?;
    let mut all = unknown_to(&record, previous);
    all.extend(networks.differences(&record, netns.as_fd(), &routes(&record, previous))?);
    match all.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(differs(first).hint(all.join("\n"))),
    }
}

/// What the engine remembers of our interface, and our record does not have.
fn unknown_to(record: &EndpointRecord, previous: &Value) -> Vec<String> {
    let Some(attachment) = &record.attachment else { return Vec::new() };
    let list = |key: &str| previous[key].as_array().cloned().unwrap_or_default();
    let interfaces = list("interfaces");
    let own = interfaces.iter().position(|it| it["name"] == attachment.interface.as_str() && it["sandbox"].is_string());
    let Some(own) = own else { return vec![format!("prevResult has no interface {}", attachment.interface)] };
    let mut unknown = Vec::new();
    let mac = interfaces[own]["mac"].as_str().unwrap_or_default();
    if !mac.eq_ignore_ascii_case(&attachment.mac.to_string()) {
        unknown.push(format!("prevResult says hardware address {mac}, and it is {}", attachment.mac));
    }
    let v6 = attachment.v6.as_ref().map(|v6| format!("{}/{}", v6.address, v6.subnet.prefix()));
    let leased = [Some(format!("{}/{}", attachment.address, attachment.subnet.prefix())), v6];
    for ip in list("ips").iter().filter(|ip| ip["interface"] == own) {
        let address = ip["address"].as_str().unwrap_or_default();
        if !leased.iter().flatten().any(|leased| leased == address) {
            unknown.push(format!("prevResult says address {address}, which is not leased to it"));
        }
    }
    unknown
}

/// Those routes of the result that lead by a gateway in our subnets: the others are of other plugins.
fn routes(record: &EndpointRecord, previous: &Value) -> Vec<Way> {
    let Some(attachment) = &record.attachment else { return Vec::new() };
    let subnets = [Some(attachment.subnet), attachment.v6.as_ref().map(|v6| v6.subnet)];
    let is_ours = |gateway: IpAddr| subnets.iter().flatten().any(|subnet| subnet.contains(gateway));
    let read = |route: &Value| {
        let gateway = route["gw"].as_str()?.parse().ok().filter(|gateway| is_ours(*gateway))?;
        Some(Way { to: route["dst"].as_str()?.parse().ok()?, gateway: Some(gateway) })
    };
    let all = previous["routes"].as_array();
    all.into_iter().flatten().filter_map(read).collect()
}

/// `STATUS`
pub(crate) fn status(basics: &Basics, text: &str) -> Outcome<()> {
    let unavailable = |failure: Failure| failure.by_code(Code::Unavailable);
    // A configuration that is wrong says so by its own number, as ADD would.
    let conf = Conf::read(text)?;
    network::request(&basics.name, &conf)?;
    let networks: Networks = Place::of(basics).networks().map_err(unavailable)?;
    let Some(network) = network::found(&networks, &basics.name)? else {
        // None of its own yet; but is there a packet filter?
        let any = networks.list().map_err(Failure::from).map_err(unavailable)?;
        return networks.rules(&any).map(drop).map_err(Failure::from).map_err(unavailable);
    };
    network::agree(&network, &conf).map_err(unavailable)?;
    let damage = networks.damage(&network).map_err(Failure::from).map_err(unavailable)?;
    if let Some(first) = damage.first() {
        let said = format!("network {}: {first}", network.name);
        let hint = format!("rbox network reload {}", network.name);
        return Err(Failure::new(Code::Limited, said).hint(hint));
    }
    networks.has_room(&network).map_err(Failure::from).map_err(unavailable)
}
