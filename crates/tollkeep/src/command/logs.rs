//! The process log, as the settings want it. Until they are read, nothing is logged.

use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use tollkeep_config::settings::{Format, LogRotation, Settings};
use tollkeep_observe::line_sink::{LineOutput, LineSink, Rotation};
use tollkeep_observe::logs::{self, LogConfig};
use tollkeep_observe::metrics::LogMeter;

/// A file of lines, closed when it is full if the settings say so.
pub(crate) fn file(path: PathBuf, rotation: &LogRotation) -> LineOutput {
    if !rotation.enabled {
        return LineOutput::File(path);
    }
    let rotation = Rotation {
        size_bytes: rotation.max_size,
        keep: rotation.max_backups,
        keep_for: rotation.max_age,
    };
    LineOutput::Rotated(path, rotation)
}

/// Starts the log: to standard error, or to the file of the settings.
///
/// # Errors
/// The file can't be opened, or there is a log already.
pub(crate) fn start(settings: &Settings) -> anyhow::Result<LineSink> {
    let logging = &settings.logging;
    let output = match logging.output.clone() {
        None => LineOutput::Stderr,
        Some(path) => file(path, &logging.rotation),
    };
    let clock: Arc<dyn tollkeep_types::Clock> = Arc::new(crate::system::SystemClock::new());
    let sink =
        LineSink::open(&output, Arc::clone(&clock), LogMeter::default()).with_context(|| {
            match &logging.output {
                None => "cannot open the log on standard error".to_owned(),
                Some(path) => format!("cannot open the log `{}`", path.display()),
            }
        })?;
    let config = LogConfig {
        level: crate::assemble::log_level(settings),
        format: match logging.format {
            Format::Json => logs::Format::Json,
            Format::Text => logs::Format::Text,
        },
        redactor: crate::assemble::redactor(settings),
    };
    logs::install(config, sink.clone(), clock).context("cannot start the log")?;
    Ok(sink)
}
