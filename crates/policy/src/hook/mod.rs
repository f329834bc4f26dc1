//! Hooks of routes: what an expression of the operator may say at each moment of a request, and
//! what it is asked about. What it can't say, or says in another form, is a step that failed.

mod verdict;

pub use verdict::{Deny, HookPrice, Verdict};

use crate::cel::{ConditionFault, Expression, HookFacts, Variable};

/// What one step may cost (PAY-36). A step of the tree is one, and 16 bytes of text or an element
/// that is looked at are one more; it takes far less than a millisecond.
const COST_MAX: u32 = 1_000;

/// When a hook is asked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Moment {
    /// The request was read.
    Request,
    /// It is known what it costs.
    Price,
    /// Its payment was settled.
    Settled,
    /// The upstream has answered.
    Response,
    /// It was refused, for something that is not its fault.
    Error,
}

const REQUEST: Variable = Variable {
    name: "request",
    members: &["method", "path", "params", "query", "headers"],
};
const CLIENT: Variable = Variable {
    name: "client",
    members: &["ip", "tenant", "token_id"],
};
const BODY: Variable = Variable {
    name: "body",
    members: &[],
};
const LABELS: Variable = Variable {
    name: "labels",
    members: &[],
};
const PRICE: Variable = Variable {
    name: "price",
    members: &["nanos", "msat"],
};
const PAYMENT: Variable = Variable {
    name: "payment",
    members: &["rail", "payer", "asset", "network", "amount", "key"],
};
const RESPONSE: Variable = Variable {
    name: "response",
    members: &["status", "headers"],
};

impl Moment {
    /// The key in the file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Request => "onRequest",
            Self::Price => "onPriceResolved",
            Self::Settled => "onSettled",
            Self::Response => "onResponse",
            Self::Error => "onError",
        }
    }

    /// What expressions may ask about.
    const fn variables(self) -> &'static [Variable] {
        match self {
            Self::Request => &[REQUEST, CLIENT, BODY],
            Self::Price => &[REQUEST, CLIENT, BODY, LABELS, PRICE],
            Self::Response => &[REQUEST, CLIENT, BODY, LABELS, PRICE, PAYMENT, RESPONSE],
            Self::Settled | Self::Error => &[],
        }
    }
}

/// Why a step says nothing that counts. Callers are told no more than that it failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StepFailed {
    /// The expression can't be worked out.
    #[error("the expression can't be worked out: {0:?}")]
    Expression(crate::cel::Failed),
    /// It gave something that has no meaning here.
    #[error("{0}")]
    Meaning(&'static str),
    /// Whoever was asked did not answer properly.
    #[error("no proper answer: {0}")]
    Callout(&'static str),
}

/// An expression of a hook.
#[derive(Clone, Debug)]
pub struct Program {
    expression: Expression,
    reads_body: bool,
}

impl Program {
    /// Reads one for this moment.
    ///
    /// # Errors
    /// The first place where it is none.
    pub fn new(moment: Moment, text: &str) -> Result<Self, ConditionFault> {
        let expression = Expression::new(text, moment.variables())?;
        let reads_body = expression.reads(BODY.name);
        Ok(Self {
            expression,
            reads_body,
        })
    }

    /// Whether it asks about the body.
    pub const fn reads_body(&self) -> bool {
        self.reads_body
    }

    /// What it says at this moment.
    ///
    /// # Errors
    /// It can't be said, or has no meaning.
    pub fn ask(&self, moment: Moment, facts: &HookFacts) -> Result<Verdict, StepFailed> {
        let given = self.expression.value(facts, COST_MAX);
        Verdict::read(moment, &given.map_err(StepFailed::Expression)?)
    }

    /// The price it gives.
    ///
    /// # Errors
    /// It gives none.
    pub fn price(&self, facts: &HookFacts) -> Result<HookPrice, StepFailed> {
        let given = self.expression.value(facts, COST_MAX);
        HookPrice::read(&given.map_err(StepFailed::Expression)?)
    }
}

#[cfg(test)]
mod tests;
