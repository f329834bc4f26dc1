//! Who may say what models cost: Ed25519 (RFC 8032) over the bytes of a price table, as `openssl
//! pkeyutl -sign -rawin` makes it. A table names its own form in its first member, so that nothing else
//! that such a key signs can be taken for one.

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Whether this key, the 32 bytes of it in base64, signed these bytes; the signature is in base64 too.
/// A key that is none has signed nothing.
pub fn has_signed(key: &str, bytes: &[u8], signature: &str) -> bool {
    let read = |text: &str| BASE64_STANDARD.decode(text.trim());
    let (Ok(key), Ok(signature)) = (read(key), read(signature)) else {
        return false;
    };
    if key.len() != 32 {
        return false;
    }
    ParsedPublicKey::new(&ED25519, &key).is_ok_and(|key| key.verify_sig(bytes, &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    // LED-35
    #[test]
    fn only_what_the_key_signed_is_signed() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let key = text(pair.public_key().as_ref());
        let signature = text(pair.sign(b"table").as_ref());
        assert!(has_signed(&key, b"table", &format!("{signature}\n")));
        let of_other = text(other.sign(b"table").as_ref());
        for (name, key, bytes, signature) in [
            ("other bytes", &*key, &b"tablf"[..], &*signature),
            ("another key's", &key, b"table", &of_other),
            ("no signature", &key, b"table", ""),
            ("no base64", &key, b"table", "!"),
            ("a short one", &key, b"table", "AAAA"),
            ("no key", "", b"table", &signature),
            ("a short key", "AAAA", b"table", &signature),
        ] {
            assert!(!has_signed(key, bytes, signature), "{name}");
        }
    }
}
