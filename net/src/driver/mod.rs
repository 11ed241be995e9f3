//! How each kind of network is made. `host` and `none` need nothing: their containers get no link.

pub(crate) mod bridge;
