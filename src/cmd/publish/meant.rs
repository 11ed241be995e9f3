//! Which of a container's ports are meant by the words of `unpublish`, and what is left of the words that published them.
//!
//! ```text
//!   9090   9090/udp   127.0.0.1:9090   [::1]:9090      a port of the host, at one address or at all
//!   9090:80   127.0.0.1:9090:80   8000-8010:80-90      as it was published
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use rbox_net::{Expose, Kept, PortMapping, PortRange, Protocol, Publish};

use crate::cli::ALL_PORTS;
use crate::report::Problem;

/// One word of `unpublish`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meant {
    typed: String,
    place: Option<Place>,
    /// What published it, word for word: a port that the next start finds by itself has no place yet.
    publish: Option<Publish>,
}

/// Where a port is published.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    host_ip: Option<IpAddr>,
    host: PortRange,
    container: Option<PortRange>,
    protocol: Protocol,
}

impl FromStr for Meant {
    type Err = Problem;

    fn from_str(typed: &str) -> Result<Meant, Problem> {
        let publish = typed.parse::<Publish>();
        let at_one_address = typed.rsplit_once(':').and_then(|(ip, port)| {
            let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
            Some((bare.parse::<IpAddr>().ok()?, port.parse::<Expose>().ok()?))
        });
        let place = match (at_one_address, typed.parse::<Expose>(), &publish) {
            (Some((ip, port)), ..) => Some(Place::of(Some(ip), port)),
            (None, Ok(port), _) => Some(Place::of(None, port)),
            (None, Err(_), Ok(it)) => it.host.map(|host| Place {
                host_ip: it.host_ip,
                host,
                container: Some(it.container),
                protocol: it.protocol,
            }),
            (None, Err(_), Err(error)) => return Err(super::as_typed(error, "unpublish")),
        };
        Ok(Meant { typed: typed.to_owned(), place, publish: publish.ok() })
    }
}

impl Place {
    fn of(host_ip: Option<IpAddr>, port: Expose) -> Place {
        Place { host_ip, host: port.ports, container: None, protocol: port.protocol }
    }

    /// Whether any of these ports is there.
    fn touches(&self, mapping: &PortMapping) -> bool {
        self.protocol == mapping.protocol
            && self.host.overlaps(mapping.host)
            && self.host_ip.is_none_or(|ip| ip == mapping.host_ip)
            && self.container.is_none_or(|container| container == mapping.container)
    }
}

/// What was said once of ports: one `-p`, or one exposed port of `-P`.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    publish: Publish,
    /// The `-p`; nothing where `-P` stands for it.
    word: Option<String>,
}

/// All that was said of ports.
pub(super) struct Said {
    /// For each exposed port, where `-P` was, one that has no word.
    pub(super) entries: Vec<Entry>,
    /// Whether `-P` was.
    all: bool,
}

impl Said {
    /// By these words ([`NetworkFlags::port_words`](crate::cli::NetworkFlags::port_words)), with these exposed ports.
    pub(super) fn by(words: &[String], exposed: &BTreeSet<String>) -> Said {
        let all = words.iter().any(|word| word == ALL_PORTS);
        let typed = words.iter();
        let typed = typed.filter_map(|word| Some(Entry { publish: word.parse().ok()?, word: Some(word.clone()) }));
        let exposed = exposed.iter().filter(|_| all).filter_map(|text| text.parse::<Expose>().ok());
        let exposed = exposed.map(|expose| Entry { publish: expose.into(), word: None });
        Said { entries: typed.chain(exposed).collect(), all }
    }
}

impl Entry {
    /// One that was just said.
    pub(super) fn of(publish: &Publish) -> Entry {
        Entry { publish: *publish, word: None }
    }

    /// Where it publishes at each start; nothing where that is found out then.
    pub(super) fn places(&self) -> Vec<PortMapping> {
        let Publish { host_ip, host, container, protocol } = self.publish;
        let everywhere = || vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let addresses = host_ip.map_or_else(everywhere, |ip| vec![ip]);
        let host = host.filter(|host| host.count() == container.count());
        let at = |host| addresses.into_iter().map(move |host_ip| PortMapping { host_ip, host, container, protocol });
        host.map(at).into_iter().flatten().collect()
    }

    /// Whether a port may have come of it.
    fn fits(&self, mapping: &PortMapping) -> bool {
        let Publish { host_ip, host, container, protocol } = self.publish;
        let is_host = |host: PortRange| match host.count() == container.count() {
            true => host == mapping.host,
            false => host.overlaps(mapping.host),
        };
        (container, protocol) == (mapping.container, mapping.protocol)
            && host_ip.is_none_or(|ip| ip == mapping.host_ip)
            && host.is_none_or(is_host)
    }

    fn word(&self) -> String {
        self.word.clone().unwrap_or_else(|| format!("{}/{}", self.publish.container, self.publish.protocol))
    }
}

/// What is left of a container's ports, and of the words that published them. `ports`: where they are now; nowhere, where it
/// does not run.
///
/// Errors: one that is meant is not published, or with others alone, in words that follow the container's name.
pub(super) fn without(said: Said, ports: &[PortMapping], meant: &[Meant]) -> Result<Kept, String> {
    let owned = share_out(said.entries, ports);
    let all: Vec<PortMapping> = owned.iter().flat_map(|(_, places)| places.clone()).chain(ports.to_vec()).collect();
    let (mut gone, mut unplaced) = (Vec::new(), BTreeSet::new());
    for one in meant {
        let Some(there) = one.among(&all)? else {
            let is_said =
                |(entry, places): &(Entry, Vec<PortMapping>)| places.is_empty() && Some(entry.publish) == one.publish;
            let at = owned.iter().position(is_said).ok_or_else(|| format!("port {} is not published", one.typed))?;
            unplaced.insert(at);
            continue;
        };
        gone.extend(there);
    }
    let kept = ports.iter().filter(|it| !gone.contains(it)).copied().collect();
    Ok(Kept { ports: kept, words: words_left(&owned, said.all, (&gone, &unplaced)) })
}

impl Meant {
    /// Those of `all` that are meant; nothing where none is.
    ///
    /// Errors: a part of a range.
    fn among(&self, all: &[PortMapping]) -> Result<Option<Vec<PortMapping>>, String> {
        let Some(place) = &self.place else { return Ok(None) };
        let there: Vec<PortMapping> = all.iter().filter(|it| place.touches(it)).copied().collect();
        match there.iter().find(|it| it.host != place.host) {
            Some(wider) => Err(format!(
                "port {} is published with others at once: unpublish {} takes all back",
                self.typed, wider.host
            )),
            None => Ok(Some(there).filter(|there| !there.is_empty())),
        }
    }
}

/// Which ports have come of which entry; where the container does not run, which will.
fn share_out(entries: Vec<Entry>, ports: &[PortMapping]) -> Vec<(Entry, Vec<PortMapping>)> {
    let mut left = ports.to_vec();
    let mut owned: Vec<(Entry, Vec<PortMapping>)> = entries.into_iter().map(|entry| (entry, Vec::new())).collect();
    // Those first that say where: the others take what remains.
    for named in [true, false] {
        for (entry, places) in owned.iter_mut().filter(|(entry, _)| entry.publish.host_ip.is_some() == named) {
            if ports.is_empty() {
                *places = entry.places();
            } else if let Some(first) = left.iter().copied().find(|mapping| entry.fits(mapping)) {
                // At all addresses means both families, on one port.
                let is_of_it = |it: &mut PortMapping| entry.fits(it) && it.host == first.host;
                places.extend(left.extract_if(.., is_of_it));
            }
        }
    }
    owned
}

/// The words for what is left. Of an entry that goes in part, each address that stays is named. `-P` stays as long as nothing
/// goes that it stands for.
fn words_left(
    owned: &[(Entry, Vec<PortMapping>)],
    all: bool,
    (gone, unplaced): (&[PortMapping], &BTreeSet<usize>),
) -> Vec<String> {
    let goes = |(at, (_, places)): &(usize, &(Entry, Vec<PortMapping>))| {
        unplaced.contains(at) || places.iter().any(|place| gone.contains(place))
    };
    let all = all && !owned.iter().enumerate().any(|it| it.1.0.word.is_none() && goes(&it));
    let mut words = Vec::new();
    for it in owned.iter().enumerate().filter(|(_, (entry, _))| entry.word.is_some() || !all) {
        let (_, (entry, places)) = it;
        match goes(&it) {
            false => words.push(entry.word()),
            true => words.extend(places.iter().filter(|place| !gone.contains(place)).map(word_of)),
        }
    }
    words.extend(all.then(|| ALL_PORTS.to_owned()));
    words
}

/// A port as `-p` would publish it.
fn word_of(mapping: &PortMapping) -> String {
    let PortMapping { host_ip, host, container, protocol } = mapping;
    match host_ip {
        IpAddr::V4(ip) => format!("{ip}:{host}:{container}/{protocol}"),
        IpAddr::V6(ip) => format!("[{ip}]:{host}:{container}/{protocol}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(publish: &[&str], exposed: &[&str]) -> Said {
        let all = (!exposed.is_empty()).then_some(&ALL_PORTS);
        let words: Vec<String> = publish.iter().chain(all).map(|word| (*word).to_owned()).collect();
        Said::by(&words, &exposed.iter().map(|port| (*port).to_owned()).collect())
    }

    fn mapping(ip: &str, host: &str, container: &str) -> PortMapping {
        let range = |text: &str| text.parse::<Expose>().unwrap().ports;
        let (host_ip, protocol) = (ip.parse().unwrap(), Protocol::Tcp);
        PortMapping { host_ip, host: range(host), container: range(container), protocol }
    }

    fn left(said: Said, ports: &[PortMapping], meant: &str) -> Result<(Vec<String>, String), String> {
        let meant: Vec<Meant> = meant.split(' ').map(|word| word.parse().unwrap()).collect();
        let kept = without(said, ports, &meant)?;
        Ok((kept.ports.iter().map(PortMapping::to_string).collect(), kept.words.join(" ")))
    }

    #[test]
    fn a_port_of_the_host_is_meant_at_all_its_addresses_or_at_one() {
        let both = [mapping("0.0.0.0", "9090", "80"), mapping("::", "9090", "80"), mapping("127.0.0.1", "9091", "81")];
        let said = || said(&["9090:80", "127.0.0.1:9091:81"], &[]);
        let rest = vec!["127.0.0.1:9091->81/tcp".to_owned()];
        for word in ["9090", "9090/tcp", "9090:80", "9090:80/tcp"] {
            assert_eq!(left(said(), &both, word).unwrap(), (rest.clone(), "127.0.0.1:9091:81".into()), "{word}");
        }
        let (ports, words) = left(said(), &both, "0.0.0.0:9090").unwrap();
        assert_eq!((ports.len(), words.as_str()), (2, "[::]:9090:80/tcp 127.0.0.1:9091:81"));
        assert_eq!(left(said(), &both, "[::]:9090 127.0.0.1:9091").unwrap().1, "0.0.0.0:9090:80/tcp");
        for word in ["80", "9090/udp", "9090:81", "127.0.0.1:9090", "9092"] {
            assert_eq!(left(said(), &both, word).unwrap_err(), format!("port {word} is not published"));
        }
    }

    #[test]
    fn a_port_that_was_found_is_known_by_its_number_and_one_to_be_found_by_its_word() {
        let found = [mapping("0.0.0.0", "49153", "80"), mapping("0.0.0.0", "49154", "80")];
        assert_eq!(left(said(&["80", "80"], &[]), &found, "49154").unwrap().1, "80");
        assert_eq!(left(said(&["80", "81"], &[]), &[], "81").unwrap().1, "80");
        assert_eq!(
            left(said(&["8000-8010:80", "81"], &[]), &[mapping("0.0.0.0", "8003", "80")], "8003").unwrap().1,
            "81"
        );
    }

    #[test]
    fn a_range_goes_as_a_whole() {
        let range = [mapping("0.0.0.0", "8000-8010", "80-90")];
        let said = || said(&["8000-8010:80-90"], &[]);
        assert_eq!(left(said(), &range, "8000-8010").unwrap(), (vec![], String::new()));
        let why = "port 8005 is published with others at once: unpublish 8000-8010 takes all back";
        assert_eq!(left(said(), &range, "8005").unwrap_err(), why);
        assert_eq!(left(said(), &[], "8000-8010:80-90").unwrap().1, "");
    }

    #[test]
    fn what_is_left_of_all_ports_is_said_one_by_one() {
        let found = [mapping("0.0.0.0", "49153", "80"), mapping("0.0.0.0", "49154", "90")];
        let said = || said(&[], &["80/tcp", "90/tcp"]);
        assert_eq!(left(said(), &found, "49153").unwrap().1, "90/tcp");
        let more = [&found[..], &[mapping("0.0.0.0", "8080", "80")]].concat();
        let with_one_more = || {
            let mut said = said();
            said.entries.insert(0, Entry { publish: "8080:80".parse().unwrap(), word: Some("8080:80".into()) });
            said
        };
        assert_eq!(left(with_one_more(), &more, "8080").unwrap().1, "-P");
        assert_eq!(left(with_one_more(), &more, "49154").unwrap().1, "8080:80 80/tcp");
    }
}
