//! A range of a buffer that outlives any borrow of it.

/// A range of a buffer, without the buffer. It is read with [`Span::of`], which never panics: out
/// of range is empty.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The bytes from `start` up to, not including, `end`. Offsets beyond 4 GiB are cut; heads
    /// are far smaller.
    #[inline]
    pub fn new(start: usize, end: usize) -> Self {
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: offset(start),
            end: offset(end),
        }
    }

    /// HOT. The bytes of the buffer this span was made for.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// The length in bytes.
    #[inline]
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The offset of the first byte.
    pub(crate) const fn start(self) -> usize {
        self.start as usize
    }

    /// The same bytes without the blanks (SP, HTAB) at both ends.
    #[inline]
    pub(crate) fn without_outer_blanks(self, buf: &[u8]) -> Self {
        let mut kept = self;
        let mut bytes = self.of(buf);
        while let [b' ' | b'\t', rest @ ..] = bytes {
            bytes = rest;
            kept.start += 1;
        }
        while let [rest @ .., b' ' | b'\t'] = bytes {
            bytes = rest;
            kept.end -= 1;
        }
        kept
    }
}
