//! Which bytes may stand where: the strict tables of RFC 9110.

const TOKEN: u8 = 1;
const UNDERSCORE: u8 = 2;

/// What each byte is in a field name or method.
static CLASS: [u8; 256] = {
    let mut classes = [0_u8; 256];
    let mut rest: &mut [u8] = &mut classes;
    let mut byte = 0_u8;
    while let Some((class, after)) = rest.split_first_mut() {
        *class = class_of(byte);
        byte = byte.wrapping_add(1);
        rest = after;
    }
    classes
};

const fn class_of(byte: u8) -> u8 {
    match byte {
        b'_' => TOKEN | UNDERSCORE,
        b'0'..=b'9'
        | b'A'..=b'Z'
        | b'a'..=b'z'
        | b'!'
        | b'#'..=b'\''
        | b'*'
        | b'+'
        | b'-'
        | b'.'
        | b'^'
        | b'`'
        | b'|'
        | b'~' => TOKEN,
        _ => 0,
    }
}

fn class(byte: u8) -> u8 {
    CLASS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Whether the byte may stand in a token (RFC 9110 `tchar`).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    class(byte) & TOKEN != 0
}

/// Whether the bytes are a token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// HOT. The length of the token at the start, and whether an underscore is in it.
pub(crate) fn leading_token(bytes: &[u8]) -> (usize, bool) {
    let start = letters_and_hyphens(bytes);
    let mut seen = 0;
    let rest = bytes.get(start..).unwrap_or_default();
    let len = rest.iter().position(|byte| {
        let class = class(*byte);
        seen |= class;
        class & TOKEN == 0
    });
    let len = len.map_or(bytes.len(), |len| start + len);
    (len, seen & UNDERSCORE != 0)
}

/// How many letters and hyphens, of which most names are made, stand at the start. A run near the
/// end may be cut short.
fn letters_and_hyphens(bytes: &[u8]) -> usize {
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    // Sums of seven-bit numbers stay in their bytes.
    const fn at_least(word: u64, byte: u8) -> u64 {
        word + u64::from_le_bytes([0x80 - byte; 8])
    }
    let (words, _) = bytes.as_chunks::<8>();
    let mut len = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let ascii = word & !HIGH;
        let lower = ascii | u64::from_le_bytes([0x20; 8]);
        let letter = at_least(lower, b'a') & !at_least(lower, b'z' + 1);
        let hyphen = !at_least(ascii ^ u64::from_le_bytes([b'-'; 8]), 1);
        let other = (word | !(letter | hyphen)) & HIGH;
        if other != 0 {
            return len + other.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len
}

/// Whether the byte may stand in a field value or reason phrase: no control byte but HTAB.
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// HOT. Whether all bytes may stand in a field value. No early end, and eight bytes at a time.
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let suspects = words
        .iter()
        .fold(0, |suspects, word| suspects | not_printable(*word));
    let rest = match bytes.last_chunk() {
        // The last word lies over the one before.
        Some(last) => not_printable(*last) == 0,
        None => rest.iter().all(|byte| is_value_byte(*byte)),
    };
    // A tab looks like a control byte to the quick check.
    (suspects == 0 && rest) || bytes.iter().all(|byte| is_value_byte(*byte))
}

/// Zero if none of the bytes is a control byte; HTAB counts as one.
const fn not_printable(bytes: [u8; 8]) -> u64 {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let word = u64::from_le_bytes(bytes);
    let controls = word.wrapping_sub(u64::from_le_bytes([0x20; 8])) & !word;
    let delete = word ^ u64::from_le_bytes([0x7f; 8]);
    let delete = delete.wrapping_sub(LOW) & !delete;
    (controls | delete) & HIGH
}

/// Whether the byte may stand in a request target.
pub(crate) const fn is_target_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e)
}

/// HOT. Whether all bytes may stand in a request target.
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .fold(true, |all, byte| all & is_target_byte(*byte))
}
