//! Rows of the core with what the tables say beside them: whose they are, and who tells the rest.

use super::CallRecord;
use std::sync::Arc;
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::posting::{Account, Entry, Unit};
use tollkeep_ledger::row::{Enforcement, HoldRow, UsageRow};
use tollkeep_ledger::window::Window;
use tollkeep_types::{AccountId, RequestId, TenantId, WallMillis};

/// What the ledger has to know of a budget.
#[derive(Clone, Debug)]
pub(super) struct KnownBudget {
    pub(super) tenant: TenantId,
    pub(super) unit: &'static str,
    pub(super) version: u64,
    pub(super) limit: Amount,
    pub(super) enforcement: Enforcement,
    pub(super) window: Arc<Window>,
    /// It was ended: nothing new is taken of it.
    pub(super) ended: bool,
}

/// A hold, whose it is, and since when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeptHold {
    pub(super) row: HoldRow,
    pub(super) tenant: TenantId,
    pub(super) granted_at: WallMillis,
    pub(super) request: Option<(String, u32)>,
    /// What was known of its call when it was granted.
    pub(super) about: Option<Arc<CallRecord>>,
}

/// A usage record, whose it is, and which job says the rest of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeptUsage {
    pub(super) row: UsageRow,
    pub(super) tenant: TenantId,
    pub(super) provider: Option<Arc<str>>,
    pub(super) job: usize,
}

/// An entry, whose it is, and its job.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeptEntry {
    pub(super) entry: Entry,
    pub(super) tenant: TenantId,
    pub(super) provider: Option<Arc<str>>,
    pub(super) request: Option<RequestId>,
    pub(super) job: usize,
}

/// An account. Those that no payer or budget owns are each tenant's own, and of these what upstreams
/// cost and are owed is told apart by provider.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct AccountKey {
    pub(super) account: Account,
    pub(super) of: Option<TenantId>,
    pub(super) provider: Option<Arc<str>>,
}

impl AccountKey {
    pub(super) const fn credit(id: AccountId) -> Self {
        Self {
            account: Account::Credit(id),
            of: None,
            provider: None,
        }
    }

    /// The account, if a payer or budget owns it.
    pub(super) const fn owned(account: Account) -> Option<Self> {
        match account {
            Account::Credit(_)
            | Account::Held(_)
            | Account::Unresolved(_)
            | Account::InDoubt(_) => Some(Self {
                account,
                of: None,
                provider: None,
            }),
            Account::Outside(_)
            | Account::Promo(_)
            | Account::Refunds(_)
            | Account::OperatorLoss(_)
            | Account::Revenue(_)
            | Account::UpstreamCost
            | Account::Payable
            | Account::Overrun => None,
        }
    }

    /// The account, as that tenant has it, for calls to that provider.
    pub(super) fn of(account: Account, tenant: TenantId, provider: Option<&Arc<str>>) -> Self {
        let of_provider = matches!(account, Account::UpstreamCost | Account::Payable);
        Self::owned(account).unwrap_or_else(|| Self {
            account,
            of: Some(tenant),
            provider: provider.filter(|_| of_provider).cloned(),
        })
    }
}

/// The balance of an account, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Balance {
    pub(super) tenant: TenantId,
    /// What it counts in, for its whole life.
    pub(super) unit: Unit,
    pub(super) units: i64,
    pub(super) version: i64,
    /// Nothing more may be paid into it.
    pub(super) closed: bool,
}
