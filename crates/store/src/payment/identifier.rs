//! What payers call what they buy: for a day, by the very proof, a lost answer is found again.

use super::record::{self, NewPayment, PaymentRecord};
use crate::database::GATEWAY;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{Store, StoreError};
use std::fmt;
use tollkeep_types::{PaymentId, TenantId, WallMillis};

/// For how long a name stands for one thing: a day.
const KEPT_MS: u64 = 86_400_000;
/// Names of one payer at most; the oldest are forgotten.
const OF_PAYER_MAX: u32 = 64;
/// Bodies of one tenant at most; the oldest are forgotten.
const BODIES_MAX: u32 = 1_000;
/// How many are forgotten at a time.
const FORGOTTEN_MAX: u32 = 1_000;

/// A name whose time is over, or under which nothing was bought in the end.
const FREE: &str = "DELETE FROM payment_identifiers
  WHERE tenant_id = $1 AND payer = $2 AND identifier = $3 AND (created_at <= $4
    OR EXISTS (SELECT 1 FROM payments WHERE payments.id = payment_identifiers.payment_id
      AND payments.state IN ('released', 'voided')))";

const INSERT: &str = "INSERT INTO payment_identifiers
    (payment_id, tenant_id, payer, identifier, payload_hash, created_at)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (tenant_id, payer, identifier) DO NOTHING";

const FEWER: &str = "DELETE FROM payment_identifiers WHERE payment_id IN (
    SELECT payment_id FROM payment_identifiers WHERE tenant_id = $1 AND payer = $2
    ORDER BY created_at DESC, payment_id DESC LIMIT $3 OFFSET $4)";

const ANSWERED: &str = "UPDATE payment_identifiers SET status = $2, answer = $3, sealed_at = $4
  WHERE payment_id = $1";

const FEWER_BODIES: &str = "UPDATE payment_identifiers SET answer = NULL, sealed_at = NULL
  WHERE payment_id IN (SELECT payment_id FROM payment_identifiers
    WHERE tenant_id = $1 AND answer IS NOT NULL
    ORDER BY created_at DESC, payment_id DESC LIMIT $2 OFFSET $3)";

const FORGET: &str = "DELETE FROM payment_identifiers WHERE created_at <= $1";

const BY_PAYLOAD: &str = "SELECT payment_id, status, answer FROM payment_identifiers
  WHERE tenant_id = $1 AND payload_hash = $2 AND created_at > $3
  ORDER BY created_at DESC LIMIT 1";

const BY_ID: &str = super::select_payment!("WHERE id = $1");

/// What a payer calls what it buys, and the hash of the proof that says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedPayment {
    /// The name.
    pub identifier: String,
    /// SHA-256 of the proof as it came.
    pub payload_hash: [u8; 32],
}

/// What was answered for a payment.
#[derive(Clone, Eq, PartialEq)]
pub struct PaymentAnswer {
    /// The status.
    pub status: u16,
    /// Its kind and body, sealed; `None` where that was not kept.
    pub sealed: Option<String>,
}

impl fmt::Debug for PaymentAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentAnswer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// The payment of this very proof, named within a day, and what was answered for it, if that is
    /// known.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn payment_of_payload(
        &self,
        tenant: TenantId,
        payload_hash: [u8; 32],
    ) -> Result<Option<(PaymentRecord, Option<PaymentAnswer>)>, StoreError> {
        let since = WallMillis(self.0.wall.now().0.saturating_sub(KEPT_MS));
        let mut connection = self.0.read(GATEWAY).await?;
        let named = || {
            query(BY_PAYLOAD)
                .bind(tenant.to_string())
                .bind(payload_hash.to_vec())
                .bind(millis(since))
        };
        let Some(found) = named().fetch_optional(&mut connection).await? else {
            return Ok(None);
        };
        let id = row::text(&found, "payment_id")?;
        let payment = query(BY_ID).bind(id).fetch_one(&mut connection).await?;
        // An answer is kept before its payment is spent: looked for in this order, it is never missed.
        let found = named().fetch_optional(&mut connection).await?;
        let answer = found.as_ref().map(answer_in).transpose()?.flatten();
        Ok(Some((record::read(&payment)?, answer)))
    }

    /// Keeps what was answered for a payment that its payer named; nothing where it did not.
    ///
    /// # Errors
    /// The disk.
    pub async fn keep_payment_answer(
        &self,
        (tenant, payment): (TenantId, PaymentId),
        answer: PaymentAnswer,
    ) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut turn = inner.database.begin_ledger().await?;
            query(ANSWERED)
                .bind(payment.to_string())
                .bind(i64::from(answer.status))
                .bind(&answer.sealed)
                .bind(answer.sealed.as_ref().map(|_| millis(now)))
                .execute(turn.connection())
                .await?;
            query(FEWER_BODIES)
                .bind(tenant.to_string())
                .bind(FORGOTTEN_MAX)
                .bind(BODIES_MAX)
                .execute(turn.connection())
                .await?;
            let _turn = turn.commit().await?;
            Ok(())
        })
        .await
    }
}

/// What was answered, if that is known.
fn answer_in(found: &Row) -> Result<Option<PaymentAnswer>, StoreError> {
    let status = row::number_if_set(found, "status")?;
    let status = status.and_then(|status| u16::try_from(status).ok());
    let sealed = row::value(found, "answer")?;
    Ok(status.map(|status| PaymentAnswer { status, sealed }))
}

/// Names a payment that is reserved in the same transaction. `false`: the payer calls something else
/// so.
pub(super) async fn name(
    connection: &mut Connection,
    new: &NewPayment,
    now: WallMillis,
) -> Result<bool, StoreError> {
    let Some(named) = &new.named else {
        return Ok(true);
    };
    let tenant = new.tenant.to_string();
    query(FREE)
        .bind(&tenant)
        .bind(&new.payer)
        .bind(&named.identifier)
        .bind(millis(WallMillis(now.0.saturating_sub(KEPT_MS))))
        .execute(connection)
        .await?;
    let inserted = query(INSERT)
        .bind(new.id.to_string())
        .bind(&tenant)
        .bind(&new.payer)
        .bind(&named.identifier)
        .bind(named.payload_hash.to_vec())
        .bind(millis(now))
        .execute(connection)
        .await?;
    query(FEWER)
        .bind(&tenant)
        .bind(&new.payer)
        .bind(FORGOTTEN_MAX)
        .bind(OF_PAYER_MAX)
        .execute(connection)
        .await?;
    Ok(inserted > 0)
}

/// Forgets what is older than a day.
pub(crate) async fn forget(
    connection: &mut Connection,
    now: WallMillis,
) -> Result<u64, StoreError> {
    let until = WallMillis(now.0.saturating_sub(KEPT_MS));
    Ok(query(FORGET)
        .bind(millis(until))
        .execute(connection)
        .await?)
}
