//! The running gateway as the management API sees it.

use super::reload::Reloader;
use std::sync::Arc;
use tollkeep_admin::{Certificate, Reloaded, Runtime, SettingsState};
use tollkeep_config::{ConfigErrors, Settings};

/// What operators act on.
pub(crate) struct Live {
    /// The settings.
    pub(crate) reloader: Arc<Reloader>,
}

impl Live {
    /// Of these parts.
    pub(crate) fn new(reloader: Reloader) -> Self {
        Self {
            reloader: Arc::new(reloader),
        }
    }
}

impl Runtime for Live {
    fn settings(&self) -> Arc<Settings> {
        self.reloader.settings()
    }

    fn settings_state(&self) -> SettingsState {
        self.reloader.state()
    }

    fn reload(&self) -> Result<Reloaded, ConfigErrors> {
        self.reloader.reload()
    }

    fn reload_tls(&self) -> Result<Vec<Certificate>, ConfigErrors> {
        let read = self.reloader.reload_tls()?.into_iter();
        let told = read.map(|certificate| Certificate {
            name: certificate.name,
            subject: certificate.subject,
            not_after: certificate.not_after,
        });
        Ok(told.collect())
    }
}
