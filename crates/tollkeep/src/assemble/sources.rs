//! Where the settings of a process come from, and what is kept of them beside it.

use super::budgets::BudgetKeeper;
use super::control::Sandbox;
use super::loader::Loader;

/// Where settings come from.
pub(crate) struct Sources {
    /// `None` where there is nothing to load again.
    pub(super) again: Option<Loader>,
    /// The sandbox that runs, which takes its providers.
    pub(super) sandbox: Option<Sandbox>,
    /// Keeps the budgets that stand in them.
    pub(super) budgets: BudgetKeeper,
}

impl Sources {
    /// Of a process.
    pub(crate) const fn new(
        again: Option<Loader>,
        sandbox: Option<Sandbox>,
        budgets: BudgetKeeper,
    ) -> Self {
        Self {
            again,
            sandbox,
            budgets,
        }
    }
}
