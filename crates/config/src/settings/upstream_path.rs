//! The path of a route's requests at the upstream, where it is another than the caller's:
//! `/v1/query/${params.id}/results`.

use super::PathPattern;
use super::route_pattern::Segment;
use tollkeep_types::path::{PathRules, canonicalize};

/// A path that is made of what a request says. Each value stays the one segment, or the one value
/// of the query, that it is put in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamPath {
    path: Vec<Piece>,
    /// `None`: the caller's.
    query: Option<Vec<Piece>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(Box<str>),
    /// What stands in the caller's path under this name.
    Param(Box<str>),
    /// What stands in the caller's query under this name.
    Query(Box<str>),
}

/// Characters of such a path at most.
const CHARS_MAX: usize = 2_048;
/// What `*` of a route is called here.
const REST: &str = "rest";
/// Stands for any value where a path is looked at by itself.
const SOME_VALUE: &str = "x";

impl UpstreamPath {
    /// Reads a path for requests of these paths.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &str, of: &PathPattern) -> Result<Self, String> {
        let is_strange = |byte: u8| !byte.is_ascii_graphic() || byte == b'#';
        if !text.starts_with('/') || text.len() > CHARS_MAX || text.bytes().any(is_strange) {
            return Err("want a path that starts with `/`, as `/v1/items/${params.id}`".to_owned());
        }
        // The names in `${…}` have no question mark.
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(pieces(query, of)?)),
            None => (text, None),
        };
        let path = pieces(path, of)?;
        let plain: String = path
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Param(_) | Piece::Query(_) => SOME_VALUE,
            })
            .collect();
        let mut canonical = String::new();
        canonicalize(plain.as_bytes(), PathRules::PERMISSIVE, &mut canonical)
            .map_err(|fault| fault.to_string())?;
        if canonical != plain {
            return Err(format!("is not canonical: it would be `{canonical}`"));
        }
        Ok(Self { path, query })
    }

    /// Path and query at the upstream, below its own. `None`: the request lacks a value or has it
    /// twice, or one makes another path of it, such as `..`.
    pub fn fill(
        &self,
        params: &[(&str, &str)],
        query: Option<&str>,
        rules: PathRules,
    ) -> Option<String> {
        let of_param = |name: &str| {
            let mut params = params.iter();
            params
                .find(|(known, _)| *known == name)
                .map(|(_, text)| *text)
        };
        let mut path = String::new();
        for piece in &self.path {
            match piece {
                Piece::Text(text) => path.push_str(text),
                // Of a canonical path, which is encoded as it should be.
                Piece::Param(name) => path.push_str(of_param(name)?),
                // Nothing is no segment: what stands above it is another thing.
                Piece::Query(name) => {
                    let value = of_query(query, name).filter(|value| !value.is_empty())?;
                    encode(&value, &mut path);
                }
            }
        }
        let mut filled = String::new();
        canonicalize(path.as_bytes(), rules, &mut filled).ok()?;
        let Some(pieces) = &self.query else {
            if let Some(query) = query {
                filled.push('?');
                filled.push_str(query);
            }
            return Some(filled);
        };
        filled.push('?');
        for piece in pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Param(name) => encode(&decoded(of_param(name)?, false)?, &mut filled),
                Piece::Query(name) => encode(&of_query(query, name)?, &mut filled),
            }
        }
        Some(filled)
    }
}

fn pieces(text: &str, of: &PathPattern) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        let (name, after) = behind.split_once('}').ok_or("has a `${` without `}`")?;
        pieces.push(piece(name, of)?);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(pieces)
}

fn piece(name: &str, of: &PathPattern) -> Result<Piece, String> {
    if let Some(param) = name.strip_prefix("params.") {
        let is_there = of.0.iter().any(|segment| match segment {
            Segment::Literal(_) => false,
            Segment::Param(known) => **known == *param,
            Segment::Rest => param == REST,
        });
        return is_there
            .then(|| Piece::Param(param.into()))
            .ok_or_else(|| format!("names `{name}`, and the route's path has no such part"));
    }
    match name.strip_prefix("query.") {
        Some(query) if !query.is_empty() => Ok(Piece::Query(query.into())),
        Some(_) | None => Err(format!(
            "has `${{{name}}}`: want `${{params.NAME}}`, `${{params.rest}}` or `${{query.NAME}}`"
        )),
    }
}

/// The one value of this name in a query.
fn of_query(query: Option<&str>, name: &str) -> Option<Vec<u8>> {
    let mut found = None;
    for pair in query?.split('&') {
        let (known, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(known, true)? == name.as_bytes() && found.replace(value).is_some() {
            return None;
        }
    }
    decoded(found?, true)
}

/// A text without its escapes; in a query `+` is a space.
fn decoded(text: &str, is_query: bool) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if is_query => b' ',
            b'%' => {
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            plain => plain,
        });
    }
    Some(bytes)
}

/// Writes bytes so that they separate nothing, wherever they stand.
fn encode(bytes: &[u8], out: &mut String) {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            let digits = [digit(byte >> 4), digit(byte & 15)];
            out.push('%');
            out.extend(digits.map(|digit| digit.to_ascii_uppercase()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(to: &str, of: &str, path: &str, query: Option<&str>) -> Option<String> {
        let of: PathPattern = of.parse().unwrap();
        let to = UpstreamPath::read(to, &of).unwrap();
        to.fill(&of.params(path), query, PathRules::default())
    }

    // PAY-14
    #[test]
    fn values_stay_the_segment_or_the_query_value_they_are_put_in() {
        for (to, of, path, query, want) in [
            ("/v1/x", "/a", "/a", None, Some("/v1/x")),
            ("/v1/x", "/a", "/a", Some("b=1"), Some("/v1/x?b=1")),
            ("/q/${params.id}/r", "/d/:id", "/d/7", None, Some("/q/7/r")),
            (
                "/q/${params.id}",
                "/d/:id",
                "/d/a%20b&c",
                None,
                Some("/q/a%20b&c"),
            ),
            ("/f/${params.rest}", "/d/*", "/d/a/b", None, Some("/f/a/b")),
            ("/f/${params.rest}", "/d/*", "/d", None, Some("/f/")),
            (
                "/s?q=${params.id}",
                "/d/:id",
                "/d/a&b=c",
                None,
                Some("/s?q=a%26b%3Dc"),
            ),
            (
                "/s?q=${query.q}&n=5",
                "/d",
                "/d",
                Some("q=a+b%26&x=1"),
                Some("/s?q=a%20b%26&n=5"),
            ),
            (
                "/c/${query.city}",
                "/d",
                "/d",
                Some("city=S%C3%A3o"),
                Some("/c/S%C3%A3o?city=S%C3%A3o"),
            ),
            // What would be another path.
            ("/c/${query.city}", "/d", "/d", Some("city=.."), None),
            ("/c/.${query.city}", "/d", "/d", Some("city=."), None),
            ("/c/.${params.id}", "/d/:id", "/d/.", None, None),
            ("/c/${query.city}", "/d", "/d", Some("city=a%2Fb"), None),
            ("/c/${query.city}", "/d", "/d", Some("city=a%00"), None),
            ("/c/${query.city}/x", "/d", "/d", Some("city="), None),
            ("/c/${query.city}", "/d", "/d", Some("city=1&city=2"), None),
            (
                "/c/${query.city}",
                "/d",
                "/d",
                Some("city=1&c%69ty=2"),
                None,
            ),
            ("/c/${query.city}", "/d", "/d", Some("other=1"), None),
            ("/c/${query.city}", "/d", "/d", Some("city="), None),
            ("/c/${query.city}", "/d", "/d", Some("city=%"), None),
            ("/c/${query.city}", "/d", "/d", None, None),
        ] {
            assert_eq!(
                filled(to, of, path, query).as_deref(),
                want,
                "{to} {path} {query:?}"
            );
        }
    }

    // PAY-14
    #[test]
    fn paths_that_say_nothing_are_refused() {
        let of: PathPattern = "/d/:id".parse().unwrap();
        for (to, problem) in [
            ("v1", "want a path"),
            ("/a b", "want a path"),
            ("/a#b", "want a path"),
            ("/a/../b", "dot segment"),
            ("/a//b", "empty segment"),
            ("/%61", "is not canonical"),
            ("/${params.other}", "no such part"),
            ("/${params.rest}", "no such part"),
            ("/${params.id", "without `}`"),
            ("/${HOME}", "want `${params.NAME}`"),
            ("/${query.}", "want `${params.NAME}`"),
            ("/a?x=${params.y}", "no such part"),
        ] {
            let told = UpstreamPath::read(to, &of).unwrap_err();
            assert!(told.contains(problem), "{to}: {told}");
        }
    }
}
