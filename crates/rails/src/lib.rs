//! Clients of payment systems, over the one egress door. What is said and what answers mean is
//! `payments`' to say; here it is sent, once, within its time, and to nobody who keeps failing.

#![warn(missing_docs)]

mod breaker;
mod facilitator;
mod node;
mod permit;

pub use facilitator::{Facilitator, FacilitatorParts, Failure, Place, Reply, Timeouts};
pub use node::{Authorization, Fate, Node, TokenTold};
pub use permit::Permit;
