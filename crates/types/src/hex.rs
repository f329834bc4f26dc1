//! Lower-case hex digits, as ids and hashes are written.

/// HOT. The 32 hex digits of sixteen bytes. Digits are computed, not looked up, so that all of
/// them are made at once.
pub fn hex(bytes: &[u8; 16]) -> [u8; 32] {
    let mut text = [0_u8; 32];
    let (pairs, _) = text.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 0x0f)];
    }
    text
}

const fn digit(nibble: u8) -> u8 {
    let letter = if nibble > 9 { b'a' - b'9' - 1 } else { 0 };
    b'0' + nibble + letter
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
