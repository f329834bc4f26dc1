//! A request target: its canonical path and its query.

use tollkeep_llm::gemini::{model_of, write_model};
use tollkeep_llm::surface::model_id;
use tollkeep_llm::surface_of;
use tollkeep_types::path::{PathRules, canonicalize, check_query, split_target};

/// The bytes are a request target.
///
/// Laws: a canonical path is its own canonical form; a stricter rule refuses or gives the same;
/// no dot segment, empty segment, control byte or backslash is left, however often it is decoded.
pub fn path(data: &[u8]) {
    let (raw, query) = split_target(data);
    let joined = query.map_or(raw.len(), |query| raw.len() + 1 + query.len());
    assert_eq!(joined, data.len());
    if let Some(query) = query
        && check_query(query).is_ok()
    {
        assert!(query.iter().all(|byte| (0x21..0x7f).contains(byte)));
    }
    let mut permissive = String::new();
    let found = canonicalize(raw, PathRules::PERMISSIVE, &mut permissive);
    for (allow_encoded_slash, allow_semicolon) in [(false, false), (false, true), (true, false)] {
        let rules = PathRules {
            allow_encoded_slash,
            allow_semicolon,
        };
        let mut strict = String::from("left over");
        let judged = canonicalize(raw, rules, &mut strict);
        match found {
            Ok(canonical) if canonical.allowed_by(rules) => {
                assert_eq!((judged, &strict), (found, &permissive));
            }
            Ok(_) | Err(_) => assert!(judged.is_err() && strict.is_empty()),
        }
    }
    if found.is_ok() {
        check_canonical(&permissive);
        let mut again = String::new();
        assert_eq!(
            canonicalize(permissive.as_bytes(), PathRules::PERMISSIVE, &mut again),
            found
        );
        assert_eq!(again, permissive);
    }
}

fn check_canonical(path: &str) {
    assert!(path.starts_with('/'), "{path}");
    assert!(
        path.bytes().all(|byte| (0x21..0x7f).contains(&byte)),
        "{path}"
    );
    let mut text = path.as_bytes().to_vec();
    for _ in 0..3 {
        let segments: Vec<&[u8]> = text.split(|byte| *byte == b'/').skip(1).collect();
        let inner = segments.split_last().map_or(&[][..], |(_, inner)| inner);
        assert!(
            !segments
                .iter()
                .any(|segment| matches!(*segment, b"." | b"..")),
            "{path}"
        );
        // An encoded slash separates nothing, but to a careless upstream it might.
        assert!(
            path.contains("%2F") || !inner.iter().any(|segment| segment.is_empty()),
            "{path}"
        );
        assert!(
            !text
                .iter()
                .any(|byte| *byte < b' ' || matches!(byte, b'\\' | 0x7f)),
            "{path}"
        );
        text = decoded(&text);
    }
    let _surface = (
        surface_of("GET", path),
        surface_of("POST", path),
        model_id(path),
    );
    if let Some(model) = model_of(path) {
        let mut written = Vec::new();
        assert!(write_model(&mut written, &model), "{path}");
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b':');
        assert!(written.iter().all(plain), "{path}");
        let mut segments = written.split(|byte| *byte == b'/');
        let leads = |segment: &[u8]| matches!(segment, b"" | b"." | b"..");
        assert!(!segments.any(leads), "{path}");
    }
}

/// The percent-decoded bytes, as a careless reader would make them.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let digit = |at: usize| {
            after
                .get(at)
                .and_then(|digit| char::from(*digit).to_digit(16))
        };
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    out
}
