//! Dialects: request views, strict JSON, SSE and usage readers, error bodies, catalogue. No I/O, no clock.
//!
//! A request goes through [`surface::surface_of`], [`body::CallView::read`] and
//! [`resolve::Resolver::resolve`]; its answer through [`usage::BodyUsage`] or
//! [`usage::StreamUsage`]. What the gateway itself has to say is written by [`error`] and
//! [`models`].

#![warn(missing_docs)]

pub mod asks;
pub mod body;
pub mod catalog;
pub mod count;
pub mod demand;
pub mod error;
pub mod exact;
pub mod failure;
pub mod gemini;
mod json;
pub mod models;
pub mod opening;
pub mod params;
pub mod resolve;
pub mod surface;
pub mod usage;

pub use surface::{Dialect, Surface, SurfaceMatch, surface_of};
