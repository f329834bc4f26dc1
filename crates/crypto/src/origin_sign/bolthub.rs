//! The signature of bolthub's gateway: `METHOD LF PATH LF TIMESTAMP LF NONCE LF BODY`.
//!
//! It covers neither query nor authority nor any other field, and its verifiers remember nothing,
//! so a request can be sent again for 30 seconds. [`super::v1`] closes these gaps.

use super::SigningKey;
use std::borrow::Cow;

/// What is signed.
pub struct Message<'a> {
    /// The method as sent.
    pub method: &'a [u8],
    /// The path in the form that the verifier sees, without query.
    pub path: &'a [u8],
    /// Milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Random.
    pub nonce: &'a [u8; 16],
    /// The body; verifiers read it as text.
    pub body: &'a [u8],
}

/// The values of `X-Gateway-Timestamp`, `X-Gateway-Nonce` and `X-Gateway-Signature`.
pub struct Signed {
    /// Milliseconds since 1970, decimal.
    pub timestamp: String,
    /// 32 lower-case hex digits.
    pub nonce: [u8; 32],
    /// 64 lower-case hex digits.
    pub signature: String,
}

/// The body is not UTF-8: what verifiers would read of it is not what was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the body is not UTF-8")]
pub struct BodyNotText;

/// Signs.
///
/// # Errors
/// See [`BodyNotText`].
pub fn sign(key: &SigningKey, message: &Message<'_>) -> Result<Signed, BodyNotText> {
    if std::str::from_utf8(message.body).is_err() {
        return Err(BodyNotText);
    }
    let timestamp = message.timestamp_ms.to_string();
    let nonce = tollkeep_types::hex(message.nonce);
    let signature = key.sign(&[
        message.method,
        b"\n",
        message.path,
        b"\n",
        timestamp.as_bytes(),
        b"\n",
        &nonce,
        b"\n",
        message.body,
    ]);
    Ok(Signed {
        timestamp,
        nonce,
        signature,
    })
}

/// The path as frameworks show it that decode before they route (Flask, Django, Starlette). A `%`
/// without two hex digits stays.
pub fn decoded(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b'%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail
            .first_chunk::<2>()
            .and_then(|[high, low]| Some(value(*high)? << 4 | value(*low)?));
        if let (b'%', Some(byte)) = (first, digits) {
            decoded.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    Cow::Owned(decoded)
}

const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
