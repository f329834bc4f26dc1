//! The chunked coding (RFC 9112, 7.1), byte by byte where it is framing and in one step where it
//! is data. The decoder keeps no bytes: whatever was fed is done with.

use crate::bytes::{is_token_byte, is_value_byte};
use crate::reserved::FoldedName;

/// Extension bytes of one chunk line.
const EXTENSION_LINE_BYTES_MAX: u16 = 256;
/// Extension bytes of a message.
const EXTENSION_BYTES_MAX: u16 = 4 * 1024;
/// Trailer fields of a message.
const TRAILERS_MAX: u8 = 16;
/// Bytes of the trailer section without its line endings.
const TRAILER_BYTES_MAX: u16 = 4 * 1024;
/// Hex digits of a chunk size.
const SIZE_DIGITS_MAX: u8 = 8;

/// What the input holds next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChunkEvent {
    /// All of the input was framing: `used` is its length, and more is needed.
    More {
        /// Bytes consumed.
        used: usize,
    },
    /// `input[skip..skip + len]` is body; all up to its end is consumed. `len` is not 0.
    Data {
        /// Bytes of framing before the body bytes.
        skip: usize,
        /// Body bytes.
        len: usize,
    },
    /// The body has ended; trailers, if any, were checked and dropped. What follows in the input
    /// belongs to the next message.
    End {
        /// Bytes consumed.
        used: usize,
    },
}

/// The coding is broken: nothing more of the connection can be trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChunkFault {
    /// A chunk size, extension or line ending is malformed or too long.
    #[error("malformed chunk")]
    Chunk,
    /// The trailer section is malformed, too large, or names a field that may not stand there.
    #[error("malformed or forbidden trailer")]
    Trailer,
}

impl ChunkFault {
    /// The name of the reason in metrics and audit.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::Trailer => "trailer",
        }
    }
}

/// Decodes one chunked body.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkDecoder {
    at: At,
    /// The size being read, then the data bytes still to come.
    size: u64,
    size_digits: u8,
    extension_line_bytes: u16,
    extension_bytes: u16,
    trailers: u8,
    trailer_bytes: u16,
    trailer_name: FoldedName,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum At {
    #[default]
    Size,
    /// After `;`: a name must follow.
    ExtensionNameStart,
    ExtensionName,
    /// After `=`.
    ExtensionValueStart,
    ExtensionValue,
    Quoted,
    QuotedEscape,
    QuotedEnd,
    /// After the CR of a size line.
    SizeEnd,
    Data,
    /// After the data.
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    /// After the CR of a trailer.
    TrailerEnd,
    /// After the CR of the last line.
    LastLf,
    End,
}

impl ChunkDecoder {
    /// A decoder at the start of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// HOT. Reads on. The input starts where the last call stopped consuming. The verdict does not
    /// depend on how the bytes are split over calls.
    ///
    /// Fails when the coding is broken; the decoder is then of no more use.
    pub fn next(&mut self, input: &[u8]) -> Result<ChunkEvent, ChunkFault> {
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            if self.at == At::Data {
                let len = usize::try_from(self.size)
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                self.size -= len as u64;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
                return Ok(ChunkEvent::Data { skip: used, len });
            }
            if self.at == At::End {
                break;
            }
            for byte in rest {
                self.at = self.step(*byte)?;
                used += 1;
                if matches!(self.at, At::Data | At::End) {
                    break;
                }
            }
        }
        Ok(if self.at == At::End {
            ChunkEvent::End { used }
        } else {
            ChunkEvent::More { used }
        })
    }

    /// Takes one byte of framing and says what comes after it.
    fn step(&mut self, byte: u8) -> Result<At, ChunkFault> {
        match self.at {
            At::Size => self.size_byte(byte),
            At::ExtensionNameStart
            | At::ExtensionName
            | At::ExtensionValueStart
            | At::ExtensionValue
            | At::Quoted
            | At::QuotedEscape
            | At::QuotedEnd => self.extension_byte(byte),
            At::SizeEnd => expect(byte, b'\n', self.after_size(), ChunkFault::Chunk),
            At::DataCr => expect(byte, b'\r', At::DataLf, ChunkFault::Chunk),
            At::DataLf => {
                self.size_digits = 0;
                self.extension_line_bytes = 0;
                expect(byte, b'\n', At::Size, ChunkFault::Chunk)
            }
            At::TrailerStart | At::TrailerName | At::TrailerValue => self.trailer_byte(byte),
            At::TrailerEnd => expect(byte, b'\n', At::TrailerStart, ChunkFault::Trailer),
            At::LastLf => expect(byte, b'\n', At::End, ChunkFault::Trailer),
            At::Data | At::End => Err(ChunkFault::Chunk),
        }
    }

    const fn after_size(&self) -> At {
        match self.size {
            0 => At::TrailerStart,
            _ => At::Data,
        }
    }

    fn size_byte(&mut self, byte: u8) -> Result<At, ChunkFault> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.size = self.size << 4 | u64::from(digit);
            self.size_digits = self.size_digits.saturating_add(1);
            return if self.size_digits <= SIZE_DIGITS_MAX {
                Ok(At::Size)
            } else {
                Err(ChunkFault::Chunk)
            };
        }
        match byte {
            b'\r' if self.size_digits > 0 => Ok(At::SizeEnd),
            b';' if self.size_digits > 0 => self.extension_byte(byte),
            _ => Err(ChunkFault::Chunk),
        }
    }

    /// `*( ";" token [ "=" ( token / quoted-string ) ] )`, without the blanks that RFC 9112 lets
    /// receivers put up with.
    fn extension_byte(&mut self, byte: u8) -> Result<At, ChunkFault> {
        let may_end = matches!(
            self.at,
            At::ExtensionName | At::ExtensionValue | At::QuotedEnd
        );
        if may_end && byte == b'\r' {
            return Ok(At::SizeEnd);
        }
        self.extension_line_bytes = self.extension_line_bytes.saturating_add(1);
        self.extension_bytes = self.extension_bytes.saturating_add(1);
        if self.extension_line_bytes > EXTENSION_LINE_BYTES_MAX
            || self.extension_bytes > EXTENSION_BYTES_MAX
        {
            return Err(ChunkFault::Chunk);
        }
        match (self.at, byte) {
            (At::Size | At::ExtensionName | At::ExtensionValue | At::QuotedEnd, b';') => {
                Ok(At::ExtensionNameStart)
            }
            (At::ExtensionName, b'=') => Ok(At::ExtensionValueStart),
            (At::ExtensionValueStart, b'"') => Ok(At::Quoted),
            (At::Quoted, b'"') => Ok(At::QuotedEnd),
            (At::Quoted, b'\\') => Ok(At::QuotedEscape),
            (At::Quoted | At::QuotedEscape, _) if is_value_byte(byte) => Ok(At::Quoted),
            (At::ExtensionNameStart | At::ExtensionName, _) if is_token_byte(byte) => {
                Ok(At::ExtensionName)
            }
            (At::ExtensionValueStart | At::ExtensionValue, _) if is_token_byte(byte) => {
                Ok(At::ExtensionValue)
            }
            _ => Err(ChunkFault::Chunk),
        }
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<At, ChunkFault> {
        match (self.at, byte) {
            (At::TrailerStart, b'\r') => return Ok(At::LastLf),
            (At::TrailerValue, b'\r') => return Ok(At::TrailerEnd),
            _ => {}
        }
        self.trailer_bytes = self.trailer_bytes.saturating_add(1);
        if self.at == At::TrailerStart {
            self.trailers = self.trailers.saturating_add(1);
            self.trailer_name = FoldedName::default();
        }
        if self.trailer_bytes > TRAILER_BYTES_MAX || self.trailers > TRAILERS_MAX {
            return Err(ChunkFault::Trailer);
        }
        match (self.at, byte) {
            (At::TrailerValue, _) if is_value_byte(byte) => Ok(At::TrailerValue),
            (At::TrailerName, b':') if !self.trailer_name.is_refused_in_trailer() => {
                Ok(At::TrailerValue)
            }
            (At::TrailerStart | At::TrailerName, _) if is_token_byte(byte) => {
                self.trailer_name.push(byte);
                Ok(At::TrailerName)
            }
            _ => Err(ChunkFault::Trailer),
        }
    }
}

fn expect(byte: u8, wanted: u8, then: At, otherwise: ChunkFault) -> Result<At, ChunkFault> {
    if byte == wanted {
        Ok(then)
    } else {
        Err(otherwise)
    }
}
