//! A model of a price table: its names, what its upstream can do at most, its rates in time.

use super::matching::Glob;
use super::rates::Rates;
use tollkeep_types::WallMillis;
use tollkeep_types::money::Ratio;

/// The field that a cap is written into, where a dialect has two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CapField {
    /// `max_tokens`
    MaxTokens,
    /// `max_completion_tokens`
    MaxCompletionTokens,
}

impl CapField {
    /// The name of the field.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// What a bound must know of a model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of a table, each by itself"
)]
pub struct Facts {
    /// Most input tokens of one round.
    pub max_input: Option<u64>,
    /// Most output tokens of one answer.
    pub max_output: Option<u64>,
    /// Where the cap is written in chat.
    pub cap_field: Option<CapField>,
    /// It may think without showing it.
    pub hidden_reasoning: bool,
    /// The cap counts thinking too.
    pub reasoning_in_cap: bool,
    /// Its upstream writes caches unasked, and bills that.
    pub implicit_cache_write: bool,
    /// Most tokens of an image.
    pub image_tokens_max: Option<u64>,
    /// Most tokens of an image that is made.
    pub image_output_tokens_max: Option<u64>,
    /// Most audio of one call.
    pub max_audio_ms: Option<u64>,
    /// Most tokens a byte can be.
    pub tokens_per_byte: Ratio,
    /// Hanging up ends the bill.
    pub cancel_stops_billing: bool,
}

/// A model and its prices.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Model {
    /// A provider's kind or name; `None`: any.
    pub provider: Option<Box<str>>,
    /// Its id.
    pub id: Box<str>,
    pub(super) globs: Vec<Glob>,
    /// What a bound must know.
    pub facts: Facts,
    /// Ascending in time, at least one.
    pub rates: Vec<Rates>,
}

impl Model {
    /// The rates at an instant: the last ones that began by then and have not ended.
    pub fn at(&self, at: WallMillis) -> Option<&Rates> {
        let last = self.rates.iter().rev().find(|rates| rates.from <= at)?;
        last.until.is_none_or(|until| at < until).then_some(last)
    }

    /// The patterns of other names it is known by.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.globs.iter().map(Glob::text)
    }
}
