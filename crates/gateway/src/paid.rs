//! Requests that are paid for: what they cost, what was shown for them, and what becomes of the
//! money when they end.
//!
//! A route without a price pays for one look at whether it has one.

mod call;
mod credit;
mod door;
mod judge;
mod metered;
mod own_payment;
mod page;
mod past;
mod payers;
mod recall;
mod session;
mod session_door;
mod session_token;
mod sold;
mod token_bound;
mod told;

pub(crate) use call::{PaidCall, charges, copy_piece};
pub use door::{
    AnswerCopy, Delivery, Ending, Named, NotPaid, Paid, Paying, PaymentDoor, Recalled, Recalling,
    Remembered, Shown, Standing,
};
pub use payers::{PayerSeat, Payers};
pub(crate) use recall::BODY_BYTES_MAX;
pub use session_door::{Opened, Opening, SessionEnd, SessionLeft, SessionUse, SessionWanted};
pub(crate) use sold::Sold;
pub use token_bound::{TokenBound, token_bound};
pub(crate) use told::PaymentNo;

/// The payment of a request, as records name it.
#[derive(Clone, Debug)]
pub(crate) struct PaidFacts {
    pub(crate) payment: Box<str>,
    /// How much, and of what.
    pub(crate) amount: Box<str>,
}
