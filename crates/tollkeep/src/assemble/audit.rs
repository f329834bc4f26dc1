//! The audit log and the line files, as the settings want them.

use super::Base;
use super::anchors::Anchors;
use super::vault::Vault;
use crate::exit::{self, Failed};
use anyhow::Context;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tollkeep_audit::{
    Chosen, Cliproxy, DatabaseError, DatabaseStore, EventType, IpMask, Logger, LoggerConfig,
    Masker, Means, OnFailure, Require, Rotation, Signing, Standing, UnknownMask, UserAgentDetail,
    UserId,
};
use tollkeep_config::settings::{
    self, AccessLog, AccessOnFailure, AuditEvents, AuditFormat, AuditUserId, Level, MaskIp,
    Settings, UnknownTokenMask, UserAgent,
};
use tollkeep_gateway::Recorder;
use tollkeep_observe::line_sink::{LineOutput, LineSink};
use tollkeep_observe::logs;
use tollkeep_observe::redact::Redactor;
use tollkeep_store::{AuditStream, Store, StoreError};
use tollkeep_types::{Clock, StreamId};

/// Opens the audit log; `None` when it is off.
///
/// # Errors
/// Its file or folder is not usable.
pub(crate) fn open(
    base: &Base,
    vault: &Vault,
    store: &Store,
    anchors: &Anchors,
) -> anyhow::Result<Option<Arc<Logger>>> {
    let audit = &base.settings.audit;
    if !audit.enabled {
        return Ok(None);
    }
    let config = LoggerConfig {
        file_path: audit.file.clone().unwrap_or_default(),
        database_store: audit.store_in_db.then(|| Records::of(base, store)),
        require: match audit.require {
            settings::Require::All => Require::All,
            settings::Require::Any => Require::Any,
        },
        create_dir: audit.create_dir,
        mode: audit.mode,
        ip_mask: ip_mask(base, vault),
        user_agent: match audit.user_agent {
            UserAgent::Full => UserAgentDetail::Full,
            UserAgent::Family => UserAgentDetail::Family,
            UserAgent::Off => UserAgentDetail::Off,
        },
        deadline: audit.deadline,
        on_failure: match audit.access_on_failure {
            AccessOnFailure::Closed => OnFailure::Closed,
            AccessOnFailure::Open => OnFailure::Open,
        },
        queue_events: audit.queue,
        redactor: redactor(&base.settings),
        cliproxy: (audit.format == AuditFormat::Cliproxy).then(|| cliproxy(&base.settings, vault)),
        events: chosen(&audit.events),
        signing: Some(Signing {
            every_events: audit.checkpoint_every.events,
            every: audit.checkpoint_every.interval,
            told: Some(anchors.told()),
            ledger_head: Arc::clone(&anchors.ledger_head),
            others: Arc::clone(&anchors.chains),
            ..Signing::new(vault.audit_signer.clone())
        }),
        rotation: audit.rotate.as_ref().map(|rotate| Rotation {
            size_bytes: rotate.size,
            daily: rotate.daily,
            // What somebody wants held may be in any of them.
            keep: if audit.hold.is_empty() {
                rotate.keep
            } else {
                usize::MAX
            },
            keep_for: audit.hold.is_empty().then_some(audit.retention),
            compress: rotate.compress,
            seal: audit.encrypt,
        }),
        archive_key: vault.archive_key.clone(),
    };
    let means = Means {
        clock: Arc::clone(&base.clock),
        entropy: Arc::clone(&base.entropy),
        meter: base.metrics.audit(),
    };
    let logger = Logger::new(config, means)
        .map_err(|error| Failed::new(exit::INVALID, format!("audit log: {error}")))?;
    Ok(Some(Arc::new(logger)))
}

/// How lines of cliproxyapi++ are written.
pub(super) fn cliproxy(settings: &Settings, vault: &Vault) -> Cliproxy {
    Cliproxy {
        user_id: match settings.audit.user_id {
            AuditUserId::Owner => UserId::Owner,
            AuditUserId::Pseudonym => UserId::Pseudonym,
            AuditUserId::Off => UserId::Off,
        },
        key: vault.fingerprint_key,
        millis: settings.audit.cliproxy_millis,
    }
}

/// The store, as the log keeps records in it. The log's threads wait for what the control plane does.
struct Records {
    store: Store,
    control: Handle,
    replica: String,
    is_in_process: bool,
}

impl Records {
    fn of(base: &Base, store: &Store) -> Arc<dyn DatabaseStore> {
        Arc::new(Self {
            store: store.clone(),
            control: Handle::current(),
            replica: super::ledger::replica(base).to_string(),
            is_in_process: base.settings.store.postgres.is_none(),
        })
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Records")
    }
}

impl DatabaseStore for Records {
    fn is_in_process(&self) -> bool {
        self.is_in_process
    }

    fn keep(&self, lines: &str, through: Option<u64>) -> Result<(), DatabaseError> {
        let kept = self.store.keep_audit(&self.replica, lines, through);
        self.control.block_on(kept).map_err(fault)
    }

    fn standing(&self, stream: Option<StreamId>) -> Result<Option<Standing>, DatabaseError> {
        let named = stream.map(|stream| stream.to_string());
        let of = match &named {
            Some(stream) => AuditStream::Named(stream),
            None => AuditStream::OfReplica(&self.replica),
        };
        let found = self.control.block_on(self.store.audit_standing(of));
        let Some(found) = found.map_err(fault)? else {
            return Ok(None);
        };
        let unreadable =
            |_| DatabaseError("a stream of the audit log has no readable id".to_owned());
        Ok(Some(Standing {
            stream: found.stream.parse().map_err(unreadable)?,
            seq: found.seq,
            hash: found.hash,
            through: found.through,
        }))
    }

    fn lines_after(
        &self,
        stream: StreamId,
        seq: u64,
        records: usize,
    ) -> Result<String, DatabaseError> {
        let (stream, records) = (
            stream.to_string(),
            u32::try_from(records).unwrap_or(u32::MAX),
        );
        let lines = self.store.audit_lines_after(&stream, seq, records);
        self.control.block_on(lines).map_err(fault)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given so")]
fn fault(error: StoreError) -> DatabaseError {
    DatabaseError(error.to_string())
}

/// Which events are written.
fn chosen(events: &[AuditEvents]) -> Chosen {
    let kinds: Option<Vec<_>> = events.iter().map(|one| kind(*one)).collect();
    match kinds {
        Some(kinds) if !kinds.is_empty() => Chosen::Kinds(kinds),
        Some(_) | None => Chosen::All,
    }
}

/// `None` for all of them.
const fn kind(events: AuditEvents) -> Option<EventType> {
    match events {
        AuditEvents::AuthSuccess => Some(EventType::AuthSuccess),
        AuditEvents::AuthFailure => Some(EventType::AuthFailure),
        AuditEvents::TokenRefresh => Some(EventType::TokenRefresh),
        AuditEvents::ConfigChange => Some(EventType::ConfigChange),
        AuditEvents::ProviderRequest => Some(EventType::ProviderRequest),
        AuditEvents::SecurityViolation => Some(EventType::SecurityViolation),
        AuditEvents::All => None,
    }
}

/// What is hidden in anything written: known prefixes of secrets, and the configured ones.
pub(crate) fn redactor(settings: &Settings) -> Redactor {
    let auth = &settings.auth;
    Redactor::new([auth.token_prefix.as_str(), auth.management_prefix.as_str()].into_iter())
}

/// How credentials are shown that are not known.
pub(crate) fn masker(settings: &Settings) -> Masker {
    let unknown = match settings.audit.unknown_token_mask {
        UnknownTokenMask::Partial => UnknownMask::Partial,
        UnknownTokenMask::Full => UnknownMask::Full,
    };
    Masker::new(unknown, redactor(settings))
}

/// How often is looked for what was kept back.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Tells of events that were kept back, for as long as the process lives.
pub(super) async fn tell_kept_back(recorder: Arc<Recorder>, clock: Arc<dyn Clock>) {
    let mut ticks = tokio::time::interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        recorder.tell_kept_back(clock.wall());
    }
}

/// From which level on the process log is written.
pub(crate) fn log_level(settings: &Settings) -> logs::Level {
    match settings.logging.level {
        Level::Trace => logs::Level::Trace,
        Level::Debug => logs::Level::Debug,
        Level::Info => logs::Level::Info,
        Level::Warn => logs::Level::Warn,
        Level::Error => logs::Level::Error,
    }
}

/// How addresses are written down.
pub(crate) fn ip_mask(base: &Base, vault: &Vault) -> IpMask {
    match base.settings.audit.mask_ip {
        MaskIp::Off => IpMask::Off,
        MaskIp::Prefix => IpMask::Prefix,
        MaskIp::Hash => IpMask::Hash(vault.fingerprint_key),
        MaskIp::HashDaily => IpMask::HashDaily(vault.fingerprint_key),
        MaskIp::Drop => IpMask::Drop,
    }
}

/// The files of lines beside the audit log.
pub(crate) struct Lines {
    /// One line a request.
    pub(crate) access: Option<LineSink>,
    /// Whether only failed requests have one.
    pub(crate) access_errors_only: bool,
    /// The log of the process.
    pub(crate) log: LineSink,
    /// One line a call to a model.
    pub(crate) usage: LineSink,
}

impl Lines {
    /// All of them.
    pub(crate) fn all(self) -> Vec<LineSink> {
        let own = [self.usage, self.log].into_iter();
        own.chain(self.access).collect()
    }
}

/// Opens the line files.
///
/// # Errors
/// A file can't be opened.
pub(crate) fn line_sinks(base: &Base, log: LineSink) -> anyhow::Result<Lines> {
    let logging = &base.settings.logging;
    base.metrics.count_log(log.meter());
    let open = |output: &LineOutput| {
        LineSink::open(output, Arc::clone(&base.clock), base.metrics.log())
            .with_context(|| format!("cannot open {output:?}"))
    };
    let access = match (logging.access, &logging.output) {
        (AccessLog::Off, _) => None,
        // One file has one writer, who closes it when it is full.
        (AccessLog::On | AccessLog::Errors, Some(_)) => Some(log.clone()),
        (AccessLog::On | AccessLog::Errors, None) => Some(open(&LineOutput::Stdout)?),
    };
    Ok(Lines {
        access,
        access_errors_only: logging.access == AccessLog::Errors,
        usage: open(&crate::command::logs::file(
            base.settings.data_dir.join("usage.jsonl"),
            &logging.rotation,
        ))?,
        log,
    })
}
