//! Scratch of one author, gone before it is committed.

#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests open sockets and read clocks of their own"
)]

#[path = "../blackbox/audit_faults.rs"]
mod audit_faults;
#[path = "../blackbox/callers.rs"]
mod callers;
#[path = "../blackbox/chain.rs"]
mod chain;
#[path = "../blackbox/cli.rs"]
mod cli;
#[path = "../blackbox/crash.rs"]
mod crash;
#[path = "../blackbox/demo.rs"]
mod demo;
#[path = "../blackbox/fixture.rs"]
mod fixture;
#[path = "../blackbox/identity.rs"]
mod identity;
#[path = "../blackbox/management.rs"]
mod management;
#[path = "../blackbox/metrics.rs"]
mod metrics;
#[path = "../blackbox/records.rs"]
mod records;
#[path = "../blackbox/secrecy.rs"]
mod secrecy;
#[path = "../blackbox/tokens.rs"]
mod tokens;
