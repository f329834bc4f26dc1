//! Names that a caller may not smuggle in: not spelled with underscores, not through
//! `Connection`, not in a trailer.

use tollkeep_types::field_name::{Reserved, reserved};

/// Whether the field decides framing, authority, credentials, payment, or who forwarded what:
/// all of EDGE-70 that is not about LLM providers only.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    reserved(name).is_some()
}

/// Whether the field says where the message ends or what its authority is.
pub(crate) fn is_framing(name: &[u8]) -> bool {
    match reserved(name) {
        Some(Reserved::Own | Reserved::Framing) => true,
        Some(Reserved::HopByHop | Reserved::Forwarding | Reserved::Private) | None => false,
    }
}

/// Whether `Connection` may not name the field: taking it out would change what is meant.
pub(crate) fn is_refused_in_connection(name: &[u8]) -> bool {
    match reserved(name) {
        Some(Reserved::Own | Reserved::Framing | Reserved::Forwarding | Reserved::Private) => true,
        Some(Reserved::HopByHop) => false,
        None => FoldedName::of(name).is_one_of(&["content-*"]),
    }
}

/// Longer than every name here and in the list of reserved names.
const KEPT_BYTES: usize = 24;

/// The name of a field in a trailer, which comes byte by byte: in lower case with `_` read as `-`,
/// as CGI-like servers read it. Only the start of a long name is kept, enough for every rule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FoldedName {
    start: [u8; KEPT_BYTES],
    len: usize,
}

impl FoldedName {
    fn of(name: &[u8]) -> Self {
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

    /// Whether the field may not come after the body.
    pub(crate) fn is_refused_in_trailer(&self) -> bool {
        is_reserved(self.start()) || self.is_one_of(BEFORE_THE_BODY)
    }

    /// Names ending in `*` are prefixes.
    fn is_one_of(&self, names: &[&str]) -> bool {
        let start = self.start();
        names.iter().any(|name| match name.strip_suffix('*') {
            Some(prefix) => start.starts_with(prefix.as_bytes()),
            None => start == name.as_bytes(),
        })
    }

    fn start(&self) -> &[u8] {
        self.start.get(..self.len).unwrap_or(&self.start)
    }
}

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
