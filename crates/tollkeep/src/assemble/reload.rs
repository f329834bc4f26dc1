//! Taking settings over while the gateway serves: all of them or none.
//!
//! What can fail is done first (reading, checking, resolving, planning), beside the settings in
//! force. Then the plan of the data plane is exchanged in one store. Requests keep the plan they
//! began with.

use super::Base;
use super::audit::log_level;
use super::control::Sandbox;
use super::data::Plane;
use super::egress::Door;
use super::loader::Loader;
use super::plan::Planned;
use super::sources::Sources;
use super::tls::{self, Checked, InUse, Listeners};
use super::watch::Files;
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_admin::{Reloaded, SettingsState, ShownSettings};
use tollkeep_audit::{Action, Actor, Event, Key, Logger, Outcome, Value};
use tollkeep_config::{ConfigError, ConfigErrors, Loaded, Place, Settings};
use tollkeep_ledger::price::Book;
use tollkeep_observe::logs;
use tollkeep_observe::metrics::Metrics;
use tollkeep_store::NewBudget;
use tollkeep_types::Clock;

/// What asked for a reload, where it was no operator.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// SIGHUP.
    Signal,
    /// A file changed.
    File,
    /// Files of certificates that changed.
    Certificates,
}

impl Cause {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::File => "file",
            Self::Certificates => "certificates",
        }
    }
}

/// The settings in force, and how others take their place.
pub(crate) struct Reloader {
    sources: Sources,
    plane: Plane,
    tls: Listeners,
    /// The files of the certificates, as they stood when they were read last.
    read: Mutex<Files>,
    audit: Option<Arc<Logger>>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    settings: ArcSwap<Settings>,
    state: Mutex<SettingsState>,
    /// One at a time.
    turn: Mutex<()>,
    /// Certificates shall be ordered again at once, whatever failed.
    order_again: AtomicBool,
}

impl Reloader {
    /// With the settings of the start in force.
    pub(crate) fn new(
        base: &Base,
        sources: Sources,
        plane: Plane,
        tls: Listeners,
        audit: Option<Arc<Logger>>,
    ) -> Self {
        let since = base.clock.wall();
        base.metrics.loaded(true, since);
        Self {
            sources,
            plane,
            read: Mutex::new(tls::files(&base.settings)),
            tls,
            audit,
            clock: Arc::clone(&base.clock),
            metrics: Arc::clone(&base.metrics),
            settings: ArcSwap::new(Arc::clone(&base.settings)),
            state: Mutex::new(SettingsState {
                generation: 1,
                since,
                refused_at: None,
            }),
            turn: Mutex::default(),
            order_again: AtomicBool::new(false),
        }
    }

    /// The metrics of the process.
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Those in force, as they may be shown.
    pub(crate) fn shown(&self) -> Arc<ShownSettings> {
        let again = self.sources.again.as_ref();
        again.map(Loader::shown).unwrap_or_default()
    }

    /// Which settings these are.
    pub(crate) fn state(&self) -> SettingsState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reloads if files have changed since they were read, and somebody wants to know. Called
    /// every [`LOOK_EVERY`](super::watch::LOOK_EVERY). Blocks.
    pub(crate) fn look(&self) {
        let Some(again) = &self.sources.again else {
            return;
        };
        if self.settings.load().reload.watch && again.has_changed() {
            self.reload_by(Cause::File);
        }
    }

    /// Reloads, and records it as the gateway's own act. Blocks.
    pub(crate) fn reload_by(&self, cause: Cause) {
        let reloaded = self.reload();
        let reloaded = reloaded.map(|reloaded| Some(reloaded.state.generation));
        self.record(cause, &reloaded);
    }

    /// Reads the certificates again, and records it as the gateway's own act. Blocks.
    pub(crate) fn reload_tls_by(&self, cause: Cause) {
        self.record(cause, &self.reload_tls().map(|_| None));
    }

    fn record(&self, cause: Cause, reloaded: &Result<Option<u64>, ConfigErrors>) {
        let Some(audit) = &self.audit else {
            return;
        };
        let event = |action, outcome| {
            Event::new(action, Actor::System, outcome)
                .at(self.clock.wall())
                .with_detail(Key::Kind, Value::Word(cause.as_str()))
        };
        let recorded = match reloaded {
            Ok(version) => {
                let mut event = event(Action::ConfigReload, Outcome::Success);
                if let Some(version) = version {
                    event = event.with_detail(Key::Version, Value::Number(*version));
                }
                audit.enqueue(&event)
            }
            Err(ConfigErrors(faults)) => {
                let count = u64::try_from(faults.len()).unwrap_or(u64::MAX);
                let first = faults.first().map(ToString::to_string);
                let event = event(Action::ConfigReject, Outcome::Denied)
                    .with_detail(Key::Count, Value::Number(count))
                    .with_error(first.unwrap_or_default());
                audit.enqueue(&event)
            }
        };
        if let Err(error) = recorded {
            tracing::warn!("A reload was not recorded: {error}");
        }
    }

    /// Loads the settings again and takes them over, all or nothing. Blocks.
    ///
    /// # Errors
    /// Every fault; the settings in force stay.
    pub(crate) fn reload(&self) -> Result<Reloaded, ConfigErrors> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = self.load().and_then(|loaded| self.take_over(loaded));
        let now = self.clock.wall();
        self.metrics.loaded(reloaded.is_ok(), now);
        match &reloaded {
            Ok(reloaded) => {
                let generation = reloaded.state.generation;
                tracing::info!(generation, "Settings {generation} are in force");
                for warning in &reloaded.warnings {
                    tracing::warn!("{warning}");
                }
            }
            Err(faults) => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.refused_at = Some(now);
                for fault in &faults.0 {
                    tracing::error!("New settings are refused, those in force stay: {fault}");
                }
            }
        }
        reloaded
    }

    /// What [`Self::reload`] would take over; nothing is. Blocks.
    ///
    /// # Errors
    /// Every fault.
    pub(crate) fn try_reload(&self) -> Result<Reloaded, ConfigErrors> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let again = self.sources.again.as_ref().ok_or_else(nothing_to_load)?;
        let ready = self.judge(again.try_load()?)?;
        let state = self.state();
        Ok(Reloaded {
            state: SettingsState {
                generation: state.generation + 1,
                since: self.clock.wall(),
                refused_at: None,
            },
            warnings: ready.loaded.warnings,
        })
    }

    /// What [`Self::reload_tls`] would use; nothing is. Blocks.
    ///
    /// # Errors
    /// Every fault of every certificate and key.
    pub(crate) fn try_reload_tls(&self) -> Result<Vec<InUse>, ConfigErrors> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = Checked::load(&self.settings(), self.clock.wall(), &self.tls);
        checked
            .map(|checked| checked.certificates())
            .map_err(ConfigErrors)
    }

    /// Reads the certificates of the settings in force again: new handshakes are shaken with
    /// them. Blocks.
    ///
    /// # Errors
    /// Every fault of every certificate and key; those in use stay.
    pub(crate) fn reload_tls(&self) -> Result<Vec<InUse>, ConfigErrors> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = self.settings();
        // Before they are read: what changes meanwhile is read again.
        self.note_read(tls::files(&settings));
        match Checked::load(&settings, self.clock.wall(), &self.tls) {
            Ok(checked) => {
                for warning in &checked.warnings {
                    tracing::warn!("{warning}");
                }
                self.tls.take(checked);
                tracing::info!("Certificates were read again");
                Ok(self.tls.certificates())
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::error!("New certificates are refused, those in use stay: {fault}");
                }
                Err(ConfigErrors(faults))
            }
        }
    }

    /// Reads the certificates of these listeners, of which an ordered one is new. Those of others
    /// are left alone: what is wrong with a file of theirs must not keep it from use. Blocks.
    pub(crate) fn take_ordered(&self, sections: &[&str]) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = self.settings();
        let read = tls::files(&settings);
        match Checked::load_some(sections, &settings, self.clock.wall(), &self.tls) {
            Ok(checked) => {
                self.tls.take(checked);
                self.note_read(read);
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::error!("A new certificate waits, those in use stay: {fault}");
                }
            }
        }
    }

    /// Opens the audit file by its name again.
    pub(crate) async fn reopen_audit(&self) {
        if let Some(audit) = &self.audit
            && let Err(error) = audit.reopen().await
        {
            tracing::error!("The audit file was not opened again: {error}");
        }
    }

    /// The way out, for who orders certificates.
    pub(crate) fn door(&self) -> Option<Door> {
        self.plane.planner.last_door()
    }

    /// Certificates shall be ordered again at once: an operator says so.
    pub(crate) fn order_again(&self) {
        self.order_again.store(true, Ordering::Relaxed);
    }

    /// Whether somebody said so since the last call.
    pub(crate) fn take_order_again(&self) -> bool {
        self.order_again.swap(false, Ordering::Relaxed)
    }

    /// Whether the files of the certificates were read as they stand now.
    pub(crate) fn has_read(&self, files: &Files) -> bool {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) == *files
    }

    fn note_read(&self, files: Files) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }

    /// The certificates in use.
    pub(crate) fn certificates(&self) -> Vec<InUse> {
        self.tls.certificates()
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        match &self.sources.again {
            Some(again) => again.load(),
            None => Err(nothing_to_load()),
        }
    }

    fn take_over(&self, loaded: Loaded) -> Result<Reloaded, ConfigErrors> {
        let mut ready = self.judge(loaded)?;
        let prices = &ready.loaded.settings.prices;
        self.sources.budgets.keep_prices(prices)?;
        self.sources
            .budgets
            .take(std::mem::take(&mut ready.budgets))?;
        Ok(self.take(ready))
    }

    /// Does everything that can fail.
    fn judge(&self, mut loaded: Loaded) -> Result<Ready, ConfigErrors> {
        let now = self.settings.load_full();
        let mut faults: Vec<ConfigError> = now
            .start_only_changes(&loaded.settings)
            .map(|key| {
                fault(
                    key,
                    "is read at start only: restart the gateway to change it",
                )
            })
            .collect();
        match &self.sources.sandbox {
            Some(sandbox) => {
                faults.extend(
                    sandbox
                        .point_at_it(&mut loaded.settings)
                        .err()
                        .map(|error| fault("sandbox.upstream", &format!("{error:#}"))),
                );
            }
            None => faults.extend(Sandbox::wanted(&loaded.settings).map(|provider| {
                let key = format!("providers.{}.kind", provider.name);
                fault(
                    &key,
                    "wants the sandbox, which runs from the start or not at all",
                )
            })),
        }
        let files = tls::files(&loaded.settings);
        let tls = Checked::load(&loaded.settings, self.clock.wall(), &self.tls);
        let tls = tls.map_err(|found| faults.extend(found)).ok();
        let before = self.plane.shared.plan.load();
        let planned = self.plane.planner.plan(&loaded.settings, Some(&before));
        let planned = planned.map_err(|found| faults.extend(found)).ok();
        let prices =
            super::prices::book(&loaded.settings.prices, &self.plane.shared.store.prices())
                .map_err(|problem| faults.push(fault("prices.file", &problem)))
                .ok();
        let budgets = self.sources.budgets.judge(&loaded.settings);
        let budgets = budgets.map_err(|ConfigErrors(found)| faults.extend(found));
        let (Some(planned), Some(tls), Some(prices), Ok(budgets), true) =
            (planned, tls, prices, budgets, faults.is_empty())
        else {
            return Err(ConfigErrors(faults));
        };
        loaded.warnings.extend(tls.warnings.iter().cloned());
        Ok(Ready {
            loaded,
            planned,
            prices,
            budgets,
            tls,
            files,
        })
    }

    fn take(&self, ready: Ready) -> Reloaded {
        let Ready {
            loaded,
            planned,
            prices,
            budgets: _,
            tls,
            files,
        } = ready;
        logs::set_level(log_level(&loaded.settings));
        self.tls.take(tls);
        self.note_read(files);
        let connections_max = loaded.settings.server.limits.connections_max;
        self.plane.shared.prices.store(Arc::new(prices));
        self.plane
            .shared
            .take_plan(self.plane.planner.take(planned));
        if let Some(again) = &self.sources.again {
            again.show(&loaded);
        }
        self.settings.store(Arc::new(loaded.settings));
        self.plane
            .connections_max
            .store(connections_max, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = SettingsState {
            generation: state.generation + 1,
            since: self.clock.wall(),
            refused_at: None,
        };
        Reloaded {
            state: *state,
            warnings: loaded.warnings,
        }
    }
}

/// Settings of which nothing can fail any more.
struct Ready {
    loaded: Loaded,
    planned: Planned,
    prices: Book,
    budgets: Vec<NewBudget>,
    tls: Checked,
    files: Files,
}

fn nothing_to_load() -> ConfigErrors {
    let problem = "this gateway was started without a configuration that could be loaded again";
    ConfigErrors(vec![fault("", problem)])
}

/// A fault that stands at no place of the file.
pub(crate) fn fault(key: &str, problem: &str) -> ConfigError {
    ConfigError {
        key: key.to_owned(),
        problem: problem.to_owned(),
        place: Place::Nowhere {},
    }
}
