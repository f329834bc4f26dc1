//! What the emulated vendor will send, and when: everything a server needs, decided before a byte goes out.

use bytes::Bytes;
use serde_json::Value;

/// One answer, ready to be played.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Milliseconds to wait before the head.
    pub delay_ms: u32,
    /// HTTP status.
    pub status: u16,
    /// Header fields in the order they are sent.
    pub headers: Vec<(&'static str, String)>,
    /// How the body's end is told.
    pub framing: Framing,
    /// The body, in the pieces it is sent in.
    pub pieces: Vec<Piece>,
    /// What follows the last piece.
    pub ending: Ending,
}

/// Bytes that are sent together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Piece {
    /// Milliseconds to wait before these bytes.
    pub delay_ms: u32,
    /// The bytes.
    pub bytes: Bytes,
}

/// How the end of a body is told to the receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// `Content-Length` of the whole body, also when it will be cut short.
    Length(u64),
    /// Chunks, as vendors send streams.
    Chunked,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Regularly.
    Clean,
    /// The connection is closed in the middle of the body.
    Cut,
}

impl Plan {
    /// A whole JSON answer.
    pub(crate) fn json(status: u16, value: &Value, headers: Vec<(&'static str, String)>) -> Self {
        Self::whole(status, "application/json", value.to_string(), headers)
    }

    /// A whole answer of any content type.
    pub(crate) fn whole(
        status: u16,
        content_type: &str,
        body: String,
        headers: Vec<(&'static str, String)>,
    ) -> Self {
        let mut all = vec![("content-type", content_type.to_owned())];
        all.extend(headers);
        Self {
            delay_ms: 0,
            status,
            headers: all,
            framing: Framing::Length(body.len() as u64),
            pieces: vec![Piece {
                delay_ms: 0,
                bytes: Bytes::from(body),
            }],
            ending: Ending::Clean,
        }
    }

    /// The value of a header field, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as one run of bytes.
    pub fn body(&self) -> Vec<u8> {
        self.pieces
            .iter()
            .flat_map(|piece| piece.bytes.iter().copied())
            .collect()
    }
}
