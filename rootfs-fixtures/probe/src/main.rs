//! Runs inside a container under test and prints what it sees there, as JSON.
fn main() {}
