//! What a policy says no to.

use crate::cel::Failed;

/// The rule that a call breaks. Callers are told the class of it, and for parameters what is
/// allowed; which policy it was stays inside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CallRefusal {
    /// 405; the methods that all policies allow.
    Method {
        /// As `Allow` lists them; the route may take fewer.
        allowed: Vec<&'static str>,
    },
    /// 404 `endpoint_not_found`.
    Endpoint,
    /// 403 `origin_not_allowed`.
    Origin,
    /// 400 `origin_required`.
    OriginRequired,
    /// 400 `header_required`.
    Header,
    /// 404 `model_not_found`.
    Model,
    /// 400 `param_not_allowed`; a sentence for the caller.
    Param(String),
    /// 400 `duplicate_key`: a key of the query that a rule reads.
    QueryTwice(String),
    /// 400 `limit_exceeded`; the key of the policy.
    Limit(&'static str),
    /// 400 `feature_not_allowed`; the key of the policy.
    Feature(&'static str),
    /// 403 `policy_denied`: the condition does not hold.
    When,
    /// 403 `policy_denied`: it can't be said whether the condition holds.
    WhenFailed(Failed),
}

impl CallRefusal {
    /// The reason in audit.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Method { .. } => "policy_method",
            Self::Endpoint => "policy_endpoint",
            Self::Origin => "policy_origin",
            Self::OriginRequired => "policy_origin_missing",
            Self::Header => "policy_header",
            Self::Model => "policy_model",
            Self::Param(_) => "policy_param",
            Self::QueryTwice(_) => "policy_query_twice",
            Self::Limit(_) => "policy_limit",
            Self::Feature(_) => "policy_feature",
            Self::When => "policy_when",
            Self::WhenFailed(Failed::Cost) => "policy_when_cost",
            Self::WhenFailed(Failed::Missing) => "policy_when_missing",
            Self::WhenFailed(Failed::Type) => "policy_when_type",
            Self::WhenFailed(Failed::Range) => "policy_when_range",
        }
    }
}
