//! What a store must do, one file per noun, written against its public API. Only `world` knows
//! which database is behind it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails has failed its test"
)]

mod clean;
mod ip_entry;
mod live;
mod management_key;
mod meta;
mod open;
mod project;
mod secrecy;
mod service_token;
mod tenancy;
mod token;
mod world;
