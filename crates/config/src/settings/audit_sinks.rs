//! Further places that audit records go to.

use super::Egress;
use super::audit_kept::{AuditFormat, FORMATS};
use crate::check::Checks;
use crate::field::{KindExt, plain_name};
use crate::kind::{choice, list, networks_or_all_private, parsed, path, secret, text};
use crate::reader::keys;
use crate::tree::KeyPath;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use std::path::PathBuf;
use tollkeep_policy::egress::{EgressUrl, Exceptions, Purpose};
use tollkeep_types::Secret;

/// Sinks at most: each has a thread and reads the file.
const SINKS_MAX: usize = 16;

/// A further place of audit records (AUD-20).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditSink {
    /// Its name.
    pub name: String,
    /// Where.
    pub place: SinkPlace,
    /// The words of its lines.
    pub format: AuditFormat,
    /// Which events: actions with `*` for any text, and kinds; all, if none is named.
    pub events: Vec<String>,
}

/// Where records go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SinkPlace {
    /// A file of its own.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// A receiver of syslog, over TCP or TLS.
    Syslog(SinkUrl),
    /// Whoever takes signed posts.
    Webhook(SinkUrl, SinkSecret),
}

/// An address that records are sent to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SinkUrl {
    /// As the way out knows it: `https` for TLS, `http` for none.
    pub url: EgressUrl,
    /// Private networks it may be in.
    pub allow_private: Vec<IpNet>,
}

/// What posts are signed with.
#[derive(Clone, Debug)]
pub struct SinkSecret(pub Secret);

impl PartialEq for SinkSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose() == other.0.expose()
    }
}

impl Eq for SinkSecret {}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SinkType {
    File,
    Stdout,
    Syslog,
    Webhook,
}

const TYPES: [(&str, SinkType); 4] = [
    ("file", SinkType::File),
    ("stdout", SinkType::Stdout),
    ("syslog", SinkType::Syslog),
    ("webhook", SinkType::Webhook),
];

keys! {
    /// A further place that audit records go to, in a chain of its own. It is read for from the audit
    /// file, so that nothing waits for it and nothing is lost while it is down.
    pub(crate) struct SinkFile {
        /// Its name, in metrics and for what is remembered of it.
        name: Option<String> = parsed("a name of `a-z`, `0-9`, `-`", |name| {
            plain_name(name).map(|()| name.to_owned())
        })
        .required(),
        /// `file`, `stdout`, `syslog` or `webhook`.
        kind as "type": Option<SinkType> = choice(&TYPES).later(&["s3"]).required(),
        /// Of `file`: the file.
        path: Option<PathBuf> = path().optional(),
        /// Of `webhook` a URL; of `syslog` `tls://host:6514`, or `tcp://host:port` in clear text. UDP
        /// is not offered: it loses lines silently.
        url: Option<String> = text().optional(),
        /// Private networks it may be in; other private addresses are refused.
        allow_private: Vec<IpNet> = networks_or_all_private().or_empty(),
        /// Of `webhook`: what posts are signed with, `whsec_` and base64 of 24 to 64 bytes.
        secret: Option<Secret> = secret().optional(),
        /// The words of a line: those of `audit.format` if it is not given.
        format: Option<AuditFormat> = choice(&FORMATS).optional(),
        /// Which events: actions, in which `*` stands for any text, such as `token.*`, and kinds such as
        /// `auth_failure`; all, if none is named.
        events: Vec<String> = list(text()).or_empty(),
    }
}

impl SinkFile {
    /// All that are whole.
    pub(super) fn check(
        files: Vec<Self>,
        (log, format): (Option<&PathBuf>, AuditFormat),
        egress: &Egress,
        checks: &mut Checks<'_>,
    ) -> Vec<AuditSink> {
        let root = KeyPath::of("audit.sinks");
        if files.len() > SINKS_MAX {
            checks.error_at(&root, format!("has more than {SINKS_MAX} entries"));
        }
        if !files.is_empty() && log.is_none() {
            let problem = "needs `audit.file`: what could not be sent yet is read from it again";
            checks.error_at(&root, problem);
        }
        let mut sinks: Vec<AuditSink> = Vec::new();
        for (index, file) in files.into_iter().enumerate() {
            let at = root.index(index);
            let Some(sink) = file.read((&at, format), egress, checks) else {
                continue;
            };
            if sinks.iter().any(|other| other.name == sink.name) {
                let problem = format!("`{}` is another sink's name", sink.name);
                checks.error_at(&at.name("name"), problem);
            }
            let is_log = matches!(&sink.place, SinkPlace::File(path) if Some(path) == log);
            let is_twice = |other: &AuditSink| other.place == sink.place;
            if is_log || (matches!(sink.place, SinkPlace::File(_)) && sinks.iter().any(is_twice)) {
                checks.error_at(&at.name("path"), "is written by another part of the log");
            }
            sinks.push(sink);
        }
        sinks
    }

    /// `None` once a fault is told.
    fn read(
        self,
        (at, format): (&KeyPath, AuditFormat),
        egress: &Egress,
        checks: &mut Checks<'_>,
    ) -> Option<AuditSink> {
        let (name, kind) = (self.name?, self.kind?);
        let own = self.format.unwrap_or(format);
        if own == AuditFormat::LlmProxy && format == AuditFormat::Cliproxy {
            let problem = "needs `audit.format: llm-proxy`: the file says too little else";
            checks.error_at(&at.name("format"), problem);
        }
        let is_sent = matches!(kind, SinkType::Syslog | SinkType::Webhook);
        for (key, is_given, belongs) in [
            ("path", self.path.is_some(), kind == SinkType::File),
            ("url", self.url.is_some(), is_sent),
            ("allow_private", !self.allow_private.is_empty(), is_sent),
            ("secret", self.secret.is_some(), kind == SinkType::Webhook),
        ] {
            let is_needed = key != "allow_private" && belongs;
            if is_given && !belongs {
                checks.error_at(&at.name(key), "says nothing to a sink of this type");
            }
            if is_needed && !is_given {
                checks.error_at(&at.name(key), "is missing");
            }
        }
        let place = match kind {
            SinkType::File => SinkPlace::File(self.path?),
            SinkType::Stdout => SinkPlace::Stdout,
            SinkType::Syslog | SinkType::Webhook => {
                let is_syslog = kind == SinkType::Syslog;
                let written = self.url?;
                let read = if is_syslog {
                    syslog_url(&written)
                } else {
                    Ok(written)
                };
                let read = read.and_then(|url| super::egress::operator_url(&url, Purpose::Webhook));
                let url = read
                    .map_err(|problem| checks.error_at(&at.name("url"), problem))
                    .ok()?;
                let url = SinkUrl {
                    url,
                    allow_private: self.allow_private,
                };
                url.check(&at.name("url"), egress, checks);
                match self.secret {
                    _ if is_syslog => SinkPlace::Syslog(url),
                    Some(secret) => {
                        check_secret(&secret, &at.name("secret"), checks);
                        SinkPlace::Webhook(url, SinkSecret(secret))
                    }
                    None => return None,
                }
            }
        };
        Some(AuditSink {
            name,
            place,
            format: own,
            events: self.events,
        })
    }
}

/// As the way out knows it.
fn syslog_url(text: &str) -> Result<String, String> {
    let wanted = "want `tls://host:6514`, or `tcp://host:port` in clear text";
    let (scheme, rest) = text.split_once("://").ok_or(wanted)?;
    let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
        "tls" => ("https", Some("6514")),
        "tcp" => ("http", None),
        "udp" => {
            let problem = "syslog over UDP is not supported: it loses lines silently; want `tls://` \
                           or `tcp://`";
            return Err(problem.to_owned());
        }
        _ => return Err(wanted.to_owned()),
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.is_empty() || host.contains(['/', '?', '#', '@']) {
        return Err(wanted.to_owned());
    }
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    match port {
        _ if has_port => Ok(format!("{scheme}://{host}/")),
        Some(port) => Ok(format!("{scheme}://{host}:{port}/")),
        None => Err(wanted.to_owned()),
    }
}

/// `whsec_` and base64 of 24 to 64 bytes.
fn check_secret(secret: &Secret, at: &KeyPath, checks: &mut Checks<'_>) {
    let key = secret.expose().strip_prefix("whsec_");
    let key = key.and_then(|text| STANDARD.decode(text).ok());
    if !key.is_some_and(|key| (24..=64).contains(&key.len())) {
        checks.error_at(at, "want `whsec_` and base64 of 24 to 64 bytes");
    }
}

impl SinkUrl {
    fn check(&self, at: &KeyPath, egress: &Egress, checks: &mut Checks<'_>) {
        let exceptions = Exceptions {
            allow_private: self.allow_private.clone(),
            allow_metadata: false,
        };
        if let Err(problem) = egress.admit(&self.url, &exceptions) {
            checks.error_at(at, problem);
        }
    }
}
