//! Who did what, when, from where, with what outcome: one event type, its encoder, its masks, and
//! the chained, append-only file.
//!
//! An [`Event`] is handed to the [`Logger`], which owns a writer thread. Management events wait
//! until they are durable; everything else is queued and durable within the deadline. No call here
//! ever waits for the disk longer than that.
//!
//! The crate stands alone: it needs a clock and random bytes, no gateway and no database. These are
//! the examples of llm-proxy's page, in Rust. A log in a file:
//!
//! ```
//! use std::sync::Arc;
//! use tollkeep_audit::{
//!     Action, Actor, AuditError, Event, Key, Logger, LoggerConfig, Means, Outcome, Value,
//! };
//! # use tollkeep_types::{Clock, Entropy, MonoNanos, ProjectId, RequestId, WallMillis};
//! # struct Yours(std::time::Instant);
//! # impl Clock for Yours {
//! #     fn mono(&self) -> MonoNanos { MonoNanos(self.0.elapsed().as_nanos() as u64) }
//! #     fn wall(&self) -> WallMillis { WallMillis(1_795_342_530_123) }
//! # }
//! # impl Entropy for Yours {
//! #     fn fill(&self, out: &mut [u8]) { out.fill(7) }
//! # }
//! # let yours = || Arc::new(Yours(std::time::Instant::now()));
//! # let (your_clock, your_entropy) = (yours(), yours());
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("audit.log");
//! let config = LoggerConfig {
//!     file_path: path.clone(),
//!     create_dir: true,
//!     ..LoggerConfig::default()
//! };
//! let means = Means {
//!     clock: your_clock,
//!     entropy: your_entropy,
//!     meter: Default::default(),
//! };
//! let logger = Logger::new(config, means)?;
//!
//! let event = Event::new(Action::TokenCreate, Actor::Management, Outcome::Success)
//!     .with_project_id(ProjectId::from_bytes([1; 16]))
//!     .with_request_id(RequestId::from_bytes([2; 16]))
//!     .with_token_id("tok-1234567890abcdef")
//!     .with_detail(Key::DurationMinutes, Value::Number(60));
//! // Unlike there, what is not on disk is an error that must be dealt with.
//! let receipt = logger.log(&event)?;
//! assert_eq!(receipt.seq, 2, "behind audit.open");
//! logger.close()?;
//!
//! let line = std::fs::read_to_string(&path).unwrap();
//! assert!(line.contains(r#""token_id":"tok-1234****cdef""#));
//! # Ok::<(), AuditError>(())
//! ```
//!
//! An event of a request, with all that ties it to others:
//!
//! ```
//! use std::net::IpAddr;
//! use std::time::Duration;
//! use tollkeep_audit::{Action, Actor, AuditError, Event, Logger, Outcome, Receipt};
//! use tollkeep_types::{ProjectId, RequestId};
//!
//! struct Request<'r> { id: RequestId, project: ProjectId, from: IpAddr, method: &'r str, path: &'r str }
//!
//! fn audit_token_access(
//!     logger: &Logger,
//!     request: &Request<'_>,
//!     token: &str,
//!     outcome: Outcome,
//! ) -> Result<Receipt, AuditError> {
//!     let event = Event::new(Action::TokenAccess, Actor::Client, outcome)
//!         .with_request_id(request.id)
//!         .with_project_id(request.project)
//!         .with_token_id(token)
//!         .with_client_ip(request.from)
//!         .with_http_method(request.method)
//!         .with_endpoint(request.path)
//!         .with_duration(Duration::from_millis(3));
//!     logger.log(&event)
//! }
//! ```

#![warn(missing_docs)]

mod action;
mod appender;
mod backwards;
mod chain;
mod cliproxy;
mod database;
mod details;
mod durable;
mod encode;
mod event;
mod export;
mod file;
pub mod folds;
mod health;
mod ip_mask;
mod kept;
mod logger;
mod mask;
mod places;
mod queue;
mod relay;
mod signing;
mod verdict;
mod verify;
mod writer;

pub use action::{Action, Actor, Class, Key, Outcome};
pub use appender::EventSink;
pub use backwards::Backwards;
pub use cliproxy::{Chosen, Cliproxy, EventType, UserId};
pub use database::{DatabaseError, DatabaseStore, Require, Standing};
pub use event::{ActorId, Event, Value};
pub use export::{ExportFormat, ExportRange, Exported, ExportedStream, Manifest, export};
pub use file::log_files;
pub use health::AuditHealth;
pub use ip_mask::{IpMask, IpText};
pub use logger::{
    AuditError, Batch, Logger, LoggerConfig, Means, OnFailure, PrunedRecords, Receipt,
    UserAgentDetail,
};
pub use mask::{Masker, UnknownMask, fingerprint, mask};
pub use relay::{
    FileDoor, NoSuchEvent, Prepared, Relay, RelayConfig, RelayDoor, RelayError, RelayLine,
    StdoutDoor, Wanted, syslog_messages,
};
pub use signing::{
    Anchor, CHECKPOINT, ChainHead, MANIFEST, NEXT_KEY, PRUNE, Signer, Signing, Told, succession,
};
pub use verdict::Pending;
pub use verify::{
    Fault, FaultKind, Report, StreamReport, Trust, TrustFault, Verifier, in_order, is_sealed,
    open_log,
};
pub use writer::Rotation;
