//! The head of an upstream's answer, read as strictly as a request: an upstream that frames its
//! answer in two ways would let one caller read another's.

use crate::Progress;
use crate::bytes::{is_value, no_controls};
use crate::connection::Options;
use crate::field_lines::{FieldLine, FieldLines, Line, LineFault, LineLimits};
use crate::fields::{Field, Known, first_value};
use crate::framing::{AnswerFraming, content_length, is_chunked};
use crate::request_line::Version;
use crate::reserved::is_framing;
use memchr::memchr;

/// Fields of an answer.
const FIELDS_MAX: usize = 100;
/// Bytes of the head of an answer, with line endings.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The head of an answer, interim answers (1xx) included. One value serves a worker for its life.
#[derive(Debug, Default)]
pub struct Answer {
    /// The status, 100–599 and never 101.
    pub status: u16,
    /// The version.
    pub version: Version,
    /// The fields in order.
    pub fields: Vec<Field>,
    /// How the body is delimited.
    pub framing: AnswerFraming,
    /// Whether the connection may carry another request once both messages have ended.
    pub keep_alive: bool,
    /// Bytes of the buffer that are the head: where the body is.
    pub len: usize,
    progress: Reading,
}

#[derive(Debug, Default)]
struct Reading {
    stage: Stage,
    length: Option<u64>,
    chunked: bool,
    options: Options,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// No end of line before this offset.
    StatusLine(usize),
    Fields(FieldLines),
    /// The head was completed or refused; the next call starts afresh.
    Ended,
}

impl Default for Stage {
    fn default() -> Self {
        Self::StatusLine(0)
    }
}

/// Why an answer is not believed. The connection is discarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum AnswerFault {
    #[error("malformed status line")]
    StatusLine,
    #[error("a line does not end with CRLF")]
    LineEnding,
    #[error("malformed field name")]
    FieldName,
    #[error("control byte in a field value")]
    FieldValue,
    #[error("folded field line")]
    ObsFold,
    #[error("framing field spelled with an underscore")]
    Underscore,
    #[error("two or malformed content lengths")]
    ContentLength,
    #[error("transfer coding not understood")]
    TransferEncoding,
    #[error("content length and transfer coding together")]
    BothLengths,
    #[error("malformed connection option")]
    Connection,
    #[error("head too large")]
    TooLarge,
    #[error("101 without having been asked")]
    Switching,
}

impl From<LineFault> for AnswerFault {
    fn from(fault: LineFault) -> Self {
        match fault {
            LineFault::Ending => Self::LineEnding,
            LineFault::Name => Self::FieldName,
            LineFault::Value => Self::FieldValue,
            LineFault::Fold => Self::ObsFold,
            LineFault::TooLarge => Self::TooLarge,
        }
    }
}

impl Answer {
    /// An empty answer. It allocates with the first field.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the message, so that the next [`Answer::read`] starts at the start of its buffer.
    pub fn reset(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }

    /// HOT. Reads a head at the start of `buf`. After [`Progress::More`] it is called again with
    /// the same buffer, grown. After anything else the next call reads another message.
    ///
    /// `head_request` says that the request was HEAD: its answer has no body whatever the fields
    /// say. Interim answers are returned like any other; the caller counts them. Fails with the
    /// same fault however the bytes are split over calls.
    pub fn read(&mut self, buf: &[u8], head_request: bool) -> Result<Progress, AnswerFault> {
        if matches!(self.progress.stage, Stage::Ended) {
            self.reset();
        }
        let within = buf.get(..HEAD_BYTES_MAX).unwrap_or(buf);
        let read = match self.lines(within, head_request) {
            Ok(Progress::More) if buf.len() > within.len() => Err(AnswerFault::TooLarge),
            read => read,
        };
        if read != Ok(Progress::More) {
            self.progress.stage = Stage::Ended;
        }
        read
    }

    /// The value of the first field under a known name.
    pub fn value<'a>(&self, buf: &'a [u8], known: Known) -> Option<&'a [u8]> {
        first_value(&self.fields, buf, known)
    }

    fn lines(&mut self, buf: &[u8], head_request: bool) -> Result<Progress, AnswerFault> {
        if let Stage::StatusLine(scanned) = self.progress.stage
            && !self.status_line(buf, scanned)?
        {
            return Ok(Progress::More);
        }
        let limits = LineLimits {
            lines_max: FIELDS_MAX,
            line_bytes_max: HEAD_BYTES_MAX,
        };
        let Stage::Fields(mut lines) = self.progress.stage else {
            return Ok(Progress::More);
        };
        loop {
            let line = match lines.next(buf, limits)? {
                Line::Field(line) => line,
                Line::Partial => {
                    self.progress.stage = Stage::Fields(lines);
                    return Ok(Progress::More);
                }
                Line::End(len) => {
                    self.len = len;
                    self.complete(buf, head_request)?;
                    return Ok(Progress::Done);
                }
            };
            self.take_field(buf, line)?;
        }
    }

    /// Reads the status line once it has arrived whole.
    #[inline]
    fn status_line(&mut self, buf: &[u8], scanned: usize) -> Result<bool, AnswerFault> {
        if scanned == 0
            && let Some((line, rest)) = buf.split_at_checked(no_controls(buf))
            && rest.starts_with(b"\r\n")
            && let Some((version, status)) = read_status_line(line)
        {
            self.begin_fields(version, status, line.len() + 2)?;
            return Ok(true);
        }
        self.odd_status_line(buf, scanned)
    }

    /// Reads a status line that has not arrived whole or is not clean; what does not begin like
    /// one is refused at once.
    #[cold]
    fn odd_status_line(&mut self, buf: &[u8], scanned: usize) -> Result<bool, AnswerFault> {
        const START: &[u8] = b"HTTP/1.";
        if buf.iter().zip(START).any(|(byte, wanted)| byte != wanted) {
            return Err(AnswerFault::StatusLine);
        }
        let end = buf.get(scanned..).and_then(|rest| memchr(b'\n', rest));
        let Some(end) = end.map(|end| scanned + end) else {
            self.progress.stage = Stage::StatusLine(buf.len());
            return Ok(false);
        };
        let line = buf
            .get(..end)
            .and_then(|line| line.strip_suffix(b"\r"))
            .ok_or(AnswerFault::LineEnding)?;
        let (version, status) = read_status_line(line).ok_or(AnswerFault::StatusLine)?;
        self.begin_fields(version, status, end + 1)?;
        Ok(true)
    }

    #[inline]
    fn begin_fields(
        &mut self,
        version: Version,
        status: u16,
        start: usize,
    ) -> Result<(), AnswerFault> {
        (self.version, self.status) = (version, status);
        self.progress.stage = Stage::Fields(FieldLines::starting_at(start));
        if status == 101 {
            return Err(AnswerFault::Switching);
        }
        Ok(())
    }

    #[inline]
    fn take_field(&mut self, buf: &[u8], line: FieldLine) -> Result<(), AnswerFault> {
        if line.underscore && is_framing(line.name.of(buf)) {
            return Err(AnswerFault::Underscore);
        }
        let (known, text) = (line.known, line.value.of(buf));
        if known == Known::ContentLength {
            let length = content_length(text).ok_or(AnswerFault::ContentLength)?;
            if self.progress.length.replace(length).is_some() {
                return Err(AnswerFault::ContentLength);
            }
        } else if known == Known::TransferEncoding {
            let again = std::mem::replace(&mut self.progress.chunked, true);
            if again || self.version == Version::Http10 || !is_chunked(text) {
                return Err(AnswerFault::TransferEncoding);
            }
        } else if known == Known::Connection {
            let options = &mut self.progress.options;
            options.read(text).map_err(|_| AnswerFault::Connection)?;
        }
        self.fields.push(Field {
            name: line.name,
            value: line.value,
            known,
            hop: false,
        });
        Ok(())
    }

    /// RFC 9112, 6.3.
    fn complete(&mut self, buf: &[u8], head_request: bool) -> Result<(), AnswerFault> {
        let bodiless = head_request || matches!(self.status, 100..=199 | 204 | 304);
        self.framing = match (self.progress.length, self.progress.chunked) {
            (Some(_), true) => return Err(AnswerFault::BothLengths),
            _ if bodiless => AnswerFraming::None,
            (None, true) => AnswerFraming::Chunked,
            (Some(length), false) => AnswerFraming::Length(length),
            (None, false) => AnswerFraming::UntilClose,
        };
        self.keep_alive = self.version == Version::Http11
            && self.framing != AnswerFraming::UntilClose
            && !self.progress.options.close;
        self.progress.options.mark(&mut self.fields, buf);
        Ok(())
    }
}

/// Reads `HTTP/1.x SP 3DIGIT SP reason` without its ending. The reason may be empty, the space
/// before it may not be missing.
fn read_status_line(line: &[u8]) -> Option<(Version, u16)> {
    let (version, rest) = line.split_first_chunk::<9>()?;
    let version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return None,
    };
    let ([hundreds @ b'1'..=b'5', tens, ones, b' '], reason) = rest.split_first_chunk()? else {
        return None;
    };
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() || !is_value(reason) {
        return None;
    }
    let digit = |digit: &u8| u16::from(digit - b'0');
    Some((
        version,
        digit(hundreds) * 100 + digit(tens) * 10 + digit(ones),
    ))
}
