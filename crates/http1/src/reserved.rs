//! Names that a caller may not smuggle in: not spelled with underscores, not through
//! `Connection`, not in a trailer.

/// Longer than every whole name below.
const KEPT_BYTES: usize = 24;

/// A field name folded to lower case with `_` read as `-`, as CGI-like servers read it. It may
/// come byte by byte; only the start of a long name is kept, enough for every rule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FoldedName {
    start: [u8; KEPT_BYTES],
    len: usize,
}

impl FoldedName {
    pub(crate) fn of(name: &[u8]) -> Self {
        let mut folded = Self::default();
        name.iter().for_each(|byte| folded.push(*byte));
        folded
    }

    pub(crate) fn push(&mut self, byte: u8) {
        if let Some(slot) = self.start.get_mut(self.len) {
            *slot = match byte {
                b'_' => b'-',
                other => other.to_ascii_lowercase(),
            };
        }
        self.len = self.len.saturating_add(1);
    }

    /// Whether the field decides framing, authority, credentials, payment, or who forwarded what:
    /// all of EDGE-70 that is not about LLM providers only.
    pub(crate) fn is_reserved(&self) -> bool {
        self.is_one_of(FRAMING) || self.is_one_of(HOP_BY_HOP) || self.is_one_of(PRIVATE)
    }

    /// Whether the field says where the message ends or what its authority is.
    pub(crate) fn is_framing(&self) -> bool {
        self.is_one_of(FRAMING)
    }

    /// Whether `Connection` may not name the field: taking it out would change what is meant.
    pub(crate) fn is_refused_in_connection(&self) -> bool {
        self.is_one_of(FRAMING) || self.is_one_of(PRIVATE) || self.is_one_of(&["content-*"])
    }

    /// Whether the field may not come after the body.
    pub(crate) fn is_refused_in_trailer(&self) -> bool {
        self.is_reserved() || self.is_one_of(BEFORE_THE_BODY)
    }

    /// Names ending in `*` are prefixes.
    fn is_one_of(&self, names: &[&str]) -> bool {
        let start = self.start.get(..self.len).unwrap_or(&self.start);
        names.iter().any(|name| match name.strip_suffix('*') {
            Some(prefix) => start.starts_with(prefix.as_bytes()),
            None => self.len == name.len() && start == name.as_bytes(),
        })
    }
}

const FRAMING: &[&str] = &["host", "content-length", "transfer-encoding", "expect"];

const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-*",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
];

/// Forwarding, CDN, cookie, credential, payment and gateway fields of EDGE-70.
const PRIVATE: &[&str] = &[
    "x-forwarded-*",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-*",
    "x-rewrite-url",
    "x-envoy-*",
    "via",
    "true-client-ip",
    "client-ip",
    "cdn-*",
    "cf-*",
    "x-vercel-*",
    "fastly-*",
    "x-amzn-*",
    "x-amz-cf-*",
    "x-azure-*",
    "x-akamai-*",
    "akamai-*",
    "x-appengine-*",
    "x-cloud-trace-context",
    "fly-*",
    "cookie",
    "cookie2",
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
    "x-management-key",
    "payment-*",
    "x-payment*",
    "x-session-token",
    "x-bolthub-*",
    "macaroon",
    "grpc-metadata-macaroon",
    "x-gateway-*",
    "x-tollkeep-*",
    "tollkeep-*",
    "x-proxy-*",
    "x-admin-origin",
    "x-body-hash",
    "x-accel-*",
    "x-sendfile",
    "x-http-method-override",
    "x-method-override",
];

/// What is single-valued or steers caches and so must be known before the body.
const BEFORE_THE_BODY: &[&str] = &[
    "content-*",
    "cache-control",
    "origin",
    "range",
    "date",
    "idempotency-key",
    "traceparent",
];
