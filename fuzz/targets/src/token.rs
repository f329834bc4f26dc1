//! The text of a credential as a stranger sends it, and what is ever shown of it.

use tollkeep_audit::{fingerprint, mask};
use tollkeep_crypto::{TokenHasher, key_text, mint, samples, weak};
use tollkeep_observe::redact::Redactor;
use tollkeep_types::{ProjectId, RequestId, TokenId};

/// The bytes are a credential, where they are text.
///
/// Laws: a minted form with one character changed is none; hashing is a function; neither a mask
/// nor a log line with hidden secrets holds a token.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let hasher = TokenHasher::new(&[7; 32]);
    assert_eq!(hasher.hash(text), hasher.hash(text));
    if mint::well_formed(text) {
        assert!(text.len() <= 256 && text.is_ascii());
        check_misspelt(text);
    }
    let _sample = samples::is_sample(text);
    if let Err(weak) = weak::check(text) {
        assert!(!weak.rules.is_empty());
    }
    if let Err(error) = key_text::parse(text) {
        assert!(!error.to_string().is_empty());
    }
    check_ids(text);
    check_shown(text);
}

/// A CRC-32 finds every change of one character.
fn check_misspelt(text: &str) {
    for (at, good) in text.bytes().enumerate() {
        let other = if good == b'x' { b'y' } else { b'x' };
        let misspelt: Vec<u8> = text
            .bytes()
            .enumerate()
            .map(|(i, byte)| if i == at { other } else { byte })
            .collect();
        let misspelt = String::from_utf8(misspelt).unwrap_or_default();
        assert!(!mint::well_formed(&misspelt), "{misspelt}");
    }
}

/// An id that is read is written in the one way it is read back.
fn check_ids(text: &str) {
    if let Ok(id) = text.parse::<TokenId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<ProjectId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<RequestId>() {
        assert_eq!(id.to_string(), text);
    }
}

fn check_shown(text: &str) {
    let masked = mask(text);
    assert!(!masked.chars().any(char::is_control), "{masked}");
    let bare = |text| str::trim_start_matches(text, "Bearer ");
    let (secret, shown) = (bare(text), bare(&masked));
    assert!(
        secret.chars().count() < 24 || !shown.contains(secret),
        "{masked}"
    );
    let print = fingerprint(&[7; 32], text);
    assert!(print.len() == 19 && print.is_ascii(), "{print}");
    let redactor = Redactor::new(["tok-", "acme_"].into_iter());
    let line = format!("sent {text}, \"{text}\"\n");
    let hidden = redactor.hide(&line);
    let known = text.starts_with("tok-") || text.starts_with("acme_");
    if known && mint::well_formed(text) {
        assert!(!hidden.contains(text), "{hidden}");
    }
}
