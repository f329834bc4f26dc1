//! Fields: spans of the buffer, and what each name means, found once.

use crate::span::Span;

/// One field of a head.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name as sent.
    pub name: Span,
    /// The value without outer blanks.
    pub value: Span,
    /// What the name means.
    pub known: Known,
    /// `Connection` names this field: it ends here and is not forwarded.
    pub hop: bool,
}

/// The names this gateway acts on. Names are equal in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Known {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Te,
    Upgrade,
    Expect,
    ContentType,
    ContentEncoding,
    Accept,
    AcceptEncoding,
    Authorization,
    XApiKey,
    XGoogApiKey,
    XManagementKey,
    /// Any other credential or payment field: `Api-Key`, `X-Session-Token`, `Macaroon`,
    /// `Grpc-Metadata-Macaroon`, `PAYMENT-*`, `X-PAYMENT*`, `X-Bolthub-*`.
    Credential,
    Cookie,
    SetCookie,
    Origin,
    UserAgent,
    Date,
    Range,
    IdempotencyKey,
    Traceparent,
    AnthropicVersion,
    XRequestId,
    XCorrelationId,
    XForwardedFor,
    XForwardedProto,
    XRealIp,
    Forwarded,
    RetryAfter,
    Location,
    Other,
}

/// What a request head does with a field besides keeping it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Duty {
    /// Nothing.
    None,
    /// It may come once.
    Once,
    /// It may come once, and its value is no list.
    OnceNoList,
    /// It may come once under each name.
    OncePerName,
    Host,
    Length,
    Coding,
    Connection,
    Expect,
    Upgrade,
}

/// A name, what it means, what follows from it.
struct Row(&'static [u8], Known, Duty);

impl Known {
    /// HOT. What a name means, and what a request head does with it. The name is a token.
    pub(crate) fn of(name: &[u8]) -> (Self, Duty) {
        for Row(text, known, duty) in rows_of_len(name.len()) {
            if is_name(name, text) {
                return (*known, *duty);
            }
        }
        if is_payment_family(name) {
            return (Self::Credential, Duty::OncePerName);
        }
        (Self::Other, Duty::None)
    }

    /// Its place in a set of names seen.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u32
    }
}

/// Whether a token is this lower-case name, which is of the same length. Among the bytes of a
/// token the bit for lower case takes none but the upper-case letters for a letter or a hyphen,
/// so eight bytes can be compared at once.
fn is_name(token: &[u8], name: &[u8]) -> bool {
    const CASE: u64 = u64::from_le_bytes([0x20; 8]);
    let same = |token: &[u8; 8], name: &[u8; 8]| {
        u64::from_le_bytes(*token) | CASE == u64::from_le_bytes(*name)
    };
    match (token.last_chunk(), name.last_chunk()) {
        (Some(token_end), Some(name_end)) => {
            let (token_words, _) = token.as_chunks();
            let (name_words, _) = name.as_chunks();
            same(token_end, name_end) && token_words.iter().zip(name_words).all(|(a, b)| same(a, b))
        }
        _ => token.eq_ignore_ascii_case(name),
    }
}

fn is_payment_family(name: &[u8]) -> bool {
    let starts_with = |prefix: &[u8]| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    match name.first() {
        Some(b'p' | b'P') => starts_with(b"payment-"),
        Some(b'x' | b'X') => starts_with(b"x-payment") || starts_with(b"x-bolthub-"),
        _ => false,
    }
}

/// The known names of one length: names are told apart by length first, so few are compared.
const fn rows_of_len(len: usize) -> &'static [Row] {
    match len {
        2 => &[Row(b"te", Known::Te, Duty::None)],
        4 => &[
            Row(b"host", Known::Host, Duty::Host),
            Row(b"date", Known::Date, Duty::Once),
        ],
        5 => &[Row(b"range", Known::Range, Duty::Once)],
        6 => &[
            Row(b"accept", Known::Accept, Duty::None),
            Row(b"expect", Known::Expect, Duty::Expect),
            Row(b"origin", Known::Origin, Duty::OnceNoList),
            Row(b"cookie", Known::Cookie, Duty::None),
        ],
        7 => &[
            Row(b"upgrade", Known::Upgrade, Duty::Upgrade),
            Row(b"api-key", Known::Credential, Duty::OncePerName),
        ],
        8 => &[
            Row(b"location", Known::Location, Duty::None),
            Row(b"macaroon", Known::Credential, Duty::OncePerName),
        ],
        9 => &[
            Row(b"x-api-key", Known::XApiKey, Duty::OnceNoList),
            Row(b"forwarded", Known::Forwarded, Duty::None),
            Row(b"x-real-ip", Known::XRealIp, Duty::None),
        ],
        10 => &[
            Row(b"connection", Known::Connection, Duty::Connection),
            Row(b"user-agent", Known::UserAgent, Duty::None),
            Row(b"set-cookie", Known::SetCookie, Duty::None),
        ],
        11 => &[
            Row(b"retry-after", Known::RetryAfter, Duty::None),
            Row(b"traceparent", Known::Traceparent, Duty::OnceNoList),
        ],
        12 => &[
            Row(b"content-type", Known::ContentType, Duty::OnceNoList),
            Row(b"x-request-id", Known::XRequestId, Duty::None),
        ],
        13 => &[Row(b"authorization", Known::Authorization, Duty::Once)],
        14 => &[
            Row(b"content-length", Known::ContentLength, Duty::Length),
            Row(b"x-goog-api-key", Known::XGoogApiKey, Duty::OnceNoList),
        ],
        15 => &[
            Row(b"accept-encoding", Known::AcceptEncoding, Duty::None),
            Row(b"x-forwarded-for", Known::XForwardedFor, Duty::None),
            Row(b"idempotency-key", Known::IdempotencyKey, Duty::OnceNoList),
            Row(b"x-session-token", Known::Credential, Duty::OncePerName),
        ],
        16 => &[
            Row(b"content-encoding", Known::ContentEncoding, Duty::Once),
            Row(b"x-correlation-id", Known::XCorrelationId, Duty::None),
            Row(b"x-management-key", Known::XManagementKey, Duty::OnceNoList),
        ],
        17 => &[
            Row(b"transfer-encoding", Known::TransferEncoding, Duty::Coding),
            Row(b"anthropic-version", Known::AnthropicVersion, Duty::None),
            Row(b"x-forwarded-proto", Known::XForwardedProto, Duty::None),
        ],
        22 => &[Row(
            b"grpc-metadata-macaroon",
            Known::Credential,
            Duty::OncePerName,
        )],
        _ => &[],
    }
}

/// Whether a value is several, joined: a comma outside quotes. A quote that is not closed hides
/// nothing.
pub(crate) fn is_list(value: &[u8]) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    let mut quoted_comma = false;
    for byte in value {
        if *byte == b',' && !quoted {
            return true;
        }
        quoted_comma |= *byte == b',';
        quoted ^= *byte == b'"' && !escaped;
        escaped = quoted && *byte == b'\\' && !escaped;
    }
    quoted && quoted_comma
}

/// The first value among `fields` under a known name.
pub(crate) fn first_value<'a>(fields: &[Field], buf: &'a [u8], known: Known) -> Option<&'a [u8]> {
    let field = fields.iter().find(|field| field.known == known)?;
    Some(field.value.of(buf))
}
