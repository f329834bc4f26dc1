//! What an operator sees: logs without secrets, the access line, the usage line, metrics, health.
//!
//! Nothing here ever waits: lines go to a bounded queue, counters are plain memory.

#![warn(missing_docs)]

pub mod access;
pub mod closed;
pub mod health;
pub mod json;
pub mod line_sink;
pub mod logs;
pub mod metrics;
mod outcome;
pub mod redact;
mod texts;
pub mod usage_line;

pub use outcome::RequestOutcome;
pub use texts::Texts;
