//! How long a body is: decided once, from fields that can be read in one way only.

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Framing {
    /// Neither field was sent: no body.
    #[default]
    None,
    /// `Content-Length`, in bytes; 0 is no body too.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Framing {
    /// Whether body bytes may follow the head.
    pub const fn has_body(self) -> bool {
        match self {
            Self::None | Self::Length(0) => false,
            Self::Length(_) | Self::Chunked => true,
        }
    }
}

/// How the body of an answer is delimited.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AnswerFraming {
    /// No body: the answer to HEAD, 1xx, 204, 304.
    #[default]
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The body ends where the connection does.
    UntilClose,
}

/// Reads a `Content-Length`: 1–15 digits, no leading zero but `0` itself. 15 digits are far
/// beyond any cap and far below where integers wrap.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    let well_formed = matches!(value, b"0" | [b'1'..=b'9', ..]) && value.len() <= 15;
    if !well_formed {
        return None;
    }
    value.iter().try_fold(0_u64, |length, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(length * 10 + digit)
    })
}

/// Whether a `Transfer-Encoding` is the one coding that is understood.
pub(crate) fn is_chunked(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"chunked")
}
