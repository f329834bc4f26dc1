//! Prepaid accounts: whose they are, and opening and closing them. What is on them, and how it came
//! there, is the ledger's (`ledger/account.rs`).

use crate::database::GATEWAY;
use crate::error::is_duplicate_of;
use crate::follow::Changed;
use crate::open::Inner;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{Conflict, Page, PageRequest, Scope, Store, StoreError};
use std::sync::Arc;
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::posting::Unit;
use tollkeep_ledger::prepaid::{Holder, Prepaid};
use tollkeep_types::{AccountId, TenantId, WallMillis};

/// Open accounts of a tenant at most.
const ACCOUNTS_MAX: i64 = 10_000;
/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 100;

/// A prepaid account and what is on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PrepaidAccount {
    /// Whose it is, and in what it counts.
    pub of: Prepaid,
    /// What an operator calls it.
    pub name: String,
    /// What may be spent.
    pub balance: Amount,
    /// What is taken aside for calls under way.
    pub held: Amount,
    /// Since when it is there.
    pub opened_at: WallMillis,
    /// Since when no call has to fit it any more.
    pub closed_at: Option<WallMillis>,
}

/// An account to be opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewAccount {
    /// Whose tenant it belongs to.
    pub tenant: TenantId,
    /// Whose calls it pays for.
    pub holder: Holder,
    /// What it counts in, for its whole life.
    pub unit: Unit,
    /// What an operator calls it, 1 to 100 characters.
    pub name: String,
}

/// Which accounts are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccountFilter {
    /// Those of this holder, by its id.
    pub holder: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT account.account_id, account.tenant_id, account.holder_kind, account.holder_id,
               account.unit, account.title, account.balance, coalesce(held.balance, 0) AS held,
               account.opened_at, account.closed_at
             FROM accounts AS account
             LEFT JOIN accounts AS held ON held.name = 'held:' || account.account_id ",
            $rest
        )
    };
}

const ONE: &str =
    select!("WHERE account.account_id = $1 AND ($2 IS NULL OR account.tenant_id = $2)");

const OPEN: &str = select!(
    "WHERE account.account_id IS NOT NULL AND account.closed_at IS NULL
     ORDER BY account.account_id"
);

const LIST: &str = select!(
    "WHERE account.account_id IS NOT NULL AND ($1 IS NULL OR account.tenant_id = $1)
       AND ($2 IS NULL OR account.holder_id = $2)
       AND ($3 IS NULL OR (account.opened_at, account.account_id) < ($3, $4))
     ORDER BY account.opened_at DESC, account.account_id DESC LIMIT $5"
);

const COUNT: &str = "SELECT count(*) FROM accounts
  WHERE tenant_id = $1 AND account_id IS NOT NULL AND closed_at IS NULL";

const INSERT: &str =
    "INSERT INTO accounts (name, tenant_id, kind, unit, balance, version, account_id,
    holder_kind, holder_id, title, opened_at)
  VALUES ($1, $2, 'credit', $3, 0, 0, $4, $5, $6, $7, $8)";

const CLOSE: &str =
    "UPDATE accounts SET closed_at = $2 WHERE account_id = $1 AND closed_at IS NULL";

/// The turn of the ledger: nothing moves while an account is closed.
const TURN: &str = "SELECT seen FROM ledger_state";

const SERVER_TURN: &str = "SELECT seen FROM ledger_state FOR UPDATE";

impl NewAccount {
    fn fault(&self) -> Option<&'static str> {
        let is_fit = !self.name.trim().is_empty()
            && self.name.chars().count() <= NAME_CHARS_MAX
            && !self.name.chars().any(char::is_control);
        (!is_fit).then_some("an account's name has 1 to 100 characters")
    }
}

impl Store {
    /// The open accounts of every tenant: from memory, without waiting. The list is exchanged as a
    /// whole, so another pointer says that something changed.
    pub fn accounts_in_use(&self) -> Arc<Vec<Prepaid>> {
        self.0.accounts.load_full()
    }

    /// Opens an account: from the next call on, all of its holder have to fit it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the holder has one in that unit, or there are too many;
    /// [`StoreError::NotFound`] for another tenant; [`StoreError::Invalid`]; the disk.
    pub async fn open_account(
        &self,
        scope: Scope,
        new: NewAccount,
    ) -> Result<PrepaidAccount, StoreError> {
        if scope
            .tenant()
            .is_some_and(|id| id != new.tenant.to_string())
        {
            return Err(StoreError::NotFound);
        }
        if let Some(fault) = new.fault() {
            return Err(StoreError::Invalid(fault));
        }
        self.unattended(async move |inner| {
            let id = AccountId::new(inner.wall.clock(), inner.entropy.as_ref());
            let mut write = inner.begin(GATEWAY).await?;
            insert(write.connection(), (id, &new), inner.wall.now()).await?;
            let made = by_id(write.connection(), GATEWAY, id).await?;
            let shown = in_use(write.connection()).await?;
            let show = || inner.accounts.store(Arc::new(shown));
            write.commit_then(&[Changed::ACCOUNTS], show).await?;
            Ok(made)
        })
        .await
    }

    /// Closes an empty account: no call has to fit it any more. Its entries stay.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if something is on it, or taken aside of it;
    /// [`StoreError::NotFound`], also where it was closed before; the disk.
    pub async fn close_account(
        &self,
        scope: Scope,
        id: AccountId,
    ) -> Result<PrepaidAccount, StoreError> {
        drop(self.account(scope, id).await?);
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let turn = connection.dialect(TURN, SERVER_TURN);
            query(turn).fetch_one(connection).await?;
            let account = by_id(connection, GATEWAY, id).await?;
            if account.closed_at.is_some() {
                return Err(StoreError::NotFound);
            }
            if !account.balance.is_zero() || !account.held.is_zero() {
                return Err(StoreError::Conflict(Conflict::AccountNotEmpty));
            }
            query(CLOSE)
                .bind(id.to_string())
                .bind(millis(inner.wall.now()))
                .execute(connection)
                .await?;
            let closed = by_id(connection, GATEWAY, id).await?;
            let shown = in_use(connection).await?;
            let show = || inner.accounts.store(Arc::new(shown));
            write.commit_then(&[Changed::ACCOUNTS], show).await?;
            Ok(closed)
        })
        .await
    }

    /// One account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn account(&self, scope: Scope, id: AccountId) -> Result<PrepaidAccount, StoreError> {
        by_id(&mut self.0.read(scope).await?, scope, id).await
    }

    /// Accounts, the newest first; closed ones too.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn accounts(
        &self,
        scope: Scope,
        filter: AccountFilter,
        page: PageRequest<AccountId>,
    ) -> Result<Page<PrepaidAccount>, StoreError> {
        let (opened_at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(filter.holder)
            .bind(opened_at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        let accounts = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(page.page(accounts))
    }
}

impl Inner {
    /// Shows the accounts as the database has them.
    pub(crate) async fn show_accounts(
        &self,
        connection: &mut Connection,
    ) -> Result<(), StoreError> {
        self.accounts.store(Arc::new(in_use(connection).await?));
        Ok(())
    }
}

async fn insert(
    connection: &mut Connection,
    (id, new): (AccountId, &NewAccount),
    now: WallMillis,
) -> Result<(), StoreError> {
    let count = query(COUNT).bind(new.tenant.to_string());
    if count.fetch_number(connection).await? >= ACCOUNTS_MAX {
        return Err(StoreError::Conflict(Conflict::AccountsFull));
    }
    let (kind, holder) = match new.holder {
        Holder::Tenant(id) => ("tenant", id.to_string()),
        Holder::Project(id) => ("project", id.to_string()),
        Holder::Token(id) => ("token", id.to_string()),
    };
    let inserted = query(INSERT)
        .bind(format!("credit:{id}"))
        .bind(new.tenant.to_string())
        .bind(new.unit.as_str())
        .bind(id.to_string())
        .bind(kind)
        .bind(holder)
        .bind(&new.name)
        .bind(millis(now))
        .execute(connection);
    inserted.await.map_err(|error| {
        if is_duplicate_of(&error, "accounts", "unit") {
            return StoreError::Conflict(Conflict::AccountOpen);
        }
        error.into()
    })?;
    Ok(())
}

/// Every open account, in ascending order of ids.
pub(crate) async fn in_use(connection: &mut Connection) -> Result<Vec<Prepaid>, StoreError> {
    let rows = query(OPEN).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(read(row)?.of)).collect()
}

async fn by_id(
    connection: &mut Connection,
    scope: Scope,
    id: AccountId,
) -> Result<PrepaidAccount, StoreError> {
    let found = query(ONE).bind(id.to_string()).bind(scope.tenant());
    read(&found.fetch_one(connection).await?)
}

fn read(row: &Row) -> Result<PrepaidAccount, StoreError> {
    let unreadable = || StoreError::Unavailable("an account can't be read".to_owned());
    let amount = |column: &str| Amount::new(row::value(row, column)?).ok_or_else(unreadable);
    let holder = match row::text(row, "holder_kind")?.as_str() {
        "tenant" => Holder::Tenant(row::id(row, "holder_id")?),
        "project" => Holder::Project(row::id(row, "holder_id")?),
        "token" => Holder::Token(row::id(row, "holder_id")?),
        _ => return Err(unreadable()),
    };
    let unit = row::text(row, "unit")?;
    let unit = Unit::ALL.into_iter().find(|known| known.as_str() == unit);
    Ok(PrepaidAccount {
        of: Prepaid {
            id: row::id(row, "account_id")?,
            tenant: row::id(row, "tenant_id")?,
            holder,
            unit: unit.ok_or_else(unreadable)?,
        },
        name: row::text(row, "title")?,
        balance: amount("balance")?,
        held: amount("held")?,
        opened_at: row::time(row, "opened_at")?,
        closed_at: row::time_if_set(row, "closed_at")?,
    })
}
