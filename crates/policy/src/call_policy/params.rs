//! Rules on single parameters of a call (ID-91).

use super::decimal::decimal;
use super::glob::glob;
use super::{CallPolicy, CallRefusal};
use crate::form::decoded;
use std::borrow::Cow;
use std::sync::Arc;

/// Patterns that a refusal lists at most.
const TOLD_MAX: usize = 20;

/// The values that a parameter may have.
#[derive(Clone, Debug)]
pub struct ParamRule {
    pub(super) name: String,
    pub(super) place: ParamPlace,
    /// Globs; `None`: any, it must only be there.
    pub(super) allowed: Option<Vec<String>>,
    pub(super) is_required: bool,
}

/// Where a parameter stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ParamPlace {
    /// In the body, by the segments of a JSON pointer; one segment is a top-level name, or a field
    /// of a form.
    Body(Vec<String>),
    /// In the query.
    Query(String),
}

/// A value that stands at a parameter, or an element of a list that stands there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ParamValue<'a> {
    /// A string.
    Text(&'a str),
    /// A number as it is written.
    Number(&'a str),
    /// `true`, `false` or `null`.
    Word(&'a str),
    /// An object, or a file: it never matches.
    Opaque,
}

impl ParamRule {
    /// Its name, as it is written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its parameter stands.
    pub const fn place(&self) -> &ParamPlace {
        &self.place
    }

    /// Whether it is about the body.
    pub const fn is_of_body(&self) -> bool {
        matches!(self.place, ParamPlace::Body(_))
    }

    /// Whether the parameter must be there.
    pub const fn is_required(&self) -> bool {
        self.is_required
    }

    /// Whether it may have this value, or a list this element.
    pub fn allows(&self, value: ParamValue<'_>) -> bool {
        let Some(allowed) = &self.allowed else {
            return true;
        };
        let text = match value {
            ParamValue::Text(text) | ParamValue::Word(text) => Cow::Borrowed(text),
            ParamValue::Number(written) => match decimal(written) {
                Some(number) => Cow::Owned(number),
                None => return false,
            },
            ParamValue::Opaque => return false,
        };
        allowed.iter().any(|pattern| glob(pattern, &text))
    }

    /// The refusal of what it does not allow.
    pub fn refusal(&self) -> CallRefusal {
        let name = &self.name;
        let patterns = self.allowed.as_deref().unwrap_or_default();
        let mut told: Vec<_> = patterns.iter().take(TOLD_MAX).map(String::as_str).collect();
        if patterns.len() > TOLD_MAX {
            told.push("…");
        }
        let told = told.join(", ");
        CallRefusal::Param(if told.is_empty() {
            format!("Parameter `{name}` has a value that is not allowed.")
        } else {
            format!("Parameter `{name}` has a value that is not allowed. Allowed patterns: {told}")
        })
    }

    /// The refusal of a call without it.
    pub fn missing(&self) -> CallRefusal {
        CallRefusal::Param(format!("Parameter `{}` is required.", self.name))
    }
}

/// The rules of all policies on the query, checked on it.
///
/// # Errors
/// A value that is not allowed, one that is missing, and a key that is read and stands there twice
/// (EDGE-47).
pub fn check_query(policies: &[Arc<CallPolicy>], query: &[u8]) -> Result<(), CallRefusal> {
    for rule in policies.iter().flat_map(|policy| &policy.params) {
        let ParamPlace::Query(name) = &rule.place else {
            continue;
        };
        match one_of_query(query, name)? {
            Some(value) if !rule.allows(ParamValue::Text(&value)) => return Err(rule.refusal()),
            None if rule.is_required => return Err(rule.missing()),
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// The one value of a key in a query.
fn one_of_query(query: &[u8], name: &str) -> Result<Option<String>, CallRefusal> {
    let unreadable = || CallRefusal::Param("The query is not UTF-8.".to_owned());
    let mut found = None;
    for pair in query.split(|byte| *byte == b'&') {
        let (key, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (pair.get(..at), pair.get(at.saturating_add(1)..)),
            None => (Some(pair), None),
        };
        let key = decoded(key.unwrap_or_default()).ok_or_else(unreadable)?;
        if key != name {
            continue;
        }
        if found.is_some() {
            return Err(CallRefusal::QueryTwice(name.to_owned()));
        }
        let value = decoded(value.unwrap_or_default());
        found = Some(value.ok_or_else(unreadable)?);
    }
    Ok(found)
}
