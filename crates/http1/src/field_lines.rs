//! Field lines: strict, and incremental without looking at a byte twice.
//!
//! There are two readers for one grammar. The quick one takes a line that is all there and clean.
//! Whatever it does not take goes byte by byte through the slow one, which can stop anywhere, says
//! what is wrong at the first wrong byte, and so gives one verdict however the bytes arrive.

use crate::bytes::{before_colon, is_token_byte, is_value_byte, leading_token, no_controls};
use crate::fields::{Duty, Known};
use crate::span::Span;

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
    /// Without outer blanks.
    pub(crate) value: Span,
    pub(crate) known: Known,
    pub(crate) duty: Duty,
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
    /// Field lines so far.
    count: usize,
    /// The slow reader's place, if it stopped within the line.
    within: Option<Place>,
}

/// The slow reader's place in a line.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The next byte to look at.
    at: usize,
    part: Part,
    /// Where the colon of the line is, once it was seen.
    colon: usize,
    underscore: bool,
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
            count: 0,
            within: None,
        }
    }

    /// The next line if it is a field, has arrived whole, and is clean.
    #[inline]
    fn clean_field(&mut self, buf: &[u8], limits: LineLimits) -> Option<FieldLine> {
        let line = buf.get(self.start..)?;
        if self.within.is_some() || line.first() == Some(&b'\r') {
            return None;
        }
        let (name, colon_and_value) = line.split_at_checked(before_colon(line))?;
        let value = colon_and_value.get(1..)?;
        let (value, ending) = value.split_at_checked(no_controls(value))?;
        let len = name.len() + 1 + value.len();
        let room = len <= limits.line_bytes_max && self.count < limits.lines_max;
        if !ending.starts_with(b"\r\n") || !room {
            return None;
        }
        let (known, duty, underscore) = match Known::listed(name) {
            Some((known, duty)) => (known, duty, false),
            None => unlisted(name)?,
        };
        let end = self.start + len;
        let field = FieldLine {
            name: Span::new(self.start, self.start + name.len()),
            value: without_outer_spaces(value, end),
            known,
            duty,
            underscore,
        };
        self.start = end + 2;
        self.count += 1;
        Some(field)
    }

    /// HOT. Reads the next line. After [`Line::Partial`] it is called again with more of the same
    /// buffer.
    #[inline]
    pub(crate) fn next(&mut self, buf: &[u8], limits: LineLimits) -> Result<Line, LineFault> {
        if let Some(field) = self.clean_field(buf, limits) {
            return Ok(Line::Field(field));
        }
        if self.within.is_none() && buf.get(self.start..self.start + 2) == Some(b"\r\n") {
            return Ok(Line::End(self.start + 2));
        }
        self.byte_by_byte(buf, limits)
    }

    #[cold]
    fn byte_by_byte(&mut self, buf: &[u8], limits: LineLimits) -> Result<Line, LineFault> {
        let mut place = self.within.take().unwrap_or(Place {
            at: self.start,
            part: Part::First,
            colon: 0,
            underscore: false,
        });
        while let Some(&byte) = buf.get(place.at) {
            let is_content = !matches!(byte, b'\r' | b'\n');
            let room =
                place.at - self.start < limits.line_bytes_max && self.count < limits.lines_max;
            if is_content && !room {
                return Err(LineFault::TooLarge);
            }
            match (place.part, byte) {
                (Part::FieldEnd, b'\n') => return Ok(self.take_field(buf, place)),
                (Part::EmptyEnd, b'\n') => return Ok(Line::End(place.at + 1)),
                (Part::NameEnd, b'\n') => return Err(LineFault::Name),
                (Part::FieldEnd | Part::EmptyEnd | Part::NameEnd, _) | (_, b'\n') => {
                    return Err(LineFault::Ending);
                }
                (Part::First, b' ' | b'\t') if self.count > 0 => return Err(LineFault::Fold),
                (Part::First, b'\r') => place.part = Part::EmptyEnd,
                (Part::Name, b'\r') => place.part = Part::NameEnd,
                (Part::Value, b'\r') => place.part = Part::FieldEnd,
                (Part::Name, b':') => {
                    place.colon = place.at;
                    place.part = Part::Value;
                }
                (Part::First | Part::Name, _) if is_token_byte(byte) => {
                    place.underscore |= byte == b'_';
                    place.part = Part::Name;
                }
                (Part::First | Part::Name, _) => return Err(LineFault::Name),
                (Part::Value, _) if is_value_byte(byte) => {}
                (Part::Value, _) => return Err(LineFault::Value),
            }
            place.at += 1;
        }
        self.within = (place.at > self.start).then_some(place);
        Ok(Line::Partial)
    }

    /// Takes the field whose line ends with the LF at this place.
    fn take_field(&mut self, buf: &[u8], place: Place) -> Line {
        let name = Span::new(self.start, place.colon);
        let value = Span::new(place.colon + 1, place.at - 1);
        let (known, duty) = Known::of(name.of(buf));
        self.start = place.at + 1;
        self.count += 1;
        Line::Field(FieldLine {
            name,
            value: value.without_outer_blanks(buf),
            known,
            duty,
            underscore: place.underscore,
        })
    }
}

/// The place of a value that ends here, without the spaces around it; no tab is in it. There is
/// nearly always the one space before it.
#[inline]
fn without_outer_spaces(value: &[u8], end: usize) -> Span {
    let spaces = usize::from(value.first() == Some(&b' '));
    if value.get(spaces) == Some(&b' ') || value.last() == Some(&b' ') {
        return without_more_spaces(value, end);
    }
    Span::new(end - value.len() + spaces, end)
}

#[cold]
fn without_more_spaces(value: &[u8], end: usize) -> Span {
    let start = end - value.trim_ascii_start().len();
    Span::new(start, start + value.trim_ascii().len())
}

/// What a name means that is not on our list, and whether an underscore is in it; nothing if it
/// is no name.
fn unlisted(name: &[u8]) -> Option<(Known, Duty, bool)> {
    let (len, underscore) = leading_token(name);
    if len == 0 || len < name.len() {
        return None;
    }
    let (known, duty) = Known::unlisted(name);
    Some((known, duty, underscore))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: LineLimits = LineLimits {
        lines_max: 3,
        line_bytes_max: 40,
    };

    /// Field lines and pieces of them, with a byte changed now and then.
    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let piece = proptest::sample::select(vec![
            "Host: gw.test\r\n",
            "content-length: 219\r\n",
            "authorization:  Bearer tok-aZ3aZ3aZ3 \r\n",
            "x-custom_name:\r\n",
            "X-PAYMENT-A:\ta\r\n",
            "\r\n",
            "\r",
            "\n",
            ":",
            " a: b",
            "abcdefgh",
        ]);
        let change = (any::<prop::sample::Index>(), any::<u8>());
        (
            proptest::collection::vec(piece, 1..6),
            proptest::option::of(change),
        )
            .prop_map(|(pieces, change)| {
                let mut bytes = pieces.concat().into_bytes();
                if let Some((at, byte)) = change {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                bytes
            })
    }

    /// Whether a buffer starts with a whole line that is a field with nothing odd about it.
    fn starts_with_clean_field(buf: &[u8]) -> bool {
        let Some(end) = buf.windows(2).position(|pair| pair == b"\r\n") else {
            return false;
        };
        let line = &buf[..end];
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return false;
        };
        (1..=LIMITS.line_bytes_max).contains(&line.len())
            && colon > 0
            && line[..colon].iter().all(|byte| is_token_byte(*byte))
            && line[colon..]
                .iter()
                .all(|byte| is_value_byte(*byte) && *byte != b'\t')
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_quick_reader_takes_all_clean_fields_and_reads_them_as_the_slow_one(
            bytes in lines(),
            start in 0_usize..20,
        ) {
            let start = start % bytes.len();
            let mut quick = FieldLines::starting_at(start);
            let mut slow = quick;
            loop {
                let clean = starts_with_clean_field(&bytes[quick.start..]);
                let room = quick.count < LIMITS.lines_max;
                let taken = quick.clean_field(&bytes, LIMITS);
                prop_assert_eq!(taken.is_some(), clean && room);
                let Some(taken) = taken else { break };
                let read = slow.byte_by_byte(&bytes, LIMITS);
                prop_assert_eq!(
                    format!("{read:?}"),
                    format!("{:?}", Ok::<_, LineFault>(Line::Field(taken)))
                );
                prop_assert_eq!(format!("{quick:?}"), format!("{slow:?}"));
            }
        }
    }
}
