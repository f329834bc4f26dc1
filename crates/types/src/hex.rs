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
        for high in 0..16_u8 {
            let bytes: [u8; 16] = std::array::from_fn(|low| (high << 4) | low as u8);
            let want: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex(&bytes), want.as_bytes());
        }
    }
}
