//! What `doctor` looks at of the audit log: whether it is kept, sealed, and reaches its further places.

use super::{Found, Severity, Status};
use crate::assemble::reach_sinks;
use tollkeep_config::settings::Settings;

/// Everything that is seen of the audit log from here.
pub(super) fn audit(settings: &Settings) -> Vec<Found> {
    let mut all = vec![kept(settings), sealed(settings)];
    if settings.audit.enabled {
        all.extend(sinks(settings));
    }
    all
}

fn kept(settings: &Settings) -> Found {
    Found {
        number: 43,
        severity: Severity::Error,
        title: "what happens is recorded",
        why: "without an audit log nobody can tell what was done, and by whom",
        status: if settings.audit.enabled {
            Status::Pass
        } else {
            let found = "`audit.enabled` is off".to_owned();
            Status::Fail(found, "audit: { enabled: true }".to_owned())
        },
    }
}

fn sealed(settings: &Settings) -> Found {
    let audit = &settings.audit;
    let status = if !audit.enabled || audit.file.is_none() {
        Status::Skipped("there is no audit file".to_owned())
    } else if audit.rotate.is_none() {
        Status::Skipped("`audit.rotate` is off: others close the files".to_owned())
    } else if audit.encrypt {
        Status::Pass
    } else {
        let found = "`audit.encrypt` is off".to_owned();
        Status::Fail(found, "audit: { encrypt: true }".to_owned())
    };
    Found {
        number: 49,
        severity: Severity::Info,
        title: "closed audit files are sealed",
        why: "who copies the data folder reads who did what, and from where",
        status,
    }
}

/// Whether each further place can be reached.
fn sinks(settings: &Settings) -> Vec<Found> {
    let found = |status| Found {
        number: 85,
        severity: Severity::Warn,
        title: "further places of audit records are reached",
        why: "what a place lacks stands in the audit file alone, until that is deleted",
        status,
    };
    if settings.audit.sinks.is_empty() {
        return Vec::new();
    }
    let reached = match reach_sinks(settings) {
        Ok(reached) => reached,
        Err(error) => return vec![found(Status::Skipped(format!("{error:#}")))],
    };
    let each = reached.into_iter().map(|(name, reached)| {
        found(match reached {
            Ok(()) => Status::Pass,
            Err(why) => {
                let fix = "see that it runs, and what `egress` and `allow_private` let through";
                Status::Fail(format!("`{name}`: {why}"), fix.to_owned())
            }
        })
    });
    each.collect()
}
