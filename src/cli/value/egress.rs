//! `--egress`: what a container may open connections to.

use rbox_net::egress::{Entry, Policy};
use serde::{Deserialize, Serialize};

use super::Parsed;

/// One `--egress`. Kept as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EgressFlag {
    /// `none`.
    None,
    /// `allow=`, each.
    Allow(Vec<Entry>),
}

/// `none`, or `allow=ENTRY,ENTRY…`
pub(crate) fn egress(text: &str) -> Parsed<EgressFlag> {
    if text == "none" {
        return Ok(EgressFlag::None);
    }
    let list = text.strip_prefix("allow=").ok_or("not of the form none or allow=ENTRY,ENTRY…")?;
    let entry = |text: &str| text.parse().map_err(|error: rbox_net::Error| error.to_string());
    list.split(',').map(entry).collect::<Parsed<_>>().map(EgressFlag::Allow)
}

impl EgressFlag {
    /// What all of them allow together; nothing where there is none of them.
    pub(crate) fn policy(flags: &[EgressFlag]) -> Option<Policy> {
        let entries = |flag: &EgressFlag| match flag {
            EgressFlag::None => Vec::new(),
            EgressFlag::Allow(entries) => entries.clone(),
        };
        (!flags.is_empty()).then(|| Policy { allowed: flags.iter().flat_map(entries).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_add_up_and_none_is_none() {
        let policy = |words: &[&str]| {
            let flags: Vec<EgressFlag> = words.iter().map(|word| egress(word).unwrap()).collect();
            EgressFlag::policy(&flags).map(|it| it.allowed.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(policy(&[]), None);
        assert_eq!(policy(&["none"]), Some(Vec::new()));
        let words = policy(&["allow=db,10.0.0.0/8:80", "allow=[2001:db8::]/32:443"]).unwrap();
        assert_eq!(words, ["db", "10.0.0.0/8:80", "[2001:db8::]/32:443"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let table = [
            ("all", "not of the form none or allow=ENTRY,ENTRY…"),
            ("allow=", ": neither a name nor an address"),
            ("allow=db,", ": neither a name nor an address"),
            ("allow=db,10.0.0.1/8", "10.0.0.1/8: it has host bits set; 10.0.0.0/8 is meant"),
        ];
        for (text, why) in table {
            assert_eq!(egress(text).unwrap_err(), why, "{text}");
        }
    }
}
