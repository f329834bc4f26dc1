//! Fields: spans of the buffer, and what each name means, found once.

use crate::bytes::has_comma;
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
    /// Any other credential or payment field: `Api-Key`, `X-Session-Token`, `X-Tollkeep-Credit`,
    /// `Macaroon`, `Grpc-Metadata-Macaroon`, `PAYMENT-*`, `X-PAYMENT*`, `X-Bolthub-*`.
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
    TollkeepHop,
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

/// A name in lower case, what it means, what follows from it.
#[derive(Clone, Copy)]
struct Row {
    name: &'static [u8],
    ends: Ends,
    known: Known,
    duty: Duty,
}

const fn row(name: &'static [u8], known: Known, duty: Duty) -> Row {
    Row {
        name,
        ends: Ends::of(name),
        known,
        duty,
    }
}

impl Known {
    /// HOT. What a name means, and what a request head does with it.
    #[inline]
    pub(crate) fn of(name: &[u8]) -> (Self, Duty) {
        Self::listed(name).unwrap_or_else(|| Self::unlisted(name))
    }

    /// HOT. What a name on our list means. No bytes but the letters of the name, in any case, are
    /// taken for it: what is listed is a token without an underscore.
    #[inline(never)]
    pub(crate) fn listed(name: &[u8]) -> Option<(Self, Duty)> {
        let ends = Ends::of(name);
        let row = LISTED
            .get(name.len())?
            .iter()
            .find(|row| row.ends == ends)?;
        // The ends of a longer name leave out its middle.
        let same = name.len() <= 16 || name.eq_ignore_ascii_case(row.name);
        same.then_some((row.known, row.duty))
    }

    /// What a name that is not on our list means.
    pub(crate) fn unlisted(name: &[u8]) -> (Self, Duty) {
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

/// The first and the last bytes of a name in lower case, which overlap: all of a name of up to
/// sixteen bytes, so that names are compared without a loop. Names of one and of three bytes have
/// none; there are none of these lengths on our list.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Ends(u64, u64);

impl Ends {
    #[inline]
    const fn of(name: &[u8]) -> Self {
        match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => Self(
                lower(u64::from_le_bytes(*first)),
                lower(u64::from_le_bytes(*last)),
            ),
            _ => Self::of_short(name),
        }
    }

    #[inline]
    const fn of_short(name: &[u8]) -> Self {
        match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => Self(
                lower(u32::from_le_bytes(*first) as u64),
                lower(u32::from_le_bytes(*last) as u64),
            ),
            _ => match name {
                [first, last] => Self(lower(*first as u64), lower(*last as u64)),
                _ => Self(0, 0),
            },
        }
    }
}

/// Eight bytes with the letters in lower case. Some other bytes change too, but none into a letter,
/// a digit or a hyphen.
const fn lower(word: u64) -> u64 {
    word | (word & u64::from_le_bytes([0x40; 8])) >> 1
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

/// The names on our list, each in the place of its length: few are compared.
static LISTED: [&[Row]; 23] = [
    &[],
    &[],
    &[row(b"te", Known::Te, Duty::None)],
    &[],
    &[
        row(b"host", Known::Host, Duty::Host),
        row(b"date", Known::Date, Duty::Once),
    ],
    &[row(b"range", Known::Range, Duty::Once)],
    &[
        row(b"accept", Known::Accept, Duty::None),
        row(b"expect", Known::Expect, Duty::Expect),
        row(b"origin", Known::Origin, Duty::OnceNoList),
        row(b"cookie", Known::Cookie, Duty::None),
    ],
    &[
        row(b"upgrade", Known::Upgrade, Duty::Upgrade),
        row(b"api-key", Known::Credential, Duty::OncePerName),
    ],
    &[
        row(b"location", Known::Location, Duty::None),
        row(b"macaroon", Known::Credential, Duty::OncePerName),
    ],
    &[
        row(b"x-api-key", Known::XApiKey, Duty::OnceNoList),
        row(b"forwarded", Known::Forwarded, Duty::None),
        row(b"x-real-ip", Known::XRealIp, Duty::None),
    ],
    &[
        row(b"connection", Known::Connection, Duty::Connection),
        row(b"user-agent", Known::UserAgent, Duty::None),
        row(b"set-cookie", Known::SetCookie, Duty::None),
    ],
    &[
        row(b"retry-after", Known::RetryAfter, Duty::None),
        row(b"traceparent", Known::Traceparent, Duty::OnceNoList),
    ],
    &[
        row(b"content-type", Known::ContentType, Duty::OnceNoList),
        row(b"x-request-id", Known::XRequestId, Duty::None),
        row(b"tollkeep-hop", Known::TollkeepHop, Duty::None),
    ],
    &[row(b"authorization", Known::Authorization, Duty::Once)],
    &[
        row(b"content-length", Known::ContentLength, Duty::Length),
        row(b"x-goog-api-key", Known::XGoogApiKey, Duty::OnceNoList),
    ],
    &[
        row(b"accept-encoding", Known::AcceptEncoding, Duty::None),
        row(b"x-forwarded-for", Known::XForwardedFor, Duty::None),
        row(b"idempotency-key", Known::IdempotencyKey, Duty::OnceNoList),
        row(b"x-session-token", Known::Credential, Duty::OncePerName),
    ],
    &[
        row(b"content-encoding", Known::ContentEncoding, Duty::Once),
        row(b"x-correlation-id", Known::XCorrelationId, Duty::None),
        row(b"x-management-key", Known::XManagementKey, Duty::OnceNoList),
    ],
    &[
        row(b"transfer-encoding", Known::TransferEncoding, Duty::Coding),
        row(b"anthropic-version", Known::AnthropicVersion, Duty::None),
        row(b"x-forwarded-proto", Known::XForwardedProto, Duty::None),
        row(b"x-tollkeep-credit", Known::Credential, Duty::OncePerName),
    ],
    &[],
    &[],
    &[],
    &[],
    &[row(
        b"grpc-metadata-macaroon",
        Known::Credential,
        Duty::OncePerName,
    )],
];

/// Whether a value is several, joined: a comma outside quotes. A quote that is not closed hides
/// nothing.
pub(crate) fn is_list(value: &[u8]) -> bool {
    has_comma(value) && has_comma_outside_quotes(value)
}

fn has_comma_outside_quotes(value: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_in_lower_case_and_stands_in_the_place_of_its_length() {
        for (len, rows) in LISTED.iter().enumerate() {
            for row in *rows {
                assert_eq!(row.name.len(), len);
                assert_eq!(row.name, row.name.to_ascii_lowercase());
                assert_eq!(Known::of(row.name), (row.known, row.duty));
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_name_is_known_if_it_is_on_the_list_in_any_case(
            (name, at, byte, flips) in (
                proptest::sample::select(LISTED.concat().iter().map(|row| row.name).collect::<Vec<_>>()),
                proptest::num::usize::ANY,
                proptest::num::u8::ANY,
                proptest::num::u32::ANY,
            ),
        ) {
            let mut sent = name.to_vec();
            for (at, letter) in sent.iter_mut().enumerate() {
                if flips >> at & 1 == 1 {
                    letter.make_ascii_uppercase();
                }
            }
            for change in [false, true] {
                if change {
                    let at = at % sent.len();
                    sent[at] = byte;
                }
                let row = LISTED.concat().into_iter().find(|row| row.name.eq_ignore_ascii_case(&sent));
                let want = row.map(|row| (row.known, row.duty));
                proptest::prop_assert_eq!(Known::listed(&sent), want);
            }
        }
    }
}
