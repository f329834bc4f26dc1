//! The one canonical path of a request, its query, and where a target splits into both.
//!
//! The canonical path is made once and used for routing, policy, signing, audit and the upstream
//! alike, so that no two of them can read the same bytes differently. What is ambiguous to any
//! common server is refused, never repaired.

mod query;

pub use query::{QueryFault, check_query, split_target};

/// What a route may allow in a path beyond the default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PathRules {
    /// `%2F` passes, kept encoded; it never separates segments.
    pub allow_encoded_slash: bool,
    /// `;` passes, kept as it is; it never starts a parameter.
    pub allow_semicolon: bool,
}

impl PathRules {
    /// Both pass. For a caller that decides after routing, from [`Canonical`].
    pub const PERMISSIVE: Self = Self {
        allow_encoded_slash: true,
        allow_semicolon: true,
    };
}

/// What the canonical path holds that only some routes allow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Canonical {
    /// A `%2F` is in it.
    pub has_encoded_slash: bool,
    /// A `;` is in it.
    pub has_semicolon: bool,
}

impl Canonical {
    /// Whether a route with these rules takes the path.
    pub fn allowed_by(self, rules: PathRules) -> bool {
        (rules.allow_encoded_slash || !self.has_encoded_slash)
            && (rules.allow_semicolon || !self.has_semicolon)
    }
}

/// Why a path is refused. To the caller all of them are the same `path`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum PathFault {
    #[error("the path does not start with a slash")]
    NotRooted,
    #[error("the path holds a byte that paths do not have")]
    Byte,
    #[error("a percent sign is not followed by two hex digits")]
    Percent,
    #[error("the path encodes a control byte")]
    Control,
    #[error("the path holds a backslash, plain or encoded")]
    Backslash,
    #[error("the path is encoded twice")]
    DoubleEncoded,
    #[error("the decoded path is not UTF-8")]
    Utf8,
    #[error("the path holds a dot segment")]
    DotSegment,
    #[error("the path holds an empty segment")]
    EmptySegment,
    #[error("the path holds an encoded slash")]
    EncodedSlash,
    #[error("the path holds a semicolon")]
    Semicolon,
}

/// HOT. Writes the canonical form of `raw` to `out` (cleared first): percent-encoded unreserved
/// characters are decoded, all other hex digits are upper case, nothing else changes.
///
/// Fails on everything [`PathFault`] names; `out` is then empty.
pub fn canonicalize(
    raw: &[u8],
    rules: PathRules,
    out: &mut String,
) -> Result<Canonical, PathFault> {
    out.clear();
    if is_plain(raw)
        && let Ok(text) = std::str::from_utf8(raw)
    {
        out.push_str(text);
        return Ok(Canonical::default());
    }
    let checked = rewrite(raw, out).and_then(|found| {
        check_segments(out.as_bytes())?;
        if found.has_encoded_slash && !rules.allow_encoded_slash {
            return Err(PathFault::EncodedSlash);
        }
        if found.has_semicolon && !rules.allow_semicolon {
            return Err(PathFault::Semicolon);
        }
        Ok(found)
    });
    if checked.is_err() {
        out.clear();
    }
    checked
}

/// HOT. Whether the path is its own canonical form and needs no second look: the common case.
fn is_plain(raw: &[u8]) -> bool {
    let mut odd = 0;
    let mut watched = NOT_LITERAL;
    for byte in raw {
        let class = CLASS
            .get(usize::from(*byte))
            .copied()
            .unwrap_or(NOT_LITERAL);
        odd |= class & watched;
        watched = class >> WATCH_NEXT;
    }
    raw.first() == Some(&b'/') && odd == 0
}

const NOT_LITERAL: u8 = 1;
/// Begins a segment that is empty or may be a dot segment, if a slash comes before it.
const ODD_AFTER_SLASH: u8 = 2;
/// From this bit on stands what is odd in the next byte.
const WATCH_NEXT: u32 = 2;

/// What is odd about each byte of a path, and what would be about the byte after it.
static CLASS: [u8; 256] = {
    let mut classes = [0_u8; 256];
    let mut rest: &mut [u8] = &mut classes;
    let mut byte = 0_u8;
    while let Some((class, after)) = rest.split_first_mut() {
        let odd = match byte {
            b'/' | b'.' => ODD_AFTER_SLASH,
            _ if is_literal(byte) => 0,
            _ => NOT_LITERAL,
        };
        let watched = match byte {
            b'/' => NOT_LITERAL | ODD_AFTER_SLASH,
            _ => NOT_LITERAL,
        };
        *class = odd | watched << WATCH_NEXT;
        byte = byte.wrapping_add(1);
        rest = after;
    }
    classes
};

/// Bytes that stand for themselves in a path: RFC 3986 `pchar` without `;`, and the slash.
const fn is_literal(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
                | b'/'
        )
}

/// RFC 3986 `unreserved`.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Decodes what may be decoded. Segments are not looked at here.
fn rewrite(raw: &[u8], out: &mut String) -> Result<Canonical, PathFault> {
    if raw.first() != Some(&b'/') {
        return Err(PathFault::NotRooted);
    }
    let mut found = Canonical::default();
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            rest = rewrite_encoded(rest, out, &mut found)?;
            continue;
        }
        if byte == b'\\' {
            return Err(PathFault::Backslash);
        }
        found.has_semicolon |= byte == b';';
        if byte != b';' && !is_literal(byte) {
            return Err(PathFault::Byte);
        }
        out.push(char::from(byte));
        rest = after;
    }
    Ok(found)
}

/// Rewrites the encoded character at the start of `rest` and returns what follows it.
fn rewrite_encoded<'a>(
    rest: &'a [u8],
    out: &mut String,
    found: &mut Canonical,
) -> Result<&'a [u8], PathFault> {
    let (byte, after) = decode_one(rest).ok_or(PathFault::Percent)?;
    if !byte.is_ascii() {
        return rewrite_character(rest, out);
    }
    if byte.is_ascii_control() {
        return Err(PathFault::Control);
    }
    if byte == b'\\' {
        return Err(PathFault::Backslash);
    }
    if is_unreserved(byte) {
        out.push(char::from(byte));
    } else {
        found.has_encoded_slash |= byte == b'/';
        push_encoded(byte, out);
    }
    Ok(after)
}

/// Rewrites one encoded character beyond ASCII: all its bytes must be there and be UTF-8.
fn rewrite_character<'a>(rest: &'a [u8], out: &mut String) -> Result<&'a [u8], PathFault> {
    let mut character = [0_u8; 4];
    let mut rest = rest;
    for len in 1..=character.len() {
        let (byte, after) = decode_one(rest).ok_or(PathFault::Utf8)?;
        rest = after;
        push_encoded(byte, out);
        let so_far = character.get_mut(..len).unwrap_or_default();
        if let Some(last) = so_far.last_mut() {
            *last = byte;
        }
        match std::str::from_utf8(so_far) {
            Ok(_) => return Ok(rest),
            Err(error) if error.error_len().is_some() => return Err(PathFault::Utf8),
            Err(_) => {}
        }
    }
    Err(PathFault::Utf8)
}

/// The byte that the three bytes `%XX` at the start stand for, and what follows them.
fn decode_one(rest: &[u8]) -> Option<(u8, &[u8])> {
    let (&[percent, high, low], after) = rest.split_first_chunk()?;
    let byte = hex_value(high)? << 4 | hex_value(low)?;
    (percent == b'%').then_some((byte, after))
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn push_encoded(byte: u8, out: &mut String) {
    out.push('%');
    for nibble in [byte >> 4, byte & 15] {
        let digit = if nibble < 10 {
            b'0' + nibble
        } else {
            b'A' + nibble - 10
        };
        out.push(char::from(digit));
    }
}

/// Refuses empty and dot segments and double encoding, on the canonical form: `%25%32%65` shows
/// only there. Some servers decode `%2F` or cut `;…` before they resolve dots, so both end a
/// piece here, although they separate nothing for us.
fn check_segments(canonical: &[u8]) -> Result<(), PathFault> {
    let mut piece = 0_usize;
    let mut dots = 0_usize;
    let mut rest = canonical;
    while let Some((&byte, after)) = rest.split_first() {
        let (ends, next) = match rest {
            [b'%', b'2', b'F', next @ ..] | [b'%', b'3', b'B', next @ ..] => (true, next),
            [b'%', b'2', b'5', high, low, ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                return Err(PathFault::DoubleEncoded);
            }
            [b'/', b'/', ..] => return Err(PathFault::EmptySegment),
            _ => (matches!(byte, b'/' | b';'), after),
        };
        if ends {
            if is_dots(piece, dots) {
                return Err(PathFault::DotSegment);
            }
            (piece, dots) = (0, 0);
        } else {
            piece = piece.saturating_add(1);
            dots = dots.saturating_add(usize::from(byte == b'.'));
        }
        rest = next;
    }
    if is_dots(piece, dots) {
        return Err(PathFault::DotSegment);
    }
    Ok(())
}

/// Whether a piece of this length with so many dots in it is `.` or `..`.
const fn is_dots(piece: usize, dots: usize) -> bool {
    piece == dots && matches!(dots, 1 | 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(raw: impl AsRef<[u8]>, rules: PathRules) -> Result<String, PathFault> {
        let mut out = "left over".to_owned();
        let checked = canonicalize(raw.as_ref(), rules, &mut out);
        assert!(
            checked.is_ok() || out.is_empty(),
            "a refused path leaves nothing"
        );
        checked.map(|_| out)
    }

    // EDGE-45 EDGE-46
    #[test]
    fn what_is_unambiguous_comes_to_one_form() {
        for (name, raw, want) in [
            ("root", "/", "/"),
            ("plain", "/v1/chat/completions", "/v1/chat/completions"),
            ("trailing slash is kept", "/a/", "/a/"),
            ("case is kept", "/OK", "/OK"),
            ("every literal", "/-._~!$&'()*+,=:@", "/-._~!$&'()*+,=:@"),
            (
                "dots in a name",
                "/.well-known/a..b/...",
                "/.well-known/a..b/...",
            ),
            ("unreserved decoded", "/%6f%6B%2D%7e", "/ok-~"),
            ("hex in capitals", "/%c3%a9%3a", "/%C3%A9%3A"),
            ("encoded space", "/a%20b", "/a%20b"),
            ("encoded sub-delims stay", "/%21%3b%40", "/%21%3B%40"),
            ("percent sign as data", "/100%25", "/100%25"),
            ("percent sign before text", "/%25zz", "/%25zz"),
            ("four bytes", "/%f0%9f%98%80", "/%F0%9F%98%80"),
        ] {
            assert_eq!(
                canonical(raw, PathRules::default()).as_deref(),
                Ok(want),
                "{name}"
            );
        }
    }

    const AMBIGUOUS: &[(&str, &str, PathFault)] = &[
        ("empty", "", PathFault::NotRooted),
        ("no slash", "ok", PathFault::NotRooted),
        ("asterisk", "*", PathFault::NotRooted),
        ("quote", "/ok\"", PathFault::Byte),
        ("angle brackets", "/<ok>", PathFault::Byte),
        ("square brackets", "/[ok]", PathFault::Byte),
        ("caret", "/^", PathFault::Byte),
        ("space", "/o k", PathFault::Byte),
        ("fragment", "/ok#x", PathFault::Byte),
        ("question mark", "/ok?", PathFault::Byte),
        ("NUL", "/ok\0", PathFault::Byte),
        ("beyond ASCII", "/é", PathFault::Byte),
        ("percent sign alone", "/ok%", PathFault::Percent),
        ("one digit", "/ok%2", PathFault::Percent),
        ("no digits", "/ok%zz", PathFault::Percent),
        ("IIS notation", "/%u002e", PathFault::Percent),
        ("encoded NUL", "/ok%00", PathFault::Control),
        ("encoded CRLF", "/ok%0d%0aX:1", PathFault::Control),
        ("encoded DEL", "/%7F", PathFault::Control),
        ("backslash", "/ok\\..\\x", PathFault::Backslash),
        ("encoded backslash", "/ok%5c", PathFault::Backslash),
        ("encoded twice", "/%252e%252e", PathFault::DoubleEncoded),
        (
            "encoded twice, shows late",
            "/%25%32%65",
            PathFault::DoubleEncoded,
        ),
        ("encoded thrice", "/%25252e", PathFault::DoubleEncoded),
        ("overlong", "/%c0%af", PathFault::Utf8),
        ("cut character", "/%e2%82", PathFault::Utf8),
        ("cut by a slash", "/%c3/%a9", PathFault::Utf8),
        ("continuation alone", "/%a9", PathFault::Utf8),
        ("surrogate", "/%ed%a0%80", PathFault::Utf8),
        ("beyond Unicode", "/%f4%90%80%80", PathFault::Utf8),
        ("dot", "/./ok", PathFault::DotSegment),
        ("dot at the end", "/ok/.", PathFault::DotSegment),
        ("two dots", "/x/../ok", PathFault::DotSegment),
        ("two dots at the end", "/x/..", PathFault::DotSegment),
        ("encoded dots", "/x/%2e%2E/ok", PathFault::DotSegment),
        ("half encoded", "/x/.%2e", PathFault::DotSegment),
        (
            "dots before a parameter",
            "/x/..;a=b/ok",
            PathFault::DotSegment,
        ),
        (
            "dots behind an encoded slash",
            "/x/a%2f../ok",
            PathFault::DotSegment,
        ),
        ("dots before one", "/x/..%2fok", PathFault::DotSegment),
        (
            "dots before an encoded semicolon",
            "/x/..%3bok",
            PathFault::DotSegment,
        ),
        ("two slashes", "//ok", PathFault::EmptySegment),
        ("two slashes inside", "/a//b", PathFault::EmptySegment),
        ("two slashes at the end", "/a//", PathFault::EmptySegment),
        ("only slashes", "//", PathFault::EmptySegment),
    ];

    // EDGE-45
    #[test]
    fn what_servers_read_differently_is_refused_under_any_rules() {
        for (name, raw, fault) in AMBIGUOUS {
            for rules in [PathRules::default(), PathRules::PERMISSIVE] {
                assert_eq!(canonical(raw, rules), Err(*fault), "{name}");
            }
        }
    }

    // EDGE-45
    #[test]
    fn encoded_slash_and_semicolon_pass_only_where_allowed_and_are_told() {
        let slash = PathRules {
            allow_encoded_slash: true,
            ..PathRules::default()
        };
        let semicolon = PathRules {
            allow_semicolon: true,
            ..PathRules::default()
        };
        for (raw, rules, other, want) in [
            ("/v1/models/a%2fb", slash, semicolon, "/v1/models/a%2Fb"),
            ("/ok;a=b", semicolon, slash, "/ok;a=b"),
        ] {
            assert_eq!(canonical(raw, rules).as_deref(), Ok(want));
            assert!(canonical(raw, other).is_err());
            assert!(canonical(raw, PathRules::default()).is_err());
            let mut out = String::new();
            let told = canonicalize(raw.as_bytes(), PathRules::PERMISSIVE, &mut out).unwrap();
            assert!(told.allowed_by(rules) && !told.allowed_by(other));
            assert!(told.allowed_by(PathRules::PERMISSIVE));
        }
        let plain = canonicalize(b"/ok", PathRules::PERMISSIVE, &mut String::new());
        assert_eq!(plain, Ok(Canonical::default()));
    }

    proptest::proptest! {
        #[test]
        fn the_canonical_form_is_its_own(
            path in "/([a-z%2-9A-F./;~]|%2[5eEfF]|%25|[cC]3%[aA]9){0,14}",
        ) {
            if let Ok(once) = canonical(&path, PathRules::PERMISSIVE) {
                proptest::prop_assert!(once.len() <= path.len());
                proptest::prop_assert_eq!(canonical(&once, PathRules::PERMISSIVE), Ok(once));
            }
        }

        #[test]
        fn a_plain_path_comes_out_as_the_slow_way_has_it(
            path in "/([a-zA-Z0-9/._-]{0,12}|[a-z]{12,20})([!-~]|[/.]{2}|)[a-z0-9/]{0,20}",
        ) {
            let mut slow = String::new();
            let found = rewrite(path.as_bytes(), &mut slow)
                .and_then(|found| check_segments(slow.as_bytes()).map(|()| found));
            if is_plain(path.as_bytes()) {
                proptest::prop_assert_eq!(found, Ok(Canonical::default()));
                proptest::prop_assert_eq!(&slow, &path);
            }
            let odd = path.contains("//") || path.contains("/.");
            let literal = path.bytes().all(is_literal);
            proptest::prop_assert_eq!(is_plain(path.as_bytes()), literal && !odd);
        }

        #[test]
        fn arbitrary_bytes_never_panic(raw: Vec<u8>) {
            let rooted = [b"/", raw.as_slice()].concat();
            for raw in [&raw, &rooted] {
                if let Ok(path) = canonical(raw, PathRules::default()) {
                    let ambiguous = ["//", "/./", "/../", ";", "%2F", "%00", "\\"];
                    proptest::prop_assert!(!ambiguous.iter().any(|part| path.contains(part)));
                }
            }
        }
    }
}
