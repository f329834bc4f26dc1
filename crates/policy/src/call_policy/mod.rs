//! Policies on calls: what may be asked for with a token, of a project, on a route.
//!
//! A policy is read once into a form that is quick to ask. Where several stand (the settings', a
//! route's, a tenant's, a project's, a token's), each of them must allow a call: what is in force
//! is their intersection. A list that is empty allows nothing, one that is not there anything.

mod bounds;
mod decimal;
mod glob;
mod head;
mod params;
mod read;
mod refusal;
mod when;
mod written;

pub use bounds::{CallAsks, CallBounds, Count, check_asks};
pub use head::{HeadFacts, check_head};
pub use params::{ParamPlace, ParamRule, ParamValue, check_query};
pub use read::PolicyFault;
pub use refusal::CallRefusal;
pub use when::check_when;
pub use written::{OnExcess, WrittenPolicy};

use crate::cel::Condition;
use crate::origin::Origin;
use crate::permission::glob as model_glob;
use serde::{Deserialize, Serialize, Serializer};
use std::sync::Arc;

/// A policy, ready to be asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "WrittenPolicy")]
pub struct CallPolicy {
    written: WrittenPolicy,
    /// Canonical prefixes.
    endpoints: Option<Vec<String>>,
    origins: Option<Vec<Origin>>,
    /// Lower case.
    required_headers: Vec<String>,
    params: Vec<ParamRule>,
    when: Option<Condition>,
}

impl PartialEq for CallPolicy {
    /// What was written decides everything else.
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for CallPolicy {}

impl Serialize for CallPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.serialize(serializer)
    }
}

impl TryFrom<WrittenPolicy> for CallPolicy {
    type Error = PolicyFault;

    fn try_from(written: WrittenPolicy) -> Result<Self, PolicyFault> {
        Self::new(written).map_err(PolicyFault::first)
    }
}

impl CallPolicy {
    /// As it was written.
    pub const fn written(&self) -> &WrittenPolicy {
        &self.written
    }

    /// What it says about single parameters.
    pub fn params(&self) -> &[ParamRule] {
        &self.params
    }

    /// Whether media types are limited to those whose parameters can be looked at.
    pub fn reads_params(&self) -> bool {
        self.params.iter().any(ParamRule::is_of_body)
    }

    /// Whether what a model is asked must be looked at.
    pub fn reads_asks(&self) -> bool {
        let written = &self.written;
        let is_off = |allowed: Option<bool>| matches!(allowed, Some(false));
        written.max_output_tokens.is_some()
            || written.max_input_tokens.is_some()
            || written.max_n.is_some()
            || written.max_tools.is_some()
            || is_off(written.allow_tools)
            || is_off(written.allow_images)
            || is_off(written.allow_files)
            || is_off(written.allow_stream)
            || is_off(written.allow_web_search)
            || is_off(written.allow_remote_urls)
    }

    /// Whether it has anything to say about the model of this name.
    fn allows_model(&self, model: &str) -> bool {
        let listed = |globs: &[String]| globs.iter().any(|glob| model_glob(glob, model));
        let WrittenPolicy {
            allowed_models,
            denied_models,
            ..
        } = &self.written;
        allowed_models.as_deref().is_none_or(listed)
            && !denied_models.as_deref().is_some_and(listed)
    }
}

/// The most bytes that a body may have for all of them, if one says so.
pub fn max_body_bytes(policies: &[Arc<CallPolicy>]) -> Option<u64> {
    let most = policies
        .iter()
        .filter_map(|policy| policy.written.max_body_bytes);
    most.min()
}

/// Whether all of them let a model of this name be used. Denying wins.
pub fn allow_model(policies: &[Arc<CallPolicy>], model: &str) -> bool {
    policies.iter().all(|policy| policy.allows_model(model))
}

/// Whether one of them denies a model of this name.
pub fn deny_model(policies: &[Arc<CallPolicy>], model: &str) -> bool {
    policies.iter().any(|policy| {
        let denied = policy.written.denied_models.as_deref().unwrap_or_default();
        denied.iter().any(|glob| model_glob(glob, model))
    })
}
