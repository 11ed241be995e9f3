//! The line that says who can reach what was just published: for a person who types `run -p`. Scripts never see it.

use std::io::{IsTerminal, stderr};

use rbox_net::{Networks, Opening, PortMapping};

use crate::report;

/// Say in one line who can reach a container's ports, where a person reads it: on a standard error that is a terminal. That
/// nobody outside can, since the firewall that is obeyed does not run, everybody is told.
pub(crate) fn tell(networks: &Networks, container: &str, ports: &[PortMapping]) {
    if ports.is_empty() {
        return;
    }
    if let Some(firewall) = networks.respected().filter(|_| ports.iter().any(|port| !port.host_ip.is_loopback()))
        && !networks.is_respected_running()
    {
        eprintln!("rbox: {firewall} does not run: nobody outside reaches what is published");
        eprintln!("hint: start {firewall}, or take \"respect\" out of the configuration");
    }
    if !stderr().is_terminal() {
        return;
    }
    match networks.audit_of(Some(container)) {
        Ok(audit) => eprintln!("rbox: {}", line(&audit.openings)),
        // The container runs all the same.
        Err(error) => report::warn(&error.into()),
    }
}

/// `reachable from anyone: 0.0.0.0:8080/tcp, [::]:8080/tcp; from this host: 127.0.0.1:81/tcp`
fn line(openings: &[Opening]) -> String {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for opening in openings {
        let reach = opening.reach.to_string();
        match groups.iter_mut().find(|(of, _)| *of == reach) {
            Some((_, places)) => places.push(opening.place()),
            None => groups.push((reach, vec![opening.place()])),
        }
    }
    let words: Vec<String> =
        groups.iter().map(|(reach, places)| format!("from {reach}: {}", places.join(", "))).collect();
    let has_more = openings.iter().any(|opening| !opening.remarks.is_empty());
    let more = if has_more { " (more: rbox network audit)" } else { "" };
    format!("reachable {}{more}", words.join("; "))
}
