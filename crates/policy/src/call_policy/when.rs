//! Conditions of policies.

use super::{CallPolicy, CallRefusal};
use crate::cel::Facts;
use std::sync::Arc;

impl CallPolicy {
    /// Whether it has a condition.
    pub const fn has_condition(&self) -> bool {
        self.when.is_some()
    }

    /// Whether its condition asks how many tokens of input a call brings.
    pub fn counts_tokens(&self) -> bool {
        self.when.as_ref().is_some_and(|when| when.reads_tokens())
    }
}

/// Whether the conditions of all policies hold.
///
/// # Errors
/// The first one that does not, or of which that can't be said.
pub fn check_when(policies: &[Arc<CallPolicy>], facts: &Facts<'_>) -> Result<(), CallRefusal> {
    for condition in policies.iter().filter_map(|policy| policy.when.as_ref()) {
        match condition.holds(facts) {
            Ok(true) => {}
            Ok(false) => return Err(CallRefusal::When),
            Err(failed) => return Err(CallRefusal::WhenFailed(failed)),
        }
    }
    Ok(())
}
