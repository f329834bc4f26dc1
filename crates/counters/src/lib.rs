//! Rate limit state: bounded tables of theoretical arrival times, and who is being served.

#![warn(missing_docs)]

mod claim;
mod gauge;
mod hashed;
mod key;
mod recent;
mod shard;
mod table;

pub use claim::{Claim, RateRefusal};
pub use gauge::{IpGauge, IpGuard, IpSeat, SeatGuard};
pub use key::{Class, Key};
pub use recent::Recent;
pub use table::RateTable;
