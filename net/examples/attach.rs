//! How long connecting a container takes: medians of 50, in a network namespace of its own. Run as root.
//!
//! `cargo run --release -p rbox-net --example attach`

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rbox_net::dns::Upstream;
use rbox_net::{EPHEMERAL_PORTS, EndpointRequest, Networks, Owner, Request};

const RUNS: usize = 50;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    // Our own "host": nothing of the machine changes.
    unshare(CloneFlags::CLONE_NEWNET)?;
    let state = tempfile::tempdir()?;
    let networks = Networks::open(state.path(), state.path())?;
    let mut out = std::io::stdout();
    writeln!(out, "{:<28}{:>9}{:>9}{:>9}{:>9}  (ms, median of {RUNS})", "", "reserve", "connect", "leave", "finish")?;
    for (title, publish) in [
        ("no port", vec![]),
        ("-p 8080:80", vec!["8080:80"]),
        ("-p 20000-29999:20000-29999", vec!["20000-29999:20000-29999"]),
    ] {
        let mut times: [Vec<Duration>; 4] = Default::default();
        for run in 0..RUNS {
            one(&networks, &publish, run, &mut times)?;
        }
        write!(out, "{title:<28}")?;
        for list in &mut times {
            list.sort();
            write!(out, "{:>9.2}", list[RUNS / 2].as_secs_f64() * 1e3)?;
        }
        writeln!(out)?;
    }
    let began = Instant::now();
    drop(networks);
    writeln!(out, "{:<28}{:>9.2}", "close", began.elapsed().as_secs_f64() * 1e3)?;
    Ok(())
}

fn one(networks: &Networks, publish: &[&str], run: usize, times: &mut [Vec<Duration>; 4]) -> Result<(), Error> {
    let owner = Owner {
        container: format!("{run:064x}"),
        name: format!("run{run}"),
        pid: 1,
        start_time: 1,
        boot_id: String::new(),
        netns: None,
    };
    let request = Request {
        owner,
        hostname: "attach".into(),
        networks: vec![EndpointRequest { network: "bridge".into(), ..EndpointRequest::default() }],
        publish: publish.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
        names_on_default: false,
        publish_at: None,
        ephemeral_ports: EPHEMERAL_PORTS,
        egress: None,
    };
    let mut took = |of: usize, since: Instant| times[of].push(since.elapsed());
    let netns = namespace()?;
    let began = Instant::now();
    let reservation = networks.reserve(&request)?;
    took(0, began);
    let began = Instant::now();
    let endpoint = reservation.connect(netns.as_fd(), Upstream::host())?;
    took(1, began);
    // As long as a short program runs; the kernel takes the namespace of the run before apart meanwhile.
    std::thread::sleep(Duration::from_millis(15));
    // The container ends: nobody has its namespace open any more.
    drop(netns);
    let began = Instant::now();
    let leaving = endpoint.leave();
    took(2, began);
    let began = Instant::now();
    let errors = leaving.finish();
    took(3, began);
    match errors.into_iter().next() {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}

/// A network namespace that lives as long as the file is open.
fn namespace() -> Result<File, Error> {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net")
    });
    Ok(thread.join().map_err(|_| "the thread panicked")??)
}
