//! Where the kernel keeps an endpoint's rules, of iptables' nft variant: noted when they are put in, so that who takes them
//! out need not look for them among those of a thousand other containers.
//!
//! iptables does not say it; but the kernel tells everybody who listens which rule has come, and by which number (handle) it
//! goes in its table. What is noted is no more than a guess: a repair, or a person, may have put the rules in anew. Who
//! deletes asks for each first, and where one is not what it was he looks through the chains.
//!
//! ```text
//!   STATE/net/handles/COMMENT    ip nat RBOX 57      a line for each rule
//! ```
//!
//! linux/netfilter/nfnetlink.h, NFNLGRP_NFTABLES; nft(8), `monitor` and `handle`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use memchr::memmem;
use rtnetlink::sys::Socket;

use super::batch::{NFGENMSG_BYTES, NFT_MSG_NEWRULE};
use super::nfnetlink::{self, Place};
use super::wire::{attribute, family, read_all};
use super::{Rule, Table, changes, leave_to_the_kernel};
use crate::error::Result;
use crate::{files, steps};

/// A rule among those of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handle {
    ipv6: bool,
    table: Table,
    chain: String,
    pub(super) number: u64,
}

impl Handle {
    pub(super) fn place(&self) -> Place<'_> {
        (self.ipv6, self.table, &self.chain)
    }

    /// From the message that tells of a new rule, or lists one.
    fn of_message(body: &[u8]) -> Option<Handle> {
        let family_of = *body.first()?;
        let attributes = body.get(NFGENMSG_BYTES..)?;
        let name =
            |kind| attribute(attributes, kind).and_then(|name| std::str::from_utf8(name.strip_suffix(&[0])?).ok());
        Some(Handle {
            ipv6: [false, true].into_iter().find(|ipv6| family(*ipv6) == family_of)?,
            table: Table::of_name(name(nfnetlink::NFTA_RULE_TABLE)?)?,
            chain: name(nfnetlink::NFTA_RULE_CHAIN)?.to_owned(),
            number: attribute(attributes, nfnetlink::NFTA_RULE_HANDLE).and_then(nfnetlink::number)?,
        })
    }

    /// From a line of the file.
    fn of_line(line: &str) -> Option<Handle> {
        let words: Vec<&str> = line.split(' ').collect();
        let [family, table, chain, number] = words[..] else { return None };
        Some(Handle {
            ipv6: [false, true].into_iter().find(|ipv6| nfnetlink::word(*ipv6) == family)?,
            table: Table::of_name(table)?,
            chain: chain.to_owned(),
            number: number.parse().ok()?,
        })
    }

    fn line(&self) -> String {
        format!("{} {} {} {}\n", nfnetlink::word(self.ipv6), self.table, self.chain, self.number)
    }
}

/// What is noted on disk.
pub(super) struct Handles {
    dir: PathBuf,
}

/// Hears of what comes into the packet filter, from when it was made.
pub(super) struct Ear(Option<Socket>);

impl Ear {
    /// One that hears nothing is no error: what is not noted is looked for.
    pub(super) fn open() -> Ear {
        Ear(rbox_explain::step(&steps::RULES_HEAR, || "join group NFNLGRP_NFTABLES".to_owned(), changes).ok())
    }

    /// The rules that have come with this comment. Nothing where some may not have been heard.
    fn heard(&self, comment: &str) -> Option<Vec<Handle>> {
        let socket = self.0.as_ref()?;
        let comment = memmem::Finder::new(comment);
        let mut handles = Vec::new();
        let read = read_all(socket, |kind, body| {
            if kind == NFT_MSG_NEWRULE && comment.find(body).is_some() {
                handles.push(Handle::of_message(body));
            }
        });
        // Where the kernel had more to tell than the socket keeps, there may be others.
        read.ok().and_then(|()| handles.into_iter().collect())
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(socket) = self.0.take() {
            // When this fails the socket is closed here, and that only takes longer.
            let _ = leave_to_the_kernel(socket);
        }
    }
}

impl Handles {
    pub(super) fn kept_in(dir: PathBuf) -> Handles {
        Handles { dir }
    }

    /// Note where these rules, which are one endpoint's, have come.
    pub(super) fn note(&self, ear: &Ear, rules: &[&Rule]) {
        let Some(comment) = rules.first().and_then(|rule| rule.comment.as_deref()) else { return };
        let Some(handles) = ear.heard(comment).filter(|handles| handles.len() == rules.len()) else { return };
        // What cannot be written is looked for; so is all of it where a part is missing.
        let _ = self.write(comment, &handles.iter().map(Handle::line).collect::<String>());
    }

    fn write(&self, comment: &str, lines: &str) -> io::Result<()> {
        let path = self.file(comment).ok_or(io::ErrorKind::InvalidInput)?;
        let open = || OpenOptions::new().append(true).create(true).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.dir).and_then(|()| open())
            }
            opened => opened,
        };
        file?.write_all(lines.as_bytes())?;
        rbox_explain::mark("rules-noted");
        Ok(())
    }

    /// Where the rules of this comment are likely to be, if there are as many as these.
    pub(super) fn of(&self, comment: &str, rules: usize) -> Option<Vec<Handle>> {
        let text = String::from_utf8(files::bytes(&self.file(comment)?).ok()?).ok()?;
        let handles: Option<Vec<Handle>> = text.lines().map(Handle::of_line).collect();
        handles.filter(|handles| handles.len() == rules)
    }

    /// They are gone.
    pub(super) fn forget(&self, comment: &str) -> Result<()> {
        self.file(comment).map_or(Ok(()), |file| files::remove(&file))
    }

    /// A comment comes from a record: a name, and no path.
    fn file(&self, comment: &str) -> Option<PathBuf> {
        (Path::new(comment).file_name() == Some(comment.as_ref())).then(|| self.dir.join(comment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let handle = Handle { ipv6: true, table: Table::Nat, chain: "RBOX-INNER".into(), number: 57 };
        assert_eq!(handle.line(), "ip6 nat RBOX-INNER 57\n");
        assert_eq!(Handle::of_line(handle.line().trim_end()), Some(handle));
        for line in ["", "ip6 nat RBOX", "ip6 nat RBOX x", "inet nat RBOX 57", "ip mangle RBOX 57", "ip nat RBOX 57 8"]
        {
            assert_eq!(Handle::of_line(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_noted_counts_only_when_it_is_all() {
        let dir = tempfile::tempdir().unwrap();
        let handles = Handles::kept_in(dir.path().join("handles"));
        assert_eq!(handles.of("web", 1), None);
        handles.write("web", "ip nat RBOX 57\n").unwrap();
        handles.write("web", "ip filter RBOX 8\n").unwrap();
        assert_eq!(handles.of("web", 2).unwrap().iter().map(|it| it.number).collect::<Vec<_>>(), [57, 8]);
        assert_eq!(handles.of("web", 1), None);
        handles.write("web", "ip nat RB").unwrap();
        assert_eq!(handles.of("web", 3), None, "half a line");
        handles.forget("web").unwrap();
        assert_eq!(handles.of("web", 2), None);
        handles.forget("web").unwrap();
    }

    #[test]
    fn a_comment_is_no_path() {
        let dir = tempfile::tempdir().unwrap();
        let handles = Handles::kept_in(dir.path().join("handles"));
        fs::create_dir(dir.path().join("handles")).unwrap();
        fs::write(dir.path().join("other"), "ip nat RBOX 57\n").unwrap();
        assert_eq!(handles.of("../other", 1), None);
        handles.forget("../other").unwrap();
        assert!(handles.write("../another", "").is_err());
        assert!(dir.path().join("other").exists());
    }
}
