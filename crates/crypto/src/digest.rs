//! Plain and keyed SHA-256 for callers that chain or fingerprint things.

use aws_lc_rs::{digest, hkdf, hmac};

/// SHA-256 (FIPS 180-4) of the parts, one after the other as if they were one text.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    if let [whole] = parts {
        return bytes_of(digest::digest(&digest::SHA256, whole).as_ref());
    }
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    bytes_of(context.finish().as_ref())
}

/// SHA-256 of a text that comes in parts.
pub struct Sha256(digest::Context);

impl Sha256 {
    /// Of nothing yet.
    #[expect(
        clippy::new_without_default,
        reason = "a hash of nothing is begun knowingly"
    )]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Takes the next part in.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The hash of all parts.
    pub fn finish(&self) -> [u8; 32] {
        bytes_of(self.0.clone().finish().as_ref())
    }
}

/// HMAC-SHA256 (RFC 2104) of `data` under `key`.
pub fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    bytes_of(hmac::sign(&key, data).as_ref())
}

/// 32 bytes of HKDF-SHA256 (RFC 5869): a key for one purpose, made of secrets.
pub fn hkdf_sha256(secret: &[u8], salt: &[u8], purpose: &[u8]) -> [u8; 32] {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let mut key = [0; 32];
    let filled = extracted
        .expand(&[purpose], hkdf::HKDF_SHA256)
        .and_then(|expanded| expanded.fill(&mut key));
    match filled {
        Ok(()) => key,
        // It refuses lengths other than its own, which this is; no key is better than a weak one.
        Err(_) => hmac_sha256(&hmac_sha256(salt, secret), purpose),
    }
}

/// The 32 bytes of a SHA-256 output. The output is always 32 bytes long; the library's type just
/// doesn't say so.
pub(crate) fn bytes_of(output: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (slot, byte) in bytes.iter_mut().zip(output) {
        *slot = *byte;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn parts_hash_like_the_whole() {
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for (name, parts) in [
            ("one part", vec!["abc"]),
            ("three parts", vec!["a", "b", "c"]),
            ("empty parts", vec!["", "abc", ""]),
        ] {
            let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
            assert_eq!(hex(&sha256(&parts)), want, "{name}");
            let mut hash = Sha256::new();
            parts.iter().for_each(|part| hash.update(part));
            assert_eq!(hex(&hash.finish()), want, "{name}");
        }
    }

    // ID-104
    #[test]
    fn derived_keys_are_those_of_rfc_5869() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        assert_eq!(
            hex(&hkdf_sha256(&[0x0b; 22], &salt, &info)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        );
        assert_eq!(
            hex(&hkdf_sha256(&[0x0b; 22], &[], &[])),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        );
    }

    #[test]
    fn keyed_hash_is_that_of_rfc_4231() {
        for (name, key, data, want) in [
            (
                "case 1",
                vec![0x0b; 20],
                b"Hi There".to_vec(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                "case 2, a short key",
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                "case 6, a key longer than a block",
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac_sha256(&key, &data)), want, "{name}");
        }
    }
}
