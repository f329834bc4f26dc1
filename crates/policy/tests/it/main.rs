//! The decisions of this crate through their public doors.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something odd ends there"
)]

mod bindings;
mod breaker;
mod call_policy;
mod client_ip;
mod cors;
mod egress;
mod form;
mod front_door;
mod headers;
mod ip_list;
mod lockout;
mod rate;
mod redirect;
mod shed;
mod ssrf;
