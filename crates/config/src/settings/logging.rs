//! The process log and the access log.

use super::{TEN_YEARS_MS, days};
use crate::field::{KindExt, section};
use crate::kind::{choice, duration, log_bytes, maybe, path, switch, whole};
use crate::reader::keys;
use std::path::PathBuf;
use std::time::Duration;

keys! {
    /// The process log and the access log.
    #[derive(Eq, PartialEq)]
    pub struct Logging {
        /// Least severe line written.
        level: Level = choice(&LEVELS).or(Level::Info),
        /// Form of a line.
        format: Format = choice(&FORMATS).or(Format::Json),
        /// The file; empty is standard error, and standard output for access lines.
        output: Option<PathBuf> = maybe(path()).or(None),
        /// When that file, and `usage.jsonl` in the data folder, is closed and the next begun.
        rotation: LogRotation = section(),
        /// Which requests get an access line.
        access: AccessLog = choice(&ACCESS).or(AccessLog::On),
        /// What access lines are called: `tollkeep`, each `request`; `cliproxy`, `request_success` or
        /// `request_error`, as readers of cliproxyapi++'s log look for.
        style: LineStyle = choice(&STYLES).or(LineStyle::Tollkeep),
    }
}

keys! {
    /// When the file of `output`, and `usage.jsonl` in the data folder, is closed under a name of its
    /// own, such as `gate-20261122T101530Z-1.log`, and the next begun. One that others move away, such as
    /// logrotate, is opened again with SIGHUP or SIGUSR1 all the same.
    #[derive(Eq, PartialEq)]
    pub struct LogRotation {
        /// Whether that is done.
        enabled: bool = switch().or(true),
        /// Size of a file; `100M` is `100MiB`.
        max_size: u64 = log_bytes(64 << 10..=1 << 40).or(100 << 20),
        /// How long a closed file is kept.
        max_age: Duration = duration(60_000..=TEN_YEARS_MS).or(days(30)),
        /// Closed files that are kept; the oldest is deleted.
        max_backups: usize = whole(1..=100_000).or(10),
    }
}

/// Severity of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

const LEVELS: [(&str, Level); 6] = [
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
    ("warning", Level::Warn),
];

/// Form of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Text for people.
    Text,
}

const FORMATS: [(&str, Format); 4] = [
    ("json", Format::Json),
    ("text", Format::Text),
    ("console", Format::Text),
    ("pretty", Format::Text),
];

/// Which requests get an access line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessLog {
    /// All.
    On,
    /// None.
    Off,
    /// Those that were refused or failed.
    Errors,
}

const ACCESS: [(&str, AccessLog); 3] = [
    ("on", AccessLog::On),
    ("off", AccessLog::Off),
    ("errors", AccessLog::Errors),
];

/// What access lines are called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LineStyle {
    /// Each the same.
    Tollkeep,
    /// By how the request ended.
    Cliproxy,
}

const STYLES: [(&str, LineStyle); 2] = [
    ("tollkeep", LineStyle::Tollkeep),
    ("cliproxy", LineStyle::Cliproxy),
];
