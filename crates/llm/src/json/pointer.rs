//! JSON pointers (RFC 6901) of bounded length.

/// Longest pointer that is reported, in bytes.
const POINTER_BYTES_MAX: usize = 512;

/// One more segment, as long as there is room.
pub(super) fn push_segment(pointer: &mut String, segment: &str) {
    let room = POINTER_BYTES_MAX.saturating_sub(pointer.len());
    if room == 0 {
        return;
    }
    pointer.push('/');
    for letter in segment.chars().take(room) {
        match letter {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}
