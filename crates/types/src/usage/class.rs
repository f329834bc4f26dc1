//! The classes of tokens and units, and counts of them.

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

    /// The class of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Whether tokens of this class were read by the model rather than written.
    pub const fn is_input(self) -> bool {
        (self as usize) < INPUT_CLASSES
    }
}

/// A class of things that are counted beside tokens.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names are the documentation; Unit::name spells them"
)]
pub enum Unit {
    Request,
    WebSearch,
    WebFetch,
    FileSearch,
    CodeSession,
    GroundedPrompt,
    AudioInMs,
    AudioOutMs,
    VideoMs,
    CharIn,
    Page,
}

impl Unit {
    /// Every unit, in the order of the enum.
    pub const ALL: [Self; 11] = [
        Self::Request,
        Self::WebSearch,
        Self::WebFetch,
        Self::FileSearch,
        Self::CodeSession,
        Self::GroundedPrompt,
        Self::AudioInMs,
        Self::AudioOutMs,
        Self::VideoMs,
        Self::CharIn,
        Self::Page,
    ];

    /// The name in records, price tables and vectors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::WebSearch => "web_search",
            Self::WebFetch => "web_fetch",
            Self::FileSearch => "file_search",
            Self::CodeSession => "code_session",
            Self::GroundedPrompt => "grounded_prompt",
            Self::AudioInMs => "audio_in_ms",
            Self::AudioOutMs => "audio_out_ms",
            Self::VideoMs => "video_ms",
            Self::CharIn => "char_in",
            Self::Page => "page",
        }
    }

    /// The unit of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }
}

/// Images that are counted one by one. All of one call are of one sort.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageCount {
    /// `<quality>:<size>`, as `standard:1024x1024`.
    pub sort: Box<str>,
    /// How many.
    pub count: u64,
}

/// Counts per class and unit. Code reads it through sums over classes; a total is computed, never
/// stored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    tokens: [u64; Class::ALL.len()],
    units: [u64; Unit::ALL.len()],
    images: Option<Box<ImageCount>>,
}

impl Usage {
    /// The count of one class.
    pub fn count(&self, class: Class) -> u64 {
        self.tokens.get(class as usize).copied().unwrap_or(0)
    }

    /// Sets the count of one class.
    pub fn set(&mut self, class: Class, count: u64) {
        if let Some(slot) = self.tokens.get_mut(class as usize) {
            *slot = count;
        }
    }

    /// Sets the count of one unit.
    pub fn set_units(&mut self, unit: Unit, count: u64) {
        if let Some(slot) = self.units.get_mut(unit as usize) {
            *slot = count;
        }
    }

    /// Sets the images that were made.
    pub fn set_images(&mut self, images: ImageCount) {
        self.images = Some(Box::new(images));
    }

    /// Classes of tokens with a count above zero.
    pub fn iter(&self) -> impl Iterator<Item = (Class, u64)> {
        const ALL: &[Class] = &Class::ALL;
        let counts = ALL.iter().copied().zip(self.tokens.iter().copied());
        counts.filter(|(_, count)| *count > 0)
    }

    /// Units with a count above zero, but for images.
    pub fn units(&self) -> impl Iterator<Item = (Unit, u64)> {
        const ALL: &[Unit] = &Unit::ALL;
        let counts = ALL.iter().copied().zip(self.units.iter().copied());
        counts.filter(|(_, count)| *count > 0)
    }

    /// Images that were made, where they are counted.
    pub fn images(&self) -> Option<&ImageCount> {
        self.images.as_deref().filter(|images| images.count > 0)
    }

    /// All input tokens: fresh, read from cache, written to cache.
    pub fn input(&self) -> u64 {
        let (input, _) = self.tokens.split_at(INPUT_CLASSES);
        sum(input)
    }

    /// All output tokens.
    pub fn output(&self) -> u64 {
        let (_, output) = self.tokens.split_at(INPUT_CLASSES);
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
