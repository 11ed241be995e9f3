//! A container's ports as `ps` prints them (docker/cli `formatter.DisplayablePorts`).

use std::collections::{BTreeSet, HashSet};

use rbox_net::PortMapping;

/// One port: in the container, at which address of the host, there, by which protocol. What is only exposed has no
/// address.
type Port<'a> = (u16, &'a str, u16, &'a str);

/// `9-10/tcp, 0.0.0.0:80-81->80-81/tcp, 0.0.0.0:8080->82/tcp`: ports that follow each other stand together where they
/// have the same number outside; the others come last.
pub(in crate::cmd) fn shown(published: &[PortMapping], exposed: &BTreeSet<String>) -> Vec<String> {
    let (mut groups, mut ended, mut others) = (Vec::<Group<'_>>::new(), Vec::new(), Vec::new());
    // Once for each mapping, which may be thousands of ports.
    let words: Vec<(String, String)> =
        published.iter().map(|mapping| (mapping.host_ip.to_string(), mapping.protocol.to_string())).collect();
    for (inside, ip, outside, protocol) in sorted(published, &words, exposed) {
        if !ip.is_empty() && outside != inside {
            others.push(format!("{ip}:{outside}->{inside}/{protocol}"));
            continue;
        }
        match groups.iter_mut().find(|group| group.ip == ip && group.protocol == protocol) {
            Some(group) if u32::from(inside) == u32::from(group.last) + 1 => group.last = inside,
            Some(group) => {
                ended.push(group.shown());
                (group.first, group.last) = (inside, inside);
            }
            None => groups.push(Group { ip, protocol, first: inside, last: inside }),
        }
    }
    ended.extend(groups.iter().map(Group::shown));
    ended.extend(others);
    ended
}

fn sorted<'a>(
    published: &[PortMapping],
    words: &'a [(String, String)],
    exposed: &'a BTreeSet<String>,
) -> Vec<Port<'a>> {
    let mut ports: Vec<Port<'a>> = Vec::new();
    for (mapping, (ip, protocol)) in published.iter().zip(words) {
        let pairs = mapping.container.ports().zip(mapping.host.ports());
        ports.extend(pairs.map(|(inside, outside)| (inside, ip.as_str(), outside, protocol.as_str())));
    }
    let published: HashSet<(u16, &str)> = match exposed.is_empty() {
        true => HashSet::new(),
        false => ports.iter().map(|port| (port.0, port.3)).collect(),
    };
    for (numbers, protocol) in exposed.iter().filter_map(|port| port.split_once('/')) {
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse()) else { continue };
        for inside in first..=last {
            if !published.contains(&(inside, protocol)) {
                ports.push((inside, "", 0, protocol));
            }
        }
    }
    ports.sort();
    ports
}

/// Ports that follow each other.
struct Group<'a> {
    ip: &'a str,
    protocol: &'a str,
    first: u16,
    last: u16,
}

impl Group<'_> {
    fn shown(&self) -> String {
        let Group { ip, protocol, first, last } = self;
        let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
        if ip.is_empty() { format!("{ports}/{protocol}") } else { format!("{ip}:{ports}->{ports}/{protocol}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbox_net::{PortRange, Protocol};

    #[test]
    fn ports_stand_as_docker_prints_them() {
        let mapping = |ip: &str, host: (u16, u16), container: (u16, u16)| PortMapping {
            host_ip: ip.parse().unwrap(),
            host: PortRange::new(host.0, host.1).unwrap(),
            container: PortRange::new(container.0, container.1).unwrap(),
            protocol: Protocol::Tcp,
        };
        let exposed = ["9-10/tcp", "80/tcp", "7/udp"].map(str::to_owned).into();
        let all = [
            mapping("0.0.0.0", (8080, 8080), (80, 80)),
            mapping("::", (8080, 8080), (80, 80)),
            mapping("127.0.0.1", (5000, 5002), (5000, 5002)),
        ];
        assert_eq!(
            shown(&all, &exposed).join(", "),
            "7/udp, 9-10/tcp, 127.0.0.1:5000-5002->5000-5002/tcp, 0.0.0.0:8080->80/tcp, :::8080->80/tcp"
        );
    }
}
