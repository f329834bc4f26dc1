//! Lower-case hex digits, as ids and hashes are written.

/// HOT. The 32 hex digits of sixteen bytes, eight of them at a time.
pub fn hex(bytes: &[u8; 16]) -> [u8; 32] {
    let mut text = [0_u8; 32];
    let (eights, _) = text.as_chunks_mut::<8>();
    let (fours, _) = bytes.as_chunks::<4>();
    for (eight, four) in eights.iter_mut().zip(fours) {
        *eight = digits(*four);
    }
    text
}

/// The eight digits of four bytes.
const fn digits(four: [u8; 4]) -> [u8; 8] {
    const fn all(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    // Each byte to every other place, then its halves to places of their own.
    let [a, b, c, d] = four;
    let spread = u64::from_le_bytes([a, 0, b, 0, c, 0, d, 0]);
    let halves = (spread >> 4 | spread << 8) & all(0x0f);
    // 6 more make what is above 9 reach 16.
    let letters = (halves + all(6)) >> 4 & all(1);
    (halves + all(b'0') + letters * (b'a' - b'9' - 1) as u64).to_le_bytes()
}

/// The digits of the last id that was asked for, as records of one caller come in a row.
#[derive(Clone, Copy, Debug)]
pub struct LastHex {
    bytes: [u8; 16],
    digits: [u8; 32],
}

impl Default for LastHex {
    fn default() -> Self {
        let (bytes, digits) = ([0; 16], [b'0'; 32]);
        Self { bytes, digits }
    }
}

impl LastHex {
    /// HOT. The same as [`hex`].
    #[inline]
    pub fn of(&mut self, bytes: &[u8; 16]) -> &[u8; 32] {
        if self.bytes != *bytes {
            (self.bytes, self.digits) = (*bytes, hex(bytes));
        }
        &self.digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_digits_are_those_of_the_bytes_asked_for() {
        let mut last = LastHex::default();
        for byte in [0, 0, 0xab, 0xab, 0, 1] {
            assert_eq!(*last.of(&[byte; 16]), hex(&[byte; 16]));
        }
    }

    #[test]
    fn every_byte_has_two_digits() {
        for byte in 0..=u8::MAX {
            let mut bytes = [0x5a; 16];
            bytes[3] = byte;
            let want = format!("5a5a5a{byte:02x}{}", "5a".repeat(12));
            assert_eq!(hex(&bytes), want.as_bytes());
        }
    }
}
