//! Expressions of hooks: the same language over other variables, which give any value.

use super::eval::{About, Eval};
use super::tree::Expr;
use super::{ConditionFault, Failed, Given, TEXT_BYTES_MAX, parse};
use tollkeep_types::WallMillis;

/// A variable that an expression may ask about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its members; empty if it may have any.
    pub members: &'static [&'static str],
}

/// What an expression is asked about.
#[derive(Clone, Debug)]
pub struct HookFacts {
    /// The variables, by name.
    pub variables: Vec<(&'static str, Given)>,
    /// What time it is.
    pub now: WallMillis,
}

/// An expression, ready to be asked.
#[derive(Clone, Debug)]
pub struct Expression(Expr);

impl Expression {
    /// Reads an expression over these variables.
    ///
    /// # Errors
    /// The first place where it is none.
    pub fn new(text: &str, variables: &'static [Variable]) -> Result<Self, ConditionFault> {
        if text.len() > TEXT_BYTES_MAX {
            let problem = format!("the expression is longer than {TEXT_BYTES_MAX} bytes");
            return Err(ConditionFault { column: 1, problem });
        }
        parse::parse(text, Some(variables)).map(Self)
    }

    /// Whether it asks about this variable.
    pub fn reads(&self, variable: &str) -> bool {
        self.0.reads(variable)
    }

    /// What it gives, for so much effort at most.
    ///
    /// # Errors
    /// It can't be said, or costs more.
    pub fn value(&self, facts: &HookFacts, cost_max: u32) -> Result<Given, Failed> {
        let mut eval = Eval::new(About::Hook(facts), cost_max);
        let value = eval.value(&self.0)?;
        eval.pay(value.weight())?;
        Given::made(&value)
    }
}
