//! Signatures by which an origin knows that a request came through the gateway, unchanged.
//!
//! Two forms: [`bolthub`], which existing verifiers of that gateway check, and [`v1`], ours, which
//! covers more. Both are HMAC-SHA256 over a canonical text. Times and nonces are handed in.

pub mod bolthub;
pub mod v1;

use crate::digest::bytes_of;
use aws_lc_rs::hmac;
use std::fmt;

/// A key that requests are signed with, under the name an origin knows it by.
pub struct SigningKey {
    id: Box<str>,
    key: hmac::Key,
}

impl SigningKey {
    /// The key of these bytes; its schedule is made once, here.
    pub fn new(id: &str, secret: &[u8]) -> Self {
        Self {
            id: id.into(),
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// The lower-case hex of the HMAC over the parts, one after the other.
    fn sign(&self, parts: &[&[u8]]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(part);
        }
        hex(&bytes_of(context.sign().as_ref()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, …)", self.id)
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    let (halves, _) = bytes.as_chunks::<16>();
    let digits: Vec<u8> = halves.iter().flat_map(tollkeep_types::hex).collect();
    String::from_utf8(digits).unwrap_or_default()
}

#[cfg(test)]
mod tests;
