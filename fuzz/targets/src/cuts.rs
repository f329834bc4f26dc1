//! Where bytes are cut into pieces: anywhere, but the same for the same bytes, so that a failing
//! input fails again.

/// Offsets at which `data` is cut, in order; more of them near the start, where heads are.
pub(crate) fn cuts(data: &[u8]) -> Vec<usize> {
    let mut state = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut cuts = Vec::new();
    let mut at = 0_usize;
    loop {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let step = 1 + usize::try_from(state >> 33).unwrap_or(0) % (at / 2 + 8);
        at = at.saturating_add(step);
        if at >= data.len() {
            return cuts;
        }
        cuts.push(at);
    }
}

/// `data` in pieces.
pub(crate) fn pieces(data: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = data;
    let mut taken = 0;
    for cut in cuts(data) {
        let (piece, after) = rest.split_at_checked(cut - taken).unwrap_or((rest, &[]));
        pieces.push(piece);
        (rest, taken) = (after, cut);
    }
    pieces.push(rest);
    pieces
}

/// Lengths of a buffer that grows to `data`.
pub(crate) fn growing(data: &[u8]) -> Vec<usize> {
    let mut lengths = cuts(data);
    lengths.push(data.len());
    lengths
}
