//! Refusals of who asks too often.

use super::Problem;
use crate::strict::UsedUp;
use axum::http::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_policy::rate::{RateClass, retry_after_s};

impl Problem {
    pub(crate) fn locked_out(left: Duration) -> Self {
        let detail = "Too many failed attempts from this address. The local socket still works.";
        Self {
            retry_after_s: Some(left.as_secs().saturating_add(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "locked_out", detail)
        }
    }

    /// Asked for more often than the strict limit lets (EDGE-87).
    pub(crate) fn strictly_limited(used_up: &UsedUp) -> Self {
        let detail = "Too many requests of this kind. The local socket still works.";
        let seconds = retry_after_s(used_up.retry_after_ns);
        let (name, rate) = (RateClass::Strict.label(), used_up.rate);
        let (requests, window_s) = (rate.requests, rate.window.as_secs());
        Self {
            retry_after_s: Some(seconds),
            limit: Some(Arc::from([
                format!("\"{name}\";q={requests};w={window_s}"),
                format!("\"{name}\";r=0;t={seconds}"),
            ])),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
        }
    }
}
