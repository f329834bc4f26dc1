//! Redirects: never followed, and told to a caller only where they stay with the upstream.

use super::refusal::{EgressReason, EgressRefusal};
use super::url::{EgressUrl, Purpose};
use std::borrow::Cow;

/// Whether an answer with `status` may be used at all (EDGE-100). Only a plain upstream may
/// redirect: its answer goes to the caller, who follows or not.
///
/// # Errors
/// `redirect`, for a 3xx from anything else.
pub fn check_redirect(purpose: Purpose, status: u16) -> Result<(), EgressRefusal> {
    match purpose {
        Purpose::Provider
        | Purpose::Webhook
        | Purpose::Relay
        | Purpose::Jwks
        | Purpose::Proxy
        | Purpose::Acme
        | Purpose::KeyService
            if (300..400).contains(&status) =>
        {
            Err(EgressReason::Redirect.into())
        }
        Purpose::Upstream
        | Purpose::Provider
        | Purpose::Webhook
        | Purpose::Relay
        | Purpose::Jwks
        | Purpose::Proxy
        | Purpose::Acme
        | Purpose::KeyService => Ok(()),
    }
}

/// What may be told to a caller of the `Location` a plain upstream sent (EDGE-100): a relative
/// reference as it is, one of the upstream's own authority without scheme and authority, anything
/// else not at all. The base path of the upstream is taken off, as it was put on.
pub fn relayed_location<'a>(value: &'a [u8], upstream: &EgressUrl) -> Option<Cow<'a, [u8]>> {
    // Browsers drop blanks and read `\` as `/`, so `/\host` would leave us.
    if value.is_empty()
        || value
            .iter()
            .any(|b| *b <= b' ' || *b == 0x7f || *b == b'\\')
    {
        return None;
    }
    let reference = match own_part(value, upstream)? {
        Reference::Relative(reference) => reference,
        Reference::Own(rest) if matches!(rest.first(), Some(b'/')) => rest,
        Reference::Own(rest) => return Some(Cow::Owned([b"/", rest].concat())),
    };
    let reference = without_base(reference, upstream.path().as_bytes());
    // `//host` is an authority, also when it was left over from `https://own//host`.
    (!reference.starts_with(b"//")).then_some(Cow::Borrowed(reference))
}

enum Reference<'a> {
    /// There was no authority.
    Relative(&'a [u8]),
    /// What followed our own upstream's authority; empty or begins with `/`, `?` or `#`.
    Own(&'a [u8]),
}

fn own_part<'a>(value: &'a [u8], upstream: &EgressUrl) -> Option<Reference<'a>> {
    let is_delimiter = |b: &u8| matches!(b, b':' | b'/' | b'?' | b'#');
    let scheme_end = value.iter().position(is_delimiter);
    let after_scheme = match scheme_end.and_then(|at| value.split_at_checked(at)) {
        Some((scheme, [b':', rest @ ..])) => {
            if !scheme.eq_ignore_ascii_case(upstream.scheme().as_str().as_bytes()) {
                return None;
            }
            rest
        }
        Some(_) | None => value,
    };
    let Some(after_slashes) = after_scheme.strip_prefix(b"//") else {
        // `https:path` is relative to some parsers and absolute to others.
        return (after_scheme.len() == value.len()).then_some(Reference::Relative(value));
    };
    let authority_end = after_slashes
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(after_slashes.len());
    let (authority, rest) = after_slashes.split_at_checked(authority_end)?;
    is_own(authority, upstream).then_some(Reference::Own(rest))
}

fn is_own(authority: &[u8], upstream: &EgressUrl) -> bool {
    let own = upstream.authority().as_bytes();
    let default_port: &[u8] = if upstream.scheme().is_tls() {
        b":443"
    } else {
        b":80"
    };
    authority.eq_ignore_ascii_case(own)
        || authority
            .strip_suffix(default_port)
            .is_some_and(|host| host.eq_ignore_ascii_case(own))
}

fn without_base<'a>(reference: &'a [u8], base: &[u8]) -> &'a [u8] {
    match reference.strip_prefix(base) {
        Some([]) => b"/",
        Some(rest @ [b'/', ..]) => rest,
        Some(_) | None => reference,
    }
}
