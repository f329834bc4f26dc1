//! The public key that a server must have, told by its digest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::str::FromStr;

/// What curl writes before the digest, here and in its `--pinnedpubkey`.
const PREFIX: &str = "sha256//";

/// The SHA-256 of a certificate's `SubjectPublicKeyInfo` in DER: what RFC 7469 pins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyPin([u8; 32]);

/// The text is no pin.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("want the SHA-256 of a public key: 64 hex digits, or 44 characters of base64")]
pub struct KeyPinError;

impl KeyPin {
    /// The pin of a key with this digest.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl FromStr for KeyPin {
    type Err = KeyPinError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = if text.len() == 64 {
            unhexed(text)
        } else {
            STANDARD.decode(text).ok()
        };
        let digest = bytes.and_then(|bytes| bytes.try_into().ok());
        digest.map(Self).ok_or(KeyPinError)
    }
}

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

fn unhexed(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(high)? * 16 + digit(low)?).ok();
    rest.is_empty()
        .then(|| pairs.iter().map(byte).collect())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_in_the_spellings_that_tools_print() {
        let zero = KeyPin::new([0; 32]);
        let hex = "0".repeat(64);
        let base64 = format!("{}=", "A".repeat(43));
        for text in [&hex, &base64, &format!("sha256//{base64}")] {
            assert_eq!(text.parse(), Ok(zero), "{text}");
        }
        assert_eq!(zero.to_string(), format!("sha256//{base64}"));
        let mixed = "0aB1".repeat(16);
        let pin: KeyPin = mixed.parse().unwrap();
        assert_eq!(pin.to_string().parse(), Ok(pin));
        for text in [
            "",
            "sha256//",
            &"0".repeat(63),
            &"g".repeat(64),
            &format!("{}é", "0".repeat(62)),
            &"A".repeat(43),
            &format!("{}==", "A".repeat(42)),
            &format!("sha1//{base64}"),
            &format!(" {base64}"),
        ] {
            assert_eq!(text.parse::<KeyPin>(), Err(KeyPinError), "{text}");
        }
    }
}
