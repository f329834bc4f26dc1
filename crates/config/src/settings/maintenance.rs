//! Maintenance: callers are told to come back later (EDGE-130).

use crate::kind::{Parsed, parsed};
use std::time::Duration;
use tollkeep_policy::ip_list::IpSet;

/// Longest text for callers, in characters.
pub const MESSAGE_CHARS_MAX: usize = 500;

/// What callers are told while nobody says otherwise.
pub(super) const MESSAGE: &str = "Scheduled maintenance in progress";

/// Maintenance as the settings write it.
#[derive(Clone, Debug)]
pub struct Maintenance {
    /// Whether it is on.
    pub on: bool,
    /// What callers are told.
    pub message: String,
    /// When they should come back.
    pub retry_after: Duration,
    /// Who is served all the same.
    pub allow: IpSet,
}

/// A text for callers.
pub(super) const fn message() -> Parsed<String> {
    parsed("plain text of at most 500 characters", |text| {
        if text.is_empty() || text.chars().count() > MESSAGE_CHARS_MAX {
            return Err(format!("want 1 to {MESSAGE_CHARS_MAX} characters"));
        }
        if text.chars().any(char::is_control) {
            return Err("has control characters".to_owned());
        }
        Ok(text.to_owned())
    })
}
