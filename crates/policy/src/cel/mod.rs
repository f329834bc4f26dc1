//! Conditions on calls in CEL, the Common Expression Language, as far as conditions need it.
//!
//! A condition is read once, into a tree whose size and depth are bounded, and asked with so much
//! effort at most as `COST_MAX` allows: no condition can hold up a worker, whatever a caller
//! sends. It does no I/O and knows no clock but the one it is handed. The parts of the language
//! that are not here (bytes, unsigned numbers, regular expressions, named time zones) are refused
//! when the condition is read, with their place.

mod calls;
mod eval;
mod expression;
mod given;
mod lex;
mod parse;
mod tree;
mod value;

pub use expression::{Expression, HookFacts, Variable};
pub use given::Given;

use crate::permission::Sent;
use eval::{About, Eval};
use std::net::IpAddr;
use tollkeep_types::WallMillis;
use tree::{Expr, Kind};
use value::Value;

/// Longest condition, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// What a condition may cost: a step of the tree is one, and 16 bytes of text or an element of a
/// list that is looked at are one more.
const COST_MAX: u32 = 20_000;
/// Longest text that a condition may put together, in bytes.
const MADE_BYTES_MAX: usize = 64 * 1024;

/// A condition, ready to be asked.
#[derive(Clone, Debug)]
pub struct Condition {
    tree: Expr,
    reads_tokens: bool,
}

/// What is wrong with a condition as written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct ConditionFault {
    /// Where, in characters from 1; a line break is one.
    pub column: usize,
    /// What.
    pub problem: String,
}

/// Why a condition gave neither yes nor no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failed {
    /// It costs more than it may.
    Cost,
    /// Something that is not there was asked for: a field, an entry.
    Missing,
    /// A value of another kind than is needed.
    Type,
    /// A number or time beyond what there is, or a division by nothing.
    Range,
}

/// What a condition can ask about.
pub struct Facts<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// The canonical path.
    pub path: &'a str,
    /// The query as sent, without `?`.
    pub query: &'a str,
    /// Bytes of the body.
    pub size: u64,
    /// A header field by its name in lower case. Those that hold credentials are not there.
    pub field: &'a dyn Fn(&str) -> Field,
    /// From where the caller calls.
    pub ip: IpAddr,
    /// Who calls; `None` for nobody in particular.
    pub caller: Option<CallerFacts<'a>>,
    /// The public name of the model; empty where none is called.
    pub model: &'a str,
    /// Tokens of input, as estimated; 0 where no model is called.
    pub tokens_in: u64,
    /// What time it is.
    pub now: WallMillis,
}

/// What a condition can ask about the token that calls.
#[derive(Clone, Copy, Debug)]
pub struct CallerFacts<'a> {
    /// The id of its record.
    pub token: &'a str,
    /// The slug of its project.
    pub project: &'a str,
    /// The id of its project.
    pub project_id: &'a str,
    /// The id of its tenant.
    pub tenant_id: &'a str,
}

/// A header field as it was sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Field {
    /// Not at all.
    Never,
    /// Once, with this value.
    Once(String),
    /// More than once, or as no text: nobody knows which counts.
    Unclear,
}

impl Field {
    /// The field of a name, in lower case, among those that were sent.
    pub fn find<'f, F>(fields: &F, name: &str) -> Self
    where
        F: Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    {
        match Sent::find(fields, name) {
            Sent::Never => Self::Never,
            Sent::Once(value) => match std::str::from_utf8(value) {
                Ok(value) => Self::Once(value.to_owned()),
                Err(_) => Self::Unclear,
            },
            Sent::Repeatedly => Self::Unclear,
        }
    }
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// The first place where it is none.
    pub fn new(text: &str) -> Result<Self, ConditionFault> {
        if text.len() > TEXT_BYTES_MAX {
            let problem = format!("the condition is longer than {TEXT_BYTES_MAX} bytes");
            return Err(ConditionFault { column: 1, problem });
        }
        let tree = parse::parse(text, None)?;
        if tree.kind() == Kind::Other {
            let problem = "the condition is neither true nor false".to_owned();
            return Err(ConditionFault { column: 1, problem });
        }
        let reads_tokens = tree.reads_tokens();
        Ok(Self { tree, reads_tokens })
    }

    /// Whether it asks how many tokens of input a call brings, which must be counted for it.
    pub const fn reads_tokens(&self) -> bool {
        self.reads_tokens
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// It can't be said.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, Failed> {
        let Value::Bool(holds) = Eval::new(About::Call(facts), COST_MAX).value(&self.tree)? else {
            return Err(Failed::Type);
        };
        Ok(holds)
    }
}

#[cfg(test)]
mod tests;
