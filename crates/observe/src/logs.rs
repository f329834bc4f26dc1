//! The log: `tracing` events as JSON or text lines, with what looks like a secret masked.

use crate::json;
use crate::line_sink::{LineSink, Urgency};
use crate::redact::Redactor;
use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};
use tollkeep_types::Clock;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::{Registry, reload};

/// From which level on events are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Level {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

impl Level {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// One JSON object.
    #[default]
    Json,
    /// For eyes.
    Text,
}

/// How much is logged, and in which form.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// From which level on.
    pub level: Level,
    /// The form of a line.
    pub format: Format,
    /// What is hidden.
    pub redactor: Redactor,
}

/// The process already has a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the process already has a log")]
pub struct AlreadyInstalled;

/// Makes `sink` the log of the process.
///
/// # Errors
/// The process already has a log.
pub fn install(
    config: LogConfig,
    sink: LineSink,
    clock: Arc<dyn Clock>,
) -> Result<(), AlreadyInstalled> {
    let (level, switch) = reload::Layer::new(config.level.filter());
    tracing::subscriber::set_global_default(subscriber(level, config, sink, clock))
        .map_err(|_| AlreadyInstalled)?;
    // There is one log a process, so nobody else has set it.
    let _was = SWITCH.set(switch);
    Ok(())
}

/// Changes the level of the process's log, if it has one.
pub fn set_level(level: Level) {
    if let Some(switch) = SWITCH.get()
        && let Err(error) = switch.reload(level.filter())
    {
        tracing::error!("The level of the log can't be changed: {error}");
    }
}

/// Changes the level of the process's log.
static SWITCH: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

fn subscriber(
    level: impl Layer<Registry> + Send + Sync,
    config: LogConfig,
    sink: LineSink,
    clock: Arc<dyn Clock>,
) -> impl Subscriber + Send + Sync {
    tracing_subscriber::registry().with(level).with(Lines {
        format: config.format,
        redactor: config.redactor,
        sink,
        clock,
    })
}

/// Turns events into lines.
struct Lines {
    format: Format,
    redactor: Redactor,
    sink: LineSink,
    clock: Arc<dyn Clock>,
}

/// A library that tells at length what strangers sent it.
fn tells_secrets(metadata: &Metadata<'_>) -> bool {
    let of_http2 = metadata.target() == "h2" || metadata.target().starts_with("h2::");
    of_http2 && *metadata.level() > tracing::Level::WARN
}

impl<S: Subscriber> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if tells_secrets(metadata) {
            Interest::never()
        } else {
            Interest::always()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        !tells_secrets(metadata)
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut parts = Parts {
            format: self.format,
            redactor: &self.redactor,
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut parts);
        let mut line = self.line(event, &parts);
        let urgent = *event.metadata().level() <= tracing::Level::WARN;
        let urgency = if urgent {
            Urgency::Urgent
        } else {
            Urgency::Ordinary
        };
        self.sink.push(&mut line, 1, urgency);
    }
}

impl Lines {
    fn line(&self, event: &Event<'_>, parts: &Parts<'_>) -> Vec<u8> {
        let metadata = event.metadata();
        let level = metadata.level();
        let mut out = Vec::with_capacity(256);
        let at = self.clock.wall().rfc3339_millis();
        match self.format {
            Format::Json => {
                out.extend_from_slice(b"{\"timestamp\":\"");
                out.extend_from_slice(&at);
                out.extend_from_slice(b"\",\"level\":");
                json::string(&mut out, &level.as_str().to_ascii_lowercase());
                out.extend_from_slice(b",\"msg\":");
                json::string(&mut out, &parts.message);
                out.extend_from_slice(b",\"target\":");
                json::string(&mut out, metadata.target());
                out.extend_from_slice(&parts.fields);
                out.extend_from_slice(b"}\n");
            }
            Format::Text => {
                out.extend_from_slice(&at);
                out.extend_from_slice(format!(" {level:>5} {}: ", metadata.target()).as_bytes());
                json::escaped(&mut out, &parts.message);
                out.extend_from_slice(&parts.fields);
                out.push(b'\n');
            }
        }
        out
    }
}

/// The longest value written of one field, in bytes; what is beyond is cut.
const VALUE_BYTES_MAX: usize = 8 << 10;

/// Names of the line itself; a field that has one of them gets an underscore.
const RESERVED: &[&str] = &["timestamp", "level", "msg", "target"];

/// The message of an event, and its other fields as they are written. Secrets are masked in each
/// value by itself, so that hiding one can't break the line.
struct Parts<'a> {
    format: Format,
    redactor: &'a Redactor,
    message: String,
    fields: Vec<u8>,
}

impl Parts<'_> {
    fn name(&mut self, field: &Field) {
        let mut name = field.name().to_owned();
        if RESERVED.contains(&field.name()) {
            name.push('_');
        }
        match self.format {
            Format::Json => {
                self.fields.push(b',');
                json::string(&mut self.fields, &name);
                self.fields.push(b':');
            }
            Format::Text => {
                self.fields.push(b' ');
                json::escaped(&mut self.fields, &name);
                self.fields.push(b'=');
            }
        }
    }

    fn plain(&mut self, field: &Field, value: &dyn fmt::Display) {
        self.name(field);
        self.fields.extend_from_slice(value.to_string().as_bytes());
    }

    fn text(&mut self, field: &Field, value: &str) {
        let value = self.redactor.hide(cut(value));
        if field.name() == "message" {
            self.message = value.into_owned();
        } else {
            self.name(field);
            json::string(&mut self.fields, &value);
        }
    }
}

/// The part of a value that is written.
fn cut(value: &str) -> &str {
    let end = value.floor_char_boundary(VALUE_BYTES_MAX);
    value.get(..end).unwrap_or_default()
}

impl Visit for Parts<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded(String::new());
        // An error only says that the text was long enough.
        let _full = write!(text, "{value:?}");
        self.text(field, &text.0);
    }
}

/// A text that stops growing, so that nobody's `Debug` fills the memory.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() > VALUE_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(cut(text));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_sink::LineOutput;
    use crate::metrics::LogMeter;
    use std::time::Duration;
    use tollkeep_types::{MonoNanos, WallMillis};

    struct StoppedClock;

    impl Clock for StoppedClock {
        fn mono(&self) -> MonoNanos {
            MonoNanos(0)
        }
        fn wall(&self) -> WallMillis {
            WallMillis(1_795_342_530_123)
        }
    }

    /// What is logged by `act`.
    fn logged(level: Level, format: Format, act: impl FnOnce()) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let clock: Arc<dyn Clock> = Arc::new(StoppedClock);
        let output = LineOutput::File(path.clone());
        let sink = LineSink::open(&output, Arc::clone(&clock), LogMeter::default()).unwrap();
        let config = LogConfig {
            level,
            format,
            redactor: Redactor::default(),
        };
        tracing::subscriber::with_default(
            subscriber(config.level.filter(), config, sink.clone(), clock),
            act,
        );
        assert!(sink.flush(Duration::from_secs(20)));
        std::fs::read_to_string(path).unwrap()
    }

    // AUD-81
    #[test]
    fn an_event_is_one_json_line() {
        let text = logged(Level::Info, Format::Json, || {
            tracing::warn!(
                target: "net",
                request_id = "req_1",
                latency_ms = 12,
                ok = false,
                level = "mine",
                peer = ?Some("a\nb"),
                "Upstream `{}` is slow",
                "x"
            );
        });
        assert_eq!(
            text,
            concat!(
                r#"{"timestamp":"2026-11-22T10:15:30.123Z","level":"warn","msg":"Upstream `x` is slow","#,
                r#""target":"net","request_id":"req_1","latency_ms":12,"ok":false,"level_":"mine","#,
                r#""peer":"Some(\"a\\nb\")"}"#,
                "\n"
            )
        );
    }

    // AUD-80
    #[test]
    fn text_lines_are_for_eyes_and_still_one_line() {
        let text = logged(Level::Debug, Format::Text, || {
            tracing::debug!(target: "net", peer = "a\n\x1b[31m", "two\nlines");
            tracing::trace!(target: "net", "too fine");
        });
        assert_eq!(
            text,
            "2026-11-22T10:15:30.123Z DEBUG net: two\\u000alines peer=\"a\\u000a\\u001b[31m\"\n"
        );
    }

    // AUD-32
    #[test]
    fn secrets_in_any_part_are_masked() {
        for format in [Format::Json, Format::Text] {
            let text = logged(Level::Info, format, || {
                tracing::info!(
                    key = "sk-proj-0123456789abcdef",
                    header = ?vec!["Bearer abcdefgh12345678"],
                    pem = "\"-----BEGIN PRIVATE KEY-----\nMHc \"",
                    end = 1,
                    "Refused tok-0123456789abcdef"
                );
            });
            assert!(text.contains("Refused tok-****"), "{text}");
            assert!(text.contains("sk-proj-****"), "{text}");
            assert!(!text.contains("0123456789abcdef"), "{text}");
            assert!(!text.contains("abcdefgh12345678"), "{text}");
            assert!(
                text.ends_with("end=1\n") || text.ends_with("\"end\":1}\n"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_huge_value_is_cut() {
        let text = logged(Level::Info, Format::Json, || {
            tracing::info!(body = ?"ä".repeat(1 << 20), "x");
        });
        assert!(text.len() < 3 * VALUE_BYTES_MAX);
    }
}
