//! Budgets of the settings: brought into the store at start and with each reload.

use super::reload::fault;
use tokio::runtime::Handle;
use tollkeep_admin::{ScopeError, scope_of, tenant_of};
use tollkeep_config::settings::{BudgetSetting, Prices, Settings};
use tollkeep_config::{ConfigError, ConfigErrors};
use tollkeep_store::{BudgetOrigin, NewBudget, Store};

/// Brings the store into line with the settings, for who waits for it in a thread of its own.
#[derive(Clone)]
pub(crate) struct BudgetKeeper {
    store: Store,
    handle: Handle,
}

impl BudgetKeeper {
    pub(crate) const fn new(store: Store, handle: Handle) -> Self {
        Self { store, handle }
    }

    /// The budgets that the settings ask for. Blocks.
    ///
    /// # Errors
    /// Something that they name is not there.
    pub(super) fn judge(&self, settings: &Settings) -> Result<Vec<NewBudget>, ConfigErrors> {
        self.handle.block_on(wanted(&self.store, settings))
    }

    /// Keeps the price table of the settings for records that name it. Blocks.
    ///
    /// # Errors
    /// It can't be read any more, or the store can't keep it.
    pub(super) fn keep_prices(&self, prices: &Prices) -> Result<(), ConfigErrors> {
        let kept = self
            .handle
            .block_on(super::prices::keep(&self.store, prices));
        kept.map_err(|problem| ConfigErrors(vec![fault("prices.file", &problem)]))
    }

    /// Puts them in force. Blocks.
    ///
    /// # Errors
    /// The store can't keep them; nothing has changed.
    pub(super) fn take(&self, wanted: Vec<NewBudget>) -> Result<(), ConfigErrors> {
        self.handle.block_on(keep(&self.store, wanted))
    }
}

/// Brings the store into line at start.
///
/// # Errors
/// Something that the settings name is not there, or the store can't keep them.
pub(super) async fn keep_those_of(store: &Store, settings: &Settings) -> Result<(), ConfigErrors> {
    keep(store, wanted(store, settings).await?).await
}

async fn keep(store: &Store, wanted: Vec<NewBudget>) -> Result<(), ConfigErrors> {
    let done = store.set_configured_budgets(wanted).await;
    let done = done.map_err(|error| {
        let problem = format!("can't be kept: {error}");
        ConfigErrors(vec![fault("budgets.list", &problem)])
    })?;
    for (what, names) in [
        ("begins", &done.made),
        ("is changed", &done.changed),
        ("has ended", &done.ended),
    ] {
        for name in names {
            tracing::info!("Budget `{name}` of the settings {what}");
        }
    }
    Ok(())
}

async fn wanted(store: &Store, settings: &Settings) -> Result<Vec<NewBudget>, ConfigErrors> {
    let listed = settings.budgets.list.iter().enumerate();
    let listed = listed.map(|(index, budget)| {
        let key = format!("budgets.list[{index}]");
        (key, budget, BudgetOrigin::Config)
    });
    let quotas = settings.providers.iter().filter_map(|provider| {
        let key = format!("providers.{}.quota", provider.name);
        Some((key, provider.quota.as_ref()?, BudgetOrigin::Quota))
    });
    let (mut budgets, mut faults) = (Vec::new(), Vec::new());
    for (key, setting, origin) in listed.chain(quotas) {
        match resolved(store, setting, origin).await {
            Ok(budget) => budgets.push(budget),
            Err(error) => faults.push(told(&key, &error)),
        }
    }
    if faults.is_empty() {
        Ok(budgets)
    } else {
        Err(ConfigErrors(faults))
    }
}

fn told(key: &str, error: &ScopeError) -> ConfigError {
    fault(&format!("{key}.scope"), &error.to_string())
}

async fn resolved(
    store: &Store,
    setting: &BudgetSetting,
    origin: BudgetOrigin,
) -> Result<NewBudget, ScopeError> {
    let tenant = tenant_of(store, setting.tenant).await?;
    Ok(NewBudget {
        tenant,
        name: setting.name.clone(),
        scope: scope_of(store, tenant, setting.scope.clone()).await?,
        measure: setting.measure,
        limit: setting.limit,
        window: setting.window.clone(),
        enforcement: setting.enforcement,
        on_short: setting.on_short,
        durability: setting.durability,
        warn: setting.warn.clone(),
        origin,
    })
}
