//! Each record names the hash of the one before it, so that nothing can be changed, taken out or
//! put in unnoticed.

use tollkeep_crypto::sha256;
use tollkeep_types::StreamId;

/// A hash as 64 lower-case hex digits.
pub(crate) type HexHash = [u8; 64];

/// The last link of a chain: what the next record follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Link {
    /// Number of the last record; 0 before the first.
    pub(crate) seq: u64,
    pub(crate) hash: [u8; 32],
}

impl Link {
    /// What the first record of a stream follows.
    pub(crate) const START: Self = Self {
        seq: 0,
        hash: [0; 32],
    };
}

/// One stream of records and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub(crate) stream: StreamId,
    stream_hex: [u8; 32],
    last: Link,
    last_hex: HexHash,
}

impl Chain {
    /// A stream that goes on after `last`.
    pub(crate) fn new(stream: StreamId, last: Link) -> Self {
        Self {
            stream,
            stream_hex: stream.hex(),
            last,
            last_hex: hex(&last.hash),
        }
    }

    /// The hex digits of the stream's id.
    pub(crate) const fn stream_hex(&self) -> &[u8; 32] {
        &self.stream_hex
    }

    /// The number of the next record.
    pub(crate) const fn next_seq(&self) -> u64 {
        self.last.seq.saturating_add(1)
    }

    /// What the next record has in `prev`.
    pub(crate) const fn prev_hex(&self) -> &HexHash {
        &self.last_hex
    }

    /// The number of the last record.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.last.seq
    }

    /// Begins what the next record's hash is over: a marker and the previous hash. Its canonical
    /// form (RFC 8785, without `hash`) comes behind.
    pub(crate) fn begin(&self, hashed: &mut Vec<u8>) {
        hashed.clear();
        hashed.push(0x01);
        hashed.extend_from_slice(&self.last.hash);
    }

    /// Adds a record by what was made since [`Self::begin`]. Returns its hash.
    pub(crate) fn advance(&mut self, hashed: &[u8]) -> &HexHash {
        let hash = sha256(&[hashed]);
        self.last_hex = hex(&hash);
        self.last = Link {
            seq: self.next_seq(),
            hash,
        };
        &self.last_hex
    }
}

/// The 64 lower-case hex digits of a hash.
pub(crate) fn hex(bytes: &[u8; 32]) -> HexHash {
    let mut text = [b'0'; 64];
    let (digits, _) = text.as_chunks_mut();
    let (halves, _) = bytes.as_chunks();
    for (digits, half) in digits.iter_mut().zip(halves) {
        *digits = tollkeep_types::hex(half);
    }
    text
}

/// The hash that 64 lower-case hex digits stand for.
pub(crate) fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let mut hash = [0; 32];
    for (slot, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *slot = (nibble(*high)? << 4) | nibble(*low)?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(chain: &mut Chain, canonical: &[u8]) -> HexHash {
        let mut hashed = b"left over".to_vec();
        chain.begin(&mut hashed);
        hashed.extend_from_slice(canonical);
        *chain.advance(&hashed)
    }

    // AUD-50
    #[test]
    fn a_link_depends_on_the_record_and_on_the_link_before() {
        let chain = Chain::new(StreamId::from_bytes([7; 16]), Link::START);
        assert_eq!(chain.prev_hex(), &[b'0'; 64]);
        assert_eq!(chain.next_seq(), 1);
        let (mut one, mut other) = (chain, chain);
        let first = add(&mut one, b"{}");
        assert_eq!(add(&mut other, b"{}"), first);
        assert_eq!(one.prev_hex(), &first);
        assert_ne!(add(&mut one, b"{}"), first);
        assert_ne!(add(&mut other, b"{ }"), *one.prev_hex());
        assert_eq!(one.next_seq(), 3);
    }

    // AUD-50
    #[test]
    fn the_hash_is_over_the_marker_the_previous_hash_and_the_record() {
        let mut chain = Chain::new(
            StreamId::from_bytes([7; 16]),
            Link {
                seq: 1,
                hash: [0xab; 32],
            },
        );
        let bytes = [&[0x01][..], &[0xab; 32], br#"{"a":1}"#].concat();
        assert_eq!(add(&mut chain, br#"{"a":1}"#), hex(&sha256(&[&bytes])));
    }

    #[test]
    fn hashes_are_read_back_and_nothing_else_is() {
        let hash = [0x1f; 32];
        let text = String::from_utf8(hex(&hash).to_vec()).unwrap();
        assert_eq!(parse_hash(&text), Some(hash));
        assert_eq!(parse_hash(&text.to_ascii_uppercase()), None);
        assert_eq!(parse_hash("1f"), None);
    }
}
