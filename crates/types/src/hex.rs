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

#[cfg(test)]
mod tests {
    use super::*;

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
