//! Certificates that are ordered (ACME, RFC 8555): the order itself, the proofs that its authority
//! asks for, and the folder that keeps what came of it.
//!
//! When an order is due is decided in `policy`; who orders and what becomes of a failure is the
//! binary's business. Everything that goes out goes through the one door ([`Place`]).

mod cache;
mod challenges;
mod client;
mod order;

pub use cache::{Cache, KeptPair, State, Turn};
pub(crate) use challenges::ACME_TLS;
pub use challenges::{Challenge, ChallengeKind, Challenges};
pub use client::Place;
pub use order::{Order, OrderError, Renewal, obtain, suggested};
