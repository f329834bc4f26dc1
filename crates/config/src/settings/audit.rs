//! The audit log.

use super::ms;
use crate::field::KindExt;
use crate::kind::{choice, duration, path, switch, whole};
use crate::reader::keys;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The audit log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audit {
    /// Whether it is written.
    pub enabled: bool,
    /// The file.
    pub file: PathBuf,
    /// Whether its folder is made (0700).
    pub create_dir: bool,
    /// Mode of the file: 0600 or 0640.
    pub mode: u32,
    /// How client addresses are written.
    pub mask_ip: MaskIp,
    /// How texts that are no known token are masked.
    pub unknown_token_mask: UnknownTokenMask,
    /// How much of `User-Agent` is kept.
    pub user_agent: UserAgent,
    /// When an append counts as failed.
    pub deadline: Duration,
    /// What happens to calls while the log cannot be written.
    pub access_on_failure: AccessOnFailure,
    /// Events waiting for the writer.
    pub queue: usize,
}

/// How client addresses are written (AUD-34).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MaskIp {
    /// In full.
    Off,
    /// IPv4 as /24, IPv6 as /48.
    Prefix,
    /// As a keyed hash.
    Hash,
    /// Not at all.
    Drop,
}

/// How texts that are no known token are masked (AUD-30).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnknownTokenMask {
    /// First and last two characters stay.
    Partial,
    /// Nothing stays.
    Full,
}

/// How much of `User-Agent` is kept (AUD-33).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UserAgent {
    /// The first 200 characters.
    Full,
    /// The product name.
    Family,
    /// Nothing.
    Off,
}

/// What happens to calls while the log cannot be written (AUD-40).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessOnFailure {
    /// They get 503.
    Closed,
    /// They are served, and the gap is counted.
    Open,
}

const MODES: [(&str, u32); 2] = [("0600", 0o600), ("0640", 0o640)];

const MASKS: [(&str, MaskIp); 4] = [
    ("off", MaskIp::Off),
    ("prefix", MaskIp::Prefix),
    ("hash", MaskIp::Hash),
    ("drop", MaskIp::Drop),
];

const TOKEN_MASKS: [(&str, UnknownTokenMask); 2] = [
    ("partial", UnknownTokenMask::Partial),
    ("full", UnknownTokenMask::Full),
];

const USER_AGENTS: [(&str, UserAgent); 3] = [
    ("full", UserAgent::Full),
    ("family", UserAgent::Family),
    ("off", UserAgent::Off),
];

const ON_FAILURE: [(&str, AccessOnFailure); 2] = [
    ("closed", AccessOnFailure::Closed),
    ("open", AccessOnFailure::Open),
];

keys! {
    /// The audit log: who did what, one JSON object a line.
    pub(crate) struct AuditFile {
        /// Whether it is written.
        enabled: bool = switch().or(true),
        /// The file. Default: `audit.log` in `data_dir`.
        file: Option<PathBuf> = path().optional(),
        /// Whether the folder of the file is made, with mode 0700.
        create_dir: bool = switch().or(true),
        /// Mode of the file.
        mode: u32 = choice(&MODES).or(0o600),
        /// How client addresses are written: `prefix` is /24 and /48, `hash` a keyed
        /// hash, `drop` nothing.
        mask_ip: MaskIp = choice(&MASKS).or(MaskIp::Off),
        /// How texts in a credential field that are no known token are masked: `partial` keeps
        /// the first and last two characters.
        unknown_token_mask: UnknownTokenMask = choice(&TOKEN_MASKS)
            .or(UnknownTokenMask::Partial),
        /// How much of `User-Agent` is kept: `full` is 200 characters, `family` the product name.
        user_agent: UserAgent = choice(&USER_AGENTS).or(UserAgent::Full),
        /// When an append that has not finished counts as failed.
        deadline: Duration = duration(10..=60_000).or(ms(250)),
        /// What happens to calls while the log can't be written: `closed` refuses them with 503,
        /// `open` serves them and counts the gap.
        access_on_failure: AccessOnFailure = choice(&ON_FAILURE).or(AccessOnFailure::Closed),
        /// Events that may wait for the writer.
        queue: usize = whole(64..=1_000_000).or(8_192),
    }
}

impl AuditFile {
    pub(super) fn check(self, data_dir: &Path) -> Audit {
        Audit {
            enabled: self.enabled,
            file: self.file.unwrap_or_else(|| data_dir.join("audit.log")),
            create_dir: self.create_dir,
            mode: self.mode,
            mask_ip: self.mask_ip,
            unknown_token_mask: self.unknown_token_mask,
            user_agent: self.user_agent,
            deadline: self.deadline,
            access_on_failure: self.access_on_failure,
            queue: self.queue,
        }
    }
}
