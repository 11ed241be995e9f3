//! An image's configuration and the flags of `rbox run`, made into an OCI configuration: what Docker would write.
//!
//! ```text
//!   image config ──┐
//!   flags ─────────┼──▶ build ──▶ Prepared { spec, … } ──▶ the runtime
//!   host (facts) ──┘
//! ```
//!
//! [`Host::read`] is the one place that looks at the machine; everything behind it is a pure function of its arguments,
//! so the tables below are tested without a container. The model is moby's `daemon/oci_linux.go` and `oci/defaults.go`.
//!
//! Users stay words: `process.user.username` carries `USER[:GROUP]` as typed (or as the image says), and the runtime
//! looks it up in the root file system's own /etc/passwd and /etc/group; so do [`Prepared::groups`].

mod capabilities;
mod devices;
mod egress;
mod files;
mod host;
mod mounts;
mod namespaces;
mod process;
mod resources;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use oci_spec::image::{Config, ImageConfiguration};
use oci_spec::runtime::{
    Capabilities, Linux, LinuxCapabilities, LinuxNamespaceType, LinuxResources, LinuxSeccomp, Root, Spec,
};

pub(crate) use files::environment as read_environment;
pub(crate) use host::{Caller, Host, Joined, Link};
pub(crate) use mounts::bind;
pub(crate) use process::{environment, replace_or_append};

use crate::cli::value::{self, SeccompChoice, SecurityOpt, SeparateMode};
use crate::cli::{ResourceFlags, RunArgs};
use crate::report::Problem;

/// The version of the runtime specification whose fields are written here.
pub(crate) const OCI_VERSION: &str = "1.3.0";

/// What a container is made of.
pub(crate) struct Request<'a> {
    /// Its identifier: 64 hexadecimal digits.
    pub(crate) id: &'a str,
    /// Its root file system.
    pub(crate) root: &'a Path,
    /// The image's configuration; `None` with `--rootfs`.
    pub(crate) image: Option<&'a ImageConfiguration>,
    /// What was typed.
    pub(crate) flags: &'a RunArgs,
    /// What the machine has.
    pub(crate) host: &'a Host,
    /// Docker's default filter of system calls for a program with these capabilities.
    pub(crate) default_seccomp: &'a dyn Fn(&Capabilities) -> LinuxSeccomp,
}

/// A container's configuration, and what of the flags it has no place for.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The OCI configuration.
    pub(crate) spec: Spec,
    /// Whether the small init runs as process 1 (`--init`, in a pid namespace of its own).
    pub(crate) init: bool,
    /// Groups of `--group-add` that are names, to be looked up in the root file system; numbers are in the spec.
    pub(crate) groups: Vec<String>,
    /// Sources of `-v` that are not there, to be made as directories.
    pub(crate) make_directories: Vec<PathBuf>,
    /// The host name inside.
    pub(crate) hostname: String,
    /// The entry point; the program's first words.
    pub(crate) entrypoint: Vec<String>,
    /// The words behind it.
    pub(crate) command: Vec<String>,
    /// The user's and the image's variables, without those that every container gets.
    pub(crate) variables: Vec<String>,
    /// The image's labels and those of the flags.
    pub(crate) labels: BTreeMap<String, String>,
    /// `80/tcp`: what the image and `--expose` say the program listens on.
    pub(crate) exposed: BTreeSet<String>,
    /// What asks the program to end.
    pub(crate) stop_signal: Signal,
    /// Seconds between that and SIGKILL; -1 waits for ever.
    pub(crate) stop_timeout: Option<i32>,
}

impl Request<'_> {
    fn config(&self) -> Option<&Config> {
        self.image.and_then(|image| image.config().as_ref())
    }

    fn hostname(&self) -> String {
        let own = || self.id.chars().take(12).collect();
        if let Some(joined) = &self.host.joined {
            return joined.hostname.clone();
        }
        match &self.flags.container.hostname {
            Some(name) if !name.is_empty() => name.clone(),
            _ if self.flags.network.is_host() || self.flags.namespaces.uts == SeparateMode::Host => {
                self.host.hostname.clone()
            }
            _ => own(),
        }
    }

    fn stop_signal(&self) -> Result<Signal, Problem> {
        match (self.flags.container.stop_signal, self.config().and_then(|c| c.stop_signal().as_deref())) {
            (Some(signal), _) => Ok(signal),
            (None, Some(name)) if !name.is_empty() => {
                value::signal(name).map_err(|why| Problem::new(format!("image: stop signal {name}: {why}")))
            }
            _ => Ok(Signal::SIGTERM),
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let of_image = self.image.and_then(ImageConfiguration::labels_of_config).cloned().unwrap_or_default();
        let typed = self.flags.container.label.iter().cloned();
        of_image.into_iter().chain(self.host.labels.iter().cloned()).chain(typed).collect()
    }
}

/// Make the OCI configuration.
///
/// Errors: flags that contradict each other, ask for more than the machine has, or leave no program to run.
pub(crate) fn build(request: &Request<'_>) -> Result<Prepared, Problem> {
    let flags = request.flags;
    check(flags)?;
    egress::check(request)?;
    let mut capabilities = capabilities::of(flags, request.host);
    if egress::is_guarded(request) {
        capabilities.retain(|capability| !egress::is_way_round(*capability));
    }
    let profile = seccomp_profile(request, &capabilities)?;
    let (numbers, groups) = process::groups(&flags.security.group_add);

    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.into());
    spec.set_root(Some(root(request.root, flags.files.read_only)));
    spec.set_process(Some(process::process(request, &capabilities, numbers)?));
    spec.set_hostname((flags.namespaces.uts == SeparateMode::Private).then(|| request.hostname()));
    spec.set_mounts(Some(mounts::mounts(flags, request.host)?));
    spec.set_linux(Some(linux(request, profile)?));
    let annotations: HashMap<_, _> = flags.container.annotation.iter().cloned().collect();
    spec.set_annotations((!annotations.is_empty()).then_some(annotations));

    let (entrypoint, command) = process::entrypoint_and_command(flags, request.config());
    Ok(Prepared {
        spec,
        entrypoint,
        command,
        variables: process::variables(request),
        init: flags.container.init && flags.namespaces.pid == SeparateMode::Private,
        groups,
        make_directories: mounts::to_make(flags, request.host),
        hostname: request.hostname(),
        labels: request.labels(),
        exposed: exposed(request.flags, request.image),
        stop_signal: request.stop_signal()?,
        stop_timeout: flags.container.stop_timeout,
    })
}

/// Have the container join the network namespace at `path`, in place of a new one. With `--network host` it has neither.
pub(crate) fn join_network(spec: &mut Spec, path: &Path) {
    let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if namespace.typ() == LinuxNamespaceType::Network {
            namespace.set_path(Some(path.to_owned()));
        }
    }
}

/// Flags that contradict each other, whatever the image and the machine are (moby `runconfig/hostconfig_unix.go`).
fn check(flags: &RunArgs) -> Result<(), Problem> {
    let namespaces = &flags.namespaces;
    let named = flags.container.hostname.is_some() || flags.container.domainname.is_some();
    if namespaces.uts == SeparateMode::Host && named {
        return Err(Problem::new("--uts host: the host's name is not the container's to set"));
    }
    if flags.network.is_host()
        && let Some((key, _)) = flags.security.sysctl.iter().find(|(key, _)| key.starts_with("net."))
    {
        return Err(Problem::new(format!("--sysctl {key}: it would change the host's network")));
    }
    Ok(())
}

/// The ports that a container's program listens on, by what the image and the flags say.
pub(crate) fn exposed(flags: &RunArgs, image: Option<&ImageConfiguration>) -> BTreeSet<String> {
    let of_image = image.and_then(|image| image.config().as_ref()?.exposed_ports().clone()).unwrap_or_default();
    let of_image = of_image.iter().filter_map(|port| value::exposed(port).ok());
    of_image.chain(flags.network.expose.iter().cloned()).collect()
}

/// What cannot be said of a network that is another container's, or that has no names (moby `hostconfig_unix.go`).
///
/// Errors: the flag that cannot be.
pub(crate) fn check_network(flags: &RunArgs) -> Result<(), Problem> {
    let network = &flags.network;
    if !network.link.is_empty() && (network.joined().is_some() || ["host", "none"].contains(&network.name())) {
        return Err(Problem::new(format!("--link: no other container is reached on network {}", network.name())));
    }
    let Some(target) = network.joined() else { return Ok(()) };
    let refused = [
        ("--egress", !network.egress.is_empty()),
        ("--publish", !network.publish.is_empty()),
        ("--publish-all", network.publish_all),
        ("--expose", !network.expose.is_empty()),
        ("--hostname", flags.container.hostname.is_some()),
        ("--dns", !network.dns.is_empty()),
        ("--add-host", !network.add_host.is_empty()),
        ("--mac-address", network.mac_address.is_some()),
        ("--network-alias", !network.network_alias.is_empty()),
    ];
    match refused.iter().find(|(_, typed)| *typed) {
        None => Ok(()),
        Some((flag, _)) => {
            let message = format!("{flag}: it cannot stand beside --network container:{target}");
            Err(Problem::new(message).hint(format!("all of the network is container {target}'s: say it there")))
        }
    }
}

fn root(path: &Path, read_only: bool) -> Root {
    let mut root = Root::default();
    root.set_path(path.to_owned());
    root.set_readonly(Some(read_only));
    root
}

fn linux(request: &Request<'_>, profile: Option<LinuxSeccomp>) -> Result<Linux, Problem> {
    let (flags, host) = (request.flags, request.host);
    let (devices, rules) = devices::devices(flags, host);
    let shielded = !flags.security.privileged && !has(flags, &SecurityOpt::SystemPathsUnconfined);
    let mut linux = Linux::default();
    linux.set_namespaces(Some(namespaces::namespaces(flags, host)));
    linux.set_sysctl(namespaces::sysctls(flags, host));
    linux.set_resources(Some(resources::resources(&flags.resources, host, rules)?));
    linux.set_cgroups_path(Some(resources::cgroup(&flags.resources, request.id)));
    linux.set_devices((!devices.is_empty()).then_some(devices));
    linux.set_seccomp(profile);
    linux.set_masked_paths(Some(if shielded { namespaces::masked_paths(host) } else { Vec::new() }));
    linux.set_readonly_paths(Some(if shielded { namespaces::read_only_paths() } else { Vec::new() }));
    linux.set_rootfs_propagation(mounts::root_propagation(flags));
    Ok(linux)
}

/// All capabilities that rbox itself has: a program of `exec --privileged` gets them.
pub(crate) fn all_capabilities() -> LinuxCapabilities {
    capabilities::sets(&capabilities::all(host::own_capabilities()))
}

/// The processors, the memory and the disks of `update`, made into limits. Devices stay as they are.
///
/// Errors: as those of the flags of `run`.
pub(crate) fn limits(flags: &ResourceFlags, host: &Host) -> Result<LinuxResources, Problem> {
    let mut resources = resources::resources(flags, host, Vec::new())?;
    resources.set_devices(None);
    Ok(resources)
}

fn has(flags: &RunArgs, option: &SecurityOpt) -> bool {
    flags.security.security_opt.contains(option)
}

/// The filter of system calls. The last `seccomp=` counts; a privileged program has none unless one is asked for.
fn seccomp_profile(request: &Request<'_>, capabilities: &Capabilities) -> Result<Option<LinuxSeccomp>, Problem> {
    let security = &request.flags.security;
    let typed = security.security_opt.iter().rev().find_map(|option| match option {
        SecurityOpt::Seccomp(choice) => Some(choice),
        _ => None,
    });
    match (typed, &request.host.seccomp) {
        (Some(SeccompChoice::Unconfined), _) => Ok(None),
        (Some(SeccompChoice::File(file)), Some(text)) => {
            let profile = rbox_runtime::seccomp::profile_from_json(text, capabilities);
            profile.map(Some).map_err(|error| Problem::new(format!("seccomp profile {}: {error}", file.display())))
        }
        (None, _) if security.privileged => Ok(None),
        _ if egress::is_guarded(request) => Ok(Some(egress::narrow((request.default_seccomp)(capabilities)))),
        _ => Ok(Some((request.default_seccomp)(capabilities))),
    }
}

#[cfg(test)]
mod tests;
