//! The disjoint classes that an upstream's counts make.
//!
//! Upstream counts overlap: cached tokens are part of the prompt, reasoning is part of the
//! output. A part that is larger than its whole is read as standing beside it, never clamped:
//! real servers report so, and a clamp would lose tokens.

use super::Asked;
use super::tally::{Field, Tally};
use crate::surface::UsageDialect;
use tollkeep_types::usage::{Class, Flag, Flags, ImageCount, Unit, Usage};

/// The classes, and what was odd.
pub(super) fn usage_of(
    tally: &Tally,
    dialect: UsageDialect,
    asked: &Asked,
    flags: &mut Flags,
) -> Usage {
    let mut reading = Reading {
        tally,
        flags,
        usage: Usage::default(),
    };
    match dialect {
        UsageDialect::Chat | UsageDialect::Responses => {
            reading.openai_input();
            reading.openai_output();
        }
        UsageDialect::Embeddings => reading.usage.set(Class::InText, tally.count(Field::Input)),
        UsageDialect::Transcription | UsageDialect::Realtime => {
            reading.by_modality();
            reading.openai_output();
        }
        UsageDialect::Images => {
            reading.openai_input();
            reading.image_output(asked);
        }
        UsageDialect::Speech => reading.usage.set_units(Unit::CharIn, asked.chars_in),
        UsageDialect::Anthropic => reading.anthropic(asked),
        UsageDialect::Gemini => {
            reading.by_modality();
            reading.gemini_output();
        }
    }
    reading.units(asked);
    reading.usage
}

struct Reading<'a> {
    tally: &'a Tally,
    flags: &'a mut Flags,
    usage: Usage,
}

impl Reading<'_> {
    fn openai_input(&mut self) {
        let count = |field| self.tally.count(field);
        let (input, cached) = (count(Field::Input), count(Field::Cached));
        let parts = cached.saturating_add(count(Field::Written));
        let fresh = input.checked_sub(parts);
        if fresh.is_none() {
            self.flags.add(Flag::InconsistentInput);
        }
        let (mut in_text, mut cache_read) = (fresh.unwrap_or(input), cached);
        let (audio, image) = (count(Field::AudioIn), count(Field::ImageIn));
        let fits = audio.saturating_add(image) <= in_text.saturating_add(cached);
        if !fits {
            self.flags.add(Flag::InconsistentInput);
        }
        for (count, fresh_class, cached_class) in [
            (audio, Class::InAudio, Class::CacheReadAudio),
            (image, Class::InImage, Class::CacheReadImage),
        ] {
            // What doesn't fit into fresh text must have come from the cache.
            let from_fresh = if fits { count.min(in_text) } else { count };
            let from_cache = count.saturating_sub(from_fresh);
            if fits {
                in_text = in_text.saturating_sub(from_fresh);
                cache_read = cache_read.saturating_sub(from_cache);
            }
            self.usage.set(fresh_class, from_fresh);
            self.usage.set(cached_class, from_cache);
        }
        self.usage.set(Class::InText, in_text);
        self.usage.set(Class::CacheReadText, cache_read);
        self.usage
            .set(Class::CacheWrite, self.tally.count(Field::Written));
    }

    /// What the total has beyond all input and this output.
    fn excess(&mut self, output: u64) -> u64 {
        let total = self.tally.count(Field::Total);
        let parts = self.usage.input().saturating_add(output);
        if total != 0 && total < parts {
            self.flags.add(Flag::InconsistentTotal);
        }
        total.saturating_sub(parts)
    }

    fn openai_output(&mut self) {
        let output = self.tally.count(Field::Output);
        let told = self.tally.count(Field::Reasoning);
        let excess = self.excess(output);
        if excess > 0 {
            self.flags.add(Flag::ExcessTotal);
        }
        let (text, reasoning) = match output.checked_sub(told) {
            // Where the total has room for it, reasoning is not inside the output.
            _ if excess > 0 && excess >= told => (output, excess),
            Some(text) => (text, told.saturating_add(excess)),
            None => {
                self.flags.add(Flag::InconsistentOutput);
                (output, told)
            }
        };
        let audio = self.tally.count(Field::AudioOut);
        let text = self.less(text, audio);
        self.usage.set(Class::OutText, text);
        self.usage.set(Class::OutReasoning, reasoning);
        self.usage.set(Class::OutAudio, audio);
    }

    /// The whole without a part, or the whole where the part must stand beside it.
    fn less(&mut self, whole: u64, part: u64) -> u64 {
        whole.checked_sub(part).unwrap_or_else(|| {
            self.flags.add(Flag::InconsistentOutput);
            whole
        })
    }

    fn image_output(&mut self, asked: &Asked) {
        let output = self.tally.count(Field::Output);
        let text = self.tally.count(Field::TextOut);
        let images = self.less(output, text);
        let excess = self.excess(output);
        if excess > 0 {
            self.flags.add(Flag::ExcessTotal);
        }
        self.usage.set(Class::OutText, text);
        self.usage.set(Class::OutImage, images);
        self.usage.set(Class::OutReasoning, excess);
        let count = self.tally.count(Field::Images);
        if count > 0 && self.usage.input() == 0 && output == 0 {
            let sort = asked.image_sort.as_deref();
            let sort = sort.unwrap_or(super::IMAGE_SORT).into();
            self.usage.set_images(ImageCount { sort, count });
        }
    }

    fn anthropic(&mut self, asked: &Asked) {
        let count = |field| self.tally.count(field);
        let (written_5m, written_1h) = (count(Field::Written5m), count(Field::Written1h));
        let told = written_5m.saturating_add(written_1h);
        let untold = count(Field::Written).saturating_sub(told);
        let (untold_5m, untold_1h) = if asked.hour_cache {
            (0, untold)
        } else {
            (untold, 0)
        };
        let (output, reasoning) = (count(Field::Output), count(Field::Reasoning));
        let text = self.less(output, reasoning);
        let usage = &mut self.usage;
        usage.set(Class::InText, self.tally.count(Field::Input));
        usage.set(Class::CacheReadText, self.tally.count(Field::Cached));
        usage.set(Class::CacheWrite5m, written_5m.saturating_add(untold_5m));
        usage.set(Class::CacheWrite1h, written_1h.saturating_add(untold_1h));
        usage.set(Class::OutText, text);
        usage.set(Class::OutReasoning, reasoning);
    }

    /// Input whose details are told by modality, cache inside.
    fn by_modality(&mut self) {
        let count = |field| self.tally.count(field);
        let input = count(Field::Input).saturating_add(count(Field::ToolInput));
        let other = [Field::ImageIn, Field::VideoIn, Field::AudioIn].map(count);
        let named = other
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(*part));
        let text = input.checked_sub(named);
        let cached = count(Field::Cached);
        let beside = text.is_none() || cached > input;
        if beside {
            self.flags.add(Flag::InconsistentInput);
        }
        let [image, video, audio] = other;
        // In the order in which cached tokens are taken where nothing says of what they are.
        let mut fresh = [text.unwrap_or(input), image, video, audio];
        let mut read = [
            Field::CachedText,
            Field::CachedImage,
            Field::CachedVideo,
            Field::CachedAudio,
        ]
        .map(count);
        let mut untold = cached;
        for (read, fresh) in read.iter_mut().zip(&mut fresh) {
            *read = (*read).min(untold);
            if !beside {
                *read = (*read).min(*fresh);
                *fresh = fresh.saturating_sub(*read);
            }
            untold = untold.saturating_sub(*read);
        }
        for (read, fresh) in read.iter_mut().zip(&mut fresh) {
            let part = if beside { untold } else { untold.min(*fresh) };
            *read = read.saturating_add(part);
            if !beside {
                *fresh = fresh.saturating_sub(part);
            }
            untold = untold.saturating_sub(part);
        }
        for ((class, read_class), (fresh, read)) in [
            (Class::InText, Class::CacheReadText),
            (Class::InImage, Class::CacheReadImage),
            (Class::InVideo, Class::CacheReadVideo),
            (Class::InAudio, Class::CacheReadAudio),
        ]
        .into_iter()
        .zip(fresh.into_iter().zip(read))
        {
            self.usage.set(class, fresh);
            self.usage.set(read_class, read);
        }
    }

    /// Thoughts are told beside the output.
    fn gemini_output(&mut self) {
        let output = self.tally.count(Field::Output);
        let thoughts = self.tally.count(Field::Reasoning);
        let excess = self.excess(output.saturating_add(thoughts));
        if excess > 0 {
            self.flags.add(Flag::ExcessTotal);
        }
        let (audio, image) = (
            self.tally.count(Field::AudioOut),
            self.tally.count(Field::ImageOut),
        );
        let text = self.less(output, audio.saturating_add(image));
        self.usage.set(Class::OutText, text);
        self.usage.set(Class::OutAudio, audio);
        self.usage.set(Class::OutImage, image);
        self.usage
            .set(Class::OutReasoning, thoughts.saturating_add(excess));
    }

    fn units(&mut self, asked: &Asked) {
        for (unit, field) in [
            (Unit::WebSearch, Field::WebSearches),
            (Unit::WebFetch, Field::WebFetches),
            (Unit::FileSearch, Field::FileSearches),
            (Unit::CodeSession, Field::CodeSessions),
            (Unit::GroundedPrompt, Field::GroundedPrompts),
            (Unit::AudioInMs, Field::AudioInMs),
        ] {
            self.usage.set_units(unit, self.tally.count(field));
        }
        if asked.web_search {
            let searches = self.tally.count(Field::WebSearches).max(1);
            self.usage.set_units(Unit::WebSearch, searches);
        }
    }
}
