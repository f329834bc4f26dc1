//! Money of calls, without I/O and clock: what things cost, what they may cost at most, and what
//! is assumed where an upstream kept silent.
//!
//! [`price`] reads price tables and makes costs of usage, [`bound`] limits the cost of a call
//! before it is sent, [`usage`] estimates what a broken answer used.

#![warn(missing_docs)]

pub mod bound;
pub mod price;
pub mod usage;

pub use tollkeep_types::money;
