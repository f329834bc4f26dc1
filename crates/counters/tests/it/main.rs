//! The tables of this crate through their public doors.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something odd ends there"
)]

mod gauge;
mod recent;
mod replicas;
mod table;
