//! The shipped binary through its sockets: what callers, upstreams and operators see of it.

#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests open sockets and read clocks of their own"
)]

mod connection;
mod fixture;
mod framing;
mod hardening;
mod headers;
mod limits;
mod mutation;
mod timeouts;
mod upstream;
