//! Slices that were lost with their replica: what of them is counted as spent although nobody wrote
//! down a call for it, and what becomes of it once somebody has looked (LED-74).

use super::columns::{self, lease};
use super::{Job, Ledger};
use crate::query::{Row, query};
use crate::{Conflict, Page, PageRequest, Scope, StoreError, row};
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::row::LeaseRow;
use tollkeep_ledger::step::Command;
use tollkeep_ledger::write::{Entries, Refusal};
use tollkeep_types::{BudgetId, LeaseId, ReplicaId, TenantId, WallMillis};

/// A slice of which something is in doubt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LostSlice {
    /// Its id.
    pub id: LeaseId,
    /// Whose budget it is of.
    pub tenant: TenantId,
    /// That budget.
    pub budget: BudgetId,
    /// When the window began that it was taken from; the beginning of time if it always was.
    pub window_start: WallMillis,
    /// What the budget counts.
    pub measure: Measure,
    /// The replica that had it.
    pub replica: ReplicaId,
    /// How much was taken.
    pub amount: Amount,
    /// What of it calls are known to have used.
    pub used: Amount,
    /// What is counted as spent, and nobody knows whether it was.
    pub in_doubt: Amount,
    /// When it was lost.
    pub lost_at: WallMillis,
}

/// The entry that booked the loss has the slice's own number.
macro_rules! lost {
    ($rest:literal) => {
        concat!(
            "SELECT * FROM (SELECT slice.id, slice.tenant_id, slice.budget_id, slice.window_start,
               slice.replica_id, slice.epoch, slice.amount, slice.used, slice.returned, slice.state,
               slice.expires_at, slice.serial, slice.version, budgets.measure, entries.at AS lost_at
             FROM budget_leases AS slice JOIN budgets ON budgets.id = slice.budget_id
               JOIN entries ON entries.cost IS NULL AND entries.id = 'ent_' || substr(slice.id, 5)
             WHERE slice.state = 'lost') AS lost
             WHERE ($1 IS NULL OR tenant_id = $1) ",
            $rest
        )
    };
}

const LIST: &str = lost!(
    "AND amount > used + returned AND ($2 IS NULL OR (lost_at, id) < ($2, $3))
     ORDER BY lost_at DESC, id DESC LIMIT $4"
);

const ONE: &str = lost!("AND id = $2");

impl Ledger {
    /// Slices of which something is in doubt, the last first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn lost_slices(
        &self,
        scope: Scope,
        page: &PageRequest<LeaseId>,
    ) -> Result<Page<LostSlice>, StoreError> {
        let (at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        let slices = rows.iter().map(|row| Ok(read(row)?.0));
        Ok(page.page(slices.collect::<Result<_, StoreError>>()?))
    }

    /// One slice that was lost, resolved or not.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn lost_slice(&self, scope: Scope, id: LeaseId) -> Result<LostSlice, StoreError> {
        Ok(self.found_slice(scope, id).await?.0)
    }

    async fn found_slice(
        &self,
        scope: Scope,
        id: LeaseId,
    ) -> Result<(LostSlice, LeaseRow), StoreError> {
        let mut connection = self.0.read(scope).await?;
        let found = query(ONE).bind(scope.tenant()).bind(id.to_string());
        read(&found.fetch_one(&mut connection).await?)
    }

    /// Says that of what is in doubt of a slice so much was used: the rest goes back to its window.
    /// Once. Gives the slice as it was, and the hash of the entry. In a trial nothing is done.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a slice that was not lost; [`StoreError::Conflict`] where nothing
    /// of it is in doubt any more, or less than was used; [`StoreError::Unavailable`] if nobody knows
    /// whether it was done.
    pub async fn resolve_slice(
        &self,
        scope: Scope,
        id: LeaseId,
        used: Amount,
    ) -> Result<(LostSlice, Entries), StoreError> {
        let (slice, lease) = self.found_slice(scope, id).await?;
        if slice.in_doubt.is_zero() {
            return Err(StoreError::Conflict(Conflict::SliceResolved));
        }
        if used > slice.in_doubt {
            return Err(StoreError::Conflict(Conflict::SliceShort));
        }
        if self.0.intent.trial.is_some() {
            return Ok((slice, Entries::new()));
        }
        let command = Command::Resolve {
            lease: Box::new(lease),
            used,
            lost_at: slice.lost_at,
        };
        let about = None;
        match self.run(&[Job { command, about }]).await.pop() {
            Some(Ok(reply)) => match reply.refusal {
                None => Ok((slice, reply.entries)),
                Some(Refusal::Repeat) => Err(StoreError::Conflict(Conflict::SliceResolved)),
                // A call that was under way told its end meanwhile.
                Some(Refusal::Moved) => Err(StoreError::Conflict(Conflict::Changed)),
                Some(refusal) => Err(StoreError::Unavailable(format!("refused: {refusal:?}"))),
            },
            Some(Err(_)) | None => Err(StoreError::Unavailable(
                "nobody knows whether it was done: look again".to_owned(),
            )),
        }
    }
}

fn read(row: &Row) -> Result<(LostSlice, LeaseRow), StoreError> {
    let lease = lease(row)?;
    let slice = LostSlice {
        id: lease.id,
        tenant: row::id(row, "tenant_id")?,
        budget: lease.key.budget,
        window_start: lease.key.start,
        measure: columns::measure(row, "measure")?,
        replica: lease.replica,
        amount: lease.amount,
        used: lease.used,
        in_doubt: lease.rest(),
        lost_at: row::time(row, "lost_at")?,
    };
    Ok((slice, lease))
}
