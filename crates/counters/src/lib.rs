//! Rate limit state: bounded tables of theoretical arrival times, what is shared with other
//! replicas, who is being served, and which upstreams are left alone.

#![warn(missing_docs)]

mod breakers;
mod claim;
mod credential;
mod credential_limits;
mod gauge;
mod hashed;
pub mod kept;
mod key;
mod lease;
mod recent;
mod shard;
mod sharing;
mod table;
mod take;
mod tokens;

pub use breakers::{Asked, Breakers, Place, ShownBreaker, UpstreamBreakers};
pub use claim::{Claim, RateRefusal};
pub use credential::{CredentialState, CredentialUsed, ShownCoolDown};
pub use credential_limits::{CredentialLimits, CredentialLoad};
pub use gauge::{IpGauge, IpGuard, IpSeat, SeatGuard};
pub use key::{Class, Key};
pub use lease::{Leased, Leases};
pub use recent::Recent;
pub use sharing::{Counting, Sharing, probe_wait_ns};
pub use table::RateTable;
pub use take::{Given, TAKE_SCRIPT, Taken, Want};
pub use tokens::TokenDebit;
