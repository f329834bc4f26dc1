//! Sessions: what payments bought that lasts longer than one call.
//!
//! A session begins in the transaction that ends its payment, which moves the money to an account of
//! its own. A call takes something of it before it is sent, in one transaction, and what it took is
//! earned or given back in another: so what is in the account is always what is owed to its holder.
//! What a process leaves behind that is gone ends by what is written down of it.

mod close;
mod find;
mod record;
mod take;

pub use find::SessionFilter;
pub use record::{
    NewSession, NewUse, SessionEnded, SessionJudge, SessionModel, SessionRecord, SessionShare,
    SessionState, SessionTaken, SessionVerdict, UseCharge, UseRecord,
};
pub(crate) use take::open;

/// The columns that make a record.
macro_rules! select_session {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, token_hash, payment_id, scope, model, payer, unit, symbol,
               decimals, paid, money, held, calls, unit_cost, state, expires_at, created_at,
               updated_at FROM sessions ",
            $rest
        )
    };
}
pub(crate) use select_session;
