//! Eight bytes of a string at a time, in one register.

/// The length of the run of bytes that mean themselves inside a string.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    // Most keys and words end here.
    let special = specials(word_of(bytes));
    if special == 0 {
        return 8 + long_run(bytes.get(8..).unwrap_or_default());
    }
    special.trailing_zeros() as usize / 8
}

#[inline(never)]
fn long_run(bytes: &[u8]) -> usize {
    let special = specials(word_of(bytes));
    if special != 0 {
        return special.trailing_zeros() as usize / 8;
    }
    // What is longer is mostly much longer.
    let mut run = 8 + plain_blocks(bytes.get(8..).unwrap_or_default());
    loop {
        let special = specials(word_of(bytes.get(run..).unwrap_or_default()));
        if special != 0 {
            return run + special.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
}

/// The length of the whole blocks at the start in which every byte means itself. No early end
/// inside a block, so that it is looked at as a vector.
fn plain_blocks(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<32>();
    let plain = blocks.iter().take_while(|block| {
        let special = block.iter().fold(0, |special, &byte| {
            special | u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\')
        });
        special == 0
    });
    32 * plain.count()
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

/// A mark in the high bit of the lowest byte that is a quote, a backslash or a control character;
/// higher marks may be false. Zero when there is none.
pub(super) const fn specials(word: u64) -> u64 {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let quotes = word ^ u64::from_le_bytes([b'"'; 8]);
    let quotes = quotes.wrapping_sub(LOW) & !quotes;
    let backslashes = word ^ u64::from_le_bytes([b'\\'; 8]);
    let backslashes = backslashes.wrapping_sub(LOW) & !backslashes;
    let controls = word.wrapping_sub(u64::from_le_bytes([0x20; 8])) & !word;
    (quotes | backslashes | controls) & HIGH
}

/// A mark as [`specials`] makes, of the lowest byte that is a quote or one of `[]{}`.
pub(super) const fn brackets_and_quotes(word: u64) -> u64 {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let quotes = word ^ u64::from_le_bytes([b'"'; 8]);
    let quotes = quotes.wrapping_sub(LOW) & !quotes;
    // Square brackets are braces without this bit.
    let braced = word | u64::from_le_bytes([0x20; 8]);
    let opening = braced ^ u64::from_le_bytes([b'{'; 8]);
    let opening = opening.wrapping_sub(LOW) & !opening;
    let closing = braced ^ u64::from_le_bytes([b'}'; 8]);
    let closing = closing.wrapping_sub(LOW) & !closing;
    (quotes | opening | closing) & HIGH
}
