//! Changes of a payment: what was read is named, and the money moves with it.

use super::record::{self, Money, PaymentChange, PaymentRecord, PaymentState};
use super::select_payment;
use crate::database::GATEWAY;
use crate::ledger::{RailAccount, RailMove};
use crate::open::Inner;
use crate::outbox::Happened;
use crate::query::{Connection, query};
use crate::row::{count, millis};
use crate::{Store, StoreError, session};
use tollkeep_types::{EntryId, PaymentId, WallMillis};

const CHANGE: &str = "UPDATE payments SET state = $4, version = version + 1, calls = $5,
    was_made_good = $6, facilitator = coalesce($7, facilitator),
    transaction_id = coalesce($8, transaction_id), reason = coalesce($9, reason), holder = $10,
    lease_until = $11, look_at = $12, looks = 0, proof = $13, received = $14, settled_at = $15,
    updated_at = $16, due = coalesce($17, due)
  WHERE id = $1 AND version = $2 AND state = $3";

const BY_ID: &str = select_payment!("WHERE id = $1");

const RENEW: &str = "UPDATE payments SET lease_until = $2
  WHERE holder = $1 AND lease_until IS NOT NULL AND lease_until > $3";

const LOOKED: &str = "UPDATE payments SET look_at = $3, looks = looks + 1
  WHERE id = $1 AND looks = $2 AND state = 'unknown'";

const HASTEN: &str = "UPDATE payments SET look_at = $1 WHERE id IN
    (SELECT id FROM payments WHERE look_at > $1 AND facilitator = $2 AND ends_at > $3
      ORDER BY look_at LIMIT $4)";

const END_LEASES: &str = "UPDATE payments SET lease_until = 0 WHERE lease_until IS NOT NULL";

impl Store {
    /// Changes a payment if it is as it was read, with the posting that belongs to it; gives what it
    /// is then. `None`: it is not as it was read, and nothing is changed.
    ///
    /// # Errors
    /// The disk.
    pub async fn change_payment(
        &self,
        id: PaymentId,
        change: PaymentChange,
    ) -> Result<Option<PaymentRecord>, StoreError> {
        // In a trial nothing is done.
        if self.0.intent.trial.is_some() {
            return Ok(Some(self.payment(GATEWAY, id).await?));
        }
        self.unattended(async move |inner| {
            let mut turn = inner.database.begin_ledger().await?;
            match write(&inner, turn.connection(), id, &change).await {
                Ok(Some(record)) => {
                    let _turn = turn.commit().await?;
                    Ok(Some(record))
                }
                other => {
                    turn.undo().await;
                    other
                }
            }
        })
        .await
    }

    /// Keeps what this process works on its own for longer.
    ///
    /// # Errors
    /// The disk.
    pub async fn renew_payment_leases(
        &self,
        holder: String,
        (now, until): (WallMillis, WallMillis),
    ) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut turn = inner.database.begin_ledger().await?;
            query(RENEW)
                .bind(&holder)
                .bind(millis(until))
                .bind(millis(now))
                .execute(turn.connection())
                .await?;
            let _turn = turn.commit().await?;
            Ok(())
        })
        .await
    }

    /// Ends all leases where no other process can be at work: on a file, which one process has open.
    ///
    /// # Errors
    /// The disk.
    pub async fn end_payment_leases_of_file(&self) -> Result<(), StoreError> {
        if !matches!(self.0.database, crate::database::Database::Sqlite(_)) {
            return Ok(());
        }
        self.unattended(async move |inner| {
            let mut turn = inner.database.begin_ledger().await?;
            query(END_LEASES).execute(turn.connection()).await?;
            let _turn = turn.commit().await?;
            Ok(())
        })
        .await
    }

    /// Has unknown payments of a facilitator looked at now, so many at most, but for those whose
    /// proofs ended before a time. How many there were.
    ///
    /// # Errors
    /// The disk.
    pub async fn hasten_payments(
        &self,
        facilitator: String,
        (now, ended): (WallMillis, WallMillis),
        most: u32,
    ) -> Result<u64, StoreError> {
        self.unattended(async move |inner| {
            let mut turn = inner.database.begin_ledger().await?;
            let changed = query(HASTEN)
                .bind(millis(now))
                .bind(&facilitator)
                .bind(millis(ended))
                .bind(most)
                .execute(turn.connection())
                .await?;
            let _turn = turn.commit().await?;
            Ok(changed)
        })
        .await
    }

    /// Takes the turn to look what became of an unknown payment, and says when the next one is.
    /// `false`: somebody else has it.
    ///
    /// # Errors
    /// The disk.
    pub async fn look_at_payment(
        &self,
        (id, looks): (PaymentId, u32),
        next: WallMillis,
    ) -> Result<bool, StoreError> {
        self.unattended(async move |inner| {
            let mut turn = inner.database.begin_ledger().await?;
            let changed = query(LOOKED)
                .bind(id.to_string())
                .bind(looks)
                .bind(millis(next))
                .execute(turn.connection())
                .await?;
            let _turn = turn.commit().await?;
            Ok(changed > 0)
        })
        .await
    }
}

async fn write(
    inner: &Inner,
    connection: &mut Connection,
    id: PaymentId,
    change: &PaymentChange,
) -> Result<Option<PaymentRecord>, StoreError> {
    let now = inner.wall.now();
    let Some(row) = query(BY_ID)
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?
    else {
        return Ok(None);
    };
    let had = record::read(&row)?;
    let to = change.to;
    let settled_at = match to.money() {
        Money::Outside => None,
        Money::Owed | Money::Earned => Some(had.settled_at.unwrap_or(now)),
    };
    let received = settled_at.map(|_| count(had.amount()));
    let (holder, until) = change.lease.clone().unzip();
    let changed = query(CHANGE)
        .bind(id.to_string())
        .bind(count(change.version))
        .bind(change.from.as_str())
        .bind(to.as_str())
        .bind(u32::from(change.calls))
        .bind(change.was_made_good)
        .bind(&change.facilitator)
        .bind(&change.transaction)
        .bind(&change.reason)
        .bind(holder)
        .bind(until.map(millis))
        .bind(change.look_at.map(millis))
        .bind(
            had.proof
                .clone()
                .filter(|_| to.keeps_proof() || change.opens.is_some()),
        )
        .bind(received)
        .bind(settled_at.map(millis))
        .bind(millis(now))
        .bind(change.due.map(count))
        .execute(connection)
        .await?;
    if changed == 0 {
        return Ok(None);
    }
    let mut made = Vec::new();
    for (from, to) in steps(change.from, to)? {
        if let (Money::Earned, Some(new)) = (to, &change.opens) {
            session::open(inner, connection, (&had, new), now).await?;
            continue;
        }
        let entry = EntryId::new(inner.wall.clock(), inner.entropy.as_ref());
        let hash = moved(&had, entry, (*from, *to)).post(connection, now);
        made.push(hash.await?);
    }
    let row = query(BY_ID)
        .bind(id.to_string())
        .fetch_one(&mut *connection);
    let mut record = record::read(&row.await?)?;
    record.made = made;
    let from = change.from;
    let happened = Happened::Payment {
        from,
        record: &record,
    };
    inner.tell(connection, &happened, now).await?;
    Ok(Some(record))
}

type Steps = &'static [(Money, Money)];

/// How the money goes from where it was to where it belongs.
fn steps(from: PaymentState, to: PaymentState) -> Result<Steps, StoreError> {
    const RECEIVED: (Money, Money) = (Money::Outside, Money::Owed);
    const EARNED: (Money, Money) = (Money::Owed, Money::Earned);
    const REFUNDED: (Money, Money) = (Money::Owed, Money::Outside);
    // An operator has sent it back.
    if (from, to) == (PaymentState::Credit, PaymentState::Voided) {
        return Ok(&[REFUNDED]);
    }
    match (from.money(), to.money()) {
        (Money::Outside, Money::Outside)
        | (Money::Owed, Money::Owed)
        | (Money::Earned, Money::Earned) => Ok(&[]),
        (Money::Outside, Money::Owed) => Ok(&[RECEIVED]),
        (Money::Owed, Money::Earned) => Ok(&[EARNED]),
        (Money::Outside, Money::Earned) => Ok(&[RECEIVED, EARNED]),
        (Money::Owed | Money::Earned, Money::Outside) | (Money::Earned, Money::Owed) => {
            Err(StoreError::Invalid("the money of a payment can't go there"))
        }
    }
}

/// The entry of one step; what is not here came from the rail.
fn moved(of: &PaymentRecord, id: EntryId, (from, to): (Money, Money)) -> PaymentMove<'_> {
    let account = |money| match money {
        Money::Outside => RailAccount {
            kind: "outside",
            of: format!("x402:{}:{}", of.tenant, of.unit),
        },
        Money::Owed => RailAccount {
            kind: "credit",
            of: of.id.to_string(),
        },
        Money::Earned => RailAccount {
            kind: "revenue",
            of: format!("x402:{}:{}", of.tenant, of.unit),
        },
    };
    PaymentMove {
        request: of.request.to_string(),
        of,
        id,
        kind: if from == Money::Outside || to == Money::Outside {
            "transfer"
        } else {
            "settle"
        },
        path: (account(from), account(to)),
    }
}

struct PaymentMove<'a> {
    of: &'a PaymentRecord,
    request: String,
    id: EntryId,
    kind: &'static str,
    path: (RailAccount, RailAccount),
}

impl PaymentMove<'_> {
    async fn post(
        self,
        connection: &mut Connection,
        now: WallMillis,
    ) -> Result<[u8; 32], StoreError> {
        let (from, to) = self.path;
        let moved = RailMove {
            id: self.id,
            kind: self.kind,
            tenant: self.of.tenant,
            request: &self.request,
            unit: &self.of.unit,
            from,
            to,
            amount: self.of.amount(),
        };
        moved.post(connection, now).await
    }
}
