//! Prepaid accounts as calls look for them: by whose they are.

use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use tollkeep_ledger::budget::CallFacts;
use tollkeep_ledger::prepaid::{Holder, Prepaid};
use tollkeep_types::TenantId;

/// Accounts that a call has to fit.
pub(super) type Accounts = SmallVec<[Prepaid; 1]>;

/// The open accounts of this moment.
#[derive(Debug, Default)]
pub(super) struct Paying {
    of: HashMap<Holder, Accounts>,
    tenants: HashSet<TenantId>,
}

impl Paying {
    pub(super) fn new(open: &[Prepaid]) -> Self {
        let mut paying = Self::default();
        for account in open {
            paying.tenants.insert(account.tenant);
            paying.of.entry(account.holder).or_default().push(*account);
        }
        paying
    }

    /// Whether any call of a tenant may have to fit one. HOT.
    pub(super) fn counts(&self, tenant: TenantId) -> bool {
        !self.tenants.is_empty() && self.tenants.contains(&tenant)
    }

    /// Those that a call has to fit.
    pub(super) fn of(&self, call: &CallFacts<'_>) -> Accounts {
        if !self.counts(call.tenant) {
            return Accounts::new();
        }
        let holders = [
            call.token.map(Holder::Token),
            Some(Holder::Project(call.project)),
            Some(Holder::Tenant(call.tenant)),
        ];
        let found = holders.into_iter().flatten();
        let found = found.filter_map(|holder| self.of.get(&holder)).flatten();
        found
            .filter(|account| account.pays(call))
            .copied()
            .collect()
    }
}
