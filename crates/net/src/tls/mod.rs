//! TLS on both sides: rustls with aws-lc-rs, and nothing else speaks it.
//!
//! Towards upstreams see [`client`] and `upstream`. Towards callers: certificates are read and judged in
//! [`pair`], [`server`] makes what a listener serves with, a handshake is driven in `handshake`,
//! and `stream` is a connection after it.

mod certificate;
pub mod client;
mod control;
mod handshake;
mod names;
pub mod pair;
pub mod server;
mod session;
mod stream;
mod upstream;

pub use certificate::{Certificate, KeyKind};
pub use client::{ClientConfig, Trust, client};
pub use control::{ControlListener, ControlStream};
pub use pair::{Fault, PairFiles, Warning};
pub use server::{Expiry, Offers, Served, ServerSettings, ServerTls};
pub use session::{Protocol, Session};
pub use upstream::{LoadedUpstream, UpstreamSettings, UpstreamTls};

pub(crate) use handshake::accept;
pub(crate) use stream::TlsStream;
