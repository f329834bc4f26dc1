//! A price table as it stands in JSON. Numbers are whole: a float is refused by the reader.

use serde::Deserialize;
use serde_json::{Map, Value};

/// `tollkeep-prices/1`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) format: String,
    pub(super) version: String,
    pub(super) published_at: String,
    #[serde(default)]
    pub(super) sources: Vec<SourceEntry>,
    pub(super) models: Vec<Value>,
    #[serde(default)]
    pub(super) currency: Option<String>,
    /// Says in words what the numbers are.
    #[serde(default, rename = "unit")]
    pub(super) _unit: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceEntry {
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) date: Option<String>,
    /// For readers of the document.
    #[serde(default, rename = "note")]
    pub(super) _note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelEntry {
    pub(super) model: String,
    #[serde(default)]
    pub(super) provider: Option<String>,
    #[serde(default)]
    pub(super) dialect: Option<String>,
    #[serde(default, rename = "match")]
    pub(super) globs: Vec<String>,
    #[serde(default)]
    pub(super) max_input: Option<u64>,
    #[serde(default)]
    pub(super) max_output: Option<u64>,
    #[serde(default)]
    pub(super) cap_field: Option<String>,
    #[serde(default)]
    pub(super) hidden_reasoning: bool,
    #[serde(default = "yes")]
    pub(super) reasoning_in_cap: bool,
    #[serde(default)]
    pub(super) implicit_cache_write: bool,
    #[serde(default)]
    pub(super) image_tokens_max: Option<u64>,
    #[serde(default)]
    pub(super) image_output_tokens_max: Option<u64>,
    #[serde(default)]
    pub(super) max_audio_ms: Option<u64>,
    #[serde(default)]
    pub(super) tokens_per_byte: Option<String>,
    #[serde(default)]
    pub(super) cancel_stops_billing: bool,
    pub(super) rates: Vec<RatesEntry>,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RatesEntry {
    pub(super) from: String,
    #[serde(default)]
    pub(super) until: Option<String>,
    pub(super) base: Map<String, Value>,
    #[serde(default)]
    pub(super) tiers: Vec<TierEntry>,
    #[serde(default)]
    pub(super) service: Map<String, Value>,
    #[serde(default)]
    pub(super) modifiers: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TierEntry {
    pub(super) over_input_tokens: u64,
    pub(super) rates: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceEntry {
    #[serde(default)]
    pub(super) multiply: Option<String>,
    #[serde(default)]
    pub(super) rates: Map<String, Value>,
    #[serde(default)]
    pub(super) tiers: Vec<TierEntry>,
}
