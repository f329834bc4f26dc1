//! What a challenge says of its price so that it holds for a while: `extra.quote`, which a payer
//! brings back in what it accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A price that was told, and proof that it was us who told it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QuoteTag {
    /// The second until which the price holds.
    pub expires_s: u32,
    /// Of which prices it was made.
    pub prices: u32,
    /// Over all that the price was told for.
    pub mac: [u8; 16],
}

const VERSION: u8 = 1;
const BYTES: usize = 25;

impl QuoteTag {
    /// As it stands in a challenge.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.expires_s.to_be_bytes());
        bytes.extend_from_slice(&self.prices.to_be_bytes());
        bytes.extend_from_slice(&self.mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What stands in a proof; `None`: we never wrote that.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > 2 * BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (expires, rest) = rest.split_first_chunk::<4>()?;
        let (prices, mac) = rest.split_first_chunk::<4>()?;
        (*version == VERSION).then_some(Self {
            expires_s: u32::from_be_bytes(*expires),
            prices: u32::from_be_bytes(*prices),
            mac: mac.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-112
    #[test]
    fn a_tag_is_read_as_it_was_written_and_in_no_other_form() {
        let tag = QuoteTag {
            expires_s: 1_795_300_000,
            prices: 7,
            mac: [9; 16],
        };
        let text = tag.encode();
        assert_eq!(QuoteTag::decode(&text), Some(tag));
        let longer = format!("{text}AA");
        let shorter: String = text.chars().skip(1).collect();
        for other in ["", "AQ", &longer, &shorter, "%%%", &"A".repeat(4096)] {
            assert_eq!(QuoteTag::decode(other), None, "{other}");
        }
    }
}
