//! `X-Tollkeep-Signature`, version 1: method, authority, path, query, body and named fields.
//!
//! The canonical text, LF between its lines and none at its end: `TOLLKEEP-ORIGIN-V1`, key id,
//! Unix seconds, nonce, method, authority as in `Host`, path as sent, query as sent, the body's
//! hash or `UNSIGNED`, the names of covered fields, and a line `name:value` for each.

use super::{SigningKey, hex};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The first line of the canonical text.
const VERSION: &[u8] = b"TOLLKEEP-ORIGIN-V1";

/// What is signed.
pub struct Message<'a> {
    /// Seconds since 1970.
    pub unix_s: u64,
    /// Random.
    pub nonce: &'a [u8; 16],
    /// The method as sent.
    pub method: &'a [u8],
    /// The value of `Host` as sent.
    pub authority: &'a [u8],
    /// The path as sent.
    pub path: &'a [u8],
    /// The query as sent, without `?`; empty if there is none.
    pub query: &'a [u8],
    /// The body; `None` leaves it open.
    pub body: Option<&'a [u8]>,
    /// Names of fields, lower case and sorted, with the values they were sent with.
    pub covered: &'a [(&'a [u8], &'a [u8])],
}

/// Signs; the value of `X-Tollkeep-Signature`.
pub fn sign(key: &SigningKey, message: &Message<'_>) -> String {
    let time = message.unix_s.to_string();
    let nonce = BASE64_URL_SAFE_NO_PAD.encode(message.nonce);
    let body = message.body.map_or_else(
        || "UNSIGNED".to_owned(),
        |body| hex(&crate::sha256(&[body])),
    );
    let names: Vec<&[u8]> = message.covered.iter().map(|(name, _)| *name).collect();
    let names = names.join(&b';');
    let mut canonical = [
        VERSION,
        key.id.as_bytes(),
        time.as_bytes(),
        nonce.as_bytes(),
        message.method,
        message.authority,
        message.path,
        message.query,
        body.as_bytes(),
        &names,
    ]
    .join(&b'\n');
    for (name, value) in message.covered {
        for part in [b"\n", *name, b":", value] {
            canonical.extend_from_slice(part);
        }
    }
    let names = String::from_utf8_lossy(&names);
    let signature = key.sign(&[&canonical]);
    format!(
        "t={time},n={nonce},k={},b={body},h={names},v1={signature}",
        key.id
    )
}
