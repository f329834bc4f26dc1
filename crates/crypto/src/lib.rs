//! Sealing, keyed hashes, minting: the one place beside `net` that names a cryptography crate.
