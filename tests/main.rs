//! Every test drives the real programs, as root, inside a private host of its own (`support/host.rs`).
//!
//! One file for each thing a user does; `oci_*` are the tests of the OCI runtime, and hold on runc too:
//! `RBOX_TEST_RUNTIME=runc cargo test --test rbox oci_`.
//!
//! Tests that go by chance (`model`, `model_networks`, `crash`, `audit`, `oci_seccomp`, `oci_spec_hostile`, `oci_verbs_hostile`, and in
//! the package rbox-runtime `plan::tests` and `seccomp::tests::random`) say how to repeat what failed: `RBOX_TEST_SEED`,
//! `RBOX_TEST_CASES`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

mod attach;
mod attacks;
mod audit;
mod backends;
mod bridge;
mod cleanup;
mod cni;
mod copy;
mod crash;
mod daily;
mod debian;
mod devices;
mod docker;
mod egress;
mod endings;
mod engines;
mod errors;
mod exec;
mod explain;
mod flows;
mod gc;
mod host_names;
mod hostile;
mod hostile_networks;
mod inspect;
mod install;
mod ipv6;
mod ipvlan;
mod isolation;
mod joined;
mod joiners;
mod leases;
mod legacy;
mod life;
mod live_ports;
mod living;
mod logs;
mod macvlan;
mod model;
mod model_networks;
mod monitor;
mod namespaces;
mod network;
mod networks;
mod oci_apparmor;
mod oci_cgroup;
mod oci_crowd;
mod oci_delegate;
mod oci_exec;
mod oci_files;
mod oci_hooks;
mod oci_identity;
mod oci_lifecycle;
mod oci_mounts;
mod oci_namespaces;
mod oci_net_devices;
mod oci_notify;
mod oci_rootless;
mod oci_scheduling;
mod oci_seccomp;
mod oci_spec;
mod oci_spec_hostile;
mod oci_systemd;
mod oci_terminal;
mod oci_time;
mod oci_users;
mod oci_verbs;
mod oci_verbs_features;
mod oci_verbs_flags;
mod oci_verbs_hostile;
mod oci_verbs_log;
mod oci_verbs_look;
mod parts;
mod passages;
mod pipes;
mod publish;
mod quarantine;
mod ranges;
mod register;
mod repair;
mod resources;
mod respect;
mod rules;
mod run;
mod security;
mod selftest;
mod shape;
mod stray_ipv6;
mod terminal;
