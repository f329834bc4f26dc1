//! What a store must do, one file per noun, written against its public API. Only `world` knows
//! which database is behind it: a file, or a database of PostgreSQL when the suite runs again
//! for that.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a helper that fails has failed its test, and the suite runs again against PostgreSQL"
)]

mod audit;
mod audit_due;
mod audit_long;
mod budget;
mod by_provider;
mod change;
mod clean;
mod credential;
mod hot;
mod idempotency;
mod intent;
mod ip_entry;
mod lease;
mod ledger;
mod ledger_model;
mod live;
mod lost;
mod management_key;
mod marked_up;
mod meta;
mod on_postgresql;
mod open;
mod outbox;
mod payment;
mod payment_session;
mod prepaid;
mod price;
mod project;
mod replicas;
mod row_security;
mod sealed;
mod secrecy;
mod server;
mod service_token;
mod session;
mod sqlite;
mod tenancy;
mod token;
mod world;
