//! Further places of audit records, as the settings want them.

use super::Base;
use super::anchors::hook_endpoint;
use super::egress::outside;
use super::reload::Reloader;
use super::vault::Vault;
use crate::exit::{self, Failed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tollkeep_audit::{
    FileDoor, Logger, Prepared, Relay, RelayConfig, RelayDoor, RelayLine, StdoutDoor, Wanted,
    syslog_messages,
};
use tollkeep_config::settings::{AuditFormat, AuditSink, Settings, SinkPlace, SinkSecret, SinkUrl};
use tollkeep_crypto::hmac_sha256;
use tollkeep_net::fetch::{self, Bounds, FetchError};
use tollkeep_net::hand_over::{self, hand_over};
use tollkeep_observe::health::{Check, Reason};
use tollkeep_observe::metrics::Metrics;
use tollkeep_types::{Clock, Secret};

/// How long the last records may take to be given when the gateway stops. What is left is given at the
/// next start.
const LAST_MAX: Duration = Duration::from_secs(2);

/// How long it may take to reach one, where it is only looked whether it can be.
const REACH_MAX: Duration = Duration::from_secs(5);

/// How long a receiver may take for a lot, and what of its answer is read.
const BOUNDS: Bounds = Bounds {
    bytes_max: 1024,
    patience: Duration::from_secs(15),
};

/// Sinks before the log is opened.
pub(super) struct Sinks(Vec<(AuditSink, Prepared)>);

/// Reads how far each came.
///
/// # Errors
/// What a sink remembers can't be read, or it wants events that there are not.
pub(super) fn prepare(base: &Base, vault: &Vault) -> anyhow::Result<Sinks> {
    let audit = &base.settings.audit;
    let (true, Some(log)) = (audit.enabled, &audit.file) else {
        return Ok(Sinks(Vec::new()));
    };
    let mut sinks = Vec::new();
    for (index, sink) in audit.sinks.iter().enumerate() {
        let refused = |problem: String| {
            Failed::new(exit::INVALID, format!("audit.sinks[{index}]: {problem}"))
        };
        let in_cliproxy = sink.format == AuditFormat::Cliproxy;
        let wanted = Wanted::of(&sink.events, in_cliproxy)
            .map_err(|error| refused(format!("events: {error}")))?;
        let translated = in_cliproxy && audit.format != AuditFormat::Cliproxy;
        let config = RelayConfig {
            name: sink.name.clone(),
            log: log.clone(),
            state: base
                .settings
                .data_dir
                .join(format!("audit-sink-{}.json", sink.name)),
            cliproxy: translated.then(|| super::audit::cliproxy(&base.settings, vault)),
            wanted,
            signer: Some(vault.audit_signer.clone()),
            archive_key: vault.archive_key.clone(),
        };
        let prepared = Relay::prepare(config, &*base.clock, &*base.entropy);
        let prepared = prepared.map_err(|error| refused(error.to_string()))?;
        sinks.push((sink.clone(), prepared));
    }
    Ok(Sinks(sinks))
}

impl Sinks {
    /// Begins to give records.
    ///
    /// # Errors
    /// The file of a sink is not usable.
    pub(super) fn start(
        self,
        base: &Base,
        audit: Option<&Logger>,
        reloader: &Arc<Reloader>,
    ) -> anyhow::Result<Vec<Relay>> {
        let mut relays = Vec::new();
        let Some(audit) = audit else {
            return Ok(relays);
        };
        for (sink, prepared) in self.0 {
            let refused = |problem: String| {
                let name = &sink.name;
                Failed::new(exit::INVALID, format!("audit sink `{name}`: {problem}"))
            };
            let door = door(base, reloader, &sink, &prepared).map_err(&refused)?;
            let meter = base.metrics.audit_sink(&sink.name);
            let relay = prepared.start(door, audit.health(), meter);
            relays.push(relay.map_err(|error| refused(error.to_string()))?);
        }
        Ok(relays)
    }
}

/// Lets each give what the log still has, all at the same time.
pub(super) fn stop(relays: &[Relay], clock: &dyn Clock) {
    relays.iter().for_each(Relay::wind_up);
    let began = clock.mono();
    for relay in relays {
        let waited = Duration::from_nanos(clock.mono().since(began));
        if !relay.wait_end(LAST_MAX.saturating_sub(waited)) {
            tracing::warn!("The last audit records are given to a sink at the next start");
        }
    }
}

/// Whether each sink of these settings can be reached from here, by name. Nothing is given to any.
///
/// # Errors
/// There is no way out, or no runtime.
pub(crate) fn reach(settings: &Settings) -> anyhow::Result<Vec<(String, Result<(), String>)>> {
    outside(settings, async |door| {
        let mut found = Vec::new();
        for sink in &settings.audit.sinks {
            let reached = match &sink.place {
                SinkPlace::Stdout => Ok(()),
                SinkPlace::File(path) => can_be_written(path),
                SinkPlace::Syslog(to) | SinkPlace::Webhook(to, _) => {
                    let endpoint = hook_endpoint(&door, &to.url, &to.allow_private);
                    let reached = hand_over::reach(&endpoint, REACH_MAX).await;
                    reached.map_err(|error| error.to_string())
                }
            };
            found.push((sink.name.clone(), reached));
        }
        found
    })
}

/// Whether a file can be written, or made in a folder that is there; it is not made.
fn can_be_written(path: &Path) -> Result<(), String> {
    let opened = OpenOptions::new().append(true).open(path);
    match opened {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let access = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK);
            access.map_err(|error| format!("{}: {error}", folder.display()))
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn door(
    base: &Base,
    reloader: &Arc<Reloader>,
    sink: &AuditSink,
    prepared: &Prepared,
) -> Result<Box<dyn RelayDoor>, String> {
    let way = |url: &SinkUrl| Way {
        url: url.clone(),
        reloader: Arc::clone(reloader),
        control: Handle::current(),
    };
    Ok(match &sink.place {
        SinkPlace::File(path) => {
            let place = (path.clone(), base.settings.audit.mode);
            let door = FileDoor::open(place, prepared.stream(), Arc::clone(&base.clock));
            Box::new(door.map_err(|error| error.to_string())?)
        }
        SinkPlace::Stdout => Box::new(StdoutDoor::open().map_err(|error| error.to_string())?),
        SinkPlace::Syslog(url) => Box::new(Syslog {
            way: way(url),
            host: host_name(),
        }),
        SinkPlace::Webhook(url, SinkSecret(secret)) => Box::new(Webhook {
            way: way(url),
            key: secret.clone(),
            clock: Arc::clone(&base.clock),
        }),
    })
}

/// What the machine is called; nothing, if it does not say.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.unwrap_or_default().trim().to_owned()
}

/// Whether one of them takes nothing.
pub(super) fn check(metrics: &Arc<Metrics>) -> (Reason, Check) {
    let metrics = Arc::clone(metrics);
    let check = Box::new(move |_| metrics.has_failing_audit_sink());
    (Reason::AuditSink, check)
}

/// The way to a receiver.
struct Way {
    url: SinkUrl,
    reloader: Arc<Reloader>,
    control: Handle,
}

/// A receiver of syslog.
struct Syslog {
    way: Way,
    host: String,
}

impl RelayDoor for Syslog {
    fn give(&mut self, lines: &[RelayLine]) -> Result<(), String> {
        let bytes = syslog_messages(lines, &self.host, std::process::id());
        let door = self.way.reloader.door().ok_or("there is no way out yet")?;
        let endpoint = hook_endpoint(&door, &self.way.url.url, &self.way.url.allow_private);
        let handed = hand_over(&endpoint, &bytes, BOUNDS.patience);
        let handed = self.way.control.block_on(handed);
        handed.map_err(|error| error.to_string())
    }
}

/// Whoever takes signed posts.
struct Webhook {
    way: Way,
    key: Secret,
    clock: Arc<dyn Clock>,
}

impl RelayDoor for Webhook {
    fn give(&mut self, lines: &[RelayLine]) -> Result<(), String> {
        let mut body = Vec::new();
        for line in lines {
            body.extend_from_slice(line.text.as_bytes());
            body.push(b'\n');
        }
        let fields = self.fields(lines, &body)?;
        let door = self.way.reloader.door().ok_or("there is no way out yet")?;
        let endpoint = hook_endpoint(&door, &self.way.url.url, &self.way.url.allow_private);
        let posted = fetch::post(&endpoint, fields, body, BOUNDS);
        match self.way.control.block_on(posted) {
            Ok(_) | Err(FetchError::Status(201..=299)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Webhook {
    /// What says what it is, when it was sent, and that it is from us. The id is the same when the same
    /// lot is sent again.
    fn fields(
        &self,
        lines: &[RelayLine],
        body: &[u8],
    ) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let id = match (lines.first(), lines.last()) {
            (Some(first), Some(last)) => format!("aud_{}_{}", first.seq, last.seq),
            _ => "aud".to_owned(),
        };
        let at = self.clock.wall().0 / 1000;
        let key = self.key.expose().trim_start_matches("whsec_");
        let key = STANDARD
            .decode(key)
            .map_err(|_| "its secret can't be read")?;
        let signed = [format!("{id}.{at}.").as_bytes(), body].concat();
        let signature = format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &signed)));
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        Ok(vec![
            (
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-ndjson"),
            ),
            (HeaderName::from_static("webhook-id"), value(&id)?),
            (
                HeaderName::from_static("webhook-timestamp"),
                value(&at.to_string())?,
            ),
            (
                HeaderName::from_static("webhook-signature"),
                value(&signature)?,
            ),
        ])
    }
}
