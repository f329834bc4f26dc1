//! The counts of one answer as its upstream names them.

/// A count under one name for all dialects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Field {
    Input,
    Output,
    /// What the upstream says everything sums to.
    Total,
    Cached,
    Written,
    Written5m,
    Written1h,
    AudioIn,
    ImageIn,
    VideoIn,
    CachedText,
    CachedAudio,
    CachedImage,
    CachedVideo,
    /// Input of server tools, beside the prompt (gemini).
    ToolInput,
    Reasoning,
    AudioOut,
    ImageOut,
    /// Text among output that is images.
    TextOut,
    WebSearches,
    WebFetches,
    FileSearches,
    CodeSessions,
    GroundedPrompts,
    AudioInMs,
    /// Images delivered.
    Images,
}

const FIELDS: usize = Field::Images as usize + 1;

/// Counts. Absent is zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally([u64; FIELDS]);

impl Tally {
    #[inline]
    pub(super) fn count(&self, field: Field) -> u64 {
        self.0.get(field as usize).copied().unwrap_or(0)
    }

    /// A count that comes twice is the larger one.
    #[inline]
    pub(super) fn raise(&mut self, field: Field, count: u64) {
        if let Some(slot) = self.0.get_mut(field as usize) {
            *slot = count.max(*slot);
        }
    }

    /// Adds to a count, as details by modality do.
    pub(super) fn add(&mut self, field: Field, count: u64) {
        if let Some(slot) = self.0.get_mut(field as usize) {
            *slot = slot.saturating_add(count);
        }
    }

    /// Reports of a stream are running totals: the largest of each count is the last one.
    /// Whether one of them became smaller; what is not told again has not.
    pub(super) fn merge(&mut self, later: &Self) -> bool {
        let mut regressed = false;
        for (count, later) in self.0.iter_mut().zip(later.0) {
            regressed |= later != 0 && later < *count;
            *count = later.max(*count);
        }
        regressed
    }
}
