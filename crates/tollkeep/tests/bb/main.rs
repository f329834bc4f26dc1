//! Scratch of one author, gone before it is committed.

#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests open sockets and read clocks of their own"
)]

#[path = "../blackbox/callers.rs"]
mod callers;
#[path = "../blackbox/fixture.rs"]
mod fixture;
#[path = "../blackbox/identity.rs"]
mod identity;
#[path = "../blackbox/secrecy.rs"]
mod secrecy;
#[path = "../blackbox/tokens.rs"]
mod tokens;
