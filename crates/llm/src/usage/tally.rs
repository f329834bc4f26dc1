//! The counts of one answer as its upstream names them, and the classes they make.
//!
//! Upstream counts overlap: cached tokens are part of the prompt, reasoning is part of the
//! output. A part that is larger than its whole is read as standing beside it, never clamped:
//! real servers report so, and a clamp would lose tokens.

use super::Asked;
use crate::surface::UsageDialect;
use tollkeep_types::usage::{Class, Usage};

/// Counts under one name for all dialects. Absent is zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) input: u64,
    pub(super) output: u64,
    /// What the upstream says everything sums to.
    pub(super) total: u64,
    pub(super) cached: u64,
    pub(super) written: u64,
    pub(super) written_5m: u64,
    pub(super) written_1h: u64,
    pub(super) audio_in: u64,
    pub(super) image_in: u64,
    pub(super) reasoning: u64,
    pub(super) audio_out: u64,
}

impl Tally {
    /// Reports of a stream are running totals: the largest of each count is the last one.
    pub(super) fn merge(&mut self, other: &Self) {
        let Self {
            input,
            output,
            total,
            cached,
            written,
            written_5m,
            written_1h,
            audio_in,
            image_in,
            reasoning,
            audio_out,
        } = self;
        for (count, later) in [
            (input, other.input),
            (output, other.output),
            (total, other.total),
            (cached, other.cached),
            (written, other.written),
            (written_5m, other.written_5m),
            (written_1h, other.written_1h),
            (audio_in, other.audio_in),
            (image_in, other.image_in),
            (reasoning, other.reasoning),
            (audio_out, other.audio_out),
        ] {
            *count = later.max(*count);
        }
    }

    /// The disjoint classes.
    pub(super) fn usage(&self, dialect: UsageDialect, asked: Asked) -> Usage {
        let mut usage = Usage::default();
        match dialect {
            UsageDialect::Chat | UsageDialect::Responses => {
                self.openai_input(&mut usage);
                self.openai_output(&mut usage);
            }
            UsageDialect::Embeddings => usage.set(Class::InText, self.input),
            UsageDialect::Anthropic => self.anthropic(&mut usage, asked),
        }
        usage
    }

    fn openai_input(&self, usage: &mut Usage) {
        let parts = self.cached.saturating_add(self.written);
        let fresh = self.input.checked_sub(parts).unwrap_or(self.input);
        let (mut in_text, mut cache_read) = (fresh, self.cached);
        let fits = self.audio_in.saturating_add(self.image_in) <= fresh.saturating_add(self.cached);
        for (count, fresh_class, cached_class) in [
            (self.audio_in, Class::InAudio, Class::CacheReadAudio),
            (self.image_in, Class::InImage, Class::CacheReadImage),
        ] {
            // What doesn't fit into fresh text must have come from the cache.
            let from_fresh = if fits { count.min(in_text) } else { count };
            let from_cache = count.saturating_sub(from_fresh);
            if fits {
                in_text = in_text.saturating_sub(from_fresh);
                cache_read = cache_read.saturating_sub(from_cache);
            }
            usage.set(fresh_class, from_fresh);
            usage.set(cached_class, from_cache);
        }
        usage.set(Class::InText, in_text);
        usage.set(Class::CacheReadText, cache_read);
        usage.set(Class::CacheWrite, self.written);
    }

    fn openai_output(&self, usage: &mut Usage) {
        let excess = self
            .total
            .saturating_sub(usage.input().saturating_add(self.output));
        let (text, reasoning) = match self.output.checked_sub(self.reasoning) {
            // Where the total has room for it, reasoning is not inside the output.
            _ if excess > 0 && excess >= self.reasoning => (self.output, excess),
            Some(text) => (text, self.reasoning.saturating_add(excess)),
            None => (self.output, self.reasoning),
        };
        usage.set(
            Class::OutText,
            text.checked_sub(self.audio_out).unwrap_or(text),
        );
        usage.set(Class::OutReasoning, reasoning);
        usage.set(Class::OutAudio, self.audio_out);
    }

    fn anthropic(&self, usage: &mut Usage, asked: Asked) {
        let told = self.written_5m.saturating_add(self.written_1h);
        let untold = self.written.saturating_sub(told);
        let (untold_5m, untold_1h) = if asked.hour_cache {
            (0, untold)
        } else {
            (untold, 0)
        };
        usage.set(Class::InText, self.input);
        usage.set(Class::CacheReadText, self.cached);
        usage.set(
            Class::CacheWrite5m,
            self.written_5m.saturating_add(untold_5m),
        );
        usage.set(
            Class::CacheWrite1h,
            self.written_1h.saturating_add(untold_1h),
        );
        usage.set(
            Class::OutText,
            self.output
                .checked_sub(self.reasoning)
                .unwrap_or(self.output),
        );
        usage.set(Class::OutReasoning, self.reasoning);
    }
}
