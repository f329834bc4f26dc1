//! The tables of this crate through their public doors.

#![expect(
    clippy::unwrap_used,
    reason = "a test that finds something odd ends there"
)]

mod gauge;
mod recent;
mod table;
