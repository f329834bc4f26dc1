//! What becomes of the audit log: when it is signed, when a file is closed, where its checkpoints
//! are kept besides.

use super::{DAY_MS, Egress, ms};
use crate::check::Checks;
use crate::field::{KindExt, OnOrOff};
use crate::kind::{
    bytes, duration, maybe, networks_or_all_private, parsed, path, secret, switch, whole,
};
use crate::reader::keys;
use crate::tree::KeyPath;
use ipnet::IpNet;
use std::path::PathBuf;
use std::time::Duration;
use tollkeep_policy::egress::{EgressUrl, Exceptions, Purpose};
use tollkeep_types::Secret;

/// The words a line is written in (AUD-2, AUD-3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuditFormat {
    /// Those of llm-proxy, and ours behind them.
    LlmProxy,
    /// Those of cliproxyapi++, and ours behind them.
    Cliproxy,
}

pub(super) const FORMATS: [(&str, AuditFormat); 2] = [
    ("llm-proxy", AuditFormat::LlmProxy),
    ("cliproxy", AuditFormat::Cliproxy),
];

/// A kind of events that may be chosen (AUD-4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum AuditEvents {
    AuthSuccess,
    AuthFailure,
    TokenRefresh,
    ConfigChange,
    ProviderRequest,
    SecurityViolation,
    All,
}

pub(super) const EVENTS: [(&str, AuditEvents); 7] = [
    ("auth_success", AuditEvents::AuthSuccess),
    ("auth_failure", AuditEvents::AuthFailure),
    ("token_refresh", AuditEvents::TokenRefresh),
    ("config_change", AuditEvents::ConfigChange),
    ("provider_request", AuditEvents::ProviderRequest),
    ("security_violation", AuditEvents::SecurityViolation),
    ("*", AuditEvents::All),
];

/// Who acted, in `user_id` (AUD-3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuditUserId {
    /// The id of the token, key or operator.
    Owner,
    /// A keyed hash of it.
    Pseudonym,
    /// Nothing.
    Off,
}

pub(super) const USER_IDS: [(&str, AuditUserId); 3] = [
    ("owner", AuditUserId::Owner),
    ("pseudonym", AuditUserId::Pseudonym),
    ("off", AuditUserId::Off),
];

keys! {
    /// When a signed record of where the chain stands is written: whichever comes first.
    #[derive(Eq, PartialEq)]
    pub struct CheckpointEvery {
        /// Events since the last one.
        events: u64 = whole(1..=1_000_000).or(1_000),
        /// How long an event waits for one.
        interval: Duration = duration(1_000..=DAY_MS).or(ms(60_000)),
    }
}

/// When the file is closed, and what becomes of closed ones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotate {
    /// Bytes of a file.
    pub size: u64,
    /// Whether each day (UTC) begins one.
    pub daily: bool,
    /// Closed files that are kept.
    pub keep: usize,
    /// Whether they are compressed, but for the last.
    pub compress: bool,
}

keys! {
    /// When the file is closed under a name of its own and the next begun; `off` where others do
    /// that, such as logrotate.
    pub(crate) struct RotateFile {
        /// Size of a file.
        size: u64 = bytes(64 << 10..=1 << 40).or(100 << 20),
        /// Whether each day (UTC) begins a file.
        daily: bool = switch().or(true),
        /// Closed files that are kept; the oldest is deleted after a signed record that says so.
        keep: usize = whole(1..=100_000).or(90),
        /// Whether closed files are compressed (gzip), but for the last. With `audit.encrypt` all are, as
        /// Zstandard, before they are sealed.
        compress: bool = switch().or(true),
    }
}

pub(super) fn rotate(file: OnOrOff<RotateFile>) -> Option<Rotate> {
    match file {
        OnOrOff::Off => None,
        OnOrOff::Absent => Some(Rotate {
            size: 100 << 20,
            daily: true,
            keep: 90,
            compress: true,
        }),
        OnOrOff::On(file) => Some(Rotate {
            size: file.size,
            daily: file.daily,
            keep: file.keep,
            compress: file.compress,
        }),
    }
}

/// Where checkpoints are kept besides, so that whoever may write the log can't cut its end off
/// unseen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Anchor {
    /// A file, best on another volume or machine.
    pub file: Option<PathBuf>,
    /// Whoever is told of each.
    pub webhook: Option<AnchorHook>,
}

/// Whoever is told of checkpoints.
#[derive(Clone, Debug)]
pub struct AnchorHook {
    /// Where.
    pub url: EgressUrl,
    /// Private networks it may be in.
    pub allow_private: Vec<IpNet>,
    /// What stands in `authorization`, behind `Bearer`.
    pub token: Option<Secret>,
}

impl PartialEq for AnchorHook {
    fn eq(&self, other: &Self) -> bool {
        let secret = |hook: &Self| hook.token.as_ref().map(Secret::expose).map(str::to_owned);
        self.url == other.url
            && self.allow_private == other.allow_private
            && secret(self) == secret(other)
    }
}

impl Eq for AnchorHook {}

keys! {
    /// Where each checkpoint is kept besides: who may write the log can't cut its end off unseen
    /// where they can't write.
    pub(crate) struct AnchorFile {
        /// A file each is appended to, best on another volume or machine. Empty: none.
        file: Option<PathBuf> = maybe(path()).or(None),
        /// A URL each is posted to, as JSON.
        url: Option<EgressUrl> = parsed("URL", |text| {
            super::egress::operator_url(text, Purpose::Webhook)
        })
        .optional(),
        /// Private networks it may be in; other private addresses are refused.
        allow_private: Vec<IpNet> = networks_or_all_private().or_empty(),
        /// What is sent in `authorization`, behind `Bearer`.
        token: Option<Secret> = secret().optional(),
    }
}

impl AnchorFile {
    pub(super) fn check(self, egress: &Egress, checks: &mut Checks<'_>) -> Anchor {
        let path = KeyPath::of("audit.anchor");
        let webhook = self.url.map(|url| {
            let exceptions = Exceptions {
                allow_private: self.allow_private.clone(),
                allow_metadata: false,
            };
            if let Err(problem) = egress.admit(&url, &exceptions) {
                checks.error_at(&path.name("url"), problem);
            }
            AnchorHook {
                url,
                allow_private: self.allow_private,
                token: self.token.clone(),
            }
        });
        if webhook.is_none() && self.token.is_some() {
            checks.error_at(&path.name("token"), "is sent nowhere without a `url`");
        }
        Anchor {
            file: self.file,
            webhook,
        }
    }
}
