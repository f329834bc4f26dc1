//! The process log and the access log.

use crate::field::KindExt;
use crate::kind::{choice, maybe, path};
use crate::reader::keys;
use std::path::PathBuf;

keys! {
    /// The process log and the access log.
    #[derive(Eq, PartialEq)]
    pub struct Logging {
        /// Least severe line written.
        level: Level = choice(&LEVELS).or(Level::Info),
        /// Form of a line.
        format: Format = choice(&FORMATS).or(Format::Json),
        /// The file; empty is standard error.
        output: Option<PathBuf> = maybe(path()).or(None),
        /// Which requests get an access line.
        access: AccessLog = choice(&ACCESS).or(AccessLog::On),
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

const FORMATS: [(&str, Format); 3] = [
    ("json", Format::Json),
    ("text", Format::Text),
    ("console", Format::Text),
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
