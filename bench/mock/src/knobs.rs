//! How a request asks to be answered.
//!
//! `delay=50,chunks=50,gap=20,sum=1`: milliseconds before the head, deltas of a stream,
//! milliseconds between them, whether the stream ends with a checksum of itself. Later ones win:
//! the query, the field `x-mock`, and the text `mock:…;` in the body, which survives gateways that
//! rewrite paths, fields and JSON.

use std::time::Duration;

use crate::request::Request;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Knobs {
    pub(crate) delay: Duration,
    pub(crate) chunks: u64,
    pub(crate) gap: Duration,
    pub(crate) sum: bool,
}

impl Knobs {
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let mut knobs = Self {
            delay: Duration::ZERO,
            chunks: 50,
            gap: Duration::ZERO,
            sum: false,
        };
        knobs.read(request.query);
        knobs.read(request.knobs);
        if let Some(at) = memchr::memmem::find(request.body, b"mock:") {
            knobs.read(&request.body[at + 5..]);
        }
        knobs
    }

    /// Reads pairs until the first byte that belongs to none.
    fn read(&mut self, text: &[u8]) {
        let belongs = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'=' | b',' | b'&');
        let end = text.iter().position(|b| !belongs(b)).unwrap_or(text.len());
        for pair in text[..end].split(|b| matches!(b, b',' | b'&')) {
            let mut parts = pair.splitn(2, |b| *b == b'=');
            let (name, value) = (
                parts.next().unwrap_or_default(),
                parts.next().unwrap_or_default(),
            );
            let Some(value) = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
            else {
                continue;
            };
            match name {
                b"delay" => self.delay = Duration::from_millis(value),
                b"chunks" => self.chunks = value,
                b"gap" => self.gap = Duration::from_millis(value),
                b"sum" => self.sum = value != 0,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_wins() {
        let body = br#"{"content":"say it mock:chunks=7,sum=1; now"}"#;
        let request = Request {
            method: b"POST",
            path: b"/",
            query: b"delay=5&chunks=3",
            knobs: b"gap=2",
            body,
        };
        let want = Knobs {
            delay: Duration::from_millis(5),
            chunks: 7,
            gap: Duration::from_millis(2),
            sum: true,
        };
        assert_eq!(Knobs::of(&request), want);
    }
}
