//! Development only: the binary under test, scripted origins, raw clients.
//!
//! Everything is threads and blocking sockets, so that a test reads from top to bottom and shares
//! no code with what it judges. Waits are bounded and end with what is waited for.

#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "development only: a test that can't go on says so and ends"
)]

mod acme;
mod client;
mod crowd;
mod dns;
mod facilitator;
pub mod frames;
mod gateway;
mod http2;
mod identity_provider;
mod issuer;
mod key_services;
mod log_lines;
mod one_time_code;
mod operator;
mod origin;
mod payer;
mod port;
mod postgres;
mod proxy;
mod redis;
mod request;
mod wait;
mod wire;

pub use acme::{AcmeFault, Authority};
pub use client::{Answer, BodyEnd, Client, Ended};
pub use crowd::{Crowd, Next};
pub use dns::{NameServer, Reply};
pub use facilitator::{Facilitator, FacilitatorMood};
pub use frames::{FrameClient, NoFrame, RawFrame};
pub use gateway::{Builder, Gateway, MANAGEMENT_KEY, NotStarted, STRICT, STRICT_ALL, Signal};
pub use http2::{Exchange, Http2Client, Reset};
pub use identity_provider::{
    CLIENT_ID as OIDC_CLIENT_ID, CLIENT_SECRET as OIDC_CLIENT_SECRET, IdentityProvider, SentBack,
};
pub use issuer::{Issuer, SigningAlgorithm};
pub use key_services::{
    AWS_KEY_ID, AWS_REGION, AWS_SECRET, KeyServiceMood, KeyServices, VAULT_TOKEN,
};
pub use one_time_code::one_time_code;
pub use operator::Operator;
pub use origin::{Gate, Origin, Step, Stream, chunk, chunked_head, json, ok, with_fields};
pub use payer::Payer;
pub use port::free_addr;
pub use postgres::{POSTGRES_PASSWORDS, Postgres, Session};
pub use proxy::{Connect, ConnectProxy, Tunnel};
pub use redis::Redis;
pub use request::Request;
pub use wait::{PATIENCE, eventually, wait_until};
pub use wire::{HoldUp, Wire};
