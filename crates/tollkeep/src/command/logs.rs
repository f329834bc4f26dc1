//! The process log, as the settings want it. Until they are read, nothing is logged.

use anyhow::Context;
use std::sync::Arc;
use tollkeep_config::settings::{Format, Settings};
use tollkeep_observe::line_sink::{LineOutput, LineSink, Rotation};
use tollkeep_observe::logs::{self, LogConfig};
use tollkeep_observe::metrics::LogMeter;

/// Starts the log: to standard error, or to the file of the settings.
///
/// # Errors
/// The file can't be opened, or there is a log already.
pub(crate) fn start(settings: &Settings) -> anyhow::Result<LineSink> {
    let logging = &settings.logging;
    let output = match (logging.output.clone(), &logging.rotation) {
        (None, _) => LineOutput::Stderr,
        (Some(path), rotation) if rotation.enabled => {
            let rotation = Rotation {
                size_bytes: rotation.max_size,
                keep: rotation.max_backups,
                keep_for: rotation.max_age,
            };
            LineOutput::Rotated(path, rotation)
        }
        (Some(path), _) => LineOutput::File(path),
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
