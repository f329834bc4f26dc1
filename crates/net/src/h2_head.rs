//! The head of an HTTP/2 request, written as strict HTTP/1.1 text.
//!
//! The text goes through the one reader of heads, so nothing here decides what a request may be;
//! what is decided here is only what that reader could no longer see (RFC 9113, section 8).

use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};
use tollkeep_http1::{ChunkDecoder, ChunkEvent, write};

/// How the body of a stream is told in the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TextBody {
    /// There is none.
    None,
    /// By the length that was announced.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// Why a stream's head is no request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StreamFault {
    /// Neither `:authority` nor one `host`, or both and not the same.
    #[error("the authority is missing or told in two ways")]
    Authority,
    /// Another scheme than `http` and `https`.
    #[error("a scheme that is not served")]
    Scheme,
    /// A path that does not begin with a slash.
    #[error("a path that is none")]
    Path,
    /// A value that begins or ends with a blank.
    #[error("a value with blanks around it")]
    Value,
    /// A field that belongs to a connection of HTTP/1.1.
    #[error("a field of the connection")]
    Connection,
}

impl StreamFault {
    /// Its name in metrics and audit.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Scheme => "scheme",
            Self::Path => "target",
            Self::Value => "field_value",
            Self::Connection => "connection",
        }
    }
}

/// What of a head says how its body is to be told.
pub(crate) fn body_of(fields: &HeaderMap, ended: bool) -> TextBody {
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(length), None) if length.as_bytes() != b"0" => TextBody::Length(number(length)),
        // For the reader to refuse.
        (Some(_), Some(_)) => TextBody::Length(0),
        _ if ended => TextBody::None,
        // A length of 0 says nothing yet: only the end of the stream does.
        _ => TextBody::Chunked,
    }
}

/// The reader of heads refuses what this takes for 0.
fn number(length: &HeaderValue) -> u64 {
    let text = length.to_str().unwrap_or_default();
    text.parse().unwrap_or_default()
}

/// Whether the sender waits for leave to send its body.
pub(crate) fn waits_for_leave(fields: &HeaderMap) -> bool {
    fields.contains_key(EXPECT)
}

/// Writes the head.
///
/// # Errors
/// The text would hide what is wrong with the head.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    parts: &request::Parts,
    body: TextBody,
) -> Result<(), StreamFault> {
    let authority = authority(parts)?;
    write::request_line(out, parts.method.as_str(), target(parts)?);
    write::field(out, b"host", authority);
    for (name, value) in &parts.headers {
        if name == HOST || name == COOKIE {
            continue;
        }
        // A length of 0, whose body is still to be seen.
        if name == CONTENT_LENGTH && body == TextBody::Chunked {
            continue;
        }
        write::field(out, name.as_str().as_bytes(), checked(name, value)?);
    }
    write_cookies(out, &parts.headers)?;
    if body == TextBody::Chunked {
        write::field(out, b"transfer-encoding", b"chunked");
    }
    write::end(out);
    Ok(())
}

/// `:authority`, or the one `host` where a proxy left it so; if both are there they are the same.
fn authority(parts: &request::Parts) -> Result<&[u8], StreamFault> {
    let mut hosts = parts
        .headers
        .get_all(HOST)
        .iter()
        .map(HeaderValue::as_bytes);
    let told = parts.uri.authority().map(|told| told.as_str().as_bytes());
    let authority = match (told, hosts.next(), hosts.next()) {
        (Some(told), None, _) => told,
        (None, Some(host), None) => host,
        (Some(told), Some(host), None) if told.eq_ignore_ascii_case(host) => told,
        _ => return Err(StreamFault::Authority),
    };
    // What ends a line or a name can't be in it, and the reader judges the rest.
    let plain = authority.iter().all(u8::is_ascii_graphic);
    plain.then_some(authority).ok_or(StreamFault::Authority)
}

fn target(parts: &request::Parts) -> Result<&[u8], StreamFault> {
    if parts.method == Method::CONNECT {
        return Ok(b"/");
    }
    let scheme = parts.uri.scheme_str();
    if scheme.is_some_and(|scheme| !["http", "https"].contains(&scheme)) {
        return Err(StreamFault::Scheme);
    }
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let served = target.starts_with('/') || target == "*";
    let visible = target.bytes().all(|byte| byte.is_ascii_graphic());
    (served && visible)
        .then_some(target.as_bytes())
        .ok_or(StreamFault::Path)
}

fn checked<'a>(name: &HeaderName, value: &'a HeaderValue) -> Result<&'a [u8], StreamFault> {
    const OF_CONNECTIONS: [&str; 5] = [
        "connection",
        "transfer-encoding",
        "upgrade",
        "keep-alive",
        "proxy-connection",
    ];
    if OF_CONNECTIONS.contains(&name.as_str()) {
        return Err(StreamFault::Connection);
    }
    let bytes = value.as_bytes();
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if blank(bytes.first()) || blank(bytes.last()) {
        return Err(StreamFault::Value);
    }
    Ok(bytes)
}

/// Cookies may come in crumbs (RFC 9113, section 8.2.3).
fn write_cookies(out: &mut Vec<u8>, fields: &HeaderMap) -> Result<(), StreamFault> {
    let mut crumbs = fields.get_all(COOKIE).iter().peekable();
    if crumbs.peek().is_none() {
        return Ok(());
    }
    let mut joined = Vec::new();
    for crumb in crumbs {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(checked(&COOKIE, crumb)?);
    }
    write::field(out, b"cookie", &joined);
    Ok(())
}

/// Writes the end of a chunked body with the fields behind it.
pub(crate) fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        write::field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    write::end(out);
}

/// Whether fields behind a body whose length was announced are what the reader of chunks lets
/// pass behind others.
pub(crate) fn trailers_pass(trailers: &HeaderMap) -> bool {
    let mut text = Vec::new();
    write_last_chunk(&mut text, Some(trailers));
    matches!(ChunkDecoder::new().next(&text), Ok(ChunkEvent::End { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(uri: &str, fields: &[(&'static str, &str)]) -> request::Parts {
        let request = Request::builder().uri(uri);
        let request = fields.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(()).unwrap().into_parts().0
    }

    fn text(parts: &request::Parts, ended: bool) -> Result<String, StreamFault> {
        let mut out = Vec::new();
        let body = body_of(&parts.headers, ended);
        write_head(&mut out, parts, body)?;
        Ok(String::from_utf8(out).unwrap())
    }

    // EDGE-40
    #[test]
    fn heads_are_written_with_one_host_joined_cookies_and_one_framing() {
        const X: &str = "http://a.test/x";
        for (name, uri, fields, ended, want) in [
            ("no body", X, &[][..], true, ""),
            ("a body", X, &[], false, "transfer-encoding: chunked\r\n"),
            (
                "a length",
                X,
                &[("content-length", "5")],
                false,
                "content-length: 5\r\n",
            ),
            (
                "a length of none",
                X,
                &[("content-length", "0")],
                true,
                "content-length: 0\r\n",
            ),
            (
                "a length of none, not ended",
                X,
                &[("content-length", "0")],
                false,
                "transfer-encoding: chunked\r\n",
            ),
            (
                "two lengths, for the reader to refuse",
                X,
                &[("content-length", "0"), ("content-length", "0")],
                false,
                "content-length: 0\r\ncontent-length: 0\r\n",
            ),
            ("host too", X, &[("host", "A.test")], true, ""),
            ("host alone", "/x", &[("host", "a.test")], true, ""),
            (
                "crumbs",
                X,
                &[("cookie", "a=1"), ("b", "c"), ("cookie", "d=2")],
                true,
                "b: c\r\ncookie: a=1; d=2\r\n",
            ),
        ] {
            let head = text(&parts(uri, fields), ended);
            let want = format!("GET /x HTTP/1.1\r\nhost: a.test\r\n{want}\r\n");
            assert_eq!(head, Ok(want), "{name}");
        }
    }

    // EDGE-40
    #[test]
    fn what_the_text_would_hide_is_refused() {
        const X: &str = "http://a.test/x";
        for (name, uri, fields, want) in [
            ("no authority", "/x", &[][..], StreamFault::Authority),
            (
                "two hosts",
                "/x",
                &[("host", "a"), ("host", "a")],
                StreamFault::Authority,
            ),
            (
                "another host",
                X,
                &[("host", "b.test")],
                StreamFault::Authority,
            ),
            (
                "host and host",
                X,
                &[("host", "a.test"), ("host", "a.test")],
                StreamFault::Authority,
            ),
            ("another scheme", "ftp://a.test/x", &[], StreamFault::Scheme),
            (
                "beyond ASCII",
                "http://a.test/\u{e4}",
                &[],
                StreamFault::Path,
            ),
            ("a blank before", X, &[("b", " c")], StreamFault::Value),
            ("a tab behind", X, &[("b", "c\t")], StreamFault::Value),
            (
                "a blank behind a crumb",
                X,
                &[("cookie", "a=1 ")],
                StreamFault::Value,
            ),
            (
                "connection",
                X,
                &[("connection", "close")],
                StreamFault::Connection,
            ),
            (
                "a coding",
                X,
                &[("transfer-encoding", "chunked")],
                StreamFault::Connection,
            ),
        ] {
            assert_eq!(text(&parts(uri, fields), true), Err(want), "{name}");
        }
    }

    // EDGE-27
    #[test]
    fn fields_behind_a_body_pass_as_behind_chunks() {
        let trailers = |name: &'static str| {
            let mut fields = HeaderMap::new();
            fields.insert(name, HeaderValue::from_static("v"));
            fields
        };
        for (name, want) in [
            ("x-checksum", true),
            ("x-api-key", false),
            ("content-type", false),
        ] {
            assert_eq!(trailers_pass(&trailers(name)), want, "{name}");
        }
        assert!(trailers_pass(&HeaderMap::new()));
    }
}
