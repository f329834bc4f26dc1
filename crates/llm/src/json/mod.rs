//! JSON as this crate reads and writes it.

mod canonical;
mod keys;
mod pointer;
mod scan;
mod skim;
mod tokens;
pub(crate) mod values;
mod walk;
mod words;

pub(crate) use canonical::canonical;
pub(crate) use scan::{Place, Scalar, scan};
pub(crate) use skim::{Broken, Cursor};
pub(crate) use walk::{Walked, walk};

use memchr::memchr;
use std::borrow::Cow;

/// The text of a JSON string's inside, unescaped. The inside has been checked by [`scan()`]: what
/// is no escape of RFC 8259 cannot come here, and is left out if it does.
pub(crate) fn unescaped(raw: &str) -> Cow<'_, str> {
    let Some(mut cut) = memchr(b'\\', raw.as_bytes()) else {
        return Cow::Borrowed(raw);
    };
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        text.push_str(rest.get(..cut).unwrap_or_default());
        let (read, skip) = escape(rest.get(cut..).unwrap_or_default());
        text.extend(read);
        rest = rest.get(cut.saturating_add(skip)..).unwrap_or_default();
        match rest.find('\\') {
            Some(next) => cut = next,
            None => {
                text.push_str(rest);
                return Cow::Owned(text);
            }
        }
    }
}

/// The character of the escape that `raw` starts with, and its length in bytes.
fn escape(raw: &str) -> (Option<char>, usize) {
    let unit = |at: usize| {
        let digits = raw.get(at..at.saturating_add(4))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let read = match raw.as_bytes().get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let second = raw.get(6..8).filter(|escape| *escape == "\\u");
            return match (unit(2), second.and_then(|_| unit(8))) {
                (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                    let above = ((high & 0x3ff) << 10) | (low & 0x3ff);
                    (char::from_u32(above.saturating_add(0x1_0000)), 12)
                }
                (Some(unit), _) => (char::from_u32(unit), 6),
                (None, _) => (None, 2),
            };
        }
        _ => return (None, 1),
    };
    (Some(read), 2)
}

/// Appends `text` as a JSON string, quotes included (RFC 8259 section 7).
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f | 0x7f => {
                out.extend_from_slice(b"\\u00");
                out.push(digit(byte >> 4));
                out.push(digit(byte & 0x0f));
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn written_strings_read_back(text in "\\PC*|[\\x00-\\x7f]*") {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
            let inside = std::str::from_utf8(&out[1..out.len() - 1]).unwrap();
            proptest::prop_assert_eq!(unescaped(inside), text);
        }

        #[test]
        fn unescaping_agrees_with_serde(text in "([a-zé🦀]|\\\\[nrtbf/\"]|\\\\u00[0-9a-f]{2}|\\\\ud83e\\\\udd80)*") {
            let want: String = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            proptest::prop_assert_eq!(unescaped(&text), want);
        }

        #[test]
        fn unescaping_anything_ends(text in "([\\\\u0-9a-fd8c\"é])*") {
            drop(unescaped(&text));
        }
    }
}
