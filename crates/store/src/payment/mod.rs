//! Payments: a row for each proof that was ever shown, and the money it brought.
//!
//! A row is made before anybody is asked for money, and its key stays for ever: so a proof is spent
//! once, whatever fails. Each change names the state and version that were read, and moves the money
//! that belongs to it in the same transaction: `settled` without a posting can't be.

mod change;
mod find;
pub(crate) mod identifier;
mod record;
mod reserve;

pub use find::{CreditSum, PaymentFilter, RevenueBy, RevenueSum};
pub use identifier::{NamedPayment, PaymentAnswer};
pub use record::{NewPayment, PaymentChange, PaymentMode, PaymentRecord, PaymentState, Reserved};

/// The columns that make a record.
macro_rules! select_payment {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, key_digest, rail, route, mode, state, version, calls,
               was_made_good, unit, symbol, decimals, network, quoted, due, received, request_digest,
               request_id, payer, pay_to, facilitator, proof, transaction_id, reason, ends_at,
               holder, lease_until, looks, created_at, updated_at, settled_at FROM payments ",
            $rest
        )
    };
}
pub(crate) use select_payment;
