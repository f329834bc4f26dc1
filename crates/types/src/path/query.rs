//! The query of a request: checked, never changed.

use super::decode_one;

/// A query holds a byte that queries do not have, or a percent sign without two hex digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the query is malformed")]
pub struct QueryFault;

/// HOT. Checks a query, which is then sent upstream byte for byte.
///
/// Fails on bytes outside 0x21–0x7E, on `"`, `<`, `>`, `#`, `\`, and on a `%` that two hex digits
/// do not follow.
pub fn check_query(raw: &[u8]) -> Result<(), QueryFault> {
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'%' => decode_one(rest).ok_or(QueryFault)?.1,
            b'"' | b'<' | b'>' | b'#' | b'\\' => return Err(QueryFault),
            0x21..=0x7e => after,
            _ => return Err(QueryFault),
        };
    }
    Ok(())
}

/// Splits a request target at its first `?` into path and query.
pub fn split_target(raw: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = raw.splitn(2, |byte| *byte == b'?');
    (parts.next().unwrap_or_default(), parts.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-47
    #[test]
    fn a_query_is_checked_and_not_changed() {
        for (name, query, want) in [
            ("empty", "", true),
            ("usual", "a=1&a=2&b=%2F%2e", true),
            ("odd but allowed", "c[]=|{}^`;/?:@!$'()*+,~", true),
            ("percent sign alone", "a=%", false),
            ("one digit", "a=%2", false),
            ("no digits", "a=%zz", false),
            ("quote", "a=\"", false),
            ("angle", "a=<b>", false),
            ("fragment", "a#b", false),
            ("backslash", "a\\b", false),
            ("space", "a b", false),
            ("control", "a\x01", false),
            ("DEL", "a\x7f", false),
            ("beyond ASCII", "é", false),
        ] {
            assert_eq!(check_query(query.as_bytes()).is_ok(), want, "{name}");
        }
    }

    #[test]
    fn a_target_splits_at_its_first_question_mark() {
        for (raw, path, query) in [
            ("/ok", "/ok", None),
            ("/ok?", "/ok", Some("")),
            ("/ok?a?b", "/ok", Some("a?b")),
            ("?a", "", Some("a")),
        ] {
            let want = (path.as_bytes(), query.map(str::as_bytes));
            assert_eq!(split_target(raw.as_bytes()), want, "{raw}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(raw: Vec<u8>) {
            proptest::prop_assert!(check_query(&raw).is_err() || raw.is_ascii());
            let (path, query) = split_target(&raw);
            let rejoined = query.map_or_else(|| path.to_vec(), |query| [path, b"?", query].concat());
            proptest::prop_assert_eq!(rejoined, raw);
        }
    }
}
