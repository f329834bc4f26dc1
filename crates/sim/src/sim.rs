//! A small world: replicas, callers, upstreams, a store, clocks, a network, and what goes wrong.

pub mod faults;
pub mod random;
pub mod run;
mod audit;
mod call;
mod replica;
mod store;
mod world;
