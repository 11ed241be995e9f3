//! rbox
fn main() {}
