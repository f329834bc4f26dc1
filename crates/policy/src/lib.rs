//! Decisions without I/O or clock: egress, header hygiene, rate, client address, address lists,
//! permission, policies on calls, forms, CORS, shedding, certificates that are ordered, what is unusual.
//!
//! Everything here is a pure function of its arguments; whoever calls hands in the time, the
//! addresses a name resolved to, and the fields of a request.

#![warn(missing_docs)]

pub mod acme;
pub mod anomaly;
pub mod breaker;
pub mod call_policy;
pub mod cel;
pub mod client_ip;
pub mod cooling;
pub mod cors;
pub mod egress;
pub mod expiry;
pub mod form;
pub mod front_door;
pub mod headers;
pub mod hook;
pub mod ip_list;
pub mod lockout;
pub mod origin;
pub mod permission;
pub mod rate;
pub mod retry;
pub mod shed;
pub mod token_rate;
pub mod turns;
