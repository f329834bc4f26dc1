//! The built-in emulator upstream: deterministic OpenAI, Anthropic and Gemini answers for first runs and tests.
//!
//! [`answer()`] is the whole vendor as one pure function from a request to a [`Plan`]; [`serve()`] plays
//! plans over HTTP/1.1. The same body always gives the same bytes: ids come from a hash of the body,
//! and times are a constant. It shares no code with the gateway's own readers and writers on
//! purpose, so that a mistake there meets a vendor who does not make the same one.

#![warn(missing_docs)]

mod answer;
mod anthropic;
mod ask;
mod embedding;
mod fault;
mod gemini;
mod ids;
mod models;
mod openai;
mod plan;
mod reply;
mod schema;
mod script;
mod serve;
mod steering;
mod words;

pub use answer::answer;
pub use models::names as models;
pub use plan::{Ending, Framing, Piece, Plan};
pub use serve::{BODY_BYTES_MAX, CONNECTIONS_MAX, serve};
