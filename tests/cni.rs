//! `rbox-cni`: pods on networks of rbox, as container engines join them. Each verb against the specification
//! (containernetworking/cni, SPEC.md 1.1.0), and the reference plugins of Debian's containernetworking-plugins beside it.

mod killed;
mod looks;
mod oracle;
mod owners;
mod stage;
mod verbs;
mod wishes;
