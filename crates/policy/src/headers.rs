//! Header hygiene: which fields cross the gateway, in either direction.

use memchr::memmem;
use tollkeep_types::field_name::{NameTable, Reserved, reserved};

/// What of EDGE-70 concerns LLM providers only, and what would choose another account (LLM-13).
static PROVIDER: NameTable<(), 8> = NameTable::new([
    ("origin", ()),
    ("referer", ()),
    ("sec-*", ()),
    ("dnt", ()),
    ("openai-organization", ()),
    ("openai-project", ()),
    ("x-goog-user-project", ()),
    ("api-version", ()),
]);

/// When an answer field is kept from the caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Barred {
    /// Unless the settings name it.
    Unasked,
    /// Whatever the settings say.
    Always,
}

use Barred::{Always, Unasked};

/// EDGE-73, and which of it no setting brings back.
static RESPONSE: NameTable<Barred, 59> = NameTable::new([
    // Hop by hop.
    ("connection", Always),
    ("keep-alive", Always),
    ("proxy-*", Always),
    ("te", Always),
    ("trailer", Always),
    ("transfer-encoding", Always),
    ("upgrade", Always),
    ("http2-settings", Always),
    // What would act on our origin in a browser.
    ("set-cookie", Unasked),
    ("set-cookie2", Unasked),
    ("strict-transport-security", Always),
    ("content-security-policy", Unasked),
    ("content-security-policy-report-only", Unasked),
    ("public-key-pins*", Unasked),
    ("expect-ct", Unasked),
    ("alt-svc", Unasked),
    ("nel", Unasked),
    ("report-to", Unasked),
    ("reporting-endpoints", Unasked),
    ("refresh", Unasked),
    ("clear-site-data", Unasked),
    ("service-worker-allowed", Unasked),
    ("sourcemap", Unasked),
    ("access-control-*", Unasked),
    ("timing-allow-origin", Unasked),
    ("www-authenticate", Unasked),
    // What stands on every answer already, by our settings (EDGE-76).
    ("x-content-type-options", Unasked),
    ("x-frame-options", Unasked),
    ("x-xss-protection", Unasked),
    ("referrer-policy", Unasked),
    ("cross-origin-opener-policy", Unasked),
    ("cross-origin-resource-policy", Unasked),
    // What tells about the machines behind.
    ("server", Unasked),
    ("x-powered-by", Unasked),
    ("x-aspnet-*", Unasked),
    ("x-runtime", Unasked),
    ("x-served-by", Unasked),
    ("x-backend*", Unasked),
    ("x-upstream*", Unasked),
    ("via", Unasked),
    ("cf-*", Unasked),
    ("x-amz*", Unasked),
    ("x-vercel-*", Unasked),
    ("fly-*", Unasked),
    // What tells about the shared account.
    ("openai-organization", Unasked),
    ("openai-project", Unasked),
    ("anthropic-organization-id", Unasked),
    ("x-ratelimit-*", Unasked),
    ("anthropic-ratelimit-*", Unasked),
    ("ratelimit*", Unasked),
    // Ours, and what steers servers.
    ("x-accel-*", Unasked),
    ("x-tollkeep-*", Always),
    ("x-gateway-*", Unasked),
    // Payments.
    ("payment-*", Always),
    ("x-payment*", Always),
    ("x-session-*", Always),
    ("x-bolthub-*", Always),
    ("macaroon", Always),
    ("grpc-metadata-macaroon", Always),
]);

/// HOT. Whether a request field never goes upstream (EDGE-70). Case does not matter, `_` is `-`.
/// `Host`, `Content-Length` and `X-Request-Id` are not in it: those the gateway writes itself.
pub fn request_field_forbidden(name: &[u8]) -> bool {
    match reserved(name) {
        Some(Reserved::Framing | Reserved::HopByHop | Reserved::Forwarding | Reserved::Private) => {
            true
        }
        Some(Reserved::Own) | None => false,
    }
}

/// Whether a provider's `forward_headers` may not name this field: all of
/// [`request_field_forbidden`], what tells a browser, and what would choose another account
/// (LLM-13).
pub fn provider_field_forbidden(name: &[u8]) -> bool {
    request_field_forbidden(name) || PROVIDER.contains(name)
}

/// HOT. Whether an answer field never goes to the caller (EDGE-73). Case does not matter, `_` is
/// `-`. Trailers are dropped whole.
pub fn response_field_forbidden(name: &[u8]) -> bool {
    RESPONSE.contains(name)
}

/// Whether an answer field never goes to the caller, not even where the settings name it: how a
/// message is framed, what binds our own name to TLS, our own fields, payments (EDGE-73).
pub fn response_field_never_returned(name: &[u8]) -> bool {
    RESPONSE.find(name) == Some(Always)
}

/// Whether two names are one to an upstream. Case does not matter, `_` is `-`.
pub fn same_field(one: &[u8], other: &[u8]) -> bool {
    let fold = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.iter().map(fold).eq(other.iter().map(fold))
}

/// HOT. Whether a request field goes to LLM providers without being asked for (LLM-6).
pub fn llm_request_field_allowed(name: &[u8]) -> bool {
    match name.len() {
        11 => is_name(name, b"openai-beta"),
        14 => is_name(name, b"anthropic-beta"),
        15 => is_name(name, b"idempotency-key"),
        17 => is_name(name, b"anthropic-version"),
        _ => false,
    }
}

/// HOT. Whether an answer field of an LLM provider goes to the caller (LLM-6).
pub fn llm_response_field_allowed(name: &[u8]) -> bool {
    match name.len() {
        11 => is_name(name, b"retry-after"),
        12 => is_name(name, b"content-type"),
        20 => is_name(name, b"openai-processing-ms"),
        _ => false,
    }
}

/// Whether an answer field of an LLM provider tells of the limits of its account (LLM-6).
pub fn tells_upstream_limits(name: &[u8]) -> bool {
    let begins = |prefix: &[u8]| {
        let begin = name.get(..prefix.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
    };
    begins(b"x-ratelimit-") || begins(b"anthropic-ratelimit-")
}

/// The values of a list with commas that are allowed, as a list again (LLM-6).
pub fn allowed_values(list: &[u8], allows: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let values = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut kept = Vec::with_capacity(list.len());
    for value in values.filter(|value| !value.is_empty() && allows(value)) {
        if !kept.is_empty() {
            kept.push(b',');
        }
        kept.extend_from_slice(value);
    }
    kept
}

/// Whether a name is this one in any case. Most are sent in lower case, which is seen at once.
#[inline]
fn is_name(name: &[u8], lower: &[u8]) -> bool {
    name == lower || name.eq_ignore_ascii_case(lower)
}

/// HOT. Whether a field value equals or contains the credential we sent (EDGE-73).
pub fn carries_credential(value: &[u8], credential: &[u8]) -> bool {
    /// Up to here looking at each place is cheaper than preparing a search that is linear.
    const SHORT: usize = 512;
    if credential.is_empty() || value.len() < credential.len() {
        return false;
    }
    if value.len() <= SHORT {
        // Few places begin alike; only those are compared.
        return value
            .windows(credential.len())
            .any(|place| place.first() == credential.first() && place == credential);
    }
    memmem::find(value, credential).is_some()
}

/// The cookies of these names among those in `sent`, the values of `Cookie` fields, as one value;
/// empty for none (EDGE-71). Names are compared exactly (RFC 6265, section 5.4).
pub fn kept_cookies<'s>(sent: impl Iterator<Item = &'s [u8]>, names: &[Box<str>]) -> Vec<u8> {
    let mut kept = Vec::new();
    let pairs = sent.flat_map(|value| value.split(|byte| *byte == b';'));
    for pair in pairs.map(<[u8]>::trim_ascii) {
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let name = pair.get(..at).unwrap_or_default();
        if names.iter().any(|own| own.as_bytes() == name) {
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
    }
    kept
}

/// Whether a caller's `X-Request-Id` or `X-Correlation-ID` may be used (EDGE-74):
/// `[A-Za-z0-9._-]{1,64}`.
pub fn request_id_acceptable(value: &[u8]) -> bool {
    (1..=64).contains(&value.len())
        && value
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
