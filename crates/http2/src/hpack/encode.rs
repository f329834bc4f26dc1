//! Writing blocks of fields.
//!
//! A field enters the table when it comes for the second time, so that what is said once costs
//! nobody a place, and what every answer says costs a byte. Strings are not Huffman coded. Values
//! that are secrets are told so (RFC 7541, section 7.1.3).

use super::table::Table;
use super::{TABLE_BYTES, static_table};
use memchr::memchr;

/// Places where fields that came are remembered.
const PLACES: usize = 128;
/// Places that are looked at for a field.
const TRIES: usize = 4;
/// The longest field that enters the table.
const ENTERING_BYTES_MAX: usize = 512;
/// Lines that are remembered, and the longest of them.
const LAST_LINES_MAX: usize = 32;
const LAST_LINE_BYTES_MAX: usize = 256;

/// Our table.
#[derive(Debug)]
pub(crate) struct Encoder {
    table: Table,
    seen: Box<[Seen; PLACES]>,
    /// The client has changed what the table may hold: the least it said, if that is to be told.
    resized: Option<usize>,
    bytes_max: usize,
    lower: Vec<u8>,
    /// Lines of heads before, by their place, whose fields stand in the table under a number.
    last: Vec<(Vec<u8>, u64)>,
}

/// A field that came.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    hash: u32,
    /// Its number in the table, or 0.
    number: u64,
}

/// How a literal is told.
#[derive(Clone, Copy)]
enum Form {
    Entering,
    Passing,
    Secret,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
            seen: Box::new([Seen::default(); PLACES]),
            resized: None,
            bytes_max: TABLE_BYTES,
            lower: Vec::new(),
            last: Vec::new(),
        }
    }

    /// The client's table holds no more than this.
    pub(crate) fn resize(&mut self, bytes_max: usize) {
        let bytes_max = bytes_max.min(TABLE_BYTES);
        let least = self.resized.unwrap_or(self.bytes_max);
        self.resized = Some(least.min(bytes_max));
        self.bytes_max = bytes_max;
    }

    /// HOT. Writes the fields of an answer: its status, and the lines of a head of HTTP/1.1 behind
    /// their first. A line that is none, and one that frames a message of HTTP/1.1, is left out.
    pub(crate) fn answer(&mut self, out: &mut Vec<u8>, status: u16, lines: &[u8]) {
        if let Some(least) = self.resized.take() {
            if least < self.bytes_max {
                self.table.resize(least);
                integer(out, 0x20, 5, least);
            }
            self.table.resize(self.bytes_max);
            integer(out, 0x20, 5, self.bytes_max);
        }
        write_status(out, status);
        let mut rest = after_line(lines).1;
        for at in 0.. {
            if rest.is_empty() {
                break;
            }
            if let Some((place, len)) = self.known(at, rest) {
                integer(out, 0x80, 7, static_table::COUNT + 1 + place);
                rest = rest.get(len..).unwrap_or_default();
                continue;
            }
            let (line, after) = after_line(rest);
            let number = self.line(out, line);
            let whole = rest.get(..rest.len() - after.len()).unwrap_or_default();
            self.remember(at, whole, number);
            rest = after;
        }
    }

    /// HOT. Where the field of a line stands in the table, if the head before had the same line
    /// in the same place; and the line's length.
    fn known(&self, at: usize, rest: &[u8]) -> Option<(usize, usize)> {
        let (line, number) = self.last.get(at)?;
        if !rest.starts_with(line) {
            return None;
        }
        Some((self.table.place_of(*number)?, line.len()))
    }

    /// Remembers a line whose field stands in the table.
    fn remember(&mut self, at: usize, line: &[u8], number: u64) {
        if number == 0 || line.len() > LAST_LINE_BYTES_MAX || at >= LAST_LINES_MAX {
            return;
        }
        if self.last.len() <= at {
            self.last.resize(at + 1, (Vec::new(), 0));
        }
        if let Some((known, of)) = self.last.get_mut(at) {
            known.clear();
            known.extend_from_slice(line);
            *of = number;
        }
    }

    /// Writes a line's field: its number in the table, or 0.
    fn line(&mut self, out: &mut Vec<u8>, line: &[u8]) -> u64 {
        let Some(colon) = memchr(b':', line) else {
            return 0;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if !name.iter().any(u8::is_ascii_uppercase) {
            return self.field(out, name, value);
        }
        let mut lower = std::mem::take(&mut self.lower);
        lower.clear();
        lower.extend(name.iter().map(u8::to_ascii_lowercase));
        let number = self.field(out, &lower, value);
        self.lower = lower;
        number
    }

    /// HOT.
    fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> u64 {
        match name {
            b"" | b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding"
            | b"upgrade" => return 0,
            b"set-cookie" | b"authorization" | b"proxy-authorization" | b"authentication-info" => {
                return literal(out, Form::Secret, name, value);
            }
            _ => {}
        }
        if name.len() + value.len() > ENTERING_BYTES_MAX {
            return literal(out, Form::Passing, name, value);
        }
        let hash = hash(name, value);
        let first = hash as usize;
        let mut free = None;
        for place in (0..TRIES).map(|step| (first + step) % PLACES) {
            let Some(seen) = self.seen.get_mut(place) else {
                continue;
            };
            let stands = self.table.place_of(seen.number);
            if seen.hash != hash {
                if stands.is_none() {
                    free = free.or(Some(place));
                }
                continue;
            }
            if let Some(stands) = stands {
                if self.table.at(stands) == Some((name, value)) {
                    integer(out, 0x80, 7, static_table::COUNT + 1 + stands);
                    return seen.number;
                }
                continue;
            }
            literal(out, Form::Entering, name, value);
            seen.number = self.table.insert(name, value);
            return seen.number;
        }
        if let Some(seen) = free.and_then(|place| self.seen.get_mut(place)) {
            *seen = Seen { hash, number: 0 };
        }
        literal(out, Form::Passing, name, value)
    }
}

/// A line without its end, and what is behind it.
fn after_line(lines: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr(b'\n', lines).unwrap_or(lines.len());
    let (line, rest) = lines.split_at_checked(end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (line, rest.get(1..).unwrap_or_default())
}

/// Tells equal fields by a few steps; others only mostly, which the table settles.
fn hash(name: &[u8], value: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = name.len() as u64;
    for text in [name, value] {
        let (words, rest) = text.as_chunks::<8>();
        for word in words {
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(K);
        }
        let rest = rest
            .iter()
            .fold(1_u64, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash.rotate_left(5) ^ rest).wrapping_mul(K);
    }
    u32::try_from(hash >> 32).unwrap_or_default()
}

fn write_status(out: &mut Vec<u8>, status: u16) {
    let index = match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => 0,
    };
    if index > 0 {
        return out.push(0x80 | index);
    }
    out.push(0x08);
    string(out, itoa::Buffer::new().format(status).as_bytes());
}

/// HOT. Writes a field out of the table: no number.
fn literal(out: &mut Vec<u8>, form: Form, name: &[u8], value: &[u8]) -> u64 {
    let (first, prefix) = match form {
        Form::Entering => (0x40, 6),
        Form::Passing => (0, 4),
        Form::Secret => (0x10, 4),
    };
    let index = static_table::index_of(name);
    integer(out, first, prefix, usize::from(index));
    if index == 0 {
        string(out, name);
    }
    string(out, value);
    0
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// An integer behind the bits of `first` (RFC 7541, section 5.1).
fn integer(out: &mut Vec<u8>, first: u8, prefix: u32, number: usize) {
    let mask = (1_u8 << prefix) - 1;
    match u8::try_from(number) {
        Ok(small) if small < mask => out.push(first | small),
        _ => {
            out.push(first | mask);
            let mut left = number - usize::from(mask);
            while left >= 0x80 {
                let [low, ..] = left.to_le_bytes();
                out.push(low | 0x80);
                left >>= 7;
            }
            let [low, ..] = left.to_le_bytes();
            out.push(low);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;

    /// What a client reads, and how many bytes that took.
    fn read(decoder: &mut Decoder, encoder: &mut Encoder, lines: &str) -> (Vec<String>, usize) {
        let mut out = Vec::new();
        encoder.answer(&mut out, 200, lines.as_bytes());
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let take = |name: &[u8], value: &[u8]| fields.push(text(name) + "=" + &text(value));
        decoder.decode(&out, take).unwrap();
        (fields, out.len())
    }

    // EDGE-40
    #[test]
    fn a_client_reads_what_the_lines_say_and_what_repeats_costs_a_byte() {
        let (mut decoder, mut encoder) = (Decoder::new(), Encoder::new());
        let lines = "HTTP/1.1 200 OK\r\nX-Long: a value that is long\r\nvary: a\r\nvary: b\r\n";
        let want = [
            ":status=200",
            "x-long=a value that is long",
            "vary=a",
            "vary=b",
        ];
        let costs = [0; 4].map(|_| {
            let (fields, cost) = read(&mut decoder, &mut encoder, lines);
            assert_eq!(fields, want);
            cost
        });
        assert_eq!(costs, [38, 36, 4, 4]);
    }

    // EDGE-40
    #[test]
    fn what_frames_a_message_or_is_no_line_is_left_out_and_secrets_enter_no_table() {
        let (mut decoder, mut encoder) = (Decoder::new(), Encoder::new());
        let lines = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nnothing\r\n: a\r\nset-cookie: a=secret\r\n";
        for _ in 0..3 {
            let (fields, cost) = read(&mut decoder, &mut encoder, lines);
            assert_eq!(fields, [":status=200", "set-cookie=a=secret"]);
            assert_eq!(cost, 1 + 2 + 1 + 8);
        }
        let mut out = Vec::new();
        encoder.answer(&mut out, 503, lines.as_bytes());
        assert_eq!(out[..5], [0x08, 3, b'5', b'0', b'3']);
        assert_eq!(out[5..7], [0x1f, 55 - 15], "never to be put into a table");
    }

    // EDGE-41
    #[test]
    fn a_table_that_a_client_makes_smaller_is_told_and_kept() {
        let (mut decoder, mut encoder) = (Decoder::new(), Encoder::new());
        let lines = "HTTP/1.1 200 OK\r\nx-long: a value that is long\r\n";
        for _ in 0..3 {
            read(&mut decoder, &mut encoder, lines);
        }
        encoder.resize(0);
        encoder.resize(100_000);
        let (fields, cost) = read(&mut decoder, &mut encoder, lines);
        assert_eq!(fields.len(), 2);
        assert_eq!(
            cost,
            1 + 3 + 1 + 29,
            "both sizes are told, and the table is empty"
        );
        assert_eq!(read(&mut decoder, &mut encoder, lines).1, 2);
        encoder.resize(10);
        for _ in 0..3 {
            assert_eq!(read(&mut decoder, &mut encoder, lines).0.len(), 2);
        }
        assert_eq!(encoder.table.at(0), None);
    }

    proptest::proptest! {
        #[test]
        fn any_heads_are_read_as_they_were_written(
            heads in proptest::collection::vec(
                proptest::collection::vec(("[a-c]{1,2}", "[a-c]{0,3}|x{200,600}"), 0..6), 0..12),
            sizes in proptest::collection::vec(0_usize..300, 12),
        ) {
            let (mut decoder, mut encoder) = (Decoder::new(), Encoder::new());
            for (head, size) in heads.iter().zip(sizes) {
                if size < 200 {
                    encoder.resize(size * 3);
                }
                let lines: String = head.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let (fields, _) = read(&mut decoder, &mut encoder, &format!("HTTP/1.1 200 OK\r\n{lines}"));
                let want: Vec<_> = head.iter().map(|(name, value)| format!("{name}={value}")).collect();
                proptest::prop_assert_eq!(&fields[1..], &want[..]);
            }
        }
    }
}
