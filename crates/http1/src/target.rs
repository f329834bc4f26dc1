//! The forms of a request target, and that it agrees with `Host`.

use crate::head_fault::HeadFault;
use crate::request_line::{Method, RequestLine};
use crate::span::Span;
use tollkeep_types::AuthorityRef;

/// A target in origin-form, or `*`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) target: Span,
    pub(crate) asterisk: bool,
}

/// HOT. Checks `Host` (RFC 9112, 3.2), then brings the target to origin-form.
#[inline]
pub(crate) fn form(
    buf: &[u8],
    method: Method,
    line: &RequestLine,
    host: Option<Span>,
) -> Result<Form, HeadFault> {
    let host = host.map(|host| host.of(buf)).ok_or(HeadFault::Host)?;
    AuthorityRef::parse(host).map_err(|_| HeadFault::Host)?;
    if line.has_fragment {
        return Err(HeadFault::Target);
    }
    let target = line.target;
    let text = target.of(buf);
    if text.first() == Some(&b'/') {
        return Ok(Form {
            target,
            asterisk: false,
        });
    }
    if text == b"*" && method == Method::Options {
        return Ok(Form {
            target,
            asterisk: true,
        });
    }
    absolute_form(buf, method, target, host)
}

/// Takes the scheme and authority off. The authority must be that of `Host`, letter by letter but
/// for case.
fn absolute_form(buf: &[u8], method: Method, target: Span, host: &[u8]) -> Result<Form, HeadFault> {
    let text = target.of(buf);
    let after_scheme = strip_scheme(text).ok_or(HeadFault::Target)?;
    let authority_len = after_scheme
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(after_scheme.len());
    let (authority, rest) = after_scheme
        .split_at_checked(authority_len)
        .ok_or(HeadFault::Target)?;
    if authority.is_empty() || authority.contains(&b'@') {
        return Err(HeadFault::Target);
    }
    if !authority.eq_ignore_ascii_case(host) {
        return Err(HeadFault::Authority);
    }
    let end = target.start() + text.len();
    match rest.first() {
        Some(b'/') => Ok(Form {
            target: Span::new(end - rest.len(), end),
            asterisk: false,
        }),
        Some(_) => Err(HeadFault::Target),
        None => Ok(empty_path(method, end - authority.len())),
    }
}

/// Without a path the target is `*` for OPTIONS and `/` for all others (RFC 9112, 3.2.4). The
/// slash is the last one before the authority.
fn empty_path(method: Method, authority_start: usize) -> Form {
    Form {
        target: Span::new(authority_start - 1, authority_start),
        asterisk: method == Method::Options,
    }
}

fn strip_scheme(text: &[u8]) -> Option<&[u8]> {
    [b"http://".as_slice(), b"https://"]
        .into_iter()
        .find_map(|scheme| {
            let (start, rest) = text.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
}
