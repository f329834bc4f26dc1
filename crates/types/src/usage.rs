//! Token usage as disjoint classes: no class contains another, so nothing can be added twice.

/// A class of tokens. The first eleven are input, the rest output.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names are the documentation; Class::name spells them"
)]
pub enum Class {
    InText,
    InAudio,
    InImage,
    InVideo,
    CacheReadText,
    CacheReadAudio,
    CacheReadImage,
    CacheReadVideo,
    CacheWrite,
    CacheWrite5m,
    CacheWrite1h,
    OutText,
    OutReasoning,
    OutAudio,
    OutImage,
}

impl Class {
    /// Every class, in the order of the enum.
    pub const ALL: [Self; 15] = [
        Self::InText,
        Self::InAudio,
        Self::InImage,
        Self::InVideo,
        Self::CacheReadText,
        Self::CacheReadAudio,
        Self::CacheReadImage,
        Self::CacheReadVideo,
        Self::CacheWrite,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::OutText,
        Self::OutReasoning,
        Self::OutAudio,
        Self::OutImage,
    ];

    /// The name in records, metrics and vectors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InText => "in_text",
            Self::InAudio => "in_audio",
            Self::InImage => "in_image",
            Self::InVideo => "in_video",
            Self::CacheReadText => "cache_read_text",
            Self::CacheReadAudio => "cache_read_audio",
            Self::CacheReadImage => "cache_read_image",
            Self::CacheReadVideo => "cache_read_video",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::OutText => "out_text",
            Self::OutReasoning => "out_reasoning",
            Self::OutAudio => "out_audio",
            Self::OutImage => "out_image",
        }
    }

    /// Whether tokens of this class were read by the model rather than written.
    pub const fn is_input(self) -> bool {
        (self as usize) < INPUT_CLASSES
    }
}

/// Counts per class. Code reads it through sums over classes; a total is computed, never stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage([u64; 15]);

impl Usage {
    /// The count of one class.
    pub fn count(&self, class: Class) -> u64 {
        self.0.get(class as usize).copied().unwrap_or(0)
    }

    /// Sets the count of one class.
    pub fn set(&mut self, class: Class, count: u64) {
        if let Some(slot) = self.0.get_mut(class as usize) {
            *slot = count;
        }
    }

    /// Classes with a count above zero.
    pub fn iter(&self) -> impl Iterator<Item = (Class, u64)> {
        const ALL: &[Class] = &Class::ALL;
        let counts = ALL.iter().copied().zip(self.0.iter().copied());
        counts.filter(|(_, count)| *count > 0)
    }

    /// All input tokens: fresh, read from cache, written to cache.
    pub fn input(&self) -> u64 {
        let (input, _) = self.0.split_at(INPUT_CLASSES);
        sum(input)
    }

    /// All output tokens.
    pub fn output(&self) -> u64 {
        let (_, output) = self.0.split_at(INPUT_CLASSES);
        sum(output)
    }
}

/// How many classes are input; the first ones of a list.
const INPUT_CLASSES: usize = Class::OutText as usize;

fn sum(counts: &[u64]) -> u64 {
    counts
        .iter()
        .fold(0, |sum, count| sum.saturating_add(*count))
}

/// Why nothing is known about the usage of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnknownUsage {
    /// The answer ended properly and said nothing about usage.
    Absent,
    /// Counts that cannot be: negative, fractional, text, or above 2^40.
    Malformed,
    /// The answer broke off before usage was told.
    Cut,
    /// A usage object or line larger than the reader keeps.
    TooLarge,
    /// The body was not in the dialect's form.
    Unreadable,
}

impl UnknownUsage {
    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "no_usage",
            Self::Malformed => "malformed",
            Self::Cut => "cut",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What a call used. Unknown is never zero; an explicit zero is a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UsageReport {
    /// The upstream said so.
    Reported(Usage),
    /// Nothing is owed: the upstream refused or failed before any output.
    Released,
    /// It used something and we don't know what.
    Unknown(UnknownUsage),
}

#[cfg(test)]
mod tests {
    use super::*;

    // LED-10
    #[test]
    fn totals_are_sums_over_disjoint_classes() {
        let mut usage = Usage::default();
        for (n, class) in (1_u64..).zip(Class::ALL) {
            usage.set(class, n);
        }
        assert_eq!(usage.input(), (1..=11).sum::<u64>());
        assert_eq!(usage.output(), (12..=15).sum::<u64>());
        assert_eq!(usage.count(Class::OutText), 12);
    }
}
