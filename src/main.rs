//! The `barmanapi` program.
fn main() {}
