//! The elements of a forwarding field: splitting it, and the address in one of them.

use super::fold;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Elements that are read; with more, the field is not believed.
const ELEMENTS_MAX: usize = 32;
/// Bytes of all lines together.
const BYTES_MAX: usize = 2_048;

/// The elements of all lines of one field, in order.
pub(super) struct Elements<'a> {
    elements: [&'a [u8]; ELEMENTS_MAX],
    count: usize,
    bytes: usize,
}

impl<'a> Elements<'a> {
    pub(super) const fn new() -> Self {
        Self {
            elements: [b""; ELEMENTS_MAX],
            count: 0,
            bytes: 0,
        }
    }

    /// Takes a line whose elements are separated by commas. `None`: that is too much.
    pub(super) fn push_plain(&mut self, line: &'a [u8]) -> Option<()> {
        self.count_bytes(line)?;
        line.split(|b| *b == b',')
            .try_for_each(|element| self.push(element))
    }

    /// Takes a line in which commas may also stand in quoted strings. `None`: that is too much.
    pub(super) fn push_quoting(&mut self, line: &'a [u8]) -> Option<()> {
        self.count_bytes(line)?;
        let mut quotes = Quotes::default();
        line.split(|b| quotes.leaves_outside(*b) && *b == b',')
            .try_for_each(|element| self.push(element))
    }

    /// The elements, last first.
    pub(super) fn last_first(&self) -> impl Iterator<Item = &'a [u8]> {
        self.elements.iter().take(self.count).rev().copied()
    }

    fn count_bytes(&mut self, line: &[u8]) -> Option<()> {
        self.bytes += line.len();
        (self.bytes <= BYTES_MAX).then_some(())
    }

    fn push(&mut self, element: &'a [u8]) -> Option<()> {
        *self.elements.get_mut(self.count)? = element;
        self.count += 1;
        Some(())
    }
}

/// Where in quoted strings a scan is.
#[derive(Default)]
struct Quotes {
    inside: bool,
    escaped: bool,
}

impl Quotes {
    /// Steps over `byte`; whether it stood outside quotes.
    const fn leaves_outside(&mut self, byte: u8) -> bool {
        let was_inside = self.inside;
        if self.escaped {
            self.escaped = false;
        } else if was_inside && byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.inside = !was_inside;
        }
        !was_inside
    }
}

/// The address of one `X-Forwarded-For` element: v4 or v6, with a port or without. Ports and zone
/// ids are cut off.
pub(super) fn address(element: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(element).ok()?.trim_matches([' ', '\t']);
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) if is_port(port) => v6(ip),
            None if after.is_empty() => v6(ip),
            Some(_) | None => None,
        };
    }
    match text.split_once(':') {
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some((ip, port)) if !port.contains(':') => {
            let ip = ip.parse::<Ipv4Addr>().ok()?;
            is_port(port).then_some(IpAddr::V4(ip))
        }
        Some(_) => v6(text),
    }
}

fn v6(text: &str) -> Option<IpAddr> {
    let ip = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((ip, _zone)) => ip,
        None => text,
    };
    ip.parse::<Ipv6Addr>().ok().map(|ip| fold(ip.into()))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// The address of the one `for` of a `Forwarded` element (RFC 7239 section 4). `unknown` and made
/// up names are no address.
pub(super) fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut quotes = Quotes::default();
    for pair in element.split(|b| quotes.leaves_outside(*b) && *b == b';') {
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let at = pair.iter().position(|b| *b == b'=')?;
        let (name, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        let value = unquoted(value)?;
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") && found.replace(address(value)?).is_some() {
            return None;
        }
    }
    found
}

/// A token, or what stands in a quoted string. An escape in it stays: no address has one.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    if is_token(value) {
        return Some(value);
    }
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut escaped = false;
    for byte in inner {
        match byte {
            b'"' if !escaped => return None,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    (!escaped).then_some(inner)
}

fn is_token(text: &[u8]) -> bool {
    let is_tchar = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !text.is_empty() && text.iter().all(is_tchar)
}
