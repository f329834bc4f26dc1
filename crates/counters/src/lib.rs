//! Rate limit state: bounded tables of theoretical arrival times, what is shared with other
//! replicas, and who is being served.

#![warn(missing_docs)]

mod claim;
mod gauge;
mod hashed;
mod key;
mod recent;
mod lease;
mod shard;
mod sharing;
mod table;
mod take;

pub use claim::{Claim, RateRefusal};
pub use gauge::{IpGauge, IpGuard, IpSeat, SeatGuard};
pub use key::{Class, Key};
pub use recent::Recent;
pub use lease::{Leased, Leases};
pub use sharing::{Counting, Sharing, probe_wait_ns};
pub use table::RateTable;
pub use take::{Given, TAKE_SCRIPT, Taken, Want};
