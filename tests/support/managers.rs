//! The real ufw and firewalld, with files of their own, in a private host.

use std::time::{Duration, Instant};

use super::{Host, Running};

/// A bus and a firewalld that end with the host.
const FIREWALLD: &str = "set -e; exec >$d/firewalld.log 2>&1; mount -t tmpfs tmpfs /run; cp -a /etc/firewalld $d/etc
     mount --bind $d/etc /etc/firewalld
     dbus-daemon --config-file=/usr/share/dbus-1/system.conf --address=unix:path=/run/rbox-test-bus --nofork --nopidfile &
     while ! [ -S /run/rbox-test-bus ]; do sleep 0.02; done
     DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/rbox-test-bus exec firewalld --nofork --nopid";
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A command line of firewall-cmd that finds this firewalld.
pub(crate) fn firewall_cmd(words: &str) -> String {
    format!("DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/rbox-test-bus firewall-cmd {words}")
}

impl Host {
    /// Enable ufw. Containers are let through FORWARD, as Docker's users have it: in nftables each table has its say.
    #[track_caller]
    pub(crate) fn enable_ufw(&self) {
        self.shell(&format!(
            "set -e; d={}; cp -a /etc/ufw $d/ufw; cp /etc/default/ufw $d/default
             sed -i 's/^IPV6=.*/IPV6=yes/' $d/default
             mount --bind $d/ufw /etc/ufw; mount --bind $d/default /etc/default/ufw
             ufw default allow routed; ufw --force enable",
            self.path("").display()
        ))
        .ok();
    }

    /// Start firewalld, and wait until it runs.
    #[track_caller]
    pub(crate) fn start_firewalld(&self) -> Running {
        let script = format!("d={}; {FIREWALLD}", self.path("").display());
        let running = self.spawn("/bin/sh", &["-c", &script]);
        let end = Instant::now() + STARTS_WITHIN;
        while self.shell(&firewall_cmd("--state")).text() != "running" {
            let log = || std::fs::read_to_string(self.path("firewalld.log")).unwrap_or_default();
            assert!(Instant::now() < end, "firewalld does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }
}
