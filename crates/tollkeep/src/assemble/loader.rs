//! Loading the settings of a running gateway again, and how those in force look.

use super::reload::fault;
use super::watch::{Files, Watch};
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_admin::ShownSettings;
use tollkeep_config::{ConfigErrors, Loaded};

/// Loads the settings that the gateway was started with once more.
pub(crate) struct Loader {
    load: Box<dyn Fn() -> Result<Loaded, ConfigErrors> + Send + Sync>,
    /// The files that the settings in force came from, as they were.
    read: Mutex<Files>,
    /// Sees writers from the moment of the first reading on.
    watch: Mutex<Watch>,
    /// Those in force, as they may be shown.
    shown: ArcSwap<ShownSettings>,
}

impl Loader {
    /// After these were loaded, by the same means.
    pub(crate) fn new(
        loaded: &Loaded,
        load: impl Fn() -> Result<Loaded, ConfigErrors> + Send + Sync + 'static,
    ) -> Self {
        let read = Files::look_at(loaded.files.clone());
        Self {
            load: Box::new(load),
            watch: Mutex::new(Watch::begin(&read)),
            shown: ArcSwap::from_pointee(ShownSettings::of(loaded)),
            read: Mutex::new(read),
        }
    }

    pub(super) fn load(&self) -> Result<Loaded, ConfigErrors> {
        self.check_written()?;
        // Looked at before they are read: what changes meanwhile has changed since.
        let before = self.read().look_again();
        let loaded = (self.load)();
        let read = match &loaded {
            Ok(loaded) => before.exchanged_for(loaded.files.clone()),
            Err(_) => before,
        };
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = read;
        loaded
    }

    /// As [`Self::load`]; the files count as unread.
    pub(super) fn try_load(&self) -> Result<Loaded, ConfigErrors> {
        self.check_written()?;
        (self.load)()
    }

    fn check_written(&self) -> Result<(), ConfigErrors> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        match watch.written(&self.read()) {
            Some(name) => {
                let problem = format!("`{name}` is being written: try again when that is done");
                Err(ConfigErrors(vec![fault("", &problem)]))
            }
            None => Ok(()),
        }
    }

    /// Whether files have changed since they were read.
    pub(super) fn has_changed(&self) -> bool {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.has_changed(&self.read())
    }

    /// These are in force now.
    pub(super) fn show(&self, loaded: &Loaded) {
        self.shown.store(Arc::new(ShownSettings::of(loaded)));
    }

    /// Those in force, as they may be shown.
    pub(super) fn shown(&self) -> Arc<ShownSettings> {
        self.shown.load_full()
    }

    fn read(&self) -> Files {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.clone()
    }
}
