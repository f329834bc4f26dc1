//! A policy as it is written: in settings, in requests to the management API, in the store.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What becomes of a call that asks for more than is allowed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExcess {
    /// It is sent on asking for as much as is allowed, where that can be done.
    Clamp,
    /// It is refused.
    Refuse,
}

impl OnExcess {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clamp => "clamp",
            Self::Refuse => "refuse",
        }
    }
}

/// The members of a policy. What is not there does not restrict.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenPolicy {
    /// Methods, exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_methods: Option<Vec<String>>,
    /// Path prefixes on segment borders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_endpoints: Option<Vec<String>>,
    /// Globs on the public name of a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_models: Option<Vec<String>>,
    /// Globs on the public name of a model; denying wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_models: Option<Vec<String>>,
    /// Exact origins; a request without one passes, unless `required_headers` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_origins: Option<Vec<String>>,
    /// Header fields that must be there exactly once and not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_headers: Option<Vec<String>>,
    /// Parameter to globs of its values: a top-level name, a JSON pointer, or `query.` and a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param_whitelist: Option<BTreeMap<String, Vec<String>>>,
    /// Parameters of `param_whitelist` that must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param_required: Option<Vec<String>>,
    /// Most tokens that a call may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Most tokens that a call may bring, as the gateway estimates them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_input_tokens: Option<u64>,
    /// Most choices that a call may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_n: Option<u64>,
    /// Most tools that a call may bring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tools: Option<u64>,
    /// Most bytes of a body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// What becomes of more than that; `clamp` for output if not given, else `refuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_excess: Option<OnExcess>,
    /// Whether calls may bring tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_tools: Option<bool>,
    /// Whether calls may bring images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_images: Option<bool>,
    /// Whether calls may bring files, documents and audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_files: Option<bool>,
    /// Whether answers may be streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_stream: Option<bool>,
    /// Whether the provider may search the web for a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_web_search: Option<bool>,
    /// Whether calls may name addresses for the provider to fetch from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_remote_urls: Option<bool>,
    /// A condition in CEL that must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

impl WrittenPolicy {
    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
