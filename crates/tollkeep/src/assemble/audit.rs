//! The audit log and the line files, as the settings want them.

use super::Base;
use super::vault::Vault;
use crate::exit::{self, Failed};
use anyhow::Context;
use std::sync::Arc;
use tollkeep_audit::{
    Chosen, Cliproxy, EventType, IpMask, Logger, LoggerConfig, Means, OnFailure, Rotation, Signing,
    Told, UserAgentDetail, UserId,
};
use tollkeep_config::settings::{
    AccessLog, AccessOnFailure, AuditEvents, AuditFormat, AuditUserId, Level, MaskIp, Settings,
    UserAgent,
};
use tollkeep_observe::line_sink::{LineOutput, LineSink};
use tollkeep_observe::logs;
use tollkeep_observe::redact::Redactor;

/// Opens the audit log; `None` when it is off.
///
/// # Errors
/// Its file or folder is not usable.
pub(crate) fn open(base: &Base, vault: &Vault, told: Told) -> anyhow::Result<Option<Arc<Logger>>> {
    let audit = &base.settings.audit;
    if !audit.enabled {
        return Ok(None);
    }
    let config = LoggerConfig {
        file_path: audit.file.clone(),
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
        cliproxy: (audit.format == AuditFormat::Cliproxy).then(|| Cliproxy {
            user_id: match audit.user_id {
                AuditUserId::Owner => UserId::Owner,
                AuditUserId::Pseudonym => UserId::Pseudonym,
                AuditUserId::Off => UserId::Off,
            },
            key: vault.fingerprint_key,
            millis: audit.cliproxy_millis,
        }),
        events: chosen(&audit.events),
        signing: Some(Signing {
            every_events: audit.checkpoint_every.events,
            every: audit.checkpoint_every.time,
            told: Some(told),
            ..Signing::new(vault.audit_signer.clone())
        }),
        rotation: audit.rotate.as_ref().map(|rotate| Rotation {
            size_bytes: rotate.size,
            daily: rotate.daily,
            keep: rotate.keep,
            keep_for: None,
            compress: rotate.compress,
        }),
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
        MaskIp::Drop => IpMask::Drop,
    }
}

/// The files of lines beside the audit log.
pub(crate) struct Lines {
    /// One line a request.
    pub(crate) access: Option<LineSink>,
    /// Whether only failed requests have one.
    pub(crate) access_errors_only: bool,
    /// One line a call to a model.
    pub(crate) usage: LineSink,
}

impl Lines {
    /// All of them.
    pub(crate) fn all(self) -> Vec<LineSink> {
        let usage = [self.usage].into_iter();
        usage.chain(self.access).collect()
    }
}

/// Opens the line files.
///
/// # Errors
/// A file can't be opened.
pub(crate) fn line_sinks(base: &Base) -> anyhow::Result<Lines> {
    let logging = &base.settings.logging;
    let open = |output: &LineOutput| {
        LineSink::open(output, Arc::clone(&base.clock), base.metrics.log())
            .with_context(|| format!("cannot open {output:?}"))
    };
    let output = logging
        .output
        .clone()
        .map_or(LineOutput::Stdout, LineOutput::File);
    let access = match logging.access {
        AccessLog::Off => None,
        AccessLog::On | AccessLog::Errors => Some(open(&output)?),
    };
    Ok(Lines {
        access,
        access_errors_only: logging.access == AccessLog::Errors,
        usage: open(&LineOutput::File(
            base.settings.data_dir.join("usage.jsonl"),
        ))?,
    })
}
