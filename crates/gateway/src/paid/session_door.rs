//! The way from calls of sessions to those who keep them.

use std::sync::Arc;
use tollkeep_payments::price::Price;
use tollkeep_payments::session::{Balance, Terms};
use tollkeep_types::{HoldId, PaymentId, RequestId, SessionId, TenantId, TokenHash, WallMillis};

/// A session that a payment is to become.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Its id, if it is begun now.
    pub id: SessionId,
    /// What is kept of its token.
    pub kept: TokenHash,
    /// What it is used up by.
    pub terms: Terms,
    /// Calls that it has, where calls are bought.
    pub calls: u64,
    /// When it ends.
    pub expires_at: WallMillis,
    /// KiB that are set aside at a time.
    pub step_kib: u64,
    /// Whether it is credit: for all that its tenant sells by the request.
    pub is_credit: bool,
    /// Whether one that the payer has already serves the call, if it can: its proof is then used up and not
    /// settled.
    pub of_payer: bool,
}

/// A session that was paid for.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Its id.
    pub id: SessionId,
    /// When it ends.
    pub expires_at: WallMillis,
    /// Whether it is credit.
    pub is_credit: bool,
}

/// A call that wants something of a session.
#[derive(Clone, Debug)]
pub struct SessionWanted {
    /// The request.
    pub request: RequestId,
    /// Whose route it is.
    pub tenant: TenantId,
    /// What the session has to be for: the route, as the settings name it, or what stands for all.
    pub scope: Arc<str>,
    /// The session.
    pub session: SessionId,
    /// What is kept of the token that was shown.
    pub kept: TokenHash,
    /// KiB that are set aside at a time.
    pub step_kib: u64,
    /// What the call costs, where that is taken of credit.
    pub price: Option<Price>,
}

/// What a call has of a session.
#[derive(Clone, Debug)]
pub struct SessionUse {
    /// The session.
    pub session: SessionId,
    /// The request.
    pub request: RequestId,
    /// Under what that is kept; `None`: the session does not become less.
    pub hold: Option<HoldId>,
    /// What it took.
    pub taken: Balance,
    /// What nobody has taken yet.
    pub left: Balance,
    /// What the session is used up by.
    pub terms: Terms,
    /// When it ends.
    pub expires_at: WallMillis,
    /// The payment that bought it.
    pub payment: PaymentId,
    /// Of credit, the decimals of the token that it was paid in.
    pub credit: Option<u8>,
    /// What is due for the call at least, where what it takes is known at its end.
    pub counted: Option<u64>,
}

/// What there is of a session that is not enough for a call.
#[derive(Clone, Copy, Debug)]
pub struct SessionLeft {
    /// What nobody has taken.
    pub left: Balance,
    /// What the session is used up by.
    pub terms: Terms,
    /// When it ends.
    pub expires_at: WallMillis,
    /// Of credit, the decimals of the token that it was paid in.
    pub credit: Option<u8>,
}

/// How a call of a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionEnd {
    /// Nothing reached the caller: it takes nothing.
    Nothing,
    /// It had what it took, and that is earned already.
    Had,
    /// It is given back what is earned already: its delivery broke off.
    GivenBack,
    /// It takes so much money of what it took.
    Part(u64),
}
