//! The binary: commands and assembly.

fn main() {}
