//! What a caller's HTTP/2 connection may spend on frames that cost it little and us much.
//!
//! The library below hides most of these frames, so they are seen on the bytes themselves, on
//! their way in and out: [`Frames`] finds where each frame starts, [`Budget`] counts. Neither
//! looks into what a frame carries, but for the step of a window.

use tollkeep_types::MonoNanos;

mod budget;
mod frames;

pub use budget::{Breach, Budget};
pub use frames::{Frame, Frames, Kind};

/// What a client sends first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a connection's first bytes are an HTTP/2 client's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opening {
    /// They are.
    Http2,
    /// They are not.
    Other,
    /// Too few to tell.
    Partial,
}

impl Opening {
    /// Judges the first bytes.
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(PREFACE) {
            Self::Http2
        } else if PREFACE.starts_with(bytes) {
            Self::Partial
        } else {
            Self::Other
        }
    }
}

/// When a budget begins to be counted anew.
const WINDOW_NS: u64 = 10_000_000_000;

/// Counts of the last ten seconds at most: they begin anew when those are over.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: MonoNanos,
}

impl Window {
    fn is_over(&mut self, now: MonoNanos) -> bool {
        let over = now.since(self.began) >= WINDOW_NS;
        if over {
            self.began = now;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_is_told_as_soon_as_it_is_certain() {
        for (name, bytes, want) in [
            ("nothing", &b""[..], Opening::Partial),
            ("a P, as in POST", b"P", Opening::Partial),
            ("POST", b"PO", Opening::Other),
            ("all but the end", &PREFACE[..23], Opening::Partial),
            ("the preface", PREFACE, Opening::Http2),
            (
                "more than it",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0",
                Opening::Http2,
            ),
            ("another end", b"PRI * HTTP/2.0\r\n\r\nXX", Opening::Other),
            ("a request", b"GET / HTTP/1.1\r\n", Opening::Other),
        ] {
            assert_eq!(Opening::of(bytes), want, "{name}");
        }
    }
}
