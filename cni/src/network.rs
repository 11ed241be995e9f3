//! The network of rbox that a configuration means: the one of its name. It is made when the first pod joins, and is there
//! for `rbox network ls` and for containers as any other.

use std::net::IpAddr;
use std::time::Duration;

use rbox_net::{Driver, Error, Network, NetworkRequest, Networks, Pool, Subnet, Way};

use crate::conf::{Conf, Range};
use crate::failure::{Code, Failure, Outcome};
use crate::place;

/// Says of a network that it was made for pods: then it may be made anew when its configuration changes.
const MADE_BY: (&str, &str) = ("io.rbox.made-by", "rbox-cni");
/// So long is waited for another who makes it in this moment.
const MADE_WITHIN: Duration = Duration::from_secs(5);

/// Find it, or make it.
pub(crate) fn wanted(networks: &Networks, name: &str, conf: &Conf) -> Outcome<Network> {
    let request = request(name, conf)?;
    let step = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    loop {
        if let Some(network) = found(networks, name)? {
            check_driver(&network)?;
            match disagreement(&network, &request) {
                None => return Ok(network),
                Some(why) => renew(networks, &network, &why)?,
            }
        }
        match networks.create(&request, &place::maker()?) {
            // Another pod was faster; or its network is being made.
            Err(Error::Exists(_)) if waited < MADE_WITHIN => {
                std::thread::sleep(step);
                waited += step;
            }
            Err(error @ Error::Exists(_)) => return Err(Failure::from(error).by_code(Code::Again)),
            made => return Ok(made?),
        }
    }
}

/// The network of this name, if there is one: the beginning of an id is not meant.
pub(crate) fn found(networks: &Networks, name: &str) -> Outcome<Option<Network>> {
    match networks.find(name) {
        Ok(network) => Ok(Some(network).filter(|network| network.name == name)),
        Err(Error::NetworkNotFound(_) | Error::Ambiguous(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Refuse where the network is there, and not as the configuration has it.
pub(crate) fn agree(network: &Network, conf: &Conf) -> Outcome<()> {
    check_driver(network)?;
    match disagreement(network, &request(&network.name, conf)?) {
        None => Ok(()),
        Some(why) => Err(differs(network, &why)),
    }
}

fn check_driver(network: &Network) -> Outcome<()> {
    match network.driver {
        Driver::Bridge => Ok(()),
        driver => {
            let why =
                format!("network {}: it is one of driver {driver}, and pods join those of driver bridge", network.name);
            Err(Failure::new(Code::Configuration, why))
        }
    }
}

/// Take a network away that is not as configured any more.
fn renew(networks: &Networks, network: &Network, why: &str) -> Outcome<()> {
    if !is_ours(network) {
        return Err(differs(network, why));
    }
    match networks.remove(network, &place::maker()?) {
        // Another pod found that out, too.
        Ok(()) | Err(Error::NetworkNotFound(_)) => Ok(()),
        Err(Error::Busy { holder, .. }) => Err(differs(network, &format!("{why}; {holder} is connected"))),
        Err(error) => Err(error.into()),
    }
}

fn differs(network: &Network, why: &str) -> Failure {
    let said = format!("network {}: it is there, and {why}", network.name);
    let hint = format!("it is made anew when no container is in it, after: rbox network rm {}", network.name);
    Failure::new(Code::Configuration, said).hint(hint)
}

/// What a configuration asks of its network, as `rbox network create` would.
pub(crate) fn request(name: &str, conf: &Conf) -> Outcome<NetworkRequest> {
    let mut subnets = conf.subnet.all();
    let mut gateways = conf.gateway.all();
    let mut spans = Vec::new();
    let ranges = ranges(conf)?;
    if !ranges.is_empty() && !subnets.is_empty() {
        let why = "subnet and ipam.ranges say both what addresses there are";
        return Err(Failure::new(Code::Configuration, why));
    }
    for (subnet, range) in ranges {
        subnets.push(subnet);
        gateways.extend(range.gateway);
        if range.range_start.is_some() || range.range_end.is_some() {
            spans.push((range.range_start.unwrap_or(subnet.first()), range.range_end.unwrap_or(subnet.last())));
        }
    }
    let mut options = conf.opt.clone();
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            options.insert(key.to_owned(), value);
        }
    };
    set("name", conf.bridge.clone().filter(|bridge| !bridge.is_empty()));
    set("mtu", conf.mtu.filter(|mtu| *mtu > 0).map(|mtu| mtu.to_string()));
    set("masquerade", conf.ip_masq.map(|masquerade| masquerade.to_string()));
    set("icc", conf.port_isolation.map(|isolated| (!isolated).to_string()));
    let mut labels = conf.label.clone();
    labels.insert(MADE_BY.0.to_owned(), MADE_BY.1.to_owned());
    Ok(NetworkRequest {
        name: name.to_owned(),
        driver: Driver::Bridge,
        ipv6: conf.ipv6 || subnets.iter().any(|subnet| subnet.is_ipv6()),
        internal: conf.internal,
        subnets,
        gateways,
        ranges: conf.range.all(),
        spans,
        reserved: Vec::new(),
        options,
        labels,
    })
}

/// The ranges of `ipam`, each with its subnet.
fn ranges(conf: &Conf) -> Outcome<Vec<(Subnet, &Range)>> {
    let mut found = Vec::new();
    for set in &conf.ipam.ranges {
        match set.as_slice() {
            [range] => found.push(range),
            _ => {
                let why = format!("ipam.ranges: a list of {} ranges; rbox has one for each family", set.len());
                return Err(Failure::new(Code::Configuration, why));
            }
        }
    }
    let older = &conf.ipam.range;
    if older.subnet.is_some() {
        found.push(older);
    }
    let subnet = |range| Failure::new(Code::Configuration, format!("ipam: a range without subnet: {range:?}"));
    found.into_iter().map(|range: &Range| Ok((range.subnet.ok_or_else(|| subnet(range))?, range))).collect()
}

/// What of a network is not as asked for. Of one that a person made, what is not said may be as it is.
fn disagreement(network: &Network, request: &NetworkRequest) -> Option<String> {
    let pools = &network.pools;
    if let Some(subnet) = request.subnets.iter().find(|subnet| !pools.iter().any(|pool| pool.subnet == **subnet)) {
        return Some(format!("has not the subnet {subnet}"));
    }
    if let Some(gateway) = request.gateways.iter().find(|ip| !pools.iter().any(|pool| pool.gateway == Some(**ip))) {
        return Some(format!("has not the gateway {gateway}"));
    }
    let ranges: Vec<String> = request.ranges.iter().map(ToString::to_string).collect();
    let spans = request.spans.iter().map(|(first, last)| format!("{first}-{last}"));
    let wanted: Vec<String> = ranges.into_iter().chain(spans).collect();
    let there: Vec<String> = pools.iter().filter_map(Pool::range_words).collect();
    if let Some(range) = wanted.iter().find(|range| !there.contains(range)) {
        return Some(format!("has not the range {range}"));
    }
    let said = |key: &str, value: &String| network.options.get(key) == Some(value);
    if let Some((key, value)) = request.options.iter().find(|(key, value)| !said(key, value)) {
        return Some(format!("was not made with {key}={value}"));
    }
    if request.internal && !network.internal {
        return Some("is not internal".to_owned());
    }
    if request.ipv6 && !network.ipv6 {
        return Some("has no IPv6".to_owned());
    }
    if !is_ours(network) {
        return None;
    }
    // What it was made with, and is not asked for any more.
    if let Some(key) = network.options.keys().find(|key| !request.options.contains_key(*key)) {
        return Some(format!("was made with {key}"));
    }
    if let Some(range) = there.iter().find(|range| !wanted.contains(range)) {
        return Some(format!("has the range {range}"));
    }
    (network.internal && !request.internal).then(|| "is internal".to_owned())
}

fn is_ours(network: &Network) -> bool {
    network.labels.get(MADE_BY.0).is_some_and(|made| made == MADE_BY.1)
}

/// The routes of a pod. Where nothing is said of any, everything goes to the network's gateway.
pub(crate) fn ways(conf: &Conf) -> Vec<Way> {
    let routes = conf.ipam.routes.as_deref();
    let mut ways: Vec<Way> =
        routes.into_iter().flatten().map(|route| Way { to: route.dst, gateway: route.gw }).collect();
    if conf.is_default_gateway.unwrap_or(routes.is_none()) {
        let everywhere: [IpAddr; 2] = [[0; 4].into(), [0u16; 8].into()];
        for to in everywhere.map(|first| Subnet::around(first, 0)) {
            if !ways.iter().any(|way| way.to == to) {
                ways.push(Way { to, gateway: None });
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Conf {
        Conf::read(text).unwrap()
    }

    fn ways_of(text: &str) -> Vec<String> {
        let word = |way: Way| format!("{}{}", way.to, way.gateway.map(|ip| format!(" {ip}")).unwrap_or_default());
        ways(&conf(text)).into_iter().map(word).collect()
    }

    #[test]
    fn without_a_word_everything_goes_out_and_routes_that_are_named_are_all_there_are() {
        assert_eq!(ways_of("{}"), ["0.0.0.0/0", "::/0"]);
        assert_eq!(ways_of(r#"{"ipam": {"routes": [{"dst": "0.0.0.0/0"}]}}"#), ["0.0.0.0/0"]);
        assert!(ways_of(r#"{"isDefaultGateway": false}"#).is_empty());
        let both = r#"{"isDefaultGateway": true, "ipam": {"routes": [{"dst": "10.1.0.0/16", "gw": "10.88.0.7"}]}}"#;
        assert_eq!(ways_of(both), ["10.1.0.0/16 10.88.0.7", "0.0.0.0/0", "::/0"]);
    }

    #[test]
    fn the_words_of_bridge_and_host_local_are_those_of_network_create() {
        let text = r#"{"bridge": "cni0", "ipMasq": false, "mtu": 1400, "portIsolation": true, "ipam": {"ranges": [
            [{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.10", "gateway": "10.88.0.5"}], [{"subnet": "fd00:88::/64"}]]}}"#;
        let request = request("pods", &conf(text)).unwrap();
        let options: Vec<String> = request.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(options, ["icc=false", "masquerade=false", "mtu=1400", "name=cni0"]);
        assert_eq!(request.spans, [("10.88.0.10".parse().unwrap(), "10.88.0.255".parse().unwrap())]);
        assert_eq!((request.subnets.len(), request.ipv6), (2, true));
        assert_eq!(request.gateways, ["10.88.0.5".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn two_ranges_of_one_family_are_refused() {
        let two = r#"{"ipam": {"ranges": [[{"subnet": "10.88.0.0/24"}, {"subnet": "10.89.0.0/24"}]]}}"#;
        let said = request("pods", &conf(two)).unwrap_err().said_in("1.1.0");
        assert_eq!(said["code"], 7);
        let both = r#"{"subnet": "10.1.0.0/24", "ipam": {"subnet": "10.88.0.0/24"}}"#;
        assert_eq!(request("pods", &conf(both)).unwrap_err().said_in("1.1.0")["code"], 7);
    }
}
