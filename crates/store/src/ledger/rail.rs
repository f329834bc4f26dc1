//! Money that a rail brought, and what became of it: entries in tokens, behind all others in the one
//! chain. They are written in the transaction of the row they belong to.

use super::Failure;
use super::chain::Link;
use super::load;
use crate::query::{Connection, query};
use crate::row::{count, millis};
use std::sync::Arc;
use tollkeep_types::{EntryId, TenantId, WallMillis};

const ENTRY: &str = "INSERT INTO entries
    (number, id, tenant_id, kind, corrects, request_id, at, hash)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const POSTING: &str = "INSERT INTO postings (entry, line, tenant_id, account, amount)
  VALUES ($1, $2, $3, $4, $5)";

const BALANCE: &str = "UPDATE accounts SET balance = balance + $2, version = version + 1
  WHERE name = $1";

const ACCOUNT: &str = "INSERT INTO accounts (name, tenant_id, kind, unit, balance, version)
  VALUES ($1, $2, $3, $4, $5, 1)";

const STATE: &str = "UPDATE ledger_state SET seen = $1, entries = $2, chain = $3";

/// An account of a rail, by its kind and the rest of its name.
pub(crate) struct RailAccount {
    pub(crate) kind: &'static str,
    pub(crate) of: String,
}

impl RailAccount {
    fn name(&self) -> String {
        format!("{}:{}", self.kind, self.of)
    }
}

/// Money that moves from one account to another.
pub(crate) struct RailMove<'a> {
    pub(crate) id: EntryId,
    pub(crate) kind: &'static str,
    pub(crate) tenant: TenantId,
    pub(crate) request: &'a str,
    /// The token.
    pub(crate) unit: &'a str,
    pub(crate) from: RailAccount,
    pub(crate) to: RailAccount,
    pub(crate) amount: u64,
}

impl RailMove<'_> {
    /// Writes it behind the end of the chain, whose turn it takes; gives its hash.
    pub(crate) async fn post(
        &self,
        connection: &mut Connection,
        now: WallMillis,
    ) -> Result<[u8; 32], crate::StoreError> {
        let posted = self.try_post(connection, now).await;
        posted.map_err(Failure::into_error)
    }

    async fn try_post(
        &self,
        connection: &mut Connection,
        now: WallMillis,
    ) -> Result<[u8; 32], Failure> {
        let (rows, mut chain) = load::begin(connection, now).await?;
        let amount = count(self.amount);
        let lines = [
            (Arc::from(self.from.name()), amount.saturating_neg()),
            (Arc::from(self.to.name()), amount),
        ];
        let (id, tenant) = (self.id.to_string(), self.tenant.to_string());
        chain.entries = chain.entries.saturating_add(1);
        let link = Link {
            number: chain.entries,
            id: &id,
            tenant: &tenant,
            kind: self.kind,
            corrects: None,
            request: Some(self.request),
            at: rows.seen,
            postings: &lines,
        };
        chain.end = link.hash(&chain.end);
        query(ENTRY)
            .bind(chain.entries)
            .bind(&id)
            .bind(&tenant)
            .bind(self.kind)
            .bind(None::<String>)
            .bind(self.request)
            .bind(millis(rows.seen))
            .bind(chain.end.to_vec())
            .execute(connection)
            .await?;
        for ((line, (account, by)), kind) in
            (0_i64..).zip(&lines).zip([self.from.kind, self.to.kind])
        {
            query(POSTING)
                .bind(chain.entries)
                .bind(line)
                .bind(&tenant)
                .bind(&**account)
                .bind(*by)
                .execute(connection)
                .await?;
            self.change(connection, (account, kind), *by).await?;
        }
        query(STATE)
            .bind(millis(rows.seen))
            .bind(chain.entries)
            .bind(chain.end.to_vec())
            .execute(connection)
            .await?;
        Ok(chain.end)
    }

    async fn change(
        &self,
        connection: &mut Connection,
        (account, kind): (&str, &str),
        by: i64,
    ) -> Result<(), Failure> {
        let changed = query(BALANCE).bind(account).bind(by);
        if changed.execute(connection).await? == 0 {
            query(ACCOUNT)
                .bind(account)
                .bind(self.tenant.to_string())
                .bind(kind)
                .bind(self.unit)
                .bind(by)
                .execute(connection)
                .await?;
        }
        Ok(())
    }
}
