//! Known forms of secrets, and hiding them in text that is about to be written.
//!
//! This is the net, not the plan: secrets have types that cannot be printed. What slips into a
//! text all the same is recognised by its prefix.

use std::borrow::Cow;
use std::sync::Arc;

/// Prefixes that mark a secret, with the length from which what follows is taken for one. The
/// longer ones are for prefixes that ordinary words have too, like `api_key_missing`.
const PREFIXES: &[(&str, usize)] = &[
    ("tok-", 8),
    ("mgt-", 8),
    ("csn-", 8),
    ("ses-", 8),
    ("sk-", 8),
    ("sk-ant-", 8),
    ("sk-ant-api03-", 8),
    ("sk-proj-", 8),
    ("sk-or-", 8),
    ("api_", 20),
    ("ghp_", 16),
    ("gho_", 16),
    ("ghs_", 16),
    ("github_pat_", 16),
    ("gw_", 20),
    ("AIza", 16),
    ("xoxb-", 8),
    ("xoxp-", 8),
    ("AKIA", 12),
    ("ASIA", 12),
    ("glpat-", 8),
    ("hf_", 20),
    ("gsk_", 20),
    ("whsec_", 16),
    ("rk_live_", 8),
    ("sk_live_", 8),
];

/// What is written instead of a secret that shows nothing of itself.
const HIDDEN: &str = "********";

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    body_min: usize,
}

impl Prefix {
    fn bytes_min(&self) -> usize {
        self.text.len().saturating_add(self.body_min)
    }
}

/// The secrets that start with one byte.
#[derive(Debug)]
struct Starts {
    /// The shortest of them; more than any text has if there is none.
    bytes_min: usize,
    /// Longest first.
    prefixes: Vec<Prefix>,
}

/// Knows which prefixes mark a secret. Cheap to clone.
///
/// For every byte it has the secrets that start with it; most words are dismissed by their first
/// byte, and most short texts by their length.
#[derive(Clone, Debug)]
pub struct Redactor(Arc<[Starts; 256]>);

impl Default for Redactor {
    fn default() -> Self {
        Self::new(std::iter::empty())
    }
}

impl Redactor {
    /// The known prefixes and the configured ones; empty ones are passed over.
    pub fn new<'a>(configured: impl Iterator<Item = &'a str>) -> Self {
        let mut prefixes: Vec<Prefix> = PREFIXES
            .iter()
            .map(|(text, body_min)| (*text, *body_min))
            .chain(configured.map(|text| (text, 8)))
            .filter(|(text, _)| !text.is_empty())
            .map(|(text, body_min)| Prefix {
                text: text.into(),
                body_min,
            })
            .collect();
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.text.len()));
        let mut by_first = std::array::from_fn(|_| Starts {
            bytes_min: usize::MAX,
            prefixes: Vec::new(),
        });
        let mut starts = |byte: u8, bytes: usize, prefix: Option<Prefix>| {
            if let Some(starts) = by_first.get_mut(usize::from(byte)) {
                starts.bytes_min = starts.bytes_min.min(bytes);
                starts.prefixes.extend(prefix);
            }
        };
        for (byte, bytes_min) in FORMS {
            starts(*byte, *bytes_min, None);
        }
        for prefix in prefixes {
            if let Some(first) = prefix.text.bytes().next() {
                starts(first, prefix.bytes_min(), Some(prefix));
            }
        }
        Self(Arc::new(by_first))
    }

    /// The secrets that start with a byte, if one of them fits into so many bytes.
    fn starting_with(&self, byte: u8, bytes: usize) -> Option<&[Prefix]> {
        let starts = self.0.get(usize::from(byte))?;
        (starts.bytes_min <= bytes).then_some(&*starts.prefixes)
    }

    /// The longest known prefix `text` starts with.
    pub fn prefix_of<'t>(&self, text: &'t str) -> Option<&'t str> {
        let starts = self.0.get(usize::from(text.bytes().next()?))?;
        let mut prefixes = starts.prefixes.iter();
        prefixes
            .find(|prefix| text.starts_with(&*prefix.text))
            .and_then(|prefix| text.get(..prefix.text.len()))
    }

    /// `text` with everything that looks like a secret cut down to its prefix.
    pub fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.next_secret(text, 0) {
            None => Cow::Borrowed(text),
            Some(first) => Cow::Owned(self.without_secrets(text, first)),
        }
    }

    fn without_secrets(&self, text: &str, first: Found) -> String {
        let mut out = String::with_capacity(text.len());
        let (mut copied, mut next) = (0, Some(first));
        while let Some(Found { start, shown, len }) = next {
            out.push_str(text.get(copied..start + shown).unwrap_or_default());
            out.push_str(if shown == 0 { HIDDEN } else { "****" });
            copied = start + len;
            next = self.next_secret(text, copied);
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        out
    }

    /// HOT. The next secret in `text` from `from` on, which is its start or the end of a secret.
    fn next_secret(&self, text: &str, from: usize) -> Option<Found> {
        let bytes = text.as_bytes();
        let mut start = from;
        loop {
            let left = bytes.len().checked_sub(start)?;
            let mut rest = bytes.get(start..)?.iter().enumerate();
            let mut may_start =
                |(at, byte): (usize, &u8)| self.starting_with(*byte, left - at).is_some();
            start += rest.position(&mut may_start)?;
            // A secret starts a word; whatever stands behind one is not inside its word.
            let before = bytes.get(from..start).and_then(<[u8]>::last);
            if !before.is_some_and(u8::is_ascii_alphanumeric)
                && let Some((shown, len)) = self.secret_at(text, start)
            {
                return Some(Found { start, shown, len });
            }
            start += 1;
        }
    }

    /// Whether a secret starts at `start`: how much of it is shown, and how long it is. Apart from
    /// the search, which is short because it keeps little at hand.
    #[inline(never)]
    fn secret_at(&self, text: &str, start: usize) -> Option<(usize, usize)> {
        let rest = text.get(start..)?;
        let prefixes = self.starting_with(rest.bytes().next()?, rest.len())?;
        secret_in(rest, prefixes)
    }
}

/// A secret in a text: where it starts, how much of it is shown, and how long it is.
#[derive(Clone, Copy)]
struct Found {
    start: usize,
    shown: usize,
    len: usize,
}

/// Whether `rest` starts with a secret: how much of it is shown, and how long it is.
fn secret_in(rest: &str, prefixes: &[Prefix]) -> Option<(usize, usize)> {
    let by_prefix = prefixes.iter().find_map(|prefix| {
        let body = rest.strip_prefix(&*prefix.text)?;
        let len = run(body, |b| {
            b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')
        });
        (len >= prefix.body_min).then_some((prefix.text.len(), prefix.text.len() + len))
    });
    by_prefix.or_else(|| secret_by_form(rest))
}

/// What the forms below start with, and how long the shortest of each is.
const FORMS: &[(u8, usize)] = &[
    (b'e', "eyJ..".len()),
    (b'l', 40),
    (b'n', "nostr+walletconnect://".len()),
    (b'-', "-----BEGIN PRIVATE KEY".len()),
    (b'B', "Bearer ".len() + 8),
    (b'b', "bearer ".len() + 8),
];

/// Forms that are told by more than a prefix.
#[inline(never)]
fn secret_by_form(rest: &str) -> Option<(usize, usize)> {
    if rest.starts_with("eyJ") {
        // A JSON web token: three base64url parts.
        let len = run(rest, |b| {
            b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
        });
        let dots = rest.bytes().take(len).filter(|b| *b == b'.').count();
        return (dots >= 2).then_some((0, len));
    }
    if rest.starts_with("lnbc") {
        let len = run(rest, |b| b.is_ascii_alphanumeric());
        return (len >= 40).then_some((0, len));
    }
    if rest.starts_with("nostr+walletconnect://") {
        return Some((
            0,
            run(rest, |b| b.is_ascii_graphic() && b != b'"' && b != b'\\'),
        ));
    }
    if rest.starts_with("-----BEGIN ") && rest.contains("PRIVATE KEY") {
        let end = "-----END ";
        let len = rest.find(end).map(|at| {
            at + end.len()
                + run(rest.get(at + end.len()..).unwrap_or_default(), |b| {
                    b != b'\n' && b != b'"'
                })
        });
        return Some((0, len.unwrap_or(rest.len())));
    }
    let credential = rest
        .strip_prefix("Bearer ")
        .or_else(|| rest.strip_prefix("bearer "))?;
    let len = run(credential, |b| {
        b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
    });
    let masked_already = credential.as_bytes().get(len) == Some(&b'*');
    (len >= 8 && !masked_already).then_some((7, 7 + len))
}

fn run(text: &str, wanted: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| wanted(*byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-32
    #[test]
    fn known_secrets_are_cut_down_to_their_prefix() {
        let redactor = Redactor::new(["acme-"].into_iter());
        for (name, text, want) in [
            ("ours", "token tok-1234567890abcdef no", "token tok-**** no"),
            (
                "longest prefix",
                "sk-ant-api03-AAAABBBBCCCC",
                "sk-ant-api03-****",
            ),
            ("short for its longest prefix", "sk-proj-abcdefg", "sk-****"),
            (
                "in quotes",
                r#"{"k":"sk-proj-abcdefgh1"}"#,
                r#"{"k":"sk-proj-****"}"#,
            ),
            ("twice", "tok-aaaaaaaa mgt-bbbbbbbb", "tok-**** mgt-****"),
            (
                "after an equals sign",
                "key=AKIAIOSFODNN7EXAMPLE",
                "key=AKIA****",
            ),
            ("configured", "acme-abcdefgh", "acme-****"),
            ("bearer", "Bearer abcdefghijk.xyz", "Bearer ****"),
            (
                "bearer with a token",
                "Bearer tok-abcdefghijk",
                "Bearer ****",
            ),
            (
                "json web token",
                "x eyJhbGciOi.eyJzdWIi.c2ln y",
                "x ******** y",
            ),
            (
                "wallet",
                "at nostr+walletconnect://ab?secret=cd now",
                "at ******** now",
            ),
            (
                "pem",
                "-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nx",
                "********\nx",
            ),
            ("cut pem", "-----BEGIN PRIVATE KEY-----\nMHc", "********"),
        ] {
            assert_eq!(redactor.hide(text), want, "{name}");
        }
    }

    // AUD-32
    #[test]
    fn what_is_no_secret_stays() {
        let redactor = Redactor::default();
        for (name, text) in [
            ("a mask", "tok-1234****cdef"),
            ("a masked bearer", "Bearer tok-1234****cdef"),
            ("a word with a prefix inside", "risk-averseness-everywhere"),
            ("a code", "api_key_missing"),
            ("a model", "gpt-4o-mini-2024-07-18"),
            ("an id", "tid_0192f3c4a5b67fffbfffffffffffffff"),
            ("empty", ""),
            ("other scripts", "schlüssel-änderung 東京"),
        ] {
            assert!(matches!(redactor.hide(text), Cow::Borrowed(_)), "{name}");
        }
    }

    /// As [`Redactor::hide`], in small steps.
    fn hidden_byte_by_byte(redactor: &Redactor, text: &str) -> String {
        let (mut out, mut rest, mut inside_word) = (String::new(), text, false);
        while let Some(c) = rest.chars().next() {
            let prefixes = &redactor.0[usize::from(rest.as_bytes()[0])].prefixes;
            let found = secret_in(rest, prefixes).filter(|_| !inside_word);
            if let Some((shown, len)) = found {
                out += rest.split_at(shown).0;
                out += if shown == 0 { HIDDEN } else { "****" };
                (rest, inside_word) = (rest.split_at(len).1, false);
            } else {
                out.push(c);
                rest = rest.split_at(c.len_utf8()).1;
                inside_word = c.is_ascii_alphanumeric();
            }
        }
        out
    }

    proptest::proptest! {
        // AUD-32
        #[test]
        fn skipping_ahead_finds_what_small_steps_find(
            text in "([a-z.]{0,3}(tok-|sk-|eyJ|a\\.b|Bearer |é|-----BEGIN PRIVATE KEY|lnbc)?[0-9a-f.é-]{0,12}[ \\.*]?){0,5}",
        ) {
            let redactor = Redactor::new(["acme-", ".", "é"].into_iter());
            let want = hidden_byte_by_byte(&redactor, &text);
            proptest::prop_assert_eq!(redactor.hide(&text), want);
        }

        // AUD-32
        #[test]
        fn hiding_never_panics_and_is_final(text in "\\PC{0,40}(tok-|sk-ant-|Bearer |eyJ|-----BEGIN )?[ -~]{0,40}") {
            let redactor = Redactor::default();
            let once = redactor.hide(&text).into_owned();
            let twice = redactor.hide(&once).into_owned();
            proptest::prop_assert_eq!(&twice, &once);
        }

        // AUD-32
        #[test]
        fn a_token_never_survives(before in "[ -~]{0,20}", body in "[0-9A-Za-z]{49}") {
            let hidden = Redactor::default().hide(&format!("{before} tok-{body}")).into_owned();
            proptest::prop_assert!(!hidden.contains(&body));
        }
    }
}
