//! Reading blocks of fields.

use super::table::Table;
use super::{TABLE_BYTES, Undecodable, huffman, static_table};

/// Scratch that grew past this is freed rather than kept.
const KEPT_BYTES_MAX: usize = 1024;

/// The client's table, and scratch for strings that are coded.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// How a field is told.
enum Form {
    Indexed,
    /// To be put into the table.
    Entering,
    Passing,
}

impl Decoder {
    pub(crate) const fn new() -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// HOT. Reads a whole block: `take` is given each field's name and value. It stops for good
    /// when that says `false`.
    pub(crate) fn decode(
        &mut self,
        mut block: &[u8],
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Undecodable> {
        while let Some(first @ 0x20..=0x3f) = block.first() {
            let size = integer(&mut block, *first, 5)?;
            if size > TABLE_BYTES {
                return Err(Undecodable);
            }
            self.table.resize(size);
        }
        while let Some(first) = block.first() {
            let (form, prefix) = match first {
                0x80.. => (Form::Indexed, 7),
                0x40..=0x7f => (Form::Entering, 6),
                // A table's size stands before all fields.
                0x20..=0x3f => return Err(Undecodable),
                0..=0x1f => (Form::Passing, 4),
            };
            let index = integer(&mut block, *first, prefix)?;
            if matches!(form, Form::Indexed) {
                let (name, value) = self.at(index)?;
                if !take(name, value) {
                    return Ok(());
                }
                continue;
            }
            self.name.clear();
            if index == 0 {
                string(&mut block, &mut self.name)?;
            } else {
                let mut name = std::mem::take(&mut self.name);
                name.extend_from_slice(self.at(index)?.0);
                self.name = name;
            }
            self.value.clear();
            string(&mut block, &mut self.value)?;
            if matches!(form, Form::Entering) {
                self.table.insert(&self.name, &self.value);
            }
            if !take(&self.name, &self.value) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives back what unusual fields have made grow.
    pub(crate) fn rest(&mut self) {
        for scratch in [&mut self.name, &mut self.value] {
            if scratch.capacity() > KEPT_BYTES_MAX {
                *scratch = Vec::new();
            }
        }
    }

    fn at(&self, index: usize) -> Result<(&[u8], &[u8]), Undecodable> {
        let field = match index.checked_sub(static_table::COUNT + 1) {
            None => static_table::field(index),
            Some(place) => self.table.at(place),
        };
        field.ok_or(Undecodable)
    }
}

/// An integer whose first byte is `first` (RFC 7541, section 5.1).
fn integer(block: &mut &[u8], first: u8, prefix: u32) -> Result<usize, Undecodable> {
    /// No index, length or size that is taken is larger.
    const BYTES_MAX: u32 = 4;
    let mask = (1_u8 << prefix) - 1;
    let (_, mut rest) = block.split_first().ok_or(Undecodable)?;
    let mut number = usize::from(first & mask);
    if number == usize::from(mask) {
        let mut ends = false;
        for at in 0..BYTES_MAX {
            let (byte, after) = rest.split_first().ok_or(Undecodable)?;
            rest = after;
            number += usize::from(byte & 0x7f) << (7 * at);
            ends = byte & 0x80 == 0;
            if ends {
                break;
            }
        }
        if !ends {
            return Err(Undecodable);
        }
    }
    *block = rest;
    Ok(number)
}

/// A string (RFC 7541, section 5.2), behind what is in `out`.
fn string(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let first = *block.first().ok_or(Undecodable)?;
    let length = integer(block, first, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Undecodable)?;
    *block = rest;
    if first & 0x80 != 0 {
        return huffman::decode(text, out);
    }
    out.extend_from_slice(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = Vec<(String, String)>;

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Undecodable> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder
            .decode(block, |name, value| {
                fields.push((text(name), text(value)));
                true
            })
            .map(|()| fields)
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    // EDGE-40
    #[test]
    #[rustfmt::skip]
    fn the_examples_of_the_rfc_are_read() {
        let request = |path: &str, more: &[(&str, &str)]| -> Fields {
            let scheme = if path == "/" { "http" } else { "https" };
            [(":method", "GET"), (":scheme", scheme), (":path", path), (":authority", "www.example.com")]
                .iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        // Appendix C.3 without Huffman coding, C.4 with it: three requests of one connection each.
        for blocks in [
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
        ] {
            let mut decoder = Decoder::new();
            let mut next = blocks.iter().map(|block| decoded(&mut decoder, &hex(block)).unwrap());
            assert_eq!(next.next().unwrap(), request("/", &[]));
            assert_eq!(next.next().unwrap(), request("/", &[("cache-control", "no-cache")]));
            assert_eq!(next.next().unwrap(), request("/index.html", &[("custom-key", "custom-value")]));
        }
        // Appendix C.2: each form of a literal.
        for (block, name, value, enters) in [
            ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key", "custom-header", true),
            ("040c 2f73 616d 706c 652f 7061 7468", ":path", "/sample/path", false),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password", "secret", false),
        ] {
            let mut decoder = Decoder::new();
            assert_eq!(decoded(&mut decoder, &hex(block)).unwrap(), [(name.to_owned(), value.to_owned())]);
            assert_eq!(decoded(&mut decoder, &[0xbe]).is_ok(), enters, "{name}");
        }
    }

    // EDGE-40 EDGE-42
    #[test]
    #[rustfmt::skip]
    fn what_the_rfc_forbids_can_not_be_decoded() {
        for (name, block, good) in [
            ("index 0", "80", false),
            ("an index beyond the tables", "be", false),
            ("a name beyond the tables", "7e 01 61", false),
            ("an integer of five bytes more", "ff 80 80 80 80 00", false),
            ("an integer that never ends", "ff ff ff ff ff ff ff", false),
            ("an integer without its end", "ff 80", false),
            ("an integer with zeros behind", "7f 80 80 00 01 61", false),
            ("a string beyond the block", "00 01 61 05 61", false),
            ("a name without value", "00 01 61", false),
            ("padding of zeros", "00 01 61 81 18", false),
            ("a smaller table", "20", true),
            ("and the largest again", "20 3f e1 1f", true),
            ("a larger table than allowed", "3f e2 1f", false),
            ("a table's size behind a field", "82 20", false),
            ("nothing", "", true),
            ("an empty name", "00 00 00", true),
        ] {
            assert_eq!(decoded(&mut Decoder::new(), &hex(block)).is_ok(), good, "{name}");
        }
    }

    // EDGE-42
    #[test]
    fn who_has_enough_is_given_no_more() {
        let block = [[0x82].repeat(50), [0, 1, b'a', 1, b'b'].repeat(50)].concat();
        for enough in [7, 60] {
            let mut came = 0;
            let read = Decoder::new().decode(&block, |_, _| {
                came += 1;
                came < enough
            });
            assert!(read.is_ok());
            assert_eq!(came, enough);
        }
    }

    #[test]
    fn scratch_that_grew_is_given_back() {
        let mut decoder = Decoder::new();
        let long = [&[0, 1, b'a', 0x7f, 0x81, 0x7f][..], &[b'x'; 16_384]].concat();
        assert_eq!(decoded(&mut decoder, &long).unwrap()[0].1.len(), 16_384);
        decoder.rest();
        assert_eq!(decoder.value.capacity(), 0);
    }

    proptest::proptest! {
        #[test]
        fn no_block_makes_more_than_the_table_stay(
            blocks in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..200), 0..20)
        ) {
            let mut decoder = Decoder::new();
            for block in blocks {
                if decoded(&mut decoder, &block).is_err() {
                    break;
                }
                let kept: usize = (0..).map_while(|at| decoder.table.at(at)).map(|(name, value)| name.len() + value.len() + 32).sum();
                proptest::prop_assert!(kept <= decoder.table.bytes_max());
            }
        }
    }
}
