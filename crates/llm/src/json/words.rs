//! Eight bytes of a string at a time, in one register.

use memchr::memchr2;

/// The length of the run of bytes that keys and names are made of: ASCII, no blank, no escape.
/// `None` when it is not a short one, or near the very end of the text.
#[inline]
pub(super) fn name_run(bytes: &[u8]) -> Option<usize> {
    const WORDS: usize = 3;
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().take(WORDS).enumerate() {
        let other = no_name(u64::from_le_bytes(*word));
        if other != 0 {
            return Some(8 * index + other.trailing_zeros() as usize / 8);
        }
    }
    None
}

#[inline(never)]
pub(super) fn after_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\n' | b'\r' | b'\t', after @ ..] = text {
        text = after;
    }
    text
}

/// The length of the run of bytes that mean themselves inside a string. Inlined always: text with
/// many escapes comes here for every few bytes.
#[inline(always)]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    /// What is longer is mostly much longer.
    const SHORT: usize = 32;
    let mut run = 0;
    while run < SHORT {
        let special = specials(word_of(bytes.get(run..).unwrap_or_default()));
        if special != 0 {
            return run + special.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    run + long_run(bytes.get(run..).unwrap_or_default())
}

#[inline(never)]
fn long_run(bytes: &[u8]) -> usize {
    let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let run = bytes.get(..end).unwrap_or_default();
    if has_controls(run) {
        let control = run.iter().position(|byte| *byte < b' ');
        return control.unwrap_or(end);
    }
    end
}

/// Whether a control character is among these. Eight bytes are one number, so that no compiler's
/// mood decides whether a byte or a vector is looked at at a time.
fn has_controls(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let marks = words.iter().fold(0, |marks, word| {
        let word = u64::from_le_bytes(*word);
        marks | (word.wrapping_sub(BLANKS) & !word)
    });
    marks & HIGH != 0 || rest.iter().any(|byte| *byte < b' ')
}

/// The next eight bytes as a word, zeros beyond the end.
#[inline]
pub(super) fn word_of(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk::<8>()
        .map_or_else(|| last_word(bytes), |chunk| u64::from_le_bytes(*chunk))
}

#[cold]
#[inline(never)]
fn last_word(bytes: &[u8]) -> u64 {
    let mut word = [0_u8; 8];
    for (slot, byte) in word.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    u64::from_le_bytes(word)
}

const LOW: u64 = u64::from_le_bytes([0x01; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
const BLANKS: u64 = u64::from_le_bytes([b' '; 8]);

/// A mark in the high bit of the lowest byte that is a quote, a backslash or a control character;
/// higher marks may be false. Zero when there is none.
#[inline]
pub(super) const fn specials(word: u64) -> u64 {
    let quotes = word ^ u64::from_le_bytes([b'"'; 8]);
    let backslashes = word ^ u64::from_le_bytes([b'\\'; 8]);
    let controls = word.wrapping_sub(BLANKS);
    // What is wanted is ASCII: below zero only where the byte itself has no high bit.
    (quotes.wrapping_sub(LOW) | backslashes.wrapping_sub(LOW) | controls) & !word & HIGH
}

/// A mark as [`specials`] makes, of the lowest byte that is at most a quote, a backslash, or not
/// ASCII.
#[inline]
pub(super) const fn no_name(word: u64) -> u64 {
    let low = word.wrapping_sub(u64::from_le_bytes([b'"' + 1; 8]));
    let backslashes = word ^ u64::from_le_bytes([b'\\'; 8]);
    (low | backslashes.wrapping_sub(LOW)) & HIGH
}

/// A mark as [`specials`] makes, of the lowest byte that is a quote or one of `[]{}`.
#[inline]
pub(super) const fn brackets_and_quotes(word: u64) -> u64 {
    let quotes = word ^ u64::from_le_bytes([b'"'; 8]);
    // Square brackets are braces without this bit.
    let braced = word | u64::from_le_bytes([0x20; 8]);
    let opening = braced ^ u64::from_le_bytes([b'{'; 8]);
    let closing = braced ^ u64::from_le_bytes([b'}'; 8]);
    (quotes.wrapping_sub(LOW) | opening.wrapping_sub(LOW) | closing.wrapping_sub(LOW))
        & !word
        & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Mostly what means nothing, so that runs get long.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            100 => b'a'..=b'z',
            1 => prop::sample::select(b"\"\\ !#\x00\x1f\x7f\x80\xa2\xa3\xff[]{}:,".to_vec()),
            1 => any::<u8>(),
        ];
        proptest::collection::vec(byte, 0..300)
    }

    proptest! {
        #[test]
        fn runs_end_where_looking_byte_by_byte_ends_them(bytes in bytes()) {
            let run = |ends: fn(u8) -> bool| bytes.iter().position(|byte| ends(*byte));
            let plain = run(|byte| byte < b' ' || matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(plain_run(&bytes), plain.unwrap_or(bytes.len()));

            let name = run(|byte| byte <= b'"' || byte == b'\\' || !byte.is_ascii());
            let seen = 24.min(bytes.len() / 8 * 8);
            prop_assert_eq!(name_run(&bytes), name.filter(|name| *name < seen));

            let word = word_of(&bytes);
            let marked = |mark: u64| (mark != 0).then(|| mark.trailing_zeros() as usize / 8);
            let first = bytes.iter().chain(&[0; 8]).take(8);
            let bracket = first.clone().position(|byte| b"[]{}\"".contains(byte));
            prop_assert_eq!(marked(brackets_and_quotes(word)), bracket);
            let special = first.clone().position(|byte| *byte < b' ' || b"\"\\".contains(byte));
            prop_assert_eq!(marked(specials(word)), special);
        }
    }
}
