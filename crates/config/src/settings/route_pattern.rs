//! The name of a route: `METHOD /path`.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;
use tollkeep_types::path::{PathRules, canonicalize};

/// The methods of a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Methods {
    /// All of [`Method`].
    Any,
    /// These, each once.
    Listed(Vec<Method>),
}

/// A method a route can name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the methods of RFC 9110")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// Every method a route can name.
    pub const ALL: [Self; 7] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Options,
    ];

    /// The method as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl Methods {
    /// Whether some method is in both.
    pub(crate) fn overlap(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Listed(some), Self::Listed(others)) => {
                some.iter().any(|method| others.contains(method))
            }
        }
    }
}

impl Methods {
    /// Orders routes of one path: HEAD follows GET, but not where it has a route of its own.
    pub fn precedence(&self) -> impl Ord + use<> {
        match self {
            Self::Any => true,
            Self::Listed(methods) => !methods.contains(&Method::Head),
        }
    }

    /// Whether a method of this name is one of them; HEAD follows GET.
    pub fn take(&self, method: &str) -> bool {
        let has = |wanted: &str| match self {
            Self::Any => Method::ALL.iter().any(|known| known.as_str() == wanted),
            Self::Listed(methods) => methods.iter().any(|known| known.as_str() == wanted),
        };
        has(method) || (method == "HEAD" && has("GET"))
    }
}

impl FromStr for Methods {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "ANY" {
            return Ok(Self::Any);
        }
        let mut methods = Vec::new();
        for name in text.split(',') {
            let known = Method::ALL
                .into_iter()
                .find(|method| method.as_str() == name);
            let method = known.ok_or_else(|| {
                format!("{name:?} is no method: want GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or ANY")
            })?;
            if methods.contains(&method) {
                return Err(format!("names {name} twice"));
            }
            methods.push(method);
        }
        Ok(Self::Listed(methods))
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("ANY"),
            Self::Listed(methods) => {
                let names: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// The paths of a route, segment by segment (PAY-11). `/a/` has an empty literal last.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PathPattern(pub Vec<Segment>);

/// One segment of a path pattern.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Segment {
    /// This text, canonical.
    Literal(Box<str>),
    /// `:name`, one segment that is not empty.
    Param(Box<str>),
    /// `*`, the rest, possibly empty; last only.
    Rest,
}

/// Segments of a pattern.
const SEGMENTS_MAX: usize = 64;

impl PathPattern {
    /// Whether two patterns take exactly the same paths.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Segment, &Segment)| match (a, b) {
            (Segment::Literal(a), Segment::Literal(b)) => a == b,
            (Segment::Param(_), Segment::Param(_)) | (Segment::Rest, Segment::Rest) => true,
            (Segment::Literal(_) | Segment::Param(_) | Segment::Rest, _) => false,
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }
}

impl PathPattern {
    /// Whether every path that fits `other` fits this one too.
    pub(crate) fn takes_all_of(&self, other: &Self) -> bool {
        let mut others = other.0.iter();
        for wanted in &self.0 {
            match (wanted, others.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Literal(literal), Some(Segment::Literal(other))) if literal == other => {}
                (Segment::Param(_), Some(Segment::Literal(other))) if !other.is_empty() => {}
                (Segment::Param(_), Some(Segment::Param(_))) => {}
                (Segment::Literal(_) | Segment::Param(_), _) => return false,
            }
        }
        others.next().is_none()
    }

    /// Orders patterns, the most specific first: literal beats `:name` beats `*`, segment by
    /// segment from the left.
    pub fn precedence(&self) -> impl Ord + use<> {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Param(_) => 1,
            Segment::Rest => 2,
        };
        let ranks: Vec<u8> = self.0.iter().map(rank).collect();
        (ranks, Reverse(self.0.len()))
    }

    /// Whether a canonical path fits.
    pub fn fits(&self, path: &str) -> bool {
        let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
        for wanted in &self.0 {
            match (wanted, segments.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Literal(literal), Some(segment)) if **literal == *segment => {}
                (Segment::Param(_), Some(segment)) if !segment.is_empty() => {}
                (Segment::Literal(_) | Segment::Param(_), _) => return false,
            }
        }
        segments.next().is_none()
    }

    /// What stands in a path that fits, by the names of the pattern; `*` is called `rest`.
    pub fn params<'p>(&'p self, path: &'p str) -> Vec<(&'p str, &'p str)> {
        let mut params = Vec::new();
        let mut left = path.strip_prefix('/').unwrap_or(path);
        for wanted in &self.0 {
            let (segment, behind) = left.split_once('/').unwrap_or((left, ""));
            match wanted {
                Segment::Literal(_) => {}
                Segment::Param(name) => params.push((&**name, segment)),
                Segment::Rest => params.push(("rest", left)),
            }
            left = behind;
        }
        params
    }
}

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text
            .strip_prefix('/')
            .ok_or("want a path that starts with `/`")?;
        let texts: Vec<&str> = path.split('/').collect();
        if texts.len() > SEGMENTS_MAX {
            return Err(format!("has more than {SEGMENTS_MAX} segments"));
        }
        let last = texts.len().saturating_sub(1);
        let mut segments = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            let segment = match (text, text.strip_prefix(':')) {
                ("*", _) if index == last => Segment::Rest,
                ("*", _) => return Err("`*` stands last only".to_owned()),
                (_, Some(name)) => Segment::Param(param(name)?),
                ("", None) if index != last => return Err("has an empty segment".to_owned()),
                (literal, None) => Segment::Literal(literal.into()),
            };
            if segments.contains(&segment) && matches!(segment, Segment::Param(_)) {
                return Err(format!("names `{text}` twice"));
            }
            segments.push(segment);
        }
        let pattern = Self(segments);
        pattern.check_literals()?;
        Ok(pattern)
    }
}

impl PathPattern {
    /// Matching runs on canonical paths, so a literal that is not canonical would match nothing.
    fn check_literals(&self) -> Result<(), String> {
        for segment in &self.0 {
            let Segment::Literal(text) = segment else {
                continue;
            };
            let written = format!("/{text}");
            let mut canonical = String::new();
            canonicalize(written.as_bytes(), PathRules::PERMISSIVE, &mut canonical)
                .map_err(|fault| format!("{text:?}: {fault}"))?;
            if canonical != written {
                let right = canonical.trim_start_matches('/');
                return Err(format!("{text:?} is not canonical: write {right:?}"));
            }
        }
        Ok(())
    }
}

fn param(name: &str) -> Result<Box<str>, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name.into());
    }
    Err(format!(
        "want `:name` of letters, digits and `_`, not {name:?}"
    ))
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Param(name) => write!(f, "/:{name}")?,
                Segment::Rest => f.write_str("/*")?,
            }
        }
        Ok(())
    }
}

/// Paths the data listener answers itself (OPS-50).
const RESERVED: [&str; 5] = [
    "/health",
    "/healthz",
    "/live",
    "/ready",
    "/.well-known/tollkeep",
];

/// And below this.
const RESERVED_BELOW: &str = "/.well-known/tollkeep/";

/// Whether requests of such a path never come to a route.
pub(crate) fn is_reserved_path(pattern: &PathPattern) -> bool {
    let plain = pattern.to_string();
    RESERVED.contains(&plain.as_str()) || plain.starts_with(RESERVED_BELOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_say_what_they_take_or_what_is_wrong() {
        for (text, want) in [
            ("/", Ok("/")),
            ("/v1/x", Ok("/v1/x")),
            ("/a/", Ok("/a/")),
            ("/users/:id/posts/*", Ok("/users/:id/posts/*")),
            ("v1", Err("want a path that starts with `/`")),
            ("/a//b", Err("has an empty segment")),
            ("/*/b", Err("`*` stands last only")),
            ("/:id/:id", Err("names `:id` twice")),
            (
                "/:",
                Err("want `:name` of letters, digits and `_`, not \"\""),
            ),
            (
                "/%63ent",
                Err("\"%63ent\" is not canonical: write \"cent\""),
            ),
        ] {
            let got = text
                .parse::<PathPattern>()
                .map(|pattern| pattern.to_string());
            assert_eq!(
                got,
                want.map(str::to_owned).map_err(str::to_owned),
                "{text}"
            );
        }
        for text in ["/a/../b", "/a b", "/a\\b", "/%00", "/ä"] {
            assert!(text.parse::<PathPattern>().is_err(), "{text}");
        }
    }

    // PAY-11
    #[test]
    fn what_stands_in_a_path_has_the_names_of_the_pattern() {
        for (pattern, path, want) in [
            ("/items/:id", "/items/7", vec![("id", "7")]),
            (
                "/items/:id/x/:y",
                "/items/7/x/%2F",
                vec![("id", "7"), ("y", "%2F")],
            ),
            ("/files/*", "/files/a/b", vec![("rest", "a/b")]),
            ("/files/*", "/files/", vec![("rest", "")]),
            ("/files/*", "/files", vec![("rest", "")]),
            ("/:a/*", "/x/y/", vec![("a", "x"), ("rest", "y/")]),
            ("/plain", "/plain", vec![]),
        ] {
            let pattern: PathPattern = pattern.parse().unwrap();
            assert!(pattern.fits(path), "{pattern} {path}");
            assert_eq!(pattern.params(path), want, "{pattern} {path}");
        }
    }

    // PAY-12
    #[test]
    fn head_follows_get_unless_it_has_a_route_of_its_own() {
        let methods = |text: &str| text.parse::<Methods>().unwrap();
        assert!(methods("GET").take("HEAD"));
        assert!(!methods("POST").take("HEAD"));
        assert!(methods("HEAD").precedence() < methods("GET").precedence());
        assert!(methods("ANY").take("PATCH") && !methods("ANY").take("TRACE"));
    }

    #[test]
    fn methods_are_upper_case_and_each_once() {
        assert_eq!("ANY".parse(), Ok(Methods::Any));
        assert_eq!(
            "GET,HEAD".parse(),
            Ok(Methods::Listed(vec![Method::Get, Method::Head]))
        );
        for text in ["get", "GET,GET", "GET, HEAD", "", "CONNECT", "TRACE"] {
            assert!(text.parse::<Methods>().is_err(), "{text}");
        }
    }
}
