//! Sealing, keyed hashes, minting: the one place beside `net` that names a cryptography crate.
//!
//! Everything here is a thin, exact use of aws-lc-rs; no primitive is our own.

#![warn(missing_docs)]

pub mod archive;
pub mod audit_key;
pub mod aws_sign;
mod digest;
mod entropy;
pub mod jwt;
pub mod key_text;
mod keyring;
pub mod mint;
pub mod origin_sign;
pub mod password;
pub mod price_key;
pub mod receipt;
pub mod samples;
mod token_hash;
pub mod totp;
pub mod weak;
mod webhook;

pub use digest::{Sha256, hkdf_sha256, hmac_sha256, sha256};
pub use entropy::SystemEntropy;
pub use keyring::{
    CheckError, Depth, KekState, Keyring, KeyringError, OpenError, SealContext, SealError,
    ShownKek, kek_of,
};
pub use token_hash::{LastHash, TokenHasher};
pub use webhook::webhook_signature;
