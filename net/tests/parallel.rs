//! Many at once.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Barrier;

use nix::sched::{CloneFlags, setns};

use rbox_net::dns::Upstream;

use crate::world::{Host, Netns, greeting, request, rules};

#[test]
fn forty_at_once_get_addresses_and_ports_of_their_own() {
    need!(Root, Iptables);
    const COUNT: usize = 40;
    let host = Host::new();
    let before = host.traces().0;
    let here = File::open("/proc/thread-self/ns/net").unwrap();
    let (all_up, all_seen) = (Barrier::new(COUNT), Barrier::new(COUNT));
    let one = |number: usize| {
        setns(here.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
        let netns = Netns::new();
        let name: &'static str = format!("c{number}").leak();
        let reservation = host.networks.reserve(&request(name, &["80"]).unwrap()).unwrap();
        let endpoint = reservation.connect(netns.0.as_fd(), Upstream::host()).unwrap();
        netns.serve(80, name);
        let record = endpoint.records()[0].clone();
        all_up.wait();
        assert_eq!(greeting("127.0.0.1", record.ports[0].host.first()).as_deref(), Ok(name));
        all_seen.wait();
        drop(netns);
        let errors = endpoint.disconnect();
        assert!(errors.is_empty(), "{errors:?}");
        (record.attachment.unwrap().address, record.ports[0].host.first())
    };
    let got: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..COUNT)
            .map(|number| {
                scope.spawn({
                    let one = &one;
                    move || one(number)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(got.iter().map(|(address, _)| address).collect::<HashSet<_>>().len(), COUNT);
    assert_eq!(got.iter().map(|(_, port)| port).collect::<HashSet<_>>().len(), COUNT);
    assert_eq!(host.traces().0.split(' ').filter(|link| *link != "rbox0").collect::<Vec<_>>().join(" "), before);
    assert!(!rules().contains("comment"), "{}", rules());
    assert_eq!(rules().matches("-A FORWARD -j RBOX-USER").count(), 1, "{}", rules());
    assert_eq!(host.networks.endpoints().unwrap().len(), 0);
}
