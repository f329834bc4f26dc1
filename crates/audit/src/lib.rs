//! Who did what, when, from where, with what outcome: one event type, its encoder, its masks, and
//! the chained, append-only file.
//!
//! An [`Event`] is handed to the [`Logger`], which owns a writer thread. Management events wait
//! until they are durable; everything else is queued and durable within the deadline. No call here
//! ever waits for the disk longer than that.

#![warn(missing_docs)]

mod action;
mod appender;
mod backwards;
mod chain;
mod cliproxy;
mod details;
mod encode;
mod event;
mod export;
mod file;
mod health;
mod ip_mask;
mod kept;
mod logger;
mod mask;
mod places;
mod queue;
mod signing;
mod verdict;
mod verify;
mod writer;

pub use action::{Action, Actor, Class, Key, Outcome};
pub use appender::EventSink;
pub use backwards::Backwards;
pub use cliproxy::{Chosen, Cliproxy, EventType, UserId};
pub use event::{ActorId, Event, Value};
pub use export::{ExportFormat, ExportRange, Exported, ExportedStream, Manifest, export};
pub use file::log_files;
pub use health::AuditHealth;
pub use ip_mask::{IpMask, IpText};
pub use logger::{
    AuditError, Batch, Logger, LoggerConfig, Means, OnFailure, Receipt, UserAgentDetail,
};
pub use mask::{Masker, UnknownMask, fingerprint, mask};
pub use signing::{
    Anchor, CHECKPOINT, MANIFEST, NEXT_KEY, PRUNE, Signer, Signing, Told, succession,
};
pub use verdict::Pending;
pub use verify::{
    Fault, FaultKind, Report, StreamReport, Trust, TrustFault, Verifier, in_order, open_log,
};
pub use writer::Rotation;
