//! The HTTP/1.1 codec, sans I/O: bytes in, a checked model or a refusal out.
//!
//! Both directions are read strictly (RFC 9112 without its allowances for old software): what two
//! parsers could read differently is refused, never repaired. Nothing is copied on the way: a
//! field is a [`Span`] of the caller's buffer plus what the name means ([`Known`]), and whatever
//! is sent is written new by [`mod@write`] from that model.

#![warn(missing_docs)]

mod answer;
mod bytes;
mod chunks;
mod connection;
mod field_lines;
mod fields;
mod framing;
mod head;
mod head_fault;
mod request_line;
mod reserved;
mod span;
mod target;
pub mod write;

pub use answer::{Answer, AnswerFault};
pub use chunks::{ChunkDecoder, ChunkEvent, ChunkFault};
pub use fields::{Field, Known};
pub use framing::{AnswerFraming, Framing};
pub use head::{Head, Limits, Upgrade};
pub use head_fault::{HeadFault, HeadRefusal};
pub use request_line::{Method, Version};
pub use span::Span;

/// Whether a message head is complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The buffer ends before the head does: call again with the same buffer, grown.
    More,
    /// The head is complete.
    Done,
}
