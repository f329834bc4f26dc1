//! A device that makes one-time codes (RFC 6238), as the ones in people's pockets do.

use aws_lc_rs::hmac;

/// The code of a secret in base 32 at this time, in seconds since 1970.
///
/// # Panics
/// The secret is not in base 32.
pub fn one_time_code(secret: &str, at_s: u64) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut key, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in secret.chars() {
        let value = alphabet.find(letter).expect("a letter of base 32");
        bits = (bits << 5) | u32::try_from(value).expect("below 32");
        held += 5;
        if held >= 8 {
            held -= 8;
            key.push(u8::try_from((bits >> held) & 0xff).expect("a byte"));
        }
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let tag = hmac::sign(&key, &(at_s / 30).to_be_bytes());
    let offset = usize::from(tag.as_ref()[19] & 15);
    let word: [u8; 4] = tag.as_ref()[offset..offset + 4]
        .try_into()
        .expect("four bytes");
    format!(
        "{:06}",
        (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000
    )
}
