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

/// HOT. Whether all bytes may stand in a field value.
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    // A tab looks like a control byte to the quick check.
    no_controls(bytes) == bytes.len() || bytes.iter().all(|byte| is_value_byte(*byte))
}

// The searches are called, not inlined: among the many values of a reader's loop they would not
// keep their constants in registers.

/// HOT. How many bytes come before the first control byte; HTAB counts as one.
#[inline(never)]
pub(crate) fn no_controls(bytes: &[u8]) -> usize {
    position(bytes, |word| below(word, b' ') | below(word ^ all(0x7f), 1))
}

/// HOT. How many bytes come before the first colon.
#[inline(never)]
pub(crate) fn before_colon(bytes: &[u8]) -> usize {
    position(bytes, |word| below(word ^ all(b':'), 1))
}

/// HOT. Whether a comma is there.
#[inline(never)]
pub(crate) fn has_comma(bytes: &[u8]) -> bool {
    position(bytes, |word| below(word ^ all(b','), 1)) < bytes.len()
}

/// HOT. How many bytes of a request target, but for `#`, stand at the start.
#[inline(never)]
pub(crate) fn leading_target(bytes: &[u8]) -> usize {
    position(bytes, |word| {
        let delete_or_beyond = word | word.wrapping_add(all(1));
        below(word, b' ' + 1) | below(word ^ all(b'#'), 1) | (delete_or_beyond & all(0x80))
    })
}

/// The same byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Marks, with its highest bit, the first byte that is less than `limit`, and maybe bytes after
/// it. Both are ASCII; bytes beyond it are never less.
const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(all(limit)) & !word & all(0x80)
}

/// How many bytes come before the first one that `mark` marks, looking at eight at a time.
#[inline(always)]
fn position(bytes: &[u8], mark: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let marks = mark(u64::from_le_bytes(*word));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let in_rest = rest.iter().position(|byte| mark(all(*byte)) != 0);
    at + in_rest.unwrap_or(rest.len())
}

/// Whether the byte may stand in a request target.
pub(crate) const fn is_target_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn searches_by_words_find_what_searches_by_bytes_find(
            mut bytes in proptest::collection::vec(b'a'..=b'z', 0..40),
            changes in proptest::collection::vec((0_usize..40, proptest::num::u8::ANY), 0..3),
        ) {
            for (at, byte) in changes {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
            }
            let before = |found: fn(u8) -> bool| {
                let at = bytes.iter().position(|byte| found(*byte));
                at.unwrap_or(bytes.len())
            };
            proptest::prop_assert_eq!(no_controls(&bytes), before(|byte| byte.is_ascii_control()));
            proptest::prop_assert_eq!(before_colon(&bytes), before(|byte| byte == b':'));
            proptest::prop_assert_eq!(has_comma(&bytes), bytes.contains(&b','));
            proptest::prop_assert_eq!(
                leading_target(&bytes),
                before(|byte| byte == b'#' || !is_target_byte(byte))
            );
            proptest::prop_assert_eq!(is_value(&bytes), bytes.iter().all(|byte| is_value_byte(*byte)));
            let underscore = bytes[..before(|byte| !is_token_byte(byte))].contains(&b'_');
            proptest::prop_assert_eq!(
                leading_token(&bytes),
                (before(|byte| !is_token_byte(byte)), underscore)
            );
        }

        #[test]
        fn every_pair_of_bytes_is_searched_alike(first: u8, second: u8) {
            let bytes = [b'a', first, second, b'a', b'a', b'a', b'a', b'a', b'a'];
            let plain = bytes.iter().position(|byte| byte.is_ascii_control());
            proptest::prop_assert_eq!(no_controls(&bytes), plain.unwrap_or(bytes.len()));
            let plain = bytes.iter().position(|byte| *byte == b'#' || !is_target_byte(*byte));
            proptest::prop_assert_eq!(leading_target(&bytes), plain.unwrap_or(bytes.len()));
        }
    }
}
