//! Accounts: their balances, what moved them, and moving something by hand.

use super::{Job, Ledger, columns};
use crate::query::{Row, query};
use crate::{Conflict, Page, PageRequest, PrepaidAccount, Scope, Store, StoreError, row};
use tollkeep_ledger::amount::{Amount, Delta};
use tollkeep_ledger::posting::Account;
use tollkeep_ledger::step::Command;
use tollkeep_ledger::write::{Entries, Refusal};
use tollkeep_types::{AccountId, EntryId, HoldId, RequestId, TenantId, WallMillis};

const ACCOUNTS: &str = "SELECT name, tenant_id, kind, unit, balance FROM accounts
  WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR name > $2) ORDER BY name LIMIT $3";

/// An account and its balance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountRecord {
    /// Its name: the kind, and whose it is.
    pub name: String,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its kind, as `credit`.
    pub kind: String,
    /// In what it counts, as `usd`.
    pub unit: String,
    /// Nano-dollars, or whatever its unit is.
    pub balance: i64,
}

impl AccountRecord {
    /// Whose calls it is about: of accounts of what upstreams cost and are owed.
    pub fn provider(&self) -> Option<&str> {
        let (_, of) = self.name.split_once(':')?;
        let (_, provider) = of.split_once(':')?;
        let is_of_provider = matches!(self.kind.as_str(), "upstream_cost" | "payable");
        is_of_provider.then_some(provider)
    }
}

impl Ledger {
    /// Accounts in the order of their names.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn accounts(
        &self,
        scope: Scope,
        page: &PageRequest<String>,
    ) -> Result<Page<AccountRecord>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let (_, after) = page.from();
        let rows = query(ACCOUNTS)
            .bind(scope.tenant())
            .bind(after)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        Ok(page.page(rows.iter().map(read).collect::<Result<_, _>>()?))
    }
}

/// An entry of a prepaid account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountEntry {
    /// Its place among all entries.
    pub number: u64,
    /// Its id.
    pub id: EntryId,
    /// Why it was made, as `transfer`.
    pub kind: String,
    /// What the account has more by it, or less.
    pub amount: i64,
    /// The account on the other side, as `outside`.
    pub with: String,
    /// The request it is for.
    pub request: Option<RequestId>,
    /// The entry that it puts right.
    pub corrects: Option<EntryId>,
    /// When it was written.
    pub at: WallMillis,
}

const ENTRIES: &str = "SELECT entries.number, entries.id, entries.kind, own.amount,
    entries.request_id, entries.corrects, entries.at,
    (SELECT min(other.account) FROM postings AS other
     WHERE other.entry = own.entry AND other.line <> own.line) AS counter
  FROM postings AS own JOIN entries ON entries.number = own.entry
  WHERE own.account = $1 AND substr(own.account, 1, 7) = 'credit:' AND ($2 IS NULL OR own.entry < $2)
  ORDER BY own.entry DESC LIMIT $3";

const HASH: &str = "SELECT hash FROM entries WHERE cost IS NULL AND id = $1";

const USAGE: &str = "SELECT id, tenant_id, quality, bound, cost, tokens, output_tokens,
    billable_tokens, requests, charged, hold_version, is_swept, is_corrected
  FROM usage_records WHERE id = $2 AND ($1 IS NULL OR tenant_id = $1)";

/// What an operator moves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Movement {
    /// Up or down, in the account's unit.
    pub by: Delta,
    /// Where it comes from or goes to, in the same unit.
    pub with: Account,
}

impl Ledger {
    /// Entries of a prepaid account, the last first, those before `before`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn account_entries(
        &self,
        scope: Scope,
        account: AccountId,
        (before, limit): (Option<u64>, u32),
    ) -> Result<Vec<AccountEntry>, StoreError> {
        let store = Store(std::sync::Arc::clone(&self.0));
        drop(store.account(scope, account).await?);
        let mut connection = self.0.read(scope).await?;
        let rows = query(ENTRIES)
            .bind(format!("credit:{account}"))
            .bind(before.map(row::count))
            .bind(limit)
            .fetch_all(&mut connection)
            .await?;
        rows.iter().map(entry).collect()
    }

    /// Moves something into a prepaid account or out of it. In a trial nothing is done. A handle
    /// that carries out a request once does it once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] for more than is there, or into a closed
    /// account; [`StoreError::Unavailable`] if nobody knows whether it was done.
    pub async fn transfer(
        &self,
        scope: Scope,
        account: AccountId,
        movement: Movement,
    ) -> Result<(EntryId, Entries), StoreError> {
        let store = Store(std::sync::Arc::clone(&self.0));
        let found = store.account(scope, account).await?;
        let after = found.balance.changed(movement.by);
        let after = after.ok_or(StoreError::Conflict(Conflict::AccountShort))?;
        if found.closed_at.is_some() && after > found.balance {
            return Err(StoreError::Conflict(Conflict::AccountClosed));
        }
        let entry = match &self.0.intent.run {
            Some(run) => EntryId::from_bytes(run.own_bytes()),
            None => EntryId::new(self.0.wall.clock(), self.0.entropy.as_ref()),
        };
        let command = Command::Transfer {
            entry,
            account,
            by: movement.by,
            with: movement.with,
        };
        let (refusal, entries) = self.one(command).await?;
        match refusal {
            None => Ok((entry, entries)),
            // The same request had done it, and its answer was lost.
            Some(Refusal::Repeat) => Ok((entry, self.made(&[entry]).await?)),
            Some(Refusal::Short(_)) => Err(StoreError::Conflict(Conflict::AccountShort)),
            Some(Refusal::Absent) => Err(StoreError::Conflict(Conflict::AccountClosed)),
            Some(refusal) => Err(refused(refusal)),
        }
    }

    /// Gives back of what a call was charged to a prepaid account, once for each call.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for a call that was not charged to it;
    /// [`StoreError::Conflict`] for more than it was charged, for a cost that may still change, and
    /// the second time; [`StoreError::Unavailable`] if nobody knows whether it was done.
    pub async fn refund(
        &self,
        scope: Scope,
        (account, hold): (AccountId, HoldId),
        amount: Amount,
    ) -> Result<(PrepaidAccount, Entries), StoreError> {
        let store = Store(std::sync::Arc::clone(&self.0));
        drop(store.account(scope, account).await?);
        let mut connection = self.0.read(scope).await?;
        let found = query(USAGE).bind(scope.tenant()).bind(hold.to_string());
        let usage = Box::new(columns::usage(&found.fetch_one(&mut connection).await?)?);
        drop(connection);
        let command = Command::Refund {
            usage,
            account,
            amount,
        };
        let (refusal, entries) = self.one(command).await?;
        match refusal {
            None => {}
            Some(Refusal::Short(_)) => return Err(StoreError::Conflict(Conflict::AccountShort)),
            Some(Refusal::Repeat) => return Err(StoreError::Conflict(Conflict::Refunded)),
            Some(Refusal::NotDue) => return Err(StoreError::Conflict(Conflict::CostNotFinal)),
            Some(Refusal::Absent) => return Err(StoreError::NotFound),
            Some(refusal) => return Err(refused(refusal)),
        }
        Ok((store.account(scope, account).await?, entries))
    }

    /// The hashes of entries that are there.
    async fn made(&self, ids: &[EntryId]) -> Result<Entries, StoreError> {
        let mut connection = self.0.read(Scope::Service("ledger")).await?;
        let mut made = Entries::new();
        for id in ids {
            let found = query(HASH).bind(id.to_string());
            if let Some(row) = found.fetch_optional(&mut connection).await? {
                let hash: Vec<u8> = row::value(&row, "hash")?;
                made.extend(<[u8; 32]>::try_from(hash.as_slice()));
            }
        }
        Ok(made)
    }

    /// Runs one command, unless in a trial; gives the hashes of its entries.
    async fn one(&self, command: Command) -> Result<(Option<Refusal>, Entries), StoreError> {
        if self.0.intent.trial.is_some() {
            return Ok((None, Entries::new()));
        }
        let about = None;
        match self.run(&[Job { command, about }]).await.pop() {
            Some(Ok(reply)) => Ok((reply.refusal, reply.entries)),
            Some(Err(_)) | None => Err(StoreError::Unavailable(
                "nobody knows whether it was done: look again".to_owned(),
            )),
        }
    }
}

fn refused(refusal: Refusal) -> StoreError {
    StoreError::Unavailable(format!("refused: {refusal:?}"))
}

fn entry(row: &Row) -> Result<AccountEntry, StoreError> {
    let counter = row::text(row, "counter")?;
    let (with, _) = counter.split_once(':').unwrap_or((&counter, ""));
    Ok(AccountEntry {
        number: row::number(row, "number")?,
        id: row::id(row, "id")?,
        kind: row::text(row, "kind")?,
        amount: row::value(row, "amount")?,
        with: with.to_owned(),
        request: row::id_if_set(row, "request_id")?,
        corrects: row::id_if_set(row, "corrects")?,
        at: row::time(row, "at")?,
    })
}

fn read(row: &Row) -> Result<AccountRecord, StoreError> {
    Ok(AccountRecord {
        name: row::text(row, "name")?,
        tenant: row::id(row, "tenant_id")?,
        kind: row::text(row, "kind")?,
        unit: row::text(row, "unit")?,
        balance: row::value(row, "balance")?,
    })
}
