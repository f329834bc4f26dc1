//! Checks at an origin that a request came through the gateway unchanged.
//!
//! It needs nothing of the gateway: copy it, or depend on it. [`V1`] checks
//! `X-Tollkeep-Signature`, [`bolthub`] checks `X-Gateway-Signature`. Both take the time, so that
//! they can be tested; give them that of the system.

mod memory;
mod v1;

pub mod bolthub;

pub use v1::{Refused, V1};

/// A request as it was received, before anything was decoded or parsed.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The method.
    pub method: &'a str,
    /// The value of `Host`.
    pub authority: &'a str,
    /// Path and query as in the start line.
    pub target: &'a str,
    /// Names in any case, and values.
    pub fields: &'a [(&'a str, &'a [u8])],
    /// The body, byte for byte.
    pub body: &'a [u8],
}

impl<'a> Received<'a> {
    /// The one value of a field; `None` also if it came twice.
    fn value(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, value) = values.next()?;
        values.next().is_none().then_some(*value)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.value(name)?).ok()
    }
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Lower case only: there is one way to write a signature.
const fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
