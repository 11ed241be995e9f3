//! (being written)
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) program: Vec<u8>,
    pub(crate) flags: u64,
}
#[derive(Debug, thiserror::Error)]
#[error("seccomp")]
pub struct Error;
pub(crate) fn cached(_p: &oci_spec::runtime::LinuxSeccomp, _d: Option<&std::path::Path>) -> Result<Filter, Error> {
    Err(Error)
}
