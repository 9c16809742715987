//! The `pcc` command.
fn main() {}
