//! Whose a base chain is, where it is the one in which a firewall manager lets programs of the host be reached.

use super::{Base, Foreign, Hook, Verdict};

/// `ufw` or `firewalld`, where that runs; nothing for any other chain.
pub(crate) fn manager(base: &Base) -> Option<&'static str> {
    if base.hook != Hook::Input || base.translates {
        return None;
    }
    let rules = |chain: &str| base.chains.get(chain).map(Vec::as_slice).unwrap_or_default();
    let jumps = |chain: &str, to: &str| {
        let is = |rule: &Foreign| rule.matches.is_empty() && rule.verdict == Verdict::Jump(to.to_owned());
        rules(chain).iter().any(is)
    };
    // Switched off, ufw leaves its chains behind, and nothing in them.
    let is_ufw = |prefix: &str| {
        let (before, user) = (format!("{prefix}-before-input"), format!("{prefix}-user-input"));
        jumps(&base.chain, &before) && jumps(&before, &user)
    };
    let is_firewalld = base.table == "nft inet firewalld" && jumps(&base.chain, "filter_INPUT_ZONES");
    match () {
        () if ["ufw", "ufw6"].into_iter().any(is_ufw) => Some("ufw"),
        // The second is firewalld's older way, by iptables.
        () if is_firewalld || jumps(&base.chain, "INPUT_ZONES") => Some("firewalld"),
        () => None,
    }
}
