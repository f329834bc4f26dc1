//! Authorities: `name[:port]` as a `Host` field or target carries it, and the patterns that say
//! which of them a listener serves.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The text is not `name[:port]` or `[v6][:port]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an authority: expected `name`, `name:port` or `[ipv6]:port`")]
pub struct AuthorityError;

/// An authority seen in a buffer, checked, nothing copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuthorityRef<'a> {
    host: HostRef<'a>,
    port: Option<u16>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum HostRef<'a> {
    Name(&'a [u8]),
    V6(Ipv6Addr),
}

impl<'a> AuthorityRef<'a> {
    /// HOT. Reads an authority: a name of `A–Z a–z 0–9 . - _` or a bracketed IPv6 address without
    /// a zone, then optionally a port of 1–65535 without leading zeros. Anything else fails.
    #[inline]
    pub fn parse(raw: &'a [u8]) -> Result<Self, AuthorityError> {
        if let Some(bracketed) = raw.strip_prefix(b"[") {
            return parse_v6(bracketed);
        }
        let end = raw.iter().position(|byte| !is_name_byte(*byte));
        let (name, after) = raw
            .split_at_checked(end.unwrap_or(raw.len()))
            .ok_or(AuthorityError)?;
        if name.is_empty() {
            return Err(AuthorityError);
        }
        Ok(Self {
            host: HostRef::Name(name),
            port: parse_port(after)?,
        })
    }
}

/// Reads what follows the opening bracket of an authority.
fn parse_v6<'a>(bracketed: &[u8]) -> Result<AuthorityRef<'a>, AuthorityError> {
    let end = bracketed.iter().position(|byte| *byte == b']');
    let (inside, after) = end
        .and_then(|end| bracketed.split_at_checked(end))
        .ok_or(AuthorityError)?;
    let text = std::str::from_utf8(inside).map_err(|_| AuthorityError)?;
    let address = text.parse().map_err(|_| AuthorityError)?;
    let port = parse_port(after.get(1..).unwrap_or_default())?;
    Ok(AuthorityRef {
        host: HostRef::V6(address),
        port,
    })
}

fn is_name_byte(byte: u8) -> bool {
    NAME_BYTES
        .get(usize::from(byte))
        .copied()
        .unwrap_or_default()
}

static NAME_BYTES: [bool; 256] = {
    let mut set = [false; 256];
    let mut rest: &mut [bool] = &mut set;
    let mut byte = 0_u8;
    while let Some((is_in, after)) = rest.split_first_mut() {
        *is_in = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        byte = byte.wrapping_add(1);
        rest = after;
    }
    set
};

/// Reads what follows the host: nothing, or `:` and a port.
fn parse_port(after: &[u8]) -> Result<Option<u16>, AuthorityError> {
    let Some((&colon, digits)) = after.split_first() else {
        return Ok(None);
    };
    if colon != b':' || !matches!(digits, [b'1'..=b'9', ..]) || digits.len() > 5 {
        return Err(AuthorityError);
    }
    // Five digits don't overflow.
    let mut port = 0_u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(AuthorityError);
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    u16::try_from(port).map(Some).map_err(|_| AuthorityError)
}

/// An authority that is kept. Names are lower case; an IPv6 address is in brackets and in its
/// canonical spelling.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Authority {
    host: Box<str>,
    port: Option<u16>,
}

impl Authority {
    /// The host, lower case; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if one was written.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

impl From<AuthorityRef<'_>> for Authority {
    fn from(seen: AuthorityRef<'_>) -> Self {
        let host = match seen.host {
            HostRef::Name(name) => String::from_utf8_lossy(name).to_ascii_lowercase(),
            HostRef::V6(address) => format!("[{address}]"),
        };
        Self {
            host: host.into_boxed_str(),
            port: seen.port,
        }
    }
}

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        AuthorityRef::parse(text.as_bytes()).map(Self::from)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        write_port(self.port, f)
    }
}

fn write_port(port: Option<u16>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match port {
        Some(port) => write!(f, ":{port}"),
        None => Ok(()),
    }
}

/// Which authorities are served: an exact host, `*.example.com` (exactly one label more), or `*`.
/// Without a port any port matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorityPattern {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Hosts {
    Any,
    Name(Box<str>),
    /// `.example.com`, with the leading dot.
    OneLabelUnder(Box<str>),
    V6(Ipv6Addr),
}

impl AuthorityPattern {
    /// Whether this is `*`, which serves every authority.
    pub const fn is_any(&self) -> bool {
        matches!(self.hosts, Hosts::Any)
    }

    /// HOT. Whether an authority as it stands in a request is served. A malformed one never is.
    pub fn matches(&self, raw: &[u8]) -> bool {
        match &self.hosts {
            Hosts::Name(name) => self.is_name(name.as_bytes(), raw),
            Hosts::Any | Hosts::OneLabelUnder(_) | Hosts::V6(_) => self.matches_parsed(raw),
        }
    }

    /// Whether `raw` is this name and a port that is served. The name is well-formed, so what
    /// equals it is, and only what comes after it is still to be read.
    #[inline]
    fn is_name(&self, name: &[u8], raw: &[u8]) -> bool {
        let Some((host, after)) = raw.split_at_checked(name.len()) else {
            return false;
        };
        // The name is kept in lower case, so only what was sent is brought to it.
        let same = host
            .iter()
            .zip(name)
            .all(|(sent, kept)| sent.to_ascii_lowercase() == *kept);
        same && parse_port(after).is_ok_and(|port| self.port.is_none() || self.port == port)
    }

    #[inline(never)]
    fn matches_parsed(&self, raw: &[u8]) -> bool {
        let Ok(seen) = AuthorityRef::parse(raw) else {
            return false;
        };
        if self.port.is_some() && self.port != seen.port {
            return false;
        }
        match (&self.hosts, seen.host) {
            (Hosts::Any, _) => true,
            (Hosts::Name(name), HostRef::Name(seen)) => seen.eq_ignore_ascii_case(name.as_bytes()),
            (Hosts::OneLabelUnder(suffix), HostRef::Name(seen)) => is_one_label_under(seen, suffix),
            (Hosts::V6(address), HostRef::V6(seen)) => *address == seen,
            (Hosts::Name(_) | Hosts::OneLabelUnder(_), HostRef::V6(_))
            | (Hosts::V6(_), HostRef::Name(_)) => false,
        }
    }
}

fn is_one_label_under(name: &[u8], suffix: &str) -> bool {
    let label_len = name.len().saturating_sub(suffix.len());
    let Some((label, rest)) = name.split_at_checked(label_len) else {
        return false;
    };
    !label.is_empty() && !label.contains(&b'.') && rest.eq_ignore_ascii_case(suffix.as_bytes())
}

impl FromStr for AuthorityPattern {
    type Err = AuthorityError;

    /// Fails on what is no authority after the wildcard is taken off, on a trailing dot (it would
    /// serve a second spelling of the name), on `*.` before an address, and on `*:port`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self {
                hosts: Hosts::Any,
                port: None,
            });
        }
        let below = text.strip_prefix("*.");
        let authority: Authority = below.unwrap_or(text).parse()?;
        let host = authority.host();
        let no_label = host.starts_with('.') || host.ends_with('.') || host.contains("..");
        if no_label {
            return Err(AuthorityError);
        }
        let address = AuthorityRef::parse(host.as_bytes()).map(|seen| seen.host);
        let hosts = match (below, address) {
            (Some(_), Ok(HostRef::V6(_))) => return Err(AuthorityError),
            (None, Ok(HostRef::V6(address))) => Hosts::V6(address),
            (Some(_), _) => Hosts::OneLabelUnder(format!(".{host}").into_boxed_str()),
            (None, _) => Hosts::Name(host.into()),
        };
        Ok(Self {
            hosts,
            port: authority.port(),
        })
    }
}

impl fmt::Display for AuthorityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::Any => f.write_str("*")?,
            Hosts::Name(name) => f.write_str(name)?,
            Hosts::OneLabelUnder(suffix) => write!(f, "*{suffix}")?,
            Hosts::V6(address) => write!(f, "[{address}]")?,
        }
        write_port(self.port, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-28
    #[test]
    fn an_authority_is_a_name_or_bracketed_address_and_maybe_a_port() {
        for (text, host, port) in [
            ("gw.test", "gw.test", None),
            ("GW.Test:8317", "gw.test", Some(8317)),
            ("a_b-c.1:1", "a_b-c.1", Some(1)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[0:0::0001]:80", "[::1]", Some(80)),
            ("[::FFFF:1.2.3.4]", "[::ffff:1.2.3.4]", None),
            ("gw.test.", "gw.test.", None),
        ] {
            let authority: Authority = text.parse().unwrap();
            assert_eq!((authority.host(), authority.port()), (host, port), "{text}");
            assert_eq!(authority.to_string().parse(), Ok(authority));
        }
    }

    // EDGE-28
    #[test]
    fn what_is_no_authority_is_refused() {
        for text in [
            "",
            ":80",
            "gw.test:",
            "gw.test:0",
            "gw.test:080",
            "gw.test:65536",
            "gw.test:100000",
            "gw.test:8a",
            "gw.test:+8",
            "gw.test:80:80",
            "gw test",
            " gw.test",
            "gw.test ",
            "a@gw.test",
            "gw.test/x",
            "gw.test,b.test",
            "gw%2etest",
            "gẃ.test",
            "gw.test\0",
            "[]",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[v1.a]",
            "[1.2.3.4]",
            "[[::1]]",
            "[::1]]",
            "*",
            "*.gw.test",
        ] {
            assert_eq!(text.parse::<Authority>(), Err(AuthorityError), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_serves_what_it_says_and_nothing_near_it() {
        for (pattern, served, not_served) in [
            (
                "gw.test",
                &["gw.test", "GW.TEST:1", "gw.test:8317"][..],
                &[
                    "gw.test.",
                    "a.gw.test",
                    "xgw.test",
                    "gw.testx",
                    "[::1]",
                    "gw.test:",
                    "",
                ][..],
            ),
            (
                "GW.test:8317",
                &["gw.test:8317", "Gw.Test:8317"],
                &["gw.test", "gw.test:8318"],
            ),
            (
                "*.example.com",
                &["a.example.com", "A-b.EXAMPLE.com:80"],
                &[
                    "example.com",
                    ".example.com",
                    "a.b.example.com",
                    "aexample.com",
                    "a.example.com.",
                ],
            ),
            (
                "*.a.test:80",
                &["b.a.test:80"],
                &["b.a.test", "b.a.test:81"],
            ),
            (
                "[::1]",
                &["[::1]", "[0::0:1]:80"],
                &["[::2]", "::1", "localhost"],
            ),
            (
                "127.0.0.1",
                &["127.0.0.1:80"],
                &["127.0.0.2", "[::ffff:127.0.0.1]"],
            ),
            (
                "*",
                &["gw.test", "[::1]:80", "a.b.c"],
                &["", "a b", "a@b", "a:0"],
            ),
        ] {
            let parsed: AuthorityPattern = pattern.parse().unwrap();
            for authority in served {
                assert!(
                    parsed.matches(authority.as_bytes()),
                    "{pattern} serves {authority}"
                );
            }
            for authority in not_served {
                assert!(
                    !parsed.matches(authority.as_bytes()),
                    "{pattern}, not {authority:?}"
                );
            }
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn only_the_lone_asterisk_is_any() {
        for (pattern, any) in [("*", true), ("*.test", false), ("gw.test", false)] {
            assert_eq!(
                pattern
                    .parse()
                    .map(|parsed: AuthorityPattern| parsed.is_any()),
                Ok(any)
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "*:80",
            "**",
            "*.",
            "*.*.test",
            "a.*.test",
            "*test",
            "*.[::1]",
            "gw.test.",
            "*.test.",
            ".test",
            "*..test",
            "a..test",
            "http://gw.test",
            "gw.test/",
            "gw.test:*",
        ] {
            assert!(text.parse::<AuthorityPattern>().is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_what_parses_is_ascii(raw: Vec<u8>) {
            let any: AuthorityPattern = "*".parse().unwrap();
            proptest::prop_assert_eq!(any.matches(&raw), AuthorityRef::parse(&raw).is_ok());
            proptest::prop_assert!(AuthorityRef::parse(&raw).is_err() || raw.is_ascii());
        }
    }
}
