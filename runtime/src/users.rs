//! passwd(5) and group(5) of an image: who a name is. Pure text, so that no host library (NSS) is ever asked.

use crate::error::{Error, Result};
use crate::root::User;

fn unknown(what: &str, name: &str) -> Error {
    Error::InvalidSpec {
        path: format!("{what} {name}"),
        why: format!("no such {what} in the image's /etc/{}", file(what)),
    }
}

fn file(what: &str) -> &'static str {
    if what == "user" { "passwd" } else { "group" }
}

/// The fields of each well-formed line; comments and broken lines are passed over.
fn lines<'a>(text: &'a str, fields: usize) -> impl Iterator<Item = Vec<&'a str>> {
    let split = |line: &'a str| line.trim().split(':').collect::<Vec<_>>();
    text.lines().filter(|line| !line.trim_start().starts_with('#')).map(split).filter(move |line| line.len() >= fields)
}

/// `name[:group]` resolved as Docker does. Empty is root.
///
/// # Errors
/// `InvalidSpec` for a name that is neither listed nor a number.
pub(crate) fn user(name: &str, group: &str, passwd: &str, groups: &str) -> Result<User> {
    let entry = lines(passwd, 4).find(|line| !name.is_empty() && line[0] == name);
    // A number may be listed too: then its group and further groups count.
    let number: Option<u32> = if name.is_empty() { Some(0) } else { name.parse().ok() };
    let entry = entry.or_else(|| lines(passwd, 4).find(|line| number.is_some() && line[2].parse().ok() == number));
    let listed = entry.as_ref().and_then(|line| Some((line[0], line[2].parse().ok()?, line[3].parse().ok()?)));
    let (login, uid, first) = match (listed, number) {
        (Some((login, uid, gid)), _) => (login, uid, gid),
        (None, Some(uid)) => ("", uid, 0),
        (None, None) => return Err(unknown("user", name)),
    };
    if !group.is_empty() {
        return Ok(User { uid, gid: self::group(group, groups)?, groups: Vec::new() });
    }
    let member = |line: &Vec<&str>| !login.is_empty() && line[3].split(',').any(|one| one == login);
    let further = lines(groups, 4).filter(member).filter_map(|line| line[2].parse().ok()).collect();
    Ok(User { uid, gid: first, groups: further })
}

/// A group by name or number.
///
/// # Errors
/// `InvalidSpec` for a name that is neither listed nor a number.
pub(crate) fn group(wanted: &str, groups: &str) -> Result<u32> {
    let listed = lines(groups, 3).find(|line| line[0] == wanted).and_then(|line| line[2].parse().ok());
    listed.or_else(|| wanted.parse().ok()).ok_or_else(|| unknown("group", wanted))
}

/// The home directory of `uid`.
pub(crate) fn home(uid: u32, passwd: &str) -> Option<String> {
    let line = lines(passwd, 6).find(|line| line[2].parse() == Ok(uid))?;
    (!line[5].is_empty()).then(|| line[5].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken\nwww:x:33:34:web:/var/www:/bin/false\n";
    const GROUPS: &str = "root:x:0:\nwww:x:34:\ntape:x:26:www,root\naudio:x:29:www\n";

    #[test]
    fn a_name_brings_its_groups() {
        let found = user("www", "", PASSWD, GROUPS).unwrap();
        assert_eq!(found, User { uid: 33, gid: 34, groups: vec![26, 29] });
    }

    #[test]
    fn an_explicit_group_replaces_the_further_ones() {
        assert_eq!(user("www", "audio", PASSWD, GROUPS).unwrap(), User { uid: 33, gid: 29, groups: vec![] });
        assert_eq!(user("33", "7", PASSWD, GROUPS).unwrap(), User { uid: 33, gid: 7, groups: vec![] });
    }

    #[test]
    fn a_number_needs_no_entry_and_nobody_is_root() {
        assert_eq!(user("4711", "", PASSWD, GROUPS).unwrap(), User { uid: 4711, gid: 0, groups: vec![] });
        assert_eq!(user("", "", "", "").unwrap(), User { uid: 0, gid: 0, groups: vec![] });
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_it() {
        assert_eq!(
            user("bob", "", PASSWD, GROUPS).unwrap_err().to_string(),
            "user bob: no such user in the image's /etc/passwd"
        );
        assert!(user("www", "staff", PASSWD, GROUPS).is_err());
    }

    #[test]
    fn home_is_by_number() {
        assert_eq!(home(33, PASSWD).as_deref(), Some("/var/www"));
        assert_eq!(home(34, PASSWD), None);
    }
}
