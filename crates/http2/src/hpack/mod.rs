//! Field compression (RFC 7541).

mod decode;
mod encode;
mod huffman;
mod static_table;
mod table;

pub(crate) use decode::Decoder;
pub(crate) use encode::Encoder;

/// Bytes of each side's table, at most and at the start.
pub(crate) const TABLE_BYTES: usize = 4 * 1024;

/// A block that can't be decoded: with it the tables of both sides are lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Undecodable;
