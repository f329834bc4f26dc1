//! TLS on both sides: rustls with aws-lc-rs, and nothing else speaks it.
//!
//! Towards upstreams see [`client()`] and `upstream`. Towards callers: certificates are read and judged in
//! [`pair`], whom clients' own are believed from in `client_auth`; [`server`] makes what a listener
//! serves with, a handshake is driven in `handshake`, and `stream` is a connection after it.

mod certificate;
pub mod client;
mod client_auth;
mod control;
mod fault;
mod handshake;
mod names;
pub mod pair;
mod pem_file;
pub mod server;
mod session;
mod stream;
mod upstream;

pub use certificate::{Certificate, KeyKind};
pub use client::{ClientConfig, Trust, client, client_showing};
pub use client_auth::ClientAuthFiles;
pub use control::{ControlListener, ControlStream};
pub use fault::{Fault, Warning};
pub use pair::PairFiles;
pub use server::{Ends, Expiry, Offers, Served, ServerSettings, ServerTls};
pub use session::{Protocol, Session};
pub use upstream::{LoadedUpstream, UpstreamSettings, UpstreamTls};

pub(crate) use handshake::accept;
pub(crate) use stream::TlsStream;
