//! The pure heart of money and quotas: what calls cost and what they may cost at most, what is
//! assumed where an upstream kept silent, what is taken aside before a call, and what becomes of it.
//!
//! [`price`] reads price tables and makes costs of usage, [`bound`] limits the cost of a call
//! before it is sent, [`usage`] estimates what a broken answer used.
//!
//! Nothing here does I/O, reads a clock, draws randomness or starts a thread: events and times come
//! in, effects go out. How holds are cut is told in `docs/adr/0006-ledger-core.md`.

pub mod amount;
#[warn(missing_docs)]
pub mod bound;
pub mod budget;
pub mod decide;
pub mod forecast;
pub mod hold;
pub mod judge;
pub mod keeper;
pub mod lease;
pub mod posting;
pub mod prepaid;
#[warn(missing_docs)]
pub mod price;
pub mod receipt;
pub mod row;
pub mod slice;
pub mod step;
#[warn(missing_docs)]
pub mod usage;
pub mod window;
pub mod write;

pub use tollkeep_types::money;
