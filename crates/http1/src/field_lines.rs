//! Field lines: strict, and incremental without looking at a byte twice.
//!
//! There are two readers for one grammar. The quick one takes a line that is all there and clean.
//! Whatever it does not take goes byte by byte through the slow one, which can stop anywhere, says
//! what is wrong at the first wrong byte, and so gives one verdict however the bytes arrive.

use crate::bytes::{is_token_byte, is_value, is_value_byte, leading_token};
use crate::span::Span;
use memchr::memchr;

/// What is wrong with a field line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LineFault {
    /// A CR without LF or an LF without CR.
    Ending,
    /// No name, no colon after it, or a byte in it that names do not have.
    Name,
    /// A control byte.
    Value,
    /// A line that goes on in the next one (obs-fold).
    Fold,
    /// Too long a line, or too many.
    TooLarge,
}

/// What the next line is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Line {
    /// It has not arrived whole.
    Partial,
    /// A field.
    Field(FieldLine),
    /// The empty line that ends the fields; the body starts at this offset.
    End(usize),
}

/// One field as it stands in the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldLine {
    pub(crate) name: Span,
    /// With outer blanks.
    pub(crate) value: Span,
    /// Whether the name holds an underscore.
    pub(crate) underscore: bool,
}

/// How many lines, how long each. In bytes, without the line ending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineLimits {
    pub(crate) lines_max: usize,
    pub(crate) line_bytes_max: usize,
}

/// The reader's place in the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldLines {
    /// Where the line starts.
    start: usize,
    /// The next byte to look at.
    at: usize,
    part: Part,
    /// Where the colon of the line is, once it was seen.
    colon: usize,
    underscore: bool,
    /// Field lines so far.
    count: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    First,
    Name,
    Value,
    /// After the CR of a line that is a field.
    FieldEnd,
    /// After the CR of an empty line.
    EmptyEnd,
    /// After a CR in the name: a line without colon, or a bare CR.
    NameEnd,
}

impl FieldLines {
    pub(crate) const fn starting_at(start: usize) -> Self {
        Self {
            start,
            at: start,
            part: Part::First,
            colon: 0,
            underscore: false,
            count: 0,
        }
    }

    /// HOT. Reads the next line. After [`Line::Partial`] it is called again with more of the same
    /// buffer.
    pub(crate) fn next(&mut self, buf: &[u8], limits: LineLimits) -> Result<Line, LineFault> {
        if self.part == Part::First
            && let Some(line) = self.whole_line(buf, limits)
        {
            return Ok(line);
        }
        self.byte_by_byte(buf, limits)
    }

    /// Takes a line that has arrived whole and is clean.
    fn whole_line(&mut self, buf: &[u8], limits: LineLimits) -> Option<Line> {
        let rest = buf.get(self.start..)?;
        let line = rest.get(..memchr(b'\n', rest)?)?.strip_suffix(b"\r")?;
        let end = self.start + line.len();
        if line.is_empty() {
            return Some(Line::End(end + 2));
        }
        if line.len() > limits.line_bytes_max || self.count >= limits.lines_max {
            return None;
        }
        let (name_len, underscore) = leading_token(line);
        let value = line.get(name_len..)?.strip_prefix(b":")?;
        if name_len == 0 || !is_value(value) {
            return None;
        }
        self.colon = self.start + name_len;
        self.underscore = underscore;
        Some(self.take_field(end))
    }

    /// Takes the field that ends at `end` and goes on behind its CRLF.
    fn take_field(&mut self, end: usize) -> Line {
        let field = FieldLine {
            name: Span::new(self.start, self.colon),
            value: Span::new(self.colon + 1, end),
            underscore: self.underscore,
        };
        *self = Self {
            count: self.count + 1,
            ..Self::starting_at(end + 2)
        };
        Line::Field(field)
    }

    fn byte_by_byte(&mut self, buf: &[u8], limits: LineLimits) -> Result<Line, LineFault> {
        while let Some(&byte) = buf.get(self.at) {
            let is_content = !matches!(byte, b'\r' | b'\n');
            let room =
                self.at - self.start < limits.line_bytes_max && self.count < limits.lines_max;
            if is_content && !room {
                return Err(LineFault::TooLarge);
            }
            match (self.part, byte) {
                (Part::FieldEnd, b'\n') => return Ok(self.take_field(self.at - 1)),
                (Part::EmptyEnd, b'\n') => return Ok(Line::End(self.at + 1)),
                (Part::NameEnd, b'\n') => return Err(LineFault::Name),
                (Part::FieldEnd | Part::EmptyEnd | Part::NameEnd, _) | (_, b'\n') => {
                    return Err(LineFault::Ending);
                }
                (Part::First, b' ' | b'\t') if self.count > 0 => return Err(LineFault::Fold),
                (Part::First, b'\r') => self.part = Part::EmptyEnd,
                (Part::Name, b'\r') => self.part = Part::NameEnd,
                (Part::Value, b'\r') => self.part = Part::FieldEnd,
                (Part::Name, b':') => {
                    self.colon = self.at;
                    self.part = Part::Value;
                }
                (Part::First | Part::Name, _) if is_token_byte(byte) => {
                    self.underscore |= byte == b'_';
                    self.part = Part::Name;
                }
                (Part::First | Part::Name, _) => return Err(LineFault::Name),
                (Part::Value, _) if is_value_byte(byte) => {}
                (Part::Value, _) => return Err(LineFault::Value),
            }
            self.at += 1;
        }
        Ok(Line::Partial)
    }
}
