//! What the escapes of JSON add to the texts of a body: a model reads the texts without them, so that
//! fewer bytes bound its tokens.

use memchr::memchr;

/// How many bytes escapes add, in a body that was read strictly before: there a backslash is the
/// beginning of an escape, and nothing else is.
pub fn escape_bytes(body: &[u8]) -> u64 {
    let (mut rest, mut sum) = (body, 0_u64);
    while let Some(at) = memchr(b'\\', rest) {
        let escape = rest.get(at..).unwrap_or_default();
        let (written, meant) = lengths(escape);
        sum = sum.saturating_add(written.saturating_sub(meant));
        let written = usize::try_from(written).unwrap_or(usize::MAX);
        rest = escape.get(written..).unwrap_or_default();
    }
    sum
}

/// The bytes of the escape that this begins with, and those of the character it means.
fn lengths(escape: &[u8]) -> (u64, u64) {
    let unit = |at: usize| {
        let digits = escape.get(at..at.saturating_add(4))?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    if escape.get(1) != Some(&b'u') {
        return (2, 1);
    }
    let second = escape.get(6..8) == Some(b"\\u".as_slice());
    match (unit(2), unit(8).filter(|_| second)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, 4),
        (Some(0..=0x7f), _) => (6, 1),
        (Some(0x80..=0x7ff), _) => (6, 2),
        // A half of a pair is read as the character that stands for what can't be read.
        (Some(_), _) => (6, 3),
        (None, _) => (2, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LED-46
    #[test]
    fn escapes_are_known_by_their_lengths() {
        for (text, want) in [
            (r#""plain""#, 0),
            (r#""a\nb\"c""#, 2),
            (r#""\u0041\u00e9\u20ac""#, 5 + 4 + 3),
            (r#""\ud83e\udd80""#, 8),
            (r#""\ud83e\n""#, 3 + 1),
            (r#""\\u0041""#, 1),
        ] {
            assert_eq!(escape_bytes(text.as_bytes()), want, "{text}");
        }
    }

    proptest::proptest! {
        // LED-46
        #[test]
        fn a_text_without_its_escapes_is_as_long_as_what_it_means(text in "(\\PC|[\\x00-\\x1f\"\\\\]|é|🦀){0,80}", all: bool) {
            let mut written = serde_json::to_string(&text).unwrap();
            if all {
                let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
                written = format!("\"{}\"", units.collect::<String>());
            }
            let len = written.len() as u64 - 2 - escape_bytes(written.as_bytes());
            proptest::prop_assert_eq!(len, text.len() as u64, "{}", written);
        }
    }
}
