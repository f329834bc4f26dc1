//! The audit log.

use super::audit_kept::{
    self, Anchor, AnchorFile, AuditEvents, AuditFormat, AuditUserId, CheckpointEvery, Rotate,
    RotateFile,
};
use super::{Egress, ms};
use crate::check::Checks;
use crate::field::{KindExt, OnOrOff, section, section_or_off};
use crate::kind::{choice, duration, list, path, switch, whole};
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
    /// The words of a line.
    pub format: AuditFormat,
    /// The kinds of calls that are written; all, if none is named.
    pub events: Vec<AuditEvents>,
    /// Who acted, in lines of cliproxyapi++.
    pub user_id: AuditUserId,
    /// Whether times in such lines have milliseconds.
    pub cliproxy_millis: bool,
    /// When checkpoints are written.
    pub checkpoint_every: CheckpointEvery,
    /// When the file is closed; never, if others do that.
    pub rotate: Option<Rotate>,
    /// Where checkpoints are kept besides.
    pub anchor: Anchor,
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
        /// The words of a line: `llm-proxy`, or `cliproxy` for tools that know the log of
        /// cliproxyapi++.
        format: AuditFormat = choice(&audit_kept::FORMATS).or(AuditFormat::LlmProxy),
        /// Which events are written; all, if none is named or `*` is. What operators do, what is
        /// about safety and money, and what the log says of itself is written always.
        events: Vec<AuditEvents> = list(choice(&audit_kept::EVENTS)).or_empty(),
        /// Who acted, in `user_id` of `cliproxy` lines: `owner` is the id of the token, key or
        /// operator, `pseudonym` a keyed hash of it.
        user_id: AuditUserId = choice(&audit_kept::USER_IDS).or(AuditUserId::Pseudonym),
        /// Whether times in `cliproxy` lines have milliseconds.
        cliproxy_millis: bool = switch().or(false),
        checkpoint_every: CheckpointEvery = section(),
        rotate: OnOrOff<RotateFile> = section_or_off(),
        anchor: AnchorFile = section(),
    }
}

impl AuditFile {
    pub(super) fn check(self, data_dir: &Path, egress: &Egress, checks: &mut Checks<'_>) -> Audit {
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
            format: self.format,
            events: self.events,
            user_id: self.user_id,
            cliproxy_millis: self.cliproxy_millis,
            checkpoint_every: self.checkpoint_every,
            rotate: audit_kept::rotate(self.rotate),
            anchor: self.anchor.check(egress, checks),
        }
    }
}
