//! What commands write into bodies besides plain members: policies, free pairs.

use super::token::path_segment;
use crate::exit::Failed;
use clap::Args;
use serde_json::{Map, Value};

/// A file that is given is not larger than a request may be.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A policy on calls.
#[derive(Args, Clone, Debug)]
pub(super) struct Policy {
    /// What calls may ask for: JSON, `@FILE` with it, or `none`
    #[arg(long, value_name = "JSON|@FILE|none")]
    policy: Option<String>,
}

/// Free pairs.
#[derive(Args, Clone, Debug)]
pub(super) struct Metadata {
    /// A free pair; may be given again. All pairs are replaced
    #[arg(long = "metadata", value_name = "NAME=VALUE")]
    pairs: Vec<String>,
}

impl Policy {
    /// The member `policy` of a body, if one is given; `null` takes it away.
    ///
    /// # Errors
    /// It can't be read, or is no JSON.
    pub(super) fn body(&self) -> anyhow::Result<Option<Value>> {
        document("--policy", self.policy.as_deref())
    }
}

/// What is given as JSON, as `@FILE` with it, or as `none`, which is `null`.
///
/// # Errors
/// It can't be read, or is no JSON.
pub(super) fn document(flag: &str, given: Option<&str>) -> anyhow::Result<Option<Value>> {
    let Some(given) = given else {
        return Ok(None);
    };
    if given == "none" {
        return Ok(Some(Value::Null));
    }
    let failed = |problem: &dyn std::fmt::Display| Failed::new(2, format!("{flag}: {problem}"));
    let text = match given.strip_prefix('@') {
        None => given.to_owned(),
        Some(path) => {
            let unreadable = |error: std::io::Error| failed(&format!("{path}: {error}"));
            let size = std::fs::metadata(path).map_err(unreadable)?.len();
            if size > FILE_BYTES_MAX {
                return Err(failed(&format!("{path} is too large")).into());
            }
            std::fs::read_to_string(path).map_err(unreadable)?
        }
    };
    let read = serde_json::from_str(&text);
    Ok(Some(read.map_err(|error| failed(&error))?))
}

impl Metadata {
    /// The member `metadata` of a body, if any pair is given.
    ///
    /// # Errors
    /// A pair without `=`.
    pub(super) fn body(&self) -> anyhow::Result<Option<Value>> {
        if self.pairs.is_empty() {
            return Ok(None);
        }
        let mut pairs = Map::new();
        for pair in &self.pairs {
            let Some((name, value)) = pair.split_once('=') else {
                let problem = format!("--metadata: want NAME=VALUE, not {pair:?}");
                return Err(Failed::new(2, problem).into());
            };
            pairs.insert(name.to_owned(), value.into());
        }
        Ok(Some(pairs.into()))
    }
}

/// The members that are given.
pub(super) fn members<const N: usize>(given: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let given = given.into_iter();
    given
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// The parameters that are given, each behind `&`.
pub(super) fn filters<const N: usize>(given: [(&str, Option<String>); N]) -> String {
    let given = given.into_iter();
    given
        .filter_map(|(name, value)| Some(format!("&{name}={}", path_segment(&value?))))
        .collect()
}
