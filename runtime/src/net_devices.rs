//! `linux.netDevices`: devices of the host that go into the container (runtime-spec config-linux.md#network-devices).
//!
//! ```text
//!   host's namespace                               container's namespace
//!   find each device, read its addresses   ┐
//!                                          ├ all of them, before any is touched
//!                                          ┘       is its new name free?
//!   down; sent away under a passing name ────────▶ found by that name; its new name; addresses; up
//! ```
//!
//! The passing name is what makes two devices able to change names, and one findable whose new name the kernel makes
//! (`eth%d`). Routes through a device end with its move: they are no attribute of it.

use crate::error::{Doing, Error, Result};
use crate::netlink::{Address, Link, NAME_MAX, Netlink};
use crate::plan::{NetDevice, Plan};
use crate::steps;
use oci_spec::runtime::Linux;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::fs::MetadataExt;

/// The devices that config.json names, by the alphabet.
///
/// # Errors
/// `InvalidSpec` for names that cannot be.
pub(crate) fn wanted(linux: &Linux) -> Result<Vec<NetDevice>> {
    let mut all = Vec::new();
    for (host, device) in linux.net_devices().iter().flatten() {
        let refused =
            |path: &str, name: &str| Err(Error::spec(path, format!("{name:?} is no name for a network device")));
        if !is_name(host) || host.contains('%') {
            return refused("linux.netDevices", host);
        }
        let inside = device.name().clone().filter(|name| !name.is_empty()).unwrap_or_else(|| host.clone());
        if !is_name(&inside) || !is_plain_or_template(&inside) {
            return refused(&format!("linux.netDevices.{host}.name"), &inside);
        }
        all.push(NetDevice { host: host.clone(), inside });
    }
    all.sort_by(|one, other| one.host.cmp(&other.host));
    let taken = |at: usize, device: &NetDevice| {
        !device.is_template() && all[..at].iter().any(|other| other.inside == device.inside)
    };
    match all.iter().enumerate().find(|(at, device)| taken(*at, device)) {
        Some((_, NetDevice { host, inside })) => {
            let path = format!("linux.netDevices.{host}");
            Err(Error::spec(&path, format!("two devices cannot both be {inside}")))
        }
        None => Ok(all),
    }
}

/// The kernel's `dev_valid_name` (net/core/dev.c).
fn is_name(name: &str) -> bool {
    let odd = |byte: u8| matches!(byte, b'/' | b':' | 0x0b) || byte.is_ascii_whitespace() || byte == 0;
    !matches!(name, "" | "." | "..") && name.len() <= NAME_MAX && !name.bytes().any(odd)
}

/// No `%`, or a single `%d`: the kernel's `__dev_alloc_name`.
fn is_plain_or_template(name: &str) -> bool {
    !name.replacen("%d", "", 1).contains('%')
}

impl NetDevice {
    /// The kernel makes the name.
    fn is_template(&self) -> bool {
        self.inside.contains('%')
    }
}

/// Devices that are in the container's namespace; they go back unless they are told to stay.
pub(crate) struct Moved {
    sides: Option<Sides>,
    devices: Vec<OnItsWay>,
}

struct Sides {
    host: Netlink,
    host_namespace: OwnedFd,
    inside: Netlink,
    namespace: OwnedFd,
}

/// A device and what it was on the host.
struct OnItsWay {
    name: NetDevice,
    link: Link,
    addresses: Vec<Address>,
    /// What it is called while it is moved.
    passing: String,
    /// Its number in the container, once it is known.
    inside: Option<i32>,
}

/// Move the devices of `plan` into the network namespace of its child `pid`, which waits.
///
/// # Errors
/// `InvalidSpec` for a namespace or a name that is taken; `Os` for what the kernel refuses. All is as before then.
pub(crate) fn move_in(plan: &Plan, pid: i32) -> Result<Moved> {
    let mut moved = Moved { sides: None, devices: vec![] };
    if plan.net_devices.is_empty() {
        return Ok(moved);
    }
    let sides = moved.sides.insert(Sides::open(plan, pid)?);
    let found = plan.net_devices.iter().map(|device| sides.find(device)).collect::<Result<Vec<_>>>()?;
    for device in found {
        // Noted first: what fails half way is taken back by what is noted.
        moved.devices.push(device);
        let (Some(sides), Some(device)) = (&moved.sides, moved.devices.last_mut()) else { break };
        let name = device.name.clone();
        rbox_explain::step(
            &steps::NET_DEVICE,
            || format!("RTM_NEWLINK({} to {pid} as {})", name.host, name.inside),
            || sides.move_in(device),
        )
        .doing(|| format!("move network device {} into the container", name.host))?;
    }
    Ok(moved)
}

impl Moved {
    /// They are the container's now.
    pub(crate) fn stay(mut self) {
        self.devices.clear();
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        let Some(sides) = &self.sides else { return };
        while let Some(device) = self.devices.pop() {
            // The error that brought us here is the one to be reported.
            let _ = sides.give_back(&device);
        }
    }
}

impl Sides {
    fn open(plan: &Plan, pid: i32) -> Result<Sides> {
        let doing = || "open the container's network namespace".to_owned();
        let here = File::open("/proc/self/ns/net").doing(doing)?;
        let namespace = match &plan.joined_network {
            Some(joined) => joined.try_clone(),
            None => File::open(format!("/proc/{pid}/ns/net")).map(OwnedFd::from),
        };
        let there = File::from(namespace.doing(doing)?);
        let identity = |file: &File| file.metadata().map(|data| (data.st_dev(), data.st_ino()));
        if identity(&here).doing(doing)? == identity(&there).doing(doing)? {
            return Err(Error::spec("linux.netDevices", NEEDS_OWN));
        }
        Ok(Sides {
            host: Netlink::here().doing(doing)?,
            inside: Netlink::inside(there.as_fd()).doing(doing)?,
            host_namespace: here.into(),
            namespace: there.into(),
        })
    }

    /// What a device is, and that its new name is free.
    fn find(&self, name: &NetDevice) -> Result<OnItsWay> {
        let doing = || format!("find network device {}", name.host);
        let link = self.host.link(&name.host).doing(doing)?;
        // Before it is down: without a link the kernel forgets the addresses of IPv6.
        // differs from runc: which reads them afterwards, and loses them.
        let addresses = self.host.addresses(link.index).doing(doing)?;
        if !name.is_template() {
            match self.inside.link(&name.inside) {
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error).doing(|| format!("look for {} in the container", name.inside)),
                Ok(_) => {
                    let why = format!("the container has a network device {} already", name.inside);
                    return Err(Error::spec(&format!("linux.netDevices.{}", name.host), why));
                }
            }
        }
        let passing = format!("rbox-{}", link.index);
        Ok(OnItsWay { name: name.clone(), link, addresses, passing, inside: None })
    }

    fn move_in(&self, device: &mut OnItsWay) -> io::Result<()> {
        self.host.set_up(device.link.index, false)?;
        self.host.send_away(device.link.index, self.namespace.as_fd(), &device.passing)?;
        let index = self.inside.link(&device.passing)?.index;
        device.inside = Some(index);
        self.inside.rename(index, &device.name.inside)?;
        for address in device.addresses.iter().filter(|address| address.is_lasting_and_global()) {
            self.inside.add_address(index, address, (&device.name.host, &device.name.inside))?;
        }
        self.inside.set_up(index, true)
    }

    /// As it was, from wherever it has come to.
    fn give_back(&self, device: &OnItsWay) -> io::Result<()> {
        let name = &device.name.host;
        if let Some(index) = device.inside.or_else(|| Some(self.inside.link(&device.passing).ok()?.index)) {
            // Whatever is refused: the next thing may be possible.
            let _ = self.inside.set_up(index, false);
            self.inside.send_away(index, self.host_namespace.as_fd(), name)?;
        }
        let index = self.host.link(name)?.index;
        if let Some(master) = device.link.master {
            let _ = self.host.enslave(index, master);
        }
        for address in device.addresses.iter().filter(|address| !address.is_kernels()) {
            let _ = self.host.add_address(index, address, (name, name));
        }
        if device.link.is_up { self.host.set_up(index, true) } else { Ok(()) }
    }
}

/// Where the container shares the network of the host, there is nowhere to move a device to.
pub(crate) const NEEDS_OWN: &str = "needs a network namespace of the container's own";
