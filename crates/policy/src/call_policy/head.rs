//! What is decided by the head alone.

use super::{CallPolicy, CallRefusal};
use crate::permission::Sent;
use std::sync::Arc;

/// What policies look at in a request's head.
#[derive(Clone, Debug)]
pub struct HeadFacts<'a, F> {
    /// The method as sent.
    pub method: &'a str,
    /// The canonical path.
    pub path: &'a str,
    /// The fields, name and value.
    pub fields: F,
}

/// The methods that policies may list.
pub(super) const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// Whether all policies let a request with this head be looked at further.
///
/// # Errors
/// The first rule broken: methods, endpoints, origins, then fields.
pub fn check_head<'f, F>(
    policies: &[Arc<CallPolicy>],
    facts: &HeadFacts<'f, F>,
) -> Result<(), CallRefusal>
where
    F: Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
{
    if !allow_method(policies, facts.method) {
        let mut allowed = METHODS.to_vec();
        allowed.retain(|method| allow_method(policies, method));
        return Err(CallRefusal::Method { allowed });
    }
    let is_covered = |policy: &Arc<CallPolicy>| {
        let prefixes = policy.endpoints.as_deref();
        prefixes.is_none_or(|prefixes| prefixes.iter().any(|own| covers(own, facts.path)))
    };
    if !policies.iter().all(is_covered) {
        return Err(CallRefusal::Endpoint);
    }
    for policy in policies {
        policy.check_fields(&facts.fields)?;
    }
    Ok(())
}

fn allow_method(policies: &[Arc<CallPolicy>], method: &str) -> bool {
    policies.iter().all(|policy| {
        let listed = policy.written.allowed_methods.as_deref();
        listed.is_none_or(|listed| listed.iter().any(|own| own == method))
    })
}

/// Whether a prefix ends on a segment border of the path.
fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

impl CallPolicy {
    fn check_fields<'f, F>(&self, fields: &F) -> Result<(), CallRefusal>
    where
        F: Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    {
        if let Some(origins) = &self.origins {
            let is_own = |value: &[u8]| origins.iter().any(|own| own.is(value));
            match Sent::find(fields, "origin") {
                // Pages always say where they are from; other programs mostly don't.
                Sent::Never if !origins.is_empty() => {}
                Sent::Once(value) if is_own(value) => {}
                Sent::Never | Sent::Once(_) | Sent::Repeatedly => return Err(CallRefusal::Origin),
            }
        }
        for name in &self.required_headers {
            let is_there =
                matches!(Sent::find(fields, name), Sent::Once(value) if !value.is_empty());
            if !is_there {
                return Err(match name.as_str() {
                    "origin" => CallRefusal::OriginRequired,
                    _ => CallRefusal::Header,
                });
            }
        }
        Ok(())
    }
}
