//! The credentials that the store keeps, where the data plane finds them: beside those of the
//! settings, in the pools of the plan in force.

use crate::cache::CachePlan;
use crate::credentials::{CredentialName, CredentialPool, StoredCredential};
use crate::plan::Plan;
use crate::worker::Shared;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tollkeep_counters::CredentialState;
use tollkeep_types::{CachePurge, CredentialId, TenantId};

/// All of the store. Whoever fills a pool holds them, so that no pool is left with those before.
#[derive(Default)]
pub struct StoredCredentials(Mutex<Vec<StoredCredential>>);

impl StoredCredentials {
    fn hold(&self) -> MutexGuard<'_, Vec<StoredCredential>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Exchanges the settings in force.
    pub fn take_plan(&self, plan: Arc<Plan>) {
        let stored = self.stored_credentials.hold();
        fill(&plan, &stored);
        self.plan.store(plan);
        self.make_cache_room();
    }

    /// There is as much room for answers that are kept as the settings say.
    pub fn make_cache_room(&self) {
        let plan = self.plan.load();
        self.cache
            .set_room(plan.cache.as_ref().map(CachePlan::room));
    }

    /// Takes answers of a tenant, or of all, out of the cache; gives how many. `None` while no answer
    /// is kept.
    pub fn purge_cache(&self, whose: Option<TenantId>, purge: &CachePurge) -> Option<usize> {
        let is_on = self.plan.load().cache.is_some();
        is_on.then(|| self.cache.purge(whose, purge))
    }

    /// How many that would be.
    pub fn count_cached(&self, whose: Option<TenantId>, purge: &CachePurge) -> Option<usize> {
        let is_on = self.plan.load().cache.is_some();
        is_on.then(|| self.cache.count(whose, purge))
    }

    /// Shows what is known of each credential of the store that a provider has.
    pub fn stored_credential_states(&self, mut see: impl FnMut(CredentialId, &CredentialState)) {
        for target in &self.plan.load().llm.providers {
            if let Some(provider) = target.provider() {
                provider.credentials.states(|name, state| {
                    if let CredentialName::Stored(id) = name {
                        see(*id, state);
                    }
                });
            }
        }
    }

    /// Shows what is known of each credential: its provider, its name in the settings or its id.
    pub fn credential_states(
        &self,
        mut see: impl FnMut(&str, (String, Option<CredentialId>), &CredentialState),
    ) {
        for target in &self.plan.load().llm.providers {
            if let Some(provider) = target.provider() {
                let pool = &provider.credentials;
                pool.states(|name, state| see(&target.name, name.told(), state));
            }
        }
    }

    /// Takes what the store keeps as credentials.
    pub fn take_credentials(&self, credentials: Vec<StoredCredential>) {
        let mut stored = self.stored_credentials.hold();
        *stored = credentials;
        fill(&self.plan.load(), &stored);
        // Not before: what goes out with those of before is not found by those of now.
        self.cache.note_credentials();
    }
}

/// Gives each provider the credentials that the store keeps for it.
fn fill(plan: &Plan, stored: &[StoredCredential]) {
    let mut has_prefixes = false;
    for target in &plan.llm.providers {
        if let Some(provider) = target.provider() {
            has_prefixes |= provider.credentials.fill(target, stored, &plan.llm.tls);
        }
    }
    plan.llm.has_prefixes.store(has_prefixes, Ordering::Relaxed);
}

impl CredentialPool {
    /// The credentials that a provider of this name had.
    pub(crate) fn before<'b>(name: &str, before: Option<&'b Plan>) -> Option<&'b Self> {
        let mut providers = before?.llm.providers.iter();
        let same = providers.find(|target| *target.name == *name)?;
        Some(&same.provider()?.credentials)
    }
}
