//! What is leased: the addresses and ports of all endpoints, which every reservation has to know.
//!
//! They stand in the endpoints' records. To open a thousand of those takes longer than all else that a reservation does, so
//! one text tells them together. A line goes in before the record of what it tells, and another when that is gone:
//!
//! ```text
//!   leases
//!   +0123456789ab 89abcdef0123 172.17.0.2 - 0.0.0.0:8080/tcp :::8080/tcp     endpoint, network, addresses, ports
//!   -0123456789ab
//! ```
//!
//! So it tells of all that is leased, and where somebody was killed in between, of something more. That may be passed over
//! until a sweep finds what he has left beside it, and has the text made anew of the records; but nobody is refused before
//! these have been read ([`Ledger::choose`]). The text is made anew, too, where it is lost or is not of such lines, as after
//! one that was cut off; and where most of it is of the past.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::OFlag;

use crate::endpoint::{EndpointRecord, short};
use crate::error::{Doing, Error, Result};
use crate::files::{self, Lock};
use crate::networks::Networks;
use crate::ports::HostPorts;

/// The first line.
const FIRST: &str = "leases";

/// What stands in a line for no address.
const NONE: &str = "-";

/// So many lines may be of the past, beside as many as there are of now, before the text is made anew.
const PAST_MAX: usize = 256;

/// About as long as a line is.
const LINE_BYTES: usize = 64;

/// All that is leased.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    places: Vec<Place>,
    /// With the number of whose place it is.
    ports: Vec<(HostPorts, usize)>,
    /// Nothing else is, and it is known whose.
    is_of_records: bool,
}

/// What an endpoint has in a network that nobody else may have.
#[derive(Debug)]
pub(crate) struct Place {
    network: Key,
    address: Ipv4Addr,
    v6: Option<Ipv6Addr>,
    /// The container's name, which a record tells.
    name: Option<String>,
}

/// The first 12 digits of an identifier.
type Key = u64;

impl Place {
    /// Its addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [Some(IpAddr::V4(self.address)), self.v6.map(IpAddr::V6)].into_iter().flatten()
    }

    /// Whose it is, as an error says it. Nothing where only its line was read.
    pub(crate) fn holder(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("container {name}"))
    }
}

impl Leases {
    /// Every place in a network.
    pub(crate) fn in_network(&self, id: &str) -> impl Iterator<Item = &Place> {
        let network = key(short(id));
        self.places.iter().filter(move |place| Some(place.network) == network)
    }

    /// Every port, and the place of who has it.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (HostPorts, &Place)> {
        self.ports.iter().map(|(ports, at)| (*ports, &self.places[*at]))
    }

    fn of(records: &[EndpointRecord]) -> Leases {
        let mut leases = Leases { is_of_records: true, ..Leases::default() };
        for record in records {
            let (Some(attachment), Some(network)) = (&record.attachment, key(short(&record.network_id))) else {
                continue;
            };
            leases.ports.extend(record.ports.iter().map(|mapping| (mapping.of_host(), leases.places.len())));
            let v6 = attachment.v6.as_ref().map(|v6| v6.address);
            let name = Some(record.owner.name.clone());
            leases.places.push(Place { network, address: attachment.address, v6, name });
        }
        leases
    }

    /// Read the text. Answers how many lines it has, too; nothing where it is not what rbox writes.
    fn read(text: &str) -> Option<(Leases, usize)> {
        let text = text.strip_prefix(FIRST)?.strip_prefix('\n')?;
        let mut leases = Leases { places: Vec::with_capacity(text.len() / LINE_BYTES), ..Leases::default() };
        let Some(text) = text.strip_suffix('\n') else { return text.is_empty().then_some((leases, 0)) };
        let mut seen = HashSet::with_capacity(text.len() / LINE_BYTES);
        let mut lines = 0;
        // The last that was said of an endpoint holds.
        for line in text.rsplit('\n') {
            lines += 1;
            let ports = leases.ports.len();
            let (endpoint, place) = leases.read_line(line)?;
            match place {
                _ if !seen.insert(endpoint) => leases.ports.truncate(ports),
                Some(place) => leases.places.push(place),
                None => {}
            }
        }
        Some((leases, lines))
    }

    /// Read one line: the endpoint, and its place where it has one. Its ports are put in with the number of the next place.
    fn read_line(&mut self, line: &str) -> Option<(Key, Option<Place>)> {
        if let Some(endpoint) = line.strip_prefix('-') {
            return Some((key(endpoint)?, None));
        }
        let mut words = line.strip_prefix('+')?.split(' ');
        let (endpoint, network) = (key(words.next()?)?, key(words.next()?)?);
        let address = words.next()?.parse().ok()?;
        let v6 = match words.next()? {
            NONE => None,
            v6 => Some(v6.parse().ok()?),
        };
        for word in words {
            self.ports.push((HostPorts::read(word)?, self.places.len()));
        }
        Some((endpoint, Some(Place { network, address, v6, name: None })))
    }
}

/// Digits as one number; nothing where they are not 12.
fn key(digits: &str) -> Option<Key> {
    let is_key = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_key.then(|| Key::from_str_radix(digits, 16).ok()).flatten()
}

/// What is said of an endpoint; nothing of one that leases nothing.
fn line(record: &EndpointRecord) -> Option<String> {
    let attachment = record.attachment.as_ref()?;
    let v6 = attachment.v6.as_ref().map_or_else(|| NONE.to_owned(), |v6| v6.address.to_string());
    let mut line = format!("+{} {} {} {v6}", short(&record.id), short(&record.network_id), attachment.address);
    for mapping in &record.ports {
        write!(line, " {}", mapping.of_host()).expect("a String takes everything");
    }
    line.push('\n');
    Some(line)
}

/// What is leased, for who chooses of the rest. As long as it is there, nobody else does.
pub(crate) struct Ledger<'a> {
    networks: &'a Networks,
    pub(crate) lock: Lock,
    leases: Leases,
}

impl<'a> Ledger<'a> {
    /// Wait until nobody else chooses.
    pub(crate) fn open(networks: &'a Networks) -> Result<Ledger<'a>> {
        let lock = networks.lock()?;
        let leases = networks.leases(&lock)?;
        Ok(Ledger { networks, lock, leases })
    }

    /// Choose something that is free. Where that fails by what others have, the records are asked, and it is tried again: so
    /// whoever is refused, is refused by somebody who is there, and told his name.
    pub(crate) fn choose<T>(&mut self, mut choose: impl FnMut(&Leases) -> Result<T>) -> Result<T> {
        match choose(&self.leases) {
            Err(Error::AddressInUse { .. } | Error::PortInUse { .. } | Error::Exhausted { .. })
                if !self.leases.is_of_records =>
            {
                self.leases = self.networks.leases_anew(&self.lock)?;
                choose(&self.leases)
            }
            chosen => chosen,
        }
    }

    /// Who is in a network: one of them, as an error says it.
    pub(crate) fn holder_in(&mut self, network_id: &str) -> Result<Option<String>> {
        if self.leases.in_network(network_id).next().is_some() && !self.leases.is_of_records {
            self.leases = self.networks.leases_anew(&self.lock)?;
        }
        Ok(self.leases.in_network(network_id).find_map(Place::holder))
    }
}

impl Networks {
    fn leases(&self, lock: &Lock) -> Result<Leases> {
        let text = files::bytes(&self.leases_file()).ok().and_then(|text| String::from_utf8(text).ok());
        match text.and_then(|text| Leases::read(&text)) {
            Some((leases, lines)) if lines <= 2 * leases.places.len() + PAST_MAX => Ok(leases),
            _ => self.leases_anew(lock),
        }
    }

    /// The same from the records alone.
    fn leases_anew(&self, lock: &Lock) -> Result<Leases> {
        let records = self.endpoints()?;
        let text: String = [format!("{FIRST}\n")].into_iter().chain(records.iter().filter_map(line)).collect();
        let by = self.endpoints_dir().join(files::temporary(FIRST));
        if files::write_text(lock, (&by, &self.leases_file()), text.as_bytes(), || Ok(())).is_err() {
            // There may be no room. Then the records are read each time, and no line of now is missing in an old text.
            files::remove(&self.leases_file())?;
        }
        Ok(Leases::of(&records))
    }

    /// An endpoint is about to lease what its record tells, beside what it has.
    pub(crate) fn note_lease(&self, _lock: &Lock, record: &EndpointRecord) -> Result<()> {
        line(record)
            .map_or(Ok(()), |line| self.append(&line))
            .doing(|| format!("write {}", self.leases_file().display()))
    }

    /// An endpoint leases no more than its record tells. Where that cannot be written, it is passed over until all is read anew.
    pub(crate) fn note_shrunk(&self, lock: &Lock, record: &EndpointRecord) {
        let _ = self.note_lease(lock, record);
    }

    /// The same of one that is gone.
    pub(crate) fn note_free(&self, _lock: &Lock, record: &EndpointRecord) {
        if record.attachment.is_some() {
            let _ = self.append(&format!("-{}\n", short(&record.id)));
        }
    }

    /// Where there is no text the next who asks makes it, of all records that are there by then.
    fn append(&self, line: &str) -> io::Result<()> {
        // What is no file of ours is neither waited for nor written to.
        let flags = (OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits();
        match OpenOptions::new().append(true).custom_flags(flags).open(self.leases_file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => {
                opened?.write_all(line.as_bytes())?;
                rbox_explain::mark("leases-noted");
                Ok(())
            }
        }
    }

    /// They are all read anew.
    pub(crate) fn forget_leases(&self, _lock: &Lock) -> Result<()> {
        files::remove(&self.leases_file())
    }

    fn leases_file(&self) -> PathBuf {
        self.dir().join("leases")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: &str = "89abcdef0123";

    fn addresses(text: &str) -> Option<Vec<String>> {
        let (leases, _) = Leases::read(text)?;
        let mut all: Vec<String> =
            leases.in_network(NETWORK).flat_map(Place::addresses).map(|address| address.to_string()).collect();
        all.sort();
        Some(all)
    }

    #[test]
    fn the_last_that_was_said_of_an_endpoint_holds() {
        let text = "leases\n+00000000000a 89abcdef0123 10.0.0.2 fd00::2 0.0.0.0:80/tcp :::80-90/udp\n\
                    +00000000000b 89abcdef0123 10.0.0.3 - 0.0.0.0:81/tcp\n\
                    +00000000000c 000000000000 10.0.0.4 -\n-00000000000b\n\
                    +00000000000d 89abcdef0123 10.0.0.5 - 127.0.0.1:82/sctp\n\
                    +00000000000a 89abcdef0123 10.0.0.2 fd00::2 :::80-90/udp\n";
        assert_eq!(addresses(text).unwrap(), ["10.0.0.2", "10.0.0.5", "fd00::2"]);
        let (leases, lines) = Leases::read(text).unwrap();
        let ports: Vec<String> = leases.ports().map(|(ports, place)| format!("{} {ports}", place.address)).collect();
        assert_eq!((ports, lines), (vec!["10.0.0.2 :::80-90/udp".into(), "10.0.0.5 127.0.0.1:82/sctp".into()], 6));
    }

    #[test]
    fn what_was_cut_off_anywhere_is_not_taken_for_whole() {
        let whole = "leases\n+00000000000a 89abcdef0123 10.0.0.2 fd00::2 0.0.0.0:8080/tcp :::80-90/udp\n";
        assert!(addresses(whole).is_some() && addresses("leases\n").is_some());
        for length in (0..whole.len()).filter(|length| *length != "leases\n".len()) {
            let cut = &whole[..length];
            assert_eq!(addresses(cut), None, "{cut}");
            for next in ["-00000000000b\n", "+00000000000b 89abcdef0123 10.0.0.3 - 0.0.0.0:81/tcp\n"] {
                assert_eq!(addresses(&format!("{cut}{next}")), None, "{cut}{next}");
            }
        }
    }

    #[test]
    fn what_rbox_does_not_write_is_not_read() {
        for line in [
            "",
            "00000000000a 89abcdef0123 10.0.0.2 -",
            "+00000000000a 89abcdef0123 10.0.0.2",
            "+00000000000a  89abcdef0123 10.0.0.2 -",
            "+00000000000a 89abcdef0123 10.0.0.256 -",
            "+00000000000a 89abcdef0123 10.0.0.2 - ",
            "+00000000000a 89abcdef0123 10.0.0.2 - 80",
            "+00000000000a 89abcdef0123 10.0.0.2 - 0.0.0.0:0/tcp",
            "+00000000000a 89abcdef0123 10.0.0.2 - 0.0.0.0:9-8/tcp",
            "+00000000000a 89abcdef0123 10.0.0.2 - 0.0.0.0:80/TCP",
            "+00000000000 89abcdef0123 10.0.0.2 -",
            "-00000000000a 89abcdef0123",
            "-0000000000",
        ] {
            assert_eq!(addresses(&format!("leases\n{line}\n")), None, "{line}");
            // Neither where it was said once, and something else since.
            assert_eq!(addresses(&format!("leases\n{line}\n-00000000000a\n")), None, "{line}");
        }
    }
}
