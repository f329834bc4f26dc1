//! Signing a request to its origin: made last, over the head and body that are really sent.

use crate::lifecycle::Exchange;
use crate::plan::Target;
use crate::record::Facts;
use crate::refusal::Refusal;
use crate::upstream_head::JOINED_BODY_BYTES;
use std::borrow::Cow;
use tollkeep_config::settings::{BoltPath, SecretOrText, Signing, SigningMode, Upstream};
use tollkeep_crypto::origin_sign::{SigningKey, bolthub, v1};
use tollkeep_http1::write;

/// How requests to a target are signed.
pub(crate) struct Signer {
    key: SigningKey,
    form: Form,
}

enum Form {
    Bolthub {
        path: BoltPath,
        backdate_ms: u64,
    },
    V1 {
        body: bool,
        /// Lower case and sorted.
        covered: Vec<String>,
        identity: bool,
    },
}

impl Signer {
    /// `None` where nothing depends on the request: mode `secret` is a field set on all of them.
    pub(crate) fn new(signing: &Signing) -> Option<Self> {
        let form = match &signing.mode {
            SigningMode::Bolthub { path, backdate } => Form::Bolthub {
                path: *path,
                backdate_ms: u64::try_from(backdate.as_millis()).unwrap_or(0),
            },
            SigningMode::V1 {
                body,
                headers,
                identity,
            } => Form::V1 {
                body: *body,
                covered: headers.clone(),
                identity: *identity,
            },
            SigningMode::Secret => return None,
        };
        let key = SigningKey::new(&signing.key.id, signing.key.secret.expose().as_bytes());
        Some(Self { key, form })
    }

    /// Makes a written head ready to be signed: tells the caller's identity, and joins covered
    /// fields that came in several lines, since servers differ in how they would join them.
    pub(crate) fn prepare(&self, head: &mut Vec<u8>, facts: &Facts) {
        let Form::V1 {
            covered, identity, ..
        } = &self.form
        else {
            return;
        };
        if let Some(token) = facts.token.as_ref().filter(|_| *identity) {
            let (project, id) = (token.project.id.to_string(), token.id.to_string());
            write::field(head, b"x-tollkeep-project", project.as_bytes());
            write::field(head, b"x-tollkeep-token", id.as_bytes());
        }
        for name in covered {
            join_lines(head, name.as_bytes());
        }
    }
}

/// The fields set on every request to an upstream: those of the settings, and the secret that
/// mode `secret` sends.
pub(crate) fn fields_set_on(upstream: &Upstream) -> Vec<(String, SecretOrText)> {
    let mut fields = upstream.headers.set.clone();
    if let Some(signing) = &upstream.signing
        && signing.mode == SigningMode::Secret
    {
        let secret = SecretOrText::Secret(signing.key.secret.clone());
        fields.push(("x-gateway-secret".to_owned(), secret));
    }
    fields
}

impl Exchange<'_> {
    /// Ends a head that was left open for its signature: whatever stood behind `open` is made
    /// anew, so that a request that is sent again has a time and a nonce of its own.
    ///
    /// # Errors
    /// 415 for a body that the form can't cover.
    pub(crate) fn seal_head(
        &self,
        target: &Target,
        (head, open): (&mut Vec<u8>, usize),
    ) -> Result<(), Refusal> {
        let Some(signer) = &target.signer else {
            return Ok(());
        };
        head.truncate(open);
        let mut nonce = [0; 16];
        self.worker.shared.entropy.fill(&mut nonce);
        let now_ms = self.worker.shared.clock.wall().0;
        match &signer.form {
            Form::Bolthub { path, backdate_ms } => {
                let at = now_ms.saturating_sub(*backdate_ms);
                let signed = self.sign_bolthub(&signer.key, head, *path, (at, &nonce));
                let signed = signed.map_err(|_| Refusal::SigningBodyNotText)?;
                write::field(head, b"x-gateway-timestamp", signed.timestamp.as_bytes());
                write::field(head, b"x-gateway-nonce", &signed.nonce);
                write::field(head, b"x-gateway-signature", signed.signature.as_bytes());
            }
            Form::V1 { body, covered, .. } => {
                let written = Written::of(head);
                let covered: Vec<_> = covered
                    .iter()
                    .filter_map(|name| Some((name.as_bytes(), written.value(name.as_bytes())?)))
                    .collect();
                let message = v1::Message {
                    unix_s: now_ms / 1_000,
                    nonce: &nonce,
                    method: written.method,
                    authority: written.value(b"host").unwrap_or_default(),
                    path: written.path,
                    query: written.query,
                    body: body.then(|| self.body()),
                    covered: &covered,
                };
                let value = v1::sign(&signer.key, &message);
                write::field(head, b"x-tollkeep-signature", value.as_bytes());
            }
        }
        write::end(head);
        if self.body().len() <= JOINED_BODY_BYTES {
            head.extend_from_slice(self.body());
        }
        Ok(())
    }

    fn sign_bolthub(
        &self,
        key: &SigningKey,
        head: &[u8],
        form: BoltPath,
        (timestamp_ms, nonce): (u64, &[u8; 16]),
    ) -> Result<bolthub::Signed, bolthub::BodyNotText> {
        let written = Written::of(head);
        let path = match form {
            BoltPath::Raw => Cow::Borrowed(written.path),
            BoltPath::Decoded => bolthub::decoded(written.path),
        };
        let message = bolthub::Message {
            method: written.method,
            path: &path,
            timestamp_ms,
            nonce,
            body: self.body(),
        };
        bolthub::sign(key, &message)
    }
}

/// A head as it was written, without its end.
struct Written<'h> {
    method: &'h [u8],
    path: &'h [u8],
    query: &'h [u8],
    fields: &'h [u8],
}

impl<'h> Written<'h> {
    fn of(head: &'h [u8]) -> Self {
        let (start, fields) = split(head, b"\r\n");
        let (method, rest) = split(start, b" ");
        let (target, _) = split(rest, b" ");
        let (path, query) = split(target, b"?");
        Self {
            method,
            path,
            query,
            fields,
        }
    }

    fn value(&self, name: &[u8]) -> Option<&'h [u8]> {
        let mut lines = lines(self.fields);
        lines.find_map(|line| value_of(line, name))
    }
}

/// The lines of written fields, each without its end.
fn lines(fields: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = fields;
    std::iter::from_fn(move || {
        let (line, tail) = split(rest, b"\r\n");
        rest = tail;
        (!line.is_empty()).then_some(line)
    })
}

fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (own, value) = split(line, b": ");
    own.eq_ignore_ascii_case(name).then_some(value)
}

/// Before and behind the first mark.
fn split<'t>(text: &'t [u8], mark: &[u8]) -> (&'t [u8], &'t [u8]) {
    let at = memchr::memmem::find(text, mark).unwrap_or(text.len());
    let behind = text.get(at + mark.len()..).unwrap_or_default();
    (text.get(..at).unwrap_or_default(), behind)
}

/// Makes one line of all lines of a field, in the place of the first (RFC 9110, section 5.3).
fn join_lines(head: &mut Vec<u8>, name: &[u8]) {
    let (start, fields) = split(head, b"\r\n");
    let values: Vec<_> = lines(fields)
        .filter_map(|line| value_of(line, name))
        .collect();
    if values.len() < 2 {
        return;
    }
    let joined = values.join(&b", "[..]);
    let mut new = Vec::with_capacity(head.len() + values.len());
    new.extend_from_slice(start);
    new.extend_from_slice(b"\r\n");
    let mut is_written = false;
    for line in lines(fields) {
        if value_of(line, name).is_none() {
            new.extend_from_slice(line);
            new.extend_from_slice(b"\r\n");
        } else if !is_written {
            write::field(&mut new, name, &joined);
            is_written = true;
        }
    }
    *head = new;
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-121
    #[test]
    fn a_written_head_is_read_as_it_stands() {
        let head = b"GET /a%20b?x=1?y HTTP/1.1\r\nhost: a:1\r\nX-One: 1: 2\r\nempty: \r\n";
        let written = Written::of(head);
        assert_eq!(written.method, b"GET");
        assert_eq!(written.path, b"/a%20b");
        assert_eq!(written.query, b"x=1?y");
        assert_eq!(written.value(b"host"), Some(&b"a:1"[..]));
        assert_eq!(written.value(b"x-one"), Some(&b"1: 2"[..]));
        assert_eq!(written.value(b"empty"), Some(&b""[..]));
        assert_eq!(written.value(b"x-on"), None);
    }

    // EDGE-121
    #[test]
    fn a_covered_field_in_several_lines_becomes_one() {
        let once = b"GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n".to_vec();
        let mut same = once.clone();
        join_lines(&mut same, b"x-a");
        assert_eq!(same, once);
        let mut head = b"GET / HTTP/1.1\r\nhost: a\r\nX-A: 1\r\nx-b: 2\r\nx-a: 3\r\n".to_vec();
        join_lines(&mut head, b"x-a");
        assert_eq!(
            head,
            b"GET / HTTP/1.1\r\nhost: a\r\nx-a: 1, 3\r\nx-b: 2\r\n"
        );
    }
}
