//! The checks of `X-Tollkeep-Signature`, version 1.

use crate::memory::Memory;
use crate::{Received, unhex};
use aws_lc_rs::{constant_time, digest, hmac};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// How far the clocks of gateway and origin may be apart, and how late a request may come.
const FRESH_S: u64 = 300;
/// Bytes of the field.
const VALUE_BYTES_MAX: usize = 8 * 1024;
/// Nonces remembered, twice, before requests are refused for want of room.
const NONCES_MAX: usize = 1_000_000;

/// Why a request was refused. Tell the caller none of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The field is missing, came twice, or is not in its form.
    #[error("malformed")]
    Malformed,
    /// Signed too long ago, or in the future.
    #[error("stale")]
    Stale,
    /// No key of this name.
    #[error("unknown_key")]
    UnknownKey,
    /// The body is not the one that was signed.
    #[error("body_mismatch")]
    BodyMismatch,
    /// The signature is of another request, or of another key.
    #[error("mismatch")]
    Mismatch,
    /// The request came before, or there is no room to remember it.
    #[error("replayed")]
    Replayed,
}

/// Keeps the keys, and remembers what it has seen.
pub struct V1 {
    keys: Vec<(String, hmac::Key)>,
    memory: Mutex<Memory>,
}

impl V1 {
    /// A verifier that knows these keys: ids and secrets.
    pub fn new<'k>(keys: impl IntoIterator<Item = (&'k str, &'k str)>) -> Self {
        let key = |(id, secret): (&str, &str)| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            (id.to_owned(), key)
        };
        Self {
            keys: keys.into_iter().map(key).collect(),
            memory: Mutex::new(Memory::new(NONCES_MAX)),
        }
    }

    /// Checks a request; the id of the key that signed it.
    ///
    /// # Errors
    /// See [`Refused`]; the first that applies, in that order.
    pub fn verify<'r>(&self, received: &Received<'r>, now_s: u64) -> Result<&'r str, Refused> {
        let value = received.text("x-tollkeep-signature");
        let signature = Signature::read(value.ok_or(Refused::Malformed)?)?;
        if signature.time.abs_diff(now_s) > FRESH_S {
            return Err(Refused::Stale);
        }
        let mut keys = self.keys.iter();
        let (_, key) = keys
            .find(|(id, _)| *id == signature.key)
            .ok_or(Refused::UnknownKey)?;
        if let Some(want) = signature.body {
            let body = digest::digest(&digest::SHA256, received.body);
            constant_time::verify_slices_are_equal(body.as_ref(), &want)
                .map_err(|_| Refused::BodyMismatch)?;
        }
        let canonical = signature.canonical(received).ok_or(Refused::Mismatch)?;
        hmac::verify(key, &canonical, &signature.tag).map_err(|_| Refused::Mismatch)?;
        let seen = format!("{}:{}", signature.key, signature.nonce);
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.take(seen, now_s) {
            Ok(signature.key)
        } else {
            Err(Refused::Replayed)
        }
    }
}

impl fmt::Debug for V1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.keys.iter().map(|(id, _)| id).collect();
        f.debug_tuple("V1").field(&ids).finish()
    }
}

/// The field, read.
struct Signature<'v> {
    /// `t`, as a number.
    time: u64,
    /// `t`, `n`, `k`, `b` and `h` as written.
    texts: [&'v str; 5],
    nonce: &'v str,
    key: &'v str,
    /// `None` for `UNSIGNED`.
    body: Option<[u8; 32]>,
    tag: [u8; 32],
}

impl<'v> Signature<'v> {
    /// Every field once, in order, in its one form.
    fn read(value: &'v str) -> Result<Self, Refused> {
        let read = || {
            let mut parts = value.split(',');
            let mut part = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix('=');
            let texts = [part("t")?, part("n")?, part("k")?, part("b")?, part("h")?];
            let tag = unhex(part("v1")?)?;
            let [time, nonce, key, body, names] = texts;
            let is_time = (1..=15).contains(&time.len())
                && time.bytes().all(|byte| byte.is_ascii_digit())
                && (time == "0" || !time.starts_with('0'));
            let is_nonce = nonce.len() == 22
                && nonce
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            let is_key = (1..=64).contains(&key.len())
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            let body = match body {
                "UNSIGNED" => None,
                digits => Some(unhex(digits)?),
            };
            let fits = value.len() <= VALUE_BYTES_MAX
                && parts.next().is_none()
                && is_time
                && is_nonce
                && is_key
                && are_names(names);
            fits.then_some(Self {
                time: time.parse().ok()?,
                texts,
                nonce,
                key,
                body,
                tag,
            })
        };
        read().ok_or(Refused::Malformed)
    }

    /// The text that was signed; `None` if a covered field is not there once.
    fn canonical(&self, received: &Received<'_>) -> Option<Vec<u8>> {
        let (path, query) = received
            .target
            .split_once('?')
            .unwrap_or((received.target, ""));
        let [time, nonce, key, body, names] = self.texts;
        let lines = [
            "TOLLKEEP-ORIGIN-V1",
            key,
            time,
            nonce,
            received.method,
            received.authority,
            path,
            query,
            body,
            names,
        ];
        let mut canonical = lines.join("\n").into_bytes();
        for name in names.split(';').filter(|name| !name.is_empty()) {
            canonical.push(b'\n');
            canonical.extend_from_slice(name.as_bytes());
            canonical.push(b':');
            canonical.extend_from_slice(received.value(name)?);
        }
        Some(canonical)
    }
}

/// Lower-case field names, sorted, each once; none at all is fine.
fn are_names(names: &str) -> bool {
    let is_name = |name: &str| {
        let fits = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
        };
        !name.is_empty() && name.bytes().all(fits)
    };
    names.is_empty()
        || (names.split(';').all(is_name) && names.split(';').is_sorted_by(|a, b| a < b))
}
