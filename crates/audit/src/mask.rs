//! What is shown of a secret.

use tollkeep_crypto::hmac_sha256;
use tollkeep_observe::redact::Redactor;

/// What a secret without a known prefix is shown as.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownMask {
    /// Two characters at each end.
    #[default]
    Partial,
    /// Nothing.
    Full,
}

/// Masks secrets, knowing which prefixes may be shown.
#[derive(Clone, Debug, Default)]
pub struct Masker {
    unknown: UnknownMask,
    redactor: Redactor,
}

/// Stars that tell nothing of the length they stand for.
const HIDDEN: &str = "********";

impl Masker {
    /// `redactor` knows the prefixes, the configured ones included.
    pub const fn new(unknown: UnknownMask, redactor: Redactor) -> Self {
        Self { unknown, redactor }
    }

    /// The mask of a secret: enough to recognise one's own, too little to use it. An empty text
    /// stays empty.
    pub fn mask(&self, secret: &str) -> String {
        if let Some(credential) = secret.strip_prefix("Bearer ") {
            return format!("Bearer {}", self.mask(credential));
        }
        let shown: String = secret.chars().filter(|c| is_printable(*c)).collect();
        if shown.is_empty() {
            return shown;
        }
        if shows_nothing(&shown) {
            return HIDDEN.to_owned();
        }
        if let Some(prefix) = self.redactor.prefix_of(&shown) {
            let body = shown.get(prefix.len()..).unwrap_or_default();
            return match ends(body, 4) {
                Some((first, last)) => format!("{prefix}{first}****{last}"),
                None => format!("{prefix}****"),
            };
        }
        match (self.unknown, ends(&shown, 2)) {
            (UnknownMask::Partial, Some((first, last))) => format!("{first}{HIDDEN}{last}"),
            (UnknownMask::Partial, None) | (UnknownMask::Full, _) => HIDDEN.to_owned(),
        }
    }
}

fn is_printable(c: char) -> bool {
    !c.is_control() && c != '\u{fffd}'
}

/// Secrets whose ends are structure or key material: nothing of them is shown.
fn shows_nothing(text: &str) -> bool {
    let web_token = text.starts_with("eyJ") && text.bytes().filter(|b| *b == b'.').count() >= 2;
    // A macaroon in base64 begins with its packet length and the word `location`.
    let prefixes = [
        "-----BEGIN ",
        "lnbc",
        "nostr+walletconnect://",
        "MDAx",
        "AgE",
    ];
    web_token || prefixes.iter().any(|prefix| text.starts_with(prefix))
}

/// The first and last `count` characters of a text of at least twelve.
fn ends(text: &str, count: usize) -> Option<(&str, &str)> {
    text.char_indices().nth(11)?;
    let (first_end, _) = text.char_indices().nth(count)?;
    let (last_start, _) = text.char_indices().nth_back(count - 1)?;
    Some((text.get(..first_end)?, text.get(last_start..)?))
}

/// The mask of a secret under the default rules.
pub fn mask(secret: &str) -> String {
    Masker::default().mask(secret)
}

/// `fp_` and 16 hex digits of a hash of the secret under the audit's fingerprint key: lets an
/// investigator check a found secret without anybody storing it.
pub fn fingerprint(key: &[u8; 32], secret: &str) -> String {
    let mut text = "fp_".to_owned();
    for byte in hmac_sha256(key, secret.as_bytes()).iter().take(8) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-30
    #[test]
    fn masks_are_those_of_the_table() {
        for (name, secret, want) in [
            (
                "the seed's token",
                "tok-1234567890abcdef",
                "tok-1234****cdef",
            ),
            ("the seed's stranger", "abcd1234efgh5678", "ab********78"),
            (
                "bearer",
                "Bearer tok-1234567890abcdef",
                "Bearer tok-1234****cdef",
            ),
            (
                "longest prefix",
                "sk-ant-api03-AAAABBBBCCCCDDDD",
                "sk-ant-api03-AAAA****DDDD",
            ),
            ("short body", "tok-short", "tok-****"),
            ("eleven of body", "tok-12345678901", "tok-****"),
            ("twelve of body", "tok-123456789012", "tok-1234****9012"),
            ("short stranger", "abc", "********"),
            ("eleven of a stranger", "12345678901", "********"),
            ("empty", "", ""),
            (
                "web token",
                "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
                "********",
            ),
            ("pem", "-----BEGIN PRIVATE KEY-----\nMHcCAQ", "********"),
            ("macaroon", "MDAxM2xvY2F0aW9uIHgKMDAx", "********"),
            ("invoice", "lnbc10u1p3pj257pp5yztkwjcz5ft", "********"),
            (
                "wallet",
                "nostr+walletconnect://b889ff5b1513b641",
                "********",
            ),
            ("its own mask", "tok-1234****cdef", "tok-1234****cdef"),
            (
                "controls are dropped first",
                "tok-12\u{7}34567890ab\ncdef",
                "tok-1234****cdef",
            ),
            ("characters, not bytes", "äöü€äöü€äöü€", "äö********ü€"),
        ] {
            assert_eq!(mask(secret), want, "{name}");
        }
    }

    // AUD-30
    #[test]
    fn settings_hide_strangers_and_show_configured_prefixes() {
        let redactor = Redactor::new(["acme-"].into_iter());
        let masker = Masker::new(UnknownMask::Full, redactor);
        assert_eq!(masker.mask("abcd1234efgh5678"), "********");
        assert_eq!(masker.mask("acme-1234567890abcdef"), "acme-1234****cdef");
    }

    // AUD-31
    #[test]
    fn a_fingerprint_depends_on_secret_and_key() {
        let print = fingerprint(&[1; 32], "tok-1234567890abcdef");
        assert_eq!(print, fingerprint(&[1; 32], "tok-1234567890abcdef"));
        assert_eq!(print.len(), 19);
        assert!(print.strip_prefix("fp_").is_some_and(|hex| {
            hex.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        }));
        assert_ne!(print, fingerprint(&[2; 32], "tok-1234567890abcdef"));
        assert_ne!(print, fingerprint(&[1; 32], "tok-1234567890abcdeg"));
    }

    // AUD-31
    #[test]
    fn a_fingerprint_is_the_head_of_the_keyed_hash() {
        // RFC 4231, case 2, with its short key padded to the block as HMAC does.
        let mut key = [0; 32];
        for (slot, byte) in key.iter_mut().zip(b"Jefe") {
            *slot = *byte;
        }
        let secret = "what do ya want for nothing?";
        assert_eq!(fingerprint(&key, secret), "fp_5bdcc146bf60754e");
    }

    proptest::proptest! {
        // AUD-30
        #[test]
        fn a_mask_shows_eight_characters_of_the_body_at_most(body in "[0-9A-Za-z]{0,60}") {
            let masked = mask(&format!("tok-{body}"));
            proptest::prop_assert!(masked.len() <= "tok-1234****cdef".len());
            let never_panics = mask(&body);
            proptest::prop_assert!(never_panics.len() <= 12);
        }
    }
}
