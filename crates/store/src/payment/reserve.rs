//! Reserving a proof: one wins, and all others see whose it is.

use super::identifier::name;
use super::record::{self, NewPayment, PaymentRecord, Reserved};
use super::select_payment;
use crate::query::{Connection, query};
use crate::row::{count, millis};
use crate::{Store, StoreError};
use tollkeep_types::WallMillis;

const INSERT: &str = "INSERT INTO payments (id, tenant_id, key_digest, rail, route, mode, state,
    version, calls, was_made_good, unit, symbol, decimals, network, quoted, request_digest,
    request_id, payer, pay_to, facilitator, proof, sealed_at, ends_at, holder, lease_until, looks,
    created_at, updated_at)
  VALUES ($1, $2, $3, 'x402', $4, $5, 'pending', 0, 0, $6, $7, $8, $9, $10, $11, $12, $13, $14,
    $15, $16, $17, $18, $19, $20, $21, 0, $18, $18)
  ON CONFLICT (key_digest) DO NOTHING";

/// A proof that shows who its payer is and is never settled: it is used up at once.
const BURN: &str = "INSERT INTO payments (id, tenant_id, key_digest, rail, route, mode, state,
    version, calls, was_made_good, unit, symbol, decimals, network, quoted, request_digest,
    request_id, payer, pay_to, facilitator, reason, ends_at, looks, created_at, updated_at)
  VALUES ($1, $2, $3, 'x402', $4, $5, 'voided', 0, 0, $6, $7, $8, $9, $10, $11, $12, $13, $14,
    $15, $16, $17, $18, 0, $19, $19)
  ON CONFLICT (key_digest) DO NOTHING";

/// A proof that was given up before comes again, perhaps at another price or in another mode.
const AGAIN: &str = "UPDATE payments SET state = 'pending', version = version + 1, calls = 0,
    mode = $3, unit = $4, symbol = $5, decimals = $6, network = $7, quoted = $8, due = NULL,
    request_digest = $9, request_id = $10, pay_to = $11, facilitator = $12, proof = $13,
    sealed_at = $14, ends_at = $15, holder = $16, lease_until = $17, reason = NULL,
    updated_at = $14
  WHERE id = $1 AND version = $2 AND state = 'released'";

const BY_KEY: &str = select_payment!("WHERE key_digest = $1");

impl Store {
    /// Reserves a proof, durably, before anybody is asked for money. Where it was shown before,
    /// nothing is changed.
    ///
    /// # Errors
    /// The disk.
    pub async fn reserve_payment(&self, new: NewPayment) -> Result<Reserved, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut turn = inner.database.begin_ledger().await?;
            let connection = turn.connection();
            if insert(connection, &new, now).await? {
                if !name(connection, &new, now).await? {
                    turn.undo().await;
                    return Ok(Reserved::NameTaken);
                }
                let _turn = turn.commit().await?;
                return Ok(Reserved::New);
            }
            let found = query(BY_KEY).bind(new.key.to_vec()).fetch_one(connection);
            let found = record::read(&found.await?)?;
            turn.undo().await;
            Ok(Reserved::Known(Box::new(found)))
        })
        .await
    }

    /// Uses a proof up that is never settled, for this reason. `false`: it was shown before.
    ///
    /// # Errors
    /// The disk.
    pub async fn burn_payment(
        &self,
        new: NewPayment,
        reason: &'static str,
    ) -> Result<bool, StoreError> {
        self.unattended(async move |inner| {
            let now = millis(inner.wall.now());
            let mut turn = inner.database.begin_ledger().await?;
            let inserted = query(BURN)
                .bind(new.id.to_string())
                .bind(new.tenant.to_string())
                .bind(new.key.to_vec())
                .bind(&new.route)
                .bind(new.mode.as_str())
                .bind(false)
                .bind(&new.unit)
                .bind(&new.symbol)
                .bind(u32::from(new.decimals))
                .bind(&new.network)
                .bind(count(new.quoted))
                .bind(new.request_digest.to_vec())
                .bind(new.request.to_string())
                .bind(&new.payer)
                .bind(&new.pay_to)
                .bind(&new.facilitator)
                .bind(reason)
                .bind(millis(new.ends_at))
                .bind(now)
                .execute(turn.connection())
                .await?;
            let _turn = turn.commit().await?;
            Ok(inserted > 0)
        })
        .await
    }

    /// Reserves a proof again that was given up. `false`: somebody else did.
    ///
    /// # Errors
    /// The disk.
    pub async fn reserve_payment_again(
        &self,
        known: &PaymentRecord,
        new: NewPayment,
    ) -> Result<bool, StoreError> {
        let (id, version) = (known.id, known.version);
        self.unattended(async move |inner| {
            let now = millis(inner.wall.now());
            let mut turn = inner.database.begin_ledger().await?;
            let changed = query(AGAIN)
                .bind(id.to_string())
                .bind(count(version))
                .bind(new.mode.as_str())
                .bind(&new.unit)
                .bind(&new.symbol)
                .bind(u32::from(new.decimals))
                .bind(&new.network)
                .bind(count(new.quoted))
                .bind(new.request_digest.to_vec())
                .bind(new.request.to_string())
                .bind(&new.pay_to)
                .bind(&new.facilitator)
                .bind(&new.proof)
                .bind(now)
                .bind(millis(new.ends_at))
                .bind(&new.holder)
                .bind(millis(new.lease_until))
                .execute(turn.connection())
                .await?;
            let _turn = turn.commit().await?;
            Ok(changed > 0)
        })
        .await
    }
}

async fn insert(
    connection: &mut Connection,
    new: &NewPayment,
    now: WallMillis,
) -> Result<bool, StoreError> {
    let inserted = query(INSERT)
        .bind(new.id.to_string())
        .bind(new.tenant.to_string())
        .bind(new.key.to_vec())
        .bind(&new.route)
        .bind(new.mode.as_str())
        .bind(false)
        .bind(&new.unit)
        .bind(&new.symbol)
        .bind(u32::from(new.decimals))
        .bind(&new.network)
        .bind(count(new.quoted))
        .bind(new.request_digest.to_vec())
        .bind(new.request.to_string())
        .bind(&new.payer)
        .bind(&new.pay_to)
        .bind(&new.facilitator)
        .bind(&new.proof)
        .bind(millis(now))
        .bind(millis(new.ends_at))
        .bind(&new.holder)
        .bind(millis(new.lease_until))
        .execute(connection)
        .await?;
    Ok(inserted > 0)
}
