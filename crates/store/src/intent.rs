//! What a handle of the store is for, besides doing as it is told: to try and undo, to change only
//! what is as expected, to carry out a request once, or to owe the audit log a record. Whoever makes a change needs not know.

use crate::audit::DueRecord;
use crate::idempotency::Run;
use crate::open::Inner;
use crate::trial::Trial;
use crate::write::Turn;
use crate::{Conflict, Scope, Store, StoreError};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something is as it is expected, by a handle that sees it within the change.
pub type Check = Arc<dyn Fn(Store) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// What a handle is for.
#[derive(Clone, Default)]
pub(crate) struct Intent {
    /// Its changes are undone.
    pub(crate) trial: Option<Trial>,
    /// Its first change is made only if something is as expected.
    pub(crate) expectation: Option<Expectation>,
    /// It carries out a request that is to be carried out once.
    pub(crate) run: Option<Run>,
    /// Its first change says that a record of the audit log is due.
    pub(crate) due: Option<DueRecord>,
}

/// What must be so for the first change.
#[derive(Clone)]
pub(crate) struct Expectation {
    check: Check,
    is_met: Arc<AtomicBool>,
}

impl Store {
    /// A handle whose first change is made only if `check` holds within that very transaction:
    /// nobody else changes anything between the two. It is refused with [`Conflict::Unexpected`].
    #[must_use]
    pub fn expecting(&self, check: Check) -> Self {
        let expectation = Some(Expectation {
            check,
            is_met: Arc::default(),
        });
        self.with(Intent {
            expectation,
            ..self.0.intent.clone()
        })
    }

    /// Another handle of the same store.
    pub(crate) fn with(&self, intent: Intent) -> Self {
        Self::of(Arc::clone(&self.0.core), intent)
    }
}

impl Inner {
    /// Waits for the turn and begins a change, if what is expected holds.
    pub(crate) async fn expected(&self, scope: Scope) -> Result<Turn, StoreError> {
        let turn = self.database.begin(scope).await?;
        let expectation = self.intent.expectation.as_ref();
        let Some(expectation) = expectation.filter(|it| !it.is_met.load(Ordering::Relaxed)) else {
            return Ok(turn);
        };
        let within = Trial::of(scope, turn);
        let intent = Intent {
            trial: Some(within.clone()),
            ..Intent::default()
        };
        let seen = Store::of(Arc::clone(&self.core), intent);
        let is_met = (expectation.check)(seen).await;
        let turn = within.give_back().await?;
        if is_met {
            expectation.is_met.store(true, Ordering::Relaxed);
            Ok(turn)
        } else {
            turn.undo().await;
            Err(StoreError::Conflict(Conflict::Unexpected))
        }
    }
}
