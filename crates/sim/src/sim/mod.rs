//! A small world: replicas, callers, upstreams, a store, clocks, a network, and what goes wrong.

mod accounts;
mod audit;
mod call;
pub mod faults;
pub mod random;
mod replica;
pub mod run;
pub mod store;
mod world;
