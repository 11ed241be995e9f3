//! `ADD`, `DEL` and `GC`: a pod comes, goes, or has gone unseen.

use std::net::IpAddr;
use std::os::fd::AsFd;

use rbox_net::{EPHEMERAL_PORTS, EndpointRecord, EndpointRequest, Error, Joining, Network, Networks, Owner, Request};
use serde_json::Value;

use crate::answer::{self, Dns};
use crate::call::{self, Call};
use crate::conf::{Basics, Conf};
use crate::failure::{Code, Failure, Outcome};
use crate::place::{self, Place};
use crate::{network, publish};

/// `ADD`
pub(crate) fn add(call: &Call, basics: &Basics, text: &str) -> Outcome<Value> {
    let conf = Conf::read(text)?;
    let (netns, file, path) = call.open_netns()?;
    let dns = match &conf.ipam.resolv_conf {
        Some(file) => Dns::of_file(file)?,
        None => conf.dns.clone(),
    };
    let networks = Place::of(basics).networks()?;
    place::sweep(&networks);
    let network = network::wanted(&networks, &basics.name, &conf)?;
    let owner = place::pod(call.container.clone(), name(call), file)?;
    let request = request(call, &conf, &network, owner)?;
    let maker = place::maker()?;
    let ways = network::ways(&conf);
    let joining = Joining { netns: netns.as_fd(), maker: &maker, request: &request, ways: &ways };
    let joined = networks.join(&joining)?;
    Ok(answer::joined(basics, &network, &joined, (path, dns)))
}

/// As others call the pod: by its Kubernetes name, or else by the container's id as `ps` would show it.
fn name(call: &Call) -> String {
    let short = || call.said_id.get(..12).unwrap_or(&call.said_id).to_owned();
    match (&call.args.pod, &call.args.pod_namespace) {
        (Some(pod), Some(namespace)) => format!("{pod}.{namespace}"),
        (Some(pod), None) => pod.clone(),
        _ => short(),
    }
}

/// What the pod wants of its network.
fn request(call: &Call, conf: &Conf, network: &Network, owner: Owner) -> Outcome<Request> {
    let run = &conf.runtime_config;
    let mut wanted = EndpointRequest {
        network: network.name.clone(),
        network_id: Some(network.id.clone()),
        mac: run.mac.or(conf.args.cni.mac).or(call.args.mac),
        aliases: run.aliases(&network.name),
        interface: Some(call.interface.clone()),
        ..EndpointRequest::default()
    };
    for address in addresses(call, conf)? {
        match address {
            IpAddr::V4(ip) if wanted.ip.is_none() => wanted.ip = Some(ip),
            IpAddr::V6(ip) if wanted.ip6.is_none() => wanted.ip6 = Some(ip),
            _ => {
                let why = format!("ips: {address} is a second address of its family");
                return Err(Failure::new(Code::Configuration, why));
            }
        }
    }
    Ok(Request {
        owner,
        hostname: call.args.pod.clone().unwrap_or_default(),
        networks: vec![wanted],
        names_on_default: false,
        publish: run.port_mappings.iter().map(publish::publish).collect::<Outcome<_>>()?,
        publish_at: place::publish_at()?,
        ephemeral_ports: EPHEMERAL_PORTS,
        egress: None,
    })
}

/// The addresses that are wished for. The capability comes before `args`, and that before `CNI_ARGS`.
fn addresses(call: &Call, conf: &Conf) -> Outcome<Vec<IpAddr>> {
    let said = match (conf.runtime_config.ips.as_slice(), conf.args.cni.ips.as_slice()) {
        ([], []) => return Ok(call.args.ip.into_iter().collect()),
        ([], ips) | (ips, _) => ips,
    };
    let read = |text: &String| {
        let address = text.split_once('/').map_or(text.as_str(), |(address, _)| address);
        address.parse().map_err(|_| Failure::new(Code::Configuration, format!("ips: {text} is no IP address")))
    };
    said.iter().map(read).collect()
}

/// `DEL`: what was made stands in the record, whatever is configured now. Nothing to take away is success.
pub(crate) fn delete(call: &Call, basics: &Basics) -> Outcome<()> {
    release(basics, |networks| {
        let found = networks.pod(&basics.name, &call.container, &call.interface)?;
        Ok(found.into_iter().collect())
    })
}

/// `GC`: of this network all goes that is not named.
pub(crate) fn collect(basics: &Basics) -> Outcome<()> {
    let Some(valid) = &basics.valid else {
        let why = "GC: cni.dev/valid-attachments is missing";
        return Err(Failure::new(Code::Configuration, why));
    };
    let valid: Vec<(String, &str)> = valid.iter().map(|it| (call::kept(&it.container), it.ifname.as_str())).collect();
    let is_valid = |it: &EndpointRecord| {
        let interface = it.interface().unwrap_or_default();
        valid.iter().any(|(container, ifname)| *container == it.owner.container && *ifname == interface)
    };
    release(basics, |networks| {
        let all = networks.pods(&basics.name)?;
        Ok(all.into_iter().filter(|it| !is_valid(it)).collect())
    })
}

fn release(basics: &Basics, who: impl Fn(&Networks) -> rbox_net::Result<Vec<EndpointRecord>>) -> Outcome<()> {
    let place = Place::of(basics);
    if !place.is_there() {
        return Ok(());
    }
    let networks = place.networks()?;
    place::sweep(&networks);
    let maker = place::maker()?;
    // All that can go goes, whatever keeps another.
    let errors: Vec<Error> = who(&networks)?.iter().flat_map(|record| networks.release(record, &maker)).collect();
    errors.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
}
