//! Formats and state machines of payments: what a request costs, how it may be paid with x402,
//! what of a proof can be judged here, and what becomes of a payment. No I/O, no clock: the time
//! is handed in.
//!
//! It may name a cryptography crate: it checks what others signed, on the curve and with the hash
//! of Ethereum, and holds no secret.

#![warn(missing_docs)]

pub mod discovery;
pub mod evm;
mod json;
pub mod paywall;
pub mod price;
pub mod pricing;
pub mod session;
pub mod state;
mod u256;
pub mod x402;

pub use json::{Fault as JsonFault, Value as Json, read as read_json};
pub use u256::U256;
