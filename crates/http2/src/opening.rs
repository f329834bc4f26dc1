//! What a client of HTTP/2 sends first.

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
