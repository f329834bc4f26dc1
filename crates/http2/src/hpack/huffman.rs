//! The Huffman code of strings (RFC 7541, section 5.2 and appendix B), read only: what we send is
//! not coded, as that costs more than the bytes it saves.
//!
//! The code is canonical: codes of one length follow each other, in the order of the lengths.

use super::Undecodable;

/// Codes of one length.
struct Group {
    bits: u32,
    /// The first of them.
    first: u32,
    /// The first code beyond them, with zeros behind it to 32 bits.
    end: u32,
    /// Where the first one's symbol stands.
    symbols: usize,
}

#[rustfmt::skip]
static GROUPS: [Group; 21] = [
    Group { bits: 5, first: 0x0, end: 0x50000000, symbols: 0 },
    Group { bits: 6, first: 0x14, end: 0xb8000000, symbols: 10 },
    Group { bits: 7, first: 0x5c, end: 0xf8000000, symbols: 36 },
    Group { bits: 8, first: 0xf8, end: 0xfe000000, symbols: 68 },
    Group { bits: 10, first: 0x3f8, end: 0xff400000, symbols: 74 },
    Group { bits: 11, first: 0x7fa, end: 0xffa00000, symbols: 79 },
    Group { bits: 12, first: 0xffa, end: 0xffc00000, symbols: 82 },
    Group { bits: 13, first: 0x1ff8, end: 0xfff00000, symbols: 84 },
    Group { bits: 14, first: 0x3ffc, end: 0xfff80000, symbols: 90 },
    Group { bits: 15, first: 0x7ffc, end: 0xfffe0000, symbols: 92 },
    Group { bits: 19, first: 0x7fff0, end: 0xfffe6000, symbols: 95 },
    Group { bits: 20, first: 0xfffe6, end: 0xfffee000, symbols: 98 },
    Group { bits: 21, first: 0x1fffdc, end: 0xffff4800, symbols: 106 },
    Group { bits: 22, first: 0x3fffd2, end: 0xffffb000, symbols: 119 },
    Group { bits: 23, first: 0x7fffd8, end: 0xffffea00, symbols: 145 },
    Group { bits: 24, first: 0xffffea, end: 0xfffff600, symbols: 174 },
    Group { bits: 25, first: 0x1ffffec, end: 0xfffff800, symbols: 186 },
    Group { bits: 26, first: 0x3ffffe0, end: 0xfffffbc0, symbols: 190 },
    Group { bits: 27, first: 0x7ffffde, end: 0xfffffe20, symbols: 205 },
    Group { bits: 28, first: 0xfffffe2, end: 0xfffffff0, symbols: 224 },
    Group { bits: 30, first: 0x3ffffffc, end: 0xfffffffc, symbols: 253 },
];

/// Symbols in the order of their codes. The one that ends a string is not among them: nobody may
/// send it.
#[rustfmt::skip]
static SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51,
    52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109,
    110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76,
    77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118,
    119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39,
    43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92,
    195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177,
    179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156, 160,
    163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232,
    233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157,
    158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142,
    144, 145, 148, 159, 171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193,
    200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255, 203, 204, 211,
    212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
    2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20,
    21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249, 10, 13, 22,];

/// What a byte of code begins with, if that is a code of at most eight bits: its symbol and length.
#[rustfmt::skip]
static SHORT: [(u8, u32); 256] = [
    (48, 5), (48, 5), (48, 5), (48, 5), (48, 5), (48, 5), (48, 5), (48, 5), (49, 5), (49, 5), (49, 5), (49, 5),
    (49, 5), (49, 5), (49, 5), (49, 5), (50, 5), (50, 5), (50, 5), (50, 5), (50, 5), (50, 5), (50, 5), (50, 5),
    (97, 5), (97, 5), (97, 5), (97, 5), (97, 5), (97, 5), (97, 5), (97, 5), (99, 5), (99, 5), (99, 5), (99, 5),
    (99, 5), (99, 5), (99, 5), (99, 5), (101, 5), (101, 5), (101, 5), (101, 5), (101, 5), (101, 5), (101, 5), (101, 5),
    (105, 5), (105, 5), (105, 5), (105, 5), (105, 5), (105, 5), (105, 5), (105, 5), (111, 5), (111, 5), (111, 5), (111, 5),
    (111, 5), (111, 5), (111, 5), (111, 5), (115, 5), (115, 5), (115, 5), (115, 5), (115, 5), (115, 5), (115, 5), (115, 5),
    (116, 5), (116, 5), (116, 5), (116, 5), (116, 5), (116, 5), (116, 5), (116, 5), (32, 6), (32, 6), (32, 6), (32, 6),
    (37, 6), (37, 6), (37, 6), (37, 6), (45, 6), (45, 6), (45, 6), (45, 6), (46, 6), (46, 6), (46, 6), (46, 6),
    (47, 6), (47, 6), (47, 6), (47, 6), (51, 6), (51, 6), (51, 6), (51, 6), (52, 6), (52, 6), (52, 6), (52, 6),
    (53, 6), (53, 6), (53, 6), (53, 6), (54, 6), (54, 6), (54, 6), (54, 6), (55, 6), (55, 6), (55, 6), (55, 6),
    (56, 6), (56, 6), (56, 6), (56, 6), (57, 6), (57, 6), (57, 6), (57, 6), (61, 6), (61, 6), (61, 6), (61, 6),
    (65, 6), (65, 6), (65, 6), (65, 6), (95, 6), (95, 6), (95, 6), (95, 6), (98, 6), (98, 6), (98, 6), (98, 6),
    (100, 6), (100, 6), (100, 6), (100, 6), (102, 6), (102, 6), (102, 6), (102, 6), (103, 6), (103, 6), (103, 6), (103, 6),
    (104, 6), (104, 6), (104, 6), (104, 6), (108, 6), (108, 6), (108, 6), (108, 6), (109, 6), (109, 6), (109, 6), (109, 6),
    (110, 6), (110, 6), (110, 6), (110, 6), (112, 6), (112, 6), (112, 6), (112, 6), (114, 6), (114, 6), (114, 6), (114, 6),
    (117, 6), (117, 6), (117, 6), (117, 6), (58, 7), (58, 7), (66, 7), (66, 7), (67, 7), (67, 7), (68, 7), (68, 7),
    (69, 7), (69, 7), (70, 7), (70, 7), (71, 7), (71, 7), (72, 7), (72, 7), (73, 7), (73, 7), (74, 7), (74, 7),
    (75, 7), (75, 7), (76, 7), (76, 7), (77, 7), (77, 7), (78, 7), (78, 7), (79, 7), (79, 7), (80, 7), (80, 7),
    (81, 7), (81, 7), (82, 7), (82, 7), (83, 7), (83, 7), (84, 7), (84, 7), (85, 7), (85, 7), (86, 7), (86, 7),
    (87, 7), (87, 7), (89, 7), (89, 7), (106, 7), (106, 7), (107, 7), (107, 7), (113, 7), (113, 7), (118, 7), (118, 7),
    (119, 7), (119, 7), (120, 7), (120, 7), (121, 7), (121, 7), (122, 7), (122, 7), (38, 8), (42, 8), (44, 8), (59, 8),
    (88, 8), (90, 8), (0, 0), (0, 0),
];

/// HOT. Puts what `coded` says behind `out`.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let mut bytes = coded.iter();
    let (mut buffer, mut have) = (0_u64, 0_u32);
    loop {
        while have <= 56
            && let Some(byte) = bytes.next()
        {
            buffer |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        // Most letters and digits have short codes.
        let [first, ..] = buffer.to_be_bytes();
        if let Some((symbol, bits @ 1..)) = SHORT.get(usize::from(first))
            && *bits <= have
        {
            out.push(*symbol);
            buffer <<= *bits;
            have -= *bits;
            continue;
        }
        let next = u32::try_from(buffer >> 32).unwrap_or_default();
        let group = GROUPS.iter().find(|group| next < group.end);
        let Some(group) = group.filter(|group| group.bits <= have) else {
            // Less than a byte of ones fills the last byte.
            let padding = u64::MAX.checked_shl(64 - have).unwrap_or(0);
            return if have < 8 && buffer == padding {
                Ok(())
            } else {
                Err(Undecodable)
            };
        };
        let place = (next >> (32 - group.bits)) - group.first;
        let symbol = SYMBOLS.get(group.symbols + place as usize);
        out.push(*symbol.ok_or(Undecodable)?);
        buffer <<= group.bits;
        have -= group.bits;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The code of a text, as the groups say it.
    pub(in crate::hpack) fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let at = SYMBOLS.iter().position(|symbol| symbol == byte).unwrap();
            let group = GROUPS.iter().rfind(|group| group.symbols <= at).unwrap();
            let code = group.first + u32::try_from(at - group.symbols).unwrap();
            bits.extend((0..group.bits).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        bits.chunks(8).map(byte).collect()
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Undecodable> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn the_code_is_whole_and_each_symbol_has_one() {
        let mut symbols = SYMBOLS;
        symbols.sort_unstable();
        assert!(
            symbols
                .iter()
                .enumerate()
                .all(|(at, symbol)| at == usize::from(*symbol))
        );
        let mut next = 0_u64;
        for (group, after) in GROUPS
            .iter()
            .zip(GROUPS.iter().skip(1).map(Some).chain([None]))
        {
            assert_eq!(u64::from(group.first) << (32 - group.bits), next);
            let count = after.map_or(256, |after| after.symbols) - group.symbols;
            next += u64::try_from(count).unwrap() << (32 - group.bits);
            assert_eq!(u64::from(group.end), next);
        }
        for (at, (symbol, bits)) in SHORT.iter().enumerate().filter(|(_, short)| short.1 > 0) {
            let code = u32::try_from(at).unwrap() << 24;
            let group = GROUPS.iter().find(|group| code < group.end).unwrap();
            let place = (code >> (32 - group.bits)) - group.first;
            assert_eq!(
                (group.bits, SYMBOLS[group.symbols + place as usize]),
                (*bits, *symbol)
            );
        }
        assert_eq!(
            next, 0xffff_fffc,
            "only the end of a string is left, of 30 bits"
        );
    }

    #[test]
    fn every_byte_is_read_as_it_was_written() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(decoded(&encode(&all)), Ok(all));
        // RFC 7541, appendix C.4.1.
        let example = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(&example), Ok(b"www.example.com".to_vec()));
    }

    #[test]
    fn only_less_than_a_byte_of_ones_may_fill_the_end() {
        for (name, coded, good) in [
            ("nothing", &[][..], true),
            ("an a and ones", &[0x1f], true),
            ("an a and zeros", &[0x18], false),
            ("an a and a byte of ones", &[0x1f, 0xff], false),
            ("a byte of ones", &[0xff], false),
            ("the end of a string", &[0xff, 0xff, 0xff, 0xfc], false),
            ("half of a long code", &[0xff, 0xe0], false),
        ] {
            assert_eq!(decoded(coded).is_ok(), good, "{name}");
        }
    }
}
