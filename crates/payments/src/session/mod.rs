//! What a payment buys that lasts longer than one call: a session, its token and its balance.
//!
//! It does not matter how it was paid. What is not used of it is money that we owe; what a call
//! takes of it is set aside before the call and earned when it is delivered.

mod balance;
mod credit;
mod token;

pub use balance::{Balance, Billing, Model, Terms};
pub use credit::{CREDIT_SCOPE, CreditTerms, credit_asked, credit_units, dollars_left};
pub use token::SessionToken;

use crate::state::Answer;
use serde_json::json;

/// What ends an event stream for which there is nothing left; `topup` is where more can be paid.
pub fn used_up_event(topup: &str) -> String {
    let (_, code) = Answer::Exhausted.told();
    let told = json!({ "code": code, "balance": 0, "topup": topup });
    format!("\n\nevent: payment_required\ndata: {told}\n\n")
}

/// What ends an event stream that breaks off: what became of the money for it, in a word.
pub fn broken_off_event(status: &str, is_charged: bool) -> String {
    let (_, code) = Answer::Owed.told();
    let told = match is_charged {
        true => json!({ "status": status }),
        false => json!({ "status": status, "code": code }),
    };
    format!("\n\nevent: payment-status\ndata: {told}\n\n")
}
