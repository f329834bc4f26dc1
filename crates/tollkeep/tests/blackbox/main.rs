//! The shipped binary through its sockets: what callers, upstreams and operators see of it.

#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests open sockets and read clocks of their own"
)]

mod acts;
mod audit_faults;
mod breaker;
mod callers;
mod chain;
mod cli;
mod codings;
mod connection;
mod cors;
mod crash;
mod crowds;
mod data_port;
mod demo;
mod drain;
mod egress;
mod fixture;
mod framing;
mod front_door;
mod front_door_jwt;
mod hardening;
mod headers;
mod http2;
mod http2_floods;
mod http2_frames;
mod http2_tls;
mod identity;
mod ip_entries;
mod ip_lists;
mod keys;
mod knobs;
mod knobs_upstreams;
mod limits;
mod listeners;
mod maintenance;
mod management;
mod metrics;
mod mutation;
mod openapi;
mod operators;
mod origin_verify;
mod own_limits;
mod rates;
mod records;
mod reload;
mod reload_kept;
mod reload_soak;
mod reload_watch;
mod replicas;
mod replicas_database;
mod retries;
mod returned_headers;
mod rights;
mod secrecy;
mod shared_limits;
mod shed;
mod signing;
mod silent;
mod smuggling;
mod streams;
mod targets;
mod timeouts;
mod tls;
mod tls_control;
mod tls_files;
mod tls_fixture;
mod tls_reload;
mod tokens;
mod upstream;
mod upstream_tls;
