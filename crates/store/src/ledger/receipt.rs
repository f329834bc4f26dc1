//! Receipts of calls that ended: kept as they were signed, and given to whoever made the call.

use super::recorded::{UsageRecord, read, read_columns};
use crate::database::GATEWAY;
use crate::query::query;
use crate::row::{self, count, millis};
use crate::{Scope, Store, StoreError};
use tollkeep_types::{RequestId, TenantId, WallMillis};

/// Receipts of one request that are given at once.
const OF_REQUEST_MAX: i64 = 100;
/// Receipts deleted at a time.
const FORGET_MAX: i64 = 1000;

/// A receipt to be kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewReceipt {
    /// Its own name: that of its record, or of what puts the record's first one right.
    pub id: String,
    /// The usage record it is of, which names it from now on.
    pub record: String,
    /// Whose call it was.
    pub tenant: TenantId,
    /// The request.
    pub request: RequestId,
    /// Which of its attempts.
    pub attempt: u32,
    /// Its chain.
    pub chain: String,
    /// Its place there.
    pub seq: u64,
    /// The whole text.
    pub text: String,
}

const OF_REQUEST: &str = "SELECT id, text FROM receipts
  WHERE request_id = $1 AND ($2 IS NULL OR tenant_id = $2) ORDER BY attempt, id LIMIT $3";

const INSERT: &str = "INSERT INTO receipts
    (id, tenant_id, request_id, attempt, chain, seq, text, issued_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const NAME: &str = "UPDATE usage_records SET receipt_chain = $2, receipt_seq = $3 WHERE id = $1";

const WITHOUT: &str = concat!(
    "SELECT ",
    read_columns!(),
    " FROM usage_records WHERE request_id IS NOT NULL AND at >= $1
    AND substr(id, 1, 4) = 'hld_'
    AND NOT EXISTS (SELECT 1 FROM receipts WHERE receipts.id = usage_records.id)
  ORDER BY at, id LIMIT $2"
);

const FORGET: &str = "DELETE FROM receipts WHERE id IN
  (SELECT id FROM receipts WHERE issued_at < $1 ORDER BY issued_at LIMIT $2)";

impl Store {
    /// The receipts of a request, by the usage records they are of.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn receipts_of(
        &self,
        scope: Scope,
        request: RequestId,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let rows = query(OF_REQUEST)
            .bind(request.to_string())
            .bind(scope.tenant())
            .bind(OF_REQUEST_MAX)
            .fetch_all(&mut connection)
            .await?;
        let both = |found| Ok((row::text(found, "id")?, row::text(found, "text")?));
        rows.iter().map(both).collect()
    }

    /// Usage records from this time on that have no receipt, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn records_without_receipt(
        &self,
        from: WallMillis,
        most: u32,
    ) -> Result<Vec<UsageRecord>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let rows = query(WITHOUT).bind(millis(from)).bind(i64::from(most));
        let rows = rows.fetch_all(&mut connection).await?;
        rows.iter().map(read).collect()
    }

    /// Keeps receipts, all of them or none: none if a record has one already.
    ///
    /// Gives whether they are kept.
    ///
    /// # Errors
    /// The disk.
    pub async fn keep_receipts(&self, receipts: Vec<NewReceipt>) -> Result<bool, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let now = inner.wall.now();
            for receipt in &receipts {
                let insert = query(INSERT)
                    .bind(&receipt.id)
                    .bind(receipt.tenant.to_string())
                    .bind(receipt.request.to_string())
                    .bind(i64::from(receipt.attempt))
                    .bind(&receipt.chain)
                    .bind(count(receipt.seq))
                    .bind(&receipt.text)
                    .bind(millis(now))
                    .execute(write.connection());
                match insert.await {
                    Err(error) if is_there(&error) => return Ok(false),
                    done => done?,
                };
            }
            // In the order in which whoever else changes several does it.
            let mut named: Vec<_> = receipts.iter().collect();
            named.sort_by(|one, other| (&one.record, one.seq).cmp(&(&other.record, other.seq)));
            for receipt in named {
                query(NAME)
                    .bind(&receipt.record)
                    .bind(&receipt.chain)
                    .bind(count(receipt.seq))
                    .execute(write.connection())
                    .await?;
            }
            write.commit(&[]).await?;
            Ok(true)
        })
        .await
    }

    /// Deletes receipts that were issued before this time.
    ///
    /// # Errors
    /// The disk.
    pub async fn forget_receipts(&self, before: WallMillis) -> Result<u64, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let forget = query(FORGET).bind(millis(before)).bind(FORGET_MAX);
            let forgotten = forget.execute(write.connection()).await?;
            write.commit(&[]).await?;
            Ok(forgotten)
        })
        .await
    }
}

fn is_there(error: &sqlx::Error) -> bool {
    let broken = error.as_database_error();
    broken.is_some_and(|error| error.is_unique_violation())
}
