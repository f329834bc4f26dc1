//! What each fuzz target does with its bytes, as plain functions.
//!
//! Two runners call them: the tests of this crate on stable Rust, with seeds and random mutations,
//! and libFuzzer through the crate in the folder above. A body panics when something breaks: the
//! code under it, or one of the laws that the body states.

#![warn(missing_docs)]

mod admission;
mod answer;
mod bound;
mod call;
mod config;
mod cuts;
mod egress;
mod http2;
mod path;
mod payment;
mod policy;
mod token;
mod usage;

pub use admission::admission;
pub use answer::answer;
pub use bound::bound_of;
pub use call::call;
pub use config::config;
pub use egress::egress;
pub use http2::http2;
pub use path::path;
pub use payment::payment;
pub use policy::policy;
pub use token::token;
pub use usage::usage;

/// What a target does with an input; it panics when that shows a fault.
pub type Body = fn(&[u8]);

/// Every target, by the name of its folder of seeds.
pub const TARGETS: [(&str, Body); 12] = [
    ("admission", admission),
    ("answer", answer),
    ("bound", bound_of),
    ("call", call),
    ("config", config),
    ("egress", egress),
    ("http2", http2),
    ("path", path),
    ("payment", payment),
    ("policy", policy),
    ("token", token),
    ("usage", usage),
];
