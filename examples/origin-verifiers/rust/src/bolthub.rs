//! The checks of `X-Gateway-Signature`, as bolthub's own verifiers make them.
//!
//! What they leave open is open here too: the query, the authority and all other fields may be
//! changed on the way, and a request may be sent again for 30 seconds.

use crate::{Received, unhex};
use aws_lc_rs::hmac;

/// How old a request may be. One from the future is refused.
const FRESH_MS: i128 = 30_000;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// A field is missing, empty, or came twice; the timestamp is no number.
    #[error("malformed")]
    Malformed,
    /// Signed more than 30 seconds ago, or in the future.
    #[error("stale")]
    Stale,
    /// The signature is of another request, or of another secret.
    #[error("mismatch")]
    Mismatch,
}

/// Checks a request against any of the secrets. `received.target` is the path in the form the
/// gateway signs (`path_form`): raw, or percent-decoded; a query is not looked at.
///
/// # Errors
/// See [`Refused`].
pub fn verify(secrets: &[&str], received: &Received<'_>, now_ms: u64) -> Result<(), Refused> {
    let field = |name| {
        let value = received.text(name).filter(|value| !value.is_empty());
        value.ok_or(Refused::Malformed)
    };
    let (time, nonce) = (field("x-gateway-timestamp")?, field("x-gateway-nonce")?);
    let tag = field("x-gateway-signature")?;
    let digits = (1..=15).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
    let signed_at: i128 = match time.parse() {
        Ok(at) if digits => at,
        Ok(_) | Err(_) => return Err(Refused::Malformed),
    };
    if !(0..=FRESH_MS).contains(&(i128::from(now_ms) - signed_at)) {
        return Err(Refused::Stale);
    }
    let tag = unhex(tag).ok_or(Refused::Mismatch)?;
    let path = received.target.split('?').next().unwrap_or_default();
    let mut canonical = [received.method, path, time, nonce, ""]
        .join("\n")
        .into_bytes();
    canonical.extend_from_slice(received.body);
    let fits = |secret: &&&str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        !secret.is_empty() && hmac::verify(&key, &canonical, &tag).is_ok()
    };
    secrets
        .iter()
        .find(fits)
        .map(|_| ())
        .ok_or(Refused::Mismatch)
}
