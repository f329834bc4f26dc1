//! The pure heart of money and quotas: what is taken aside before a call, and what becomes of it.
//!
//! Nothing here does I/O, reads a clock, draws randomness or starts a thread: events and times come
//! in, effects go out. How it is cut is told in `docs/adr/0006-ledger-core.md`.

pub mod amount;
pub mod budget;
pub mod decide;
pub mod hold;
pub mod keeper;
pub mod lease;
pub mod posting;
pub mod row;
pub mod slice;
pub mod step;
pub mod window;
pub mod write;
