//! The names of one network, as its file says them at this moment.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::names::{Named, Names};

/// A names file, and what it said.
pub(super) struct Known {
    path: PathBuf,
    /// The file that was read, open. Each change is a new file that takes its path, and while this one is open no other
    /// can have its number. So a look at the number tells for sure whether anything has changed.
    open: Option<(File, (u64, u64))>,
    known: Vec<Named>,
    by_name: HashMap<String, Vec<usize>>,
    by_address: HashMap<IpAddr, usize>,
}

impl Known {
    pub(super) fn new(path: PathBuf) -> Known {
        Known { path, open: None, known: Vec::new(), by_name: HashMap::new(), by_address: HashMap::new() }
    }

    /// Read the file if it is another than before. Costs one stat(2) while nothing changes.
    pub(super) fn refresh(&mut self) {
        let number = match fs::metadata(&self.path) {
            Ok(found) => Some((found.dev(), found.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // It could not be looked at: what it said last is the best there is.
            Err(_) => return,
        };
        if number == self.open.as_ref().map(|(_, number)| *number) {
            return;
        }
        if number.is_none() {
            self.open = None;
            return self.take(Names::default());
        }
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.read_to_end(&mut text)?;
            let found = file.metadata()?;
            Ok((file, (found.dev(), found.ino())))
        });
        // Not this time (it was removed just now, or no descriptor is left): then the next time.
        let Ok(open) = read else { return };
        self.open = Some(open);
        self.take(serde_json::from_slice(&text).unwrap_or_default());
    }

    fn take(&mut self, names: Names) {
        self.known = names.known;
        self.by_name.clear();
        self.by_address.clear();
        for (at, named) in self.known.iter().enumerate() {
            let short_id = named.short_id().to_owned();
            for name in named.given().map(|name| name.to_ascii_lowercase()).chain([short_id]) {
                let all = self.by_name.entry(name).or_default();
                if all.last() != Some(&at) {
                    all.push(at);
                }
            }
            for address in [named.v4.map(IpAddr::V4), named.v6.map(IpAddr::V6)].into_iter().flatten() {
                self.by_address.entry(address).or_insert(at);
            }
        }
    }

    /// All that have this name, in small letters.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Named> {
        self.by_name.get(name).into_iter().flatten().map(|at| &self.known[*at])
    }

    /// The container of this id or name, whatever other containers are called.
    pub(super) fn container(&self, id_or_name: &str) -> Option<&Named> {
        let by_id = self.known.iter().find(|named| named.container == id_or_name);
        by_id.or_else(|| self.known.iter().find(|named| named.name == id_or_name))
    }

    /// Who has this address.
    pub(super) fn at(&self, address: IpAddr) -> Option<&Named> {
        self.by_address.get(&address).map(|at| &self.known[*at])
    }
}
