//! rbox-net
