//! Taking of sessions, and what becomes of that. Each is one transaction that looks at the row it
//! changes, so that no two calls take the same.

use super::record::{
    self, NewSession, NewUse, SessionJudge, SessionRecord, SessionShare, SessionTaken,
    SessionVerdict, UseCharge, UseRecord,
};
use super::select_session;
use crate::ledger::{RailAccount, RailMove};
use crate::open::Inner;
use crate::outbox::Happened;
use crate::query::{Connection, query};
use crate::row::{count, millis};
use crate::{PaymentRecord, Store, StoreError};
use tollkeep_types::{EntryId, HoldId, RequestId, SessionId, WallMillis};

const OPEN: &str =
    "INSERT INTO sessions (id, tenant_id, token_hash, payment_id, scope, model, payer,
    unit, symbol, decimals, paid, money, held, calls, unit_cost, state, expires_at, created_at,
    updated_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, 0, $12, $13, 'open', $14, $15, $15)";

const SESSION: &str = select_session!("WHERE id = $1");
const SERVER_SESSION: &str = select_session!("WHERE id = $1 FOR UPDATE");

const CHANGE: &str = "UPDATE sessions SET money = $2, held = $3, calls = $4, updated_at = $5
  WHERE id = $1";

const USE: &str = "SELECT id, session_id, request_id, state, money, calls, due FROM session_uses
  WHERE id = $1";
const SERVER_USE: &str = "SELECT id, session_id, request_id, state, money, calls, due
  FROM session_uses WHERE id = $1 FOR UPDATE";

const ADD_USE: &str =
    "INSERT INTO session_uses (id, session_id, tenant_id, request_id, state, money,
    calls, due, holder, lease_until)
  VALUES ($1, $2, $3, $4, 'held', $5, $6, 0, $7, $8)";

const DELIVER: &str = "UPDATE session_uses SET state = 'delivering', due = $2
  WHERE id = $1 AND state = 'held'";

const EXTEND: &str = "UPDATE session_uses SET money = $2, due = $3, lease_until = $4 WHERE id = $1";

const REMOVE: &str = "DELETE FROM session_uses WHERE id = $1";

const RENEW: &str = "UPDATE session_uses SET lease_until = $2
  WHERE holder = $1 AND lease_until > $3";

const END_LEASES: &str = "UPDATE session_uses SET lease_until = 0";

const IS_LEFT: &str = "SELECT count(*) FROM session_uses WHERE id = $1 AND lease_until <= $2";

/// The account of what is owed to the holder of a session.
fn owed(session: SessionId) -> RailAccount {
    RailAccount {
        kind: "credit",
        of: session.to_string(),
    }
}

fn earned(session: &SessionRecord) -> RailAccount {
    RailAccount {
        kind: "revenue",
        of: format!("x402:{}:{}", session.tenant, session.unit),
    }
}

/// Begins a session with the money of a payment, in the transaction that ends that.
pub(crate) async fn open(
    inner: &Inner,
    connection: &mut Connection,
    (payment, new): (&PaymentRecord, &NewSession),
    now: WallMillis,
) -> Result<(), StoreError> {
    query(OPEN)
        .bind(new.id.to_string())
        .bind(payment.tenant.to_string())
        .bind(new.token_hash.bytes().to_vec())
        .bind(payment.id.to_string())
        .bind(&new.scope)
        .bind(new.model.as_str())
        .bind(&payment.payer)
        .bind(&payment.unit)
        .bind(&payment.symbol)
        .bind(u32::from(payment.decimals))
        .bind(count(payment.amount()))
        .bind(count(new.calls))
        .bind(count(new.unit_cost))
        .bind(millis(new.expires_at))
        .bind(millis(now))
        .execute(connection)
        .await?;
    let moved = RailMove {
        id: EntryId::new(inner.wall.clock(), inner.entropy.as_ref()),
        kind: "transfer",
        tenant: payment.tenant,
        request: &payment.request.to_string(),
        unit: &payment.unit,
        from: RailAccount {
            kind: "credit",
            of: payment.id.to_string(),
        },
        to: owed(new.id),
        amount: payment.amount(),
    };
    moved.post(connection, now).await?;
    let found = query(SESSION).bind(new.id.to_string());
    let session = record::read(&found.fetch_one(&mut *connection).await?)?;
    let happened = Happened::SessionBegan { session: &session };
    inner.tell(connection, &happened, now).await
}

impl Store {
    /// Takes something of a session aside for a call, as `judge` says by what is kept of it then.
    ///
    /// # Errors
    /// The disk; nobody knows whether it was taken, and it ends by its lease.
    pub async fn take_of_session(
        &self,
        (id, new): (SessionId, NewUse),
        judge: SessionJudge,
    ) -> Result<SessionTaken, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut turn = inner.database.begin_ledger().await?;
            let connection = turn.connection();
            let Some(mut session) = locked(connection, id).await? else {
                turn.undo().await;
                return Ok(SessionTaken::Absent);
            };
            let share = match judge(&session, now) {
                SessionVerdict::Take(share) => share,
                SessionVerdict::Short => {
                    turn.undo().await;
                    return Ok(SessionTaken::Short(Box::new(session)));
                }
                refused @ (SessionVerdict::Ended | SessionVerdict::Foreign) => {
                    turn.undo().await;
                    return Ok(SessionTaken::Refused(refused));
                }
            };
            // A pass has nothing that becomes less.
            if share == SessionShare::default() {
                turn.undo().await;
                return Ok(SessionTaken::Taken(Box::new(session), share));
            }
            if !session.take(share) {
                turn.undo().await;
                return Ok(SessionTaken::Short(Box::new(session)));
            }
            session.write(connection, now).await?;
            let (holder, until) = new.lease;
            query(ADD_USE)
                .bind(new.id.to_string())
                .bind(id.to_string())
                .bind(session.tenant.to_string())
                .bind(new.request.to_string())
                .bind(count(share.money))
                .bind(count(share.calls))
                .bind(holder)
                .bind(millis(until))
                .execute(connection)
                .await?;
            let _turn = turn.commit().await?;
            Ok(SessionTaken::Taken(Box::new(session), share))
        })
        .await
    }

    /// Says that a byte is about to go to the caller, whose answer is counted, and what is due for
    /// it at least. `false`: what it took is not there any more.
    ///
    /// # Errors
    /// The disk.
    pub async fn deliver_of_session(&self, id: HoldId, due: u64) -> Result<bool, StoreError> {
        self.unattended(async move |inner| {
            let mut turn = inner.database.begin_ledger().await?;
            let changed = query(DELIVER).bind(id.to_string()).bind(count(due));
            let changed = changed.execute(turn.connection()).await?;
            let _turn = turn.commit().await?;
            Ok(changed > 0)
        })
        .await
    }

    /// Takes more for a call that is being delivered, and writes down what of it was delivered so
    /// far. Gives how much more; `None`: there is nothing left, or the call was ended.
    ///
    /// # Errors
    /// The disk.
    pub async fn take_more_of_session(
        &self,
        (id, due): (HoldId, u64),
        until: WallMillis,
        judge: SessionJudge,
    ) -> Result<Option<u64>, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut turn = inner.database.begin_ledger().await?;
            let connection = turn.connection();
            let Some((mut session, mut used)) = both(connection, id).await? else {
                turn.undo().await;
                return Ok(None);
            };
            let more = match judge(&session, now) {
                SessionVerdict::Take(share) if session.take(share) => share.money,
                SessionVerdict::Take(_)
                | SessionVerdict::Short
                | SessionVerdict::Ended
                | SessionVerdict::Foreign => 0,
            };
            used.share.money = used.share.money.saturating_add(more);
            session.write(connection, now).await?;
            query(EXTEND)
                .bind(id.to_string())
                .bind(count(used.share.money))
                .bind(count(due.min(used.share.money)))
                .bind(millis(until))
                .execute(connection)
                .await?;
            let _turn = turn.commit().await?;
            Ok(Some(more).filter(|more| *more > 0))
        })
        .await
    }

    /// Ends what a call took: what is charged of it is earned, and the rest given back. `false`: it
    /// was ended before.
    ///
    /// # Errors
    /// The disk.
    pub async fn end_use_of_session(
        &self,
        id: HoldId,
        charge: UseCharge,
    ) -> Result<bool, StoreError> {
        self.unattended(async move |inner| end(&inner, id, (charge, None)).await)
            .await
    }

    /// Ends what a call took whose process does not look after it: by what is written down of it.
    /// `false`: somebody did, or looks after it again.
    ///
    /// # Errors
    /// The disk.
    pub async fn end_abandoned_use(
        &self,
        used: &UseRecord,
        now: WallMillis,
    ) -> Result<bool, StoreError> {
        let charge = match used.is_delivering {
            true => UseCharge::Part(used.due),
            false => UseCharge::Nothing,
        };
        let id = used.id;
        self.unattended(async move |inner| end(&inner, id, (charge, Some(now))).await)
            .await
    }

    /// The first call of a pass is delivered: its money is earned. Once.
    ///
    /// # Errors
    /// The disk.
    pub async fn earn_pass(&self, id: SessionId, request: RequestId) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut turn = inner.database.begin_ledger().await?;
            let connection = turn.connection();
            let found = locked(connection, id).await?;
            let Some(mut session) = found.filter(|session| session.money > 0) else {
                turn.undo().await;
                return Ok(());
            };
            let all = std::mem::take(&mut session.money);
            session.write(connection, now).await?;
            let way = (owed(id), earned(&session));
            post(
                &inner,
                connection,
                (&session, request),
                ("settle", way, all),
            )
            .await?;
            let _turn = turn.commit().await?;
            Ok(())
        })
        .await
    }

    /// Gives back what a call was charged whose delivery broke off.
    ///
    /// # Errors
    /// The disk.
    pub async fn give_back_to_session(
        &self,
        (id, request): (SessionId, RequestId),
        share: SessionShare,
    ) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut turn = inner.database.begin_ledger().await?;
            let connection = turn.connection();
            let Some(mut session) = locked(connection, id).await? else {
                turn.undo().await;
                return Ok(());
            };
            session.money = session.money.saturating_add(share.money);
            session.calls = session.calls.saturating_add(share.calls);
            session.write(connection, now).await?;
            let way = (earned(&session), owed(id));
            let back = ("correct", way, share.money);
            post(&inner, connection, (&session, request), back).await?;
            let _turn = turn.commit().await?;
            Ok(())
        })
        .await
    }

    /// Keeps what calls of this process took its own for longer.
    ///
    /// # Errors
    /// The disk.
    pub async fn renew_session_uses(
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
    pub async fn end_session_leases_of_file(&self) -> Result<(), StoreError> {
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
}

impl SessionRecord {
    /// Sets a share aside. `false`: there is less.
    fn take(&mut self, share: SessionShare) -> bool {
        let left = self.money.checked_sub(share.money);
        let (Some(money), Some(calls)) = (left, self.calls.checked_sub(share.calls)) else {
            return false;
        };
        self.money = money;
        self.calls = calls;
        self.held = self.held.saturating_add(share.money);
        true
    }

    async fn write(&self, connection: &mut Connection, now: WallMillis) -> Result<(), StoreError> {
        query(CHANGE)
            .bind(self.id.to_string())
            .bind(count(self.money))
            .bind(count(self.held))
            .bind(count(self.calls))
            .bind(millis(now))
            .execute(connection)
            .await?;
        Ok(())
    }
}

async fn locked(
    connection: &mut Connection,
    id: SessionId,
) -> Result<Option<SessionRecord>, StoreError> {
    let text = connection.dialect(SESSION, SERVER_SESSION);
    let found = query(text).bind(id.to_string());
    let found = found.fetch_optional(connection).await?;
    found.as_ref().map(record::read).transpose()
}

/// What a call took, and the session it took it of. The session is locked first, as everywhere.
async fn both(
    connection: &mut Connection,
    id: HoldId,
) -> Result<Option<(SessionRecord, UseRecord)>, StoreError> {
    let seen = query(USE).bind(id.to_string());
    let Some(seen) = seen.fetch_optional(connection).await? else {
        return Ok(None);
    };
    let Some(session) = locked(connection, record::read_use(&seen)?.session).await? else {
        return Ok(None);
    };
    let text = connection.dialect(USE, SERVER_USE);
    let used = query(text).bind(id.to_string());
    let used = used.fetch_optional(connection).await?;
    let used = used.as_ref().map(record::read_use).transpose()?;
    Ok(used.map(|used| (session, used)))
}

async fn end(
    inner: &Inner,
    id: HoldId,
    (charge, left_by): (UseCharge, Option<WallMillis>),
) -> Result<bool, StoreError> {
    let now = inner.wall.now();
    let mut turn = inner.database.begin_ledger().await?;
    let connection = turn.connection();
    let Some((mut session, used)) = both(connection, id).await? else {
        turn.undo().await;
        return Ok(false);
    };
    if let Some(left_by) = left_by {
        let left = query(IS_LEFT).bind(id.to_string()).bind(millis(left_by));
        if left.fetch_number(connection).await? == 0 {
            turn.undo().await;
            return Ok(false);
        }
    }
    let due = match charge {
        UseCharge::All => used.share.money,
        UseCharge::Part(due) => due.min(used.share.money),
        UseCharge::Nothing => 0,
    };
    session.held = session.held.saturating_sub(used.share.money);
    let back = used.share.money.saturating_sub(due);
    session.money = session.money.saturating_add(back);
    if charge == UseCharge::Nothing {
        session.calls = session.calls.saturating_add(used.share.calls);
    }
    session.write(connection, now).await?;
    query(REMOVE)
        .bind(id.to_string())
        .execute(connection)
        .await?;
    let way = (owed(session.id), earned(&session));
    post(
        inner,
        connection,
        (&session, used.request),
        ("settle", way, due),
    )
    .await?;
    let _turn = turn.commit().await?;
    Ok(true)
}

/// Moves money of a session, if there is any to move.
async fn post(
    inner: &Inner,
    connection: &mut Connection,
    (session, request): (&SessionRecord, RequestId),
    (kind, (from, to), amount): (&'static str, (RailAccount, RailAccount), u64),
) -> Result<(), StoreError> {
    if amount == 0 {
        return Ok(());
    }
    let moved = RailMove {
        id: EntryId::new(inner.wall.clock(), inner.entropy.as_ref()),
        kind,
        tenant: session.tenant,
        request: &request.to_string(),
        unit: &session.unit,
        from,
        to,
        amount,
    };
    moved.post(connection, inner.wall.now()).await?;
    Ok(())
}
