//! Web origins, compared exactly.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A web origin as browsers write it: scheme, host and port in lower case, without the scheme's
/// own port. There is no wildcard, and `null` is no origin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(Box<str>);

/// Text that is no origin, or more than one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is not an origin such as `https://app.example.com`: no path, wildcard or user")]
pub struct NotAnOrigin;

impl Origin {
    /// Whether `sent`, the value of an `Origin` field, is this origin.
    pub fn is(&self, sent: &[u8]) -> bool {
        is_same_origin(&self.0, sent)
    }

    /// As browsers write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let text = text.to_ascii_lowercase();
        if !is_origin(&text) {
            return Err(NotAnOrigin);
        }
        let whole = without_default_port(text.as_bytes()).len();
        Ok(Self(text.get(..whole).ok_or(NotAnOrigin)?.into()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `sent`, the value of an `Origin` field, is the origin `own` (EDGE-81): scheme, host and
/// port are equal but for case and the scheme's own port. There is no wildcard, and `null` is no
/// origin.
pub(crate) fn is_same_origin(own: &str, sent: &[u8]) -> bool {
    without_default_port(own.as_bytes()).eq_ignore_ascii_case(without_default_port(sent))
}

/// Whether `text` is an origin and nothing more: no user, path, wildcard or blank.
pub(crate) fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    is_scheme(scheme) && is_host(host) && port.is_none_or(is_port)
}

fn without_default_port(origin: &[u8]) -> &[u8] {
    let begins_with = |scheme: &[u8]| {
        origin
            .get(..scheme.len())
            .is_some_and(|front| front.eq_ignore_ascii_case(scheme))
    };
    let default: &[u8] = if begins_with(b"https://") {
        b":443"
    } else if begins_with(b"http://") {
        b":80"
    } else {
        return origin;
    };
    origin.strip_suffix(default).unwrap_or(origin)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn is_host(text: &str) -> bool {
    match text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
        None => {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        }
    }
}

fn is_port(text: &str) -> bool {
    !text.starts_with('0')
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}
