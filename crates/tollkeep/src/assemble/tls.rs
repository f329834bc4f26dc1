//! TLS of our listeners: from the settings, through the checks of `net`.

use crate::exit::{self, Failed};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings::{Environment, Settings, Tls};
use tollkeep_net::tls::{Fault, PairFiles, Served, ServerSettings, ServerTls};
use tollkeep_types::WallMillis;

/// TLS of the data listener, with everything about its certificates checked.
///
/// # Errors
/// A pair that can't be served.
pub(crate) fn of_data(
    settings: &Settings,
    now: WallMillis,
) -> anyhow::Result<Option<Arc<ServerTls>>> {
    let Some(tls) = &settings.server.tls else {
        return Ok(None);
    };
    let served = Served::load(&wanted(tls, settings), now)
        .map_err(|faults| Failed::new(exit::INVALID, told("server.tls", &faults)))?;
    for warning in &served.warnings {
        tracing::warn!("server.tls: {warning}");
    }
    Ok(Some(Arc::new(ServerTls::new(served))))
}

/// What `net` is asked to serve.
fn wanted(tls: &Tls, settings: &Settings) -> ServerSettings {
    let pairs = tls.certificates.iter().map(|files| PairFiles {
        cert_file: files.cert_file.clone(),
        key_file: files.key_file.clone(),
        names: files.names.clone(),
    });
    let handshake: Duration = settings.server.timeouts.tls_handshake;
    ServerSettings {
        pairs: pairs.collect(),
        min_version: tls.min_version,
        cipher_suites: tls.cipher_suites.clone(),
        insecure_key_mode: tls.insecure_key_mode,
        in_production: settings.environment == Environment::Production,
        handshake,
    }
}

/// A line for each fault.
fn told(section: &str, faults: &[Fault]) -> String {
    let lines: Vec<_> = faults
        .iter()
        .map(|fault| format!("{section}: {fault}"))
        .collect();
    lines.join("\n")
}
