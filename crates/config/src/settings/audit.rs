//! The audit log.

use super::audit_kept::{
    self, Anchor, AnchorFile, AuditEvents, AuditFormat, AuditUserId, CheckpointEvery, Rotate,
    RotateFile,
};
use super::audit_sinks::{AuditSink, SinkFile};
use super::{Egress, ms};
use crate::check::Checks;
use crate::field::{KindExt, OnOrOff, listed, section, section_or_off};
use crate::kind::{choice, duration, list, maybe, parsed, path, switch, whole};
use crate::reader::keys;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tollkeep_types::{ProjectId, WallMillis};

/// The audit log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audit {
    /// Whether it is written.
    pub enabled: bool,
    /// The file; `None` where records are kept in the database alone.
    pub file: Option<PathBuf>,
    /// Whether records are kept in the database.
    pub store_in_db: bool,
    /// Which of the two must have a record.
    pub require: Require,
    /// How long records are kept in the database.
    pub retention: Duration,
    /// Whether production may keep them for less than 7d.
    pub insecure_short_retention: bool,
    /// Projects whose records stay longer.
    pub hold: Vec<Hold>,
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
    /// Which uses of tokens are written.
    pub access_success: AccessSuccess,
    /// Which calls are written.
    pub proxy_request: ProxyRequests,
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
    /// Whether closed files are sealed.
    pub encrypt: bool,
    /// Where checkpoints are kept besides.
    pub anchor: Anchor,
    /// Further places that records go to.
    pub sinks: Vec<AuditSink>,
}

/// Where a record must be so that it counts as kept (AUD-43).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Require {
    /// In the file and in the database.
    All,
    /// In the file; the database may come later.
    Any,
}

/// A project whose records are kept whatever their age.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hold {
    /// The project.
    pub project: ProjectId,
    /// Until when.
    pub until: WallMillis,
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
    /// As a hash with another key each day.
    HashDaily,
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

/// Which uses of tokens that were let in are written (AUD-12).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessSuccess {
    /// Each.
    All,
    /// The first of each token, and then one an hour with how many there were.
    First,
    /// None.
    Off,
}

/// Which calls are written (AUD-12).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyRequests {
    /// Each.
    All,
    /// Those that were not served as asked.
    Errors,
}

const MODES: [(&str, u32); 2] = [("0600", 0o600), ("0640", 0o640)];

const MASKS: [(&str, MaskIp); 5] = [
    ("off", MaskIp::Off),
    ("prefix", MaskIp::Prefix),
    ("hash", MaskIp::Hash),
    ("hash_daily", MaskIp::HashDaily),
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

const ACCESS_SUCCESS: [(&str, AccessSuccess); 3] = [
    ("all", AccessSuccess::All),
    ("first", AccessSuccess::First),
    ("off", AccessSuccess::Off),
];

const PROXY_REQUESTS: [(&str, ProxyRequests); 2] = [
    ("all", ProxyRequests::All),
    ("errors", ProxyRequests::Errors),
];

const REQUIRES: [(&str, Require); 2] = [("all", Require::All), ("any", Require::Any)];

const DAY: Duration = Duration::from_secs(86_400);

keys! {
    /// The audit log: who did what, one JSON object a line.
    pub(crate) struct AuditFile {
        /// Whether it is written.
        enabled: bool = switch().or(true),
        /// The file; empty for none, when records are kept in the database alone. Default:
        /// `audit.log` in `data_dir`.
        file: Option<Option<PathBuf>> = maybe(path()).optional(),
        /// Whether records are kept in the database too, where they are found quickly.
        store_in_db: bool = switch().or(true),
        /// Where a record must be so that it counts as written: `all` is the file and the database;
        /// with `any` the file is enough, and the database gets what it lacks later.
        require: Require = choice(&REQUIRES).or(Require::All),
        /// How long records are kept in the database, and closed files. In production at least 7d.
        retention: Duration = duration(60_000..=315_360_000_000).or(Duration::from_secs(90 * 86_400)),
        /// Projects whose records are kept longer, as a court may want. As records are deleted from
        /// the beginning of their chain on, those after them stay too, and closed files all stay.
        hold: Vec<HoldFile> = listed(),
        /// Whether production may keep them for less than 7d.
        insecure_short_retention: bool = switch().or(false),
        /// Whether the folder of the file is made, with mode 0700.
        create_dir: bool = switch().or(true),
        /// Mode of the file.
        mode: u32 = choice(&MODES).or(0o600),
        /// How client addresses are written: `prefix` is /24 and /48, `hash` a keyed
        /// hash, `hash_daily` one with another key each day (in UTC), `drop` nothing.
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
        /// Which uses of tokens have a `token.access` event when they are let in: `first` is the first of
        /// each token, and then one an hour with how many there were. `all` is one more record for each
        /// call, whose `proxy_request` names the token too.
        access_success: AccessSuccess = choice(&ACCESS_SUCCESS).or(AccessSuccess::First),
        /// Which calls have a `proxy_request` event: with `errors` those that were refused, broken or
        /// left alone.
        proxy_request: ProxyRequests = choice(&PROXY_REQUESTS).or(ProxyRequests::All),
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
        /// Whether closed files are sealed, under a key that the vault keeps: `tollkeep audit cat` reads
        /// them. What was closed before is sealed too, and the plain files are deleted.
        encrypt: bool = switch().or(false),
        anchor: AnchorFile = section(),
        /// Further places that records go to.
        sinks: Vec<SinkFile> = listed(),
    }
}

keys! {
    /// A project whose records are kept longer.
    pub(crate) struct HoldFile {
        /// The project, by id.
        project: Option<ProjectId> = parsed("the id of a project, `prj_…`", |text| {
            text.parse().map_err(|_| "want the id of a project, `prj_…`".to_owned())
        })
        .required(),
        /// Until when, such as 2027-06-30T00:00:00Z.
        until: Option<WallMillis> = parsed("a time such as `2027-06-30T00:00:00Z`", |text| {
            text.parse().map_err(|_| "want a time such as `2027-06-30T00:00:00Z`".to_owned())
        })
        .required(),
    }
}

impl AuditFile {
    pub(super) fn check(self, data_dir: &Path, egress: &Egress, checks: &mut Checks<'_>) -> Audit {
        let by_default = || Some(data_dir.join("audit.log"));
        let file = self.file.unwrap_or_else(by_default);
        if self.enabled && file.is_none() && !self.store_in_db {
            let problem = "is empty while `audit.store_in_db` is off: records would be kept nowhere; \
                           `audit.enabled: false` says that none are wanted";
            checks.error("audit.file", problem);
        }
        if self.retention < 7 * DAY && checks.in_production() && !self.insecure_short_retention {
            let problem = "is shorter than 7d, which production refuses unless \
                           `audit.insecure_short_retention` is on";
            checks.error("audit.retention", problem);
        }
        let rotate = audit_kept::rotate(self.rotate);
        if self.enabled && self.encrypt && (rotate.is_none() || file.is_none()) {
            let problem = "seals files that the gateway closes, and it closes none: there must be \
                           `audit.file`, and `audit.rotate` must not be off";
            checks.error("audit.encrypt", problem);
        }
        let sinks = SinkFile::check(self.sinks, (file.as_ref(), self.format), egress, checks);
        Audit {
            enabled: self.enabled,
            file,
            store_in_db: self.store_in_db,
            require: self.require,
            retention: self.retention,
            insecure_short_retention: self.insecure_short_retention,
            // What is missing is told where it is read.
            hold: self.hold.into_iter().filter_map(HoldFile::read).collect(),
            create_dir: self.create_dir,
            mode: self.mode,
            mask_ip: self.mask_ip,
            unknown_token_mask: self.unknown_token_mask,
            user_agent: self.user_agent,
            deadline: self.deadline,
            access_on_failure: self.access_on_failure,
            access_success: self.access_success,
            proxy_request: self.proxy_request,
            queue: self.queue,
            format: self.format,
            events: self.events,
            user_id: self.user_id,
            cliproxy_millis: self.cliproxy_millis,
            checkpoint_every: self.checkpoint_every,
            rotate,
            encrypt: self.encrypt,
            anchor: self.anchor.check(egress, checks),
            sinks,
        }
    }
}

impl HoldFile {
    fn read(self) -> Option<Hold> {
        Some(Hold {
            project: self.project?,
            until: self.until?,
        })
    }
}
