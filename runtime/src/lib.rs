//! rbox-runtime
