//! Reading sessions, and ending them by hand.

use super::record::{self, SessionEnded, SessionRecord, UseRecord};
use super::select_session;
use crate::database::GATEWAY;
use crate::query::query;
use crate::row::{count, millis};
use crate::{Page, PageRequest, Scope, Store, StoreError};
use tollkeep_types::{PaymentId, SessionId, TenantId, WallMillis};

/// Uses that are looked after at once.
const DUE_MAX: u32 = 100;

const ONE: &str = select_session!("WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)");

const OF_PAYMENT: &str = select_session!("WHERE payment_id = $1");

const PASS: &str = select_session!(
    "WHERE tenant_id = $1 AND scope = $2 AND payer = $3 AND model = 'time_pass' AND state = 'open'
       AND expires_at > $4 ORDER BY expires_at DESC LIMIT 1"
);

const CREDIT: &str = select_session!(
    "WHERE tenant_id = $1 AND payer = $2 AND model = 'credit' AND state = 'open' AND unit = $3
       AND money >= $4 AND expires_at > $5 ORDER BY expires_at, id LIMIT 1"
);

const LIST: &str = select_session!(
    "WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR scope = $2)
       AND ($3 IS NULL OR (created_at, id) < ($3, $4))
     ORDER BY created_at DESC, id DESC LIMIT $5"
);

const LEFT: &str = "SELECT id, session_id, request_id, state, money, calls, due FROM session_uses
  WHERE lease_until <= $1 ORDER BY lease_until LIMIT $2";

/// Which sessions are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionFilter {
    /// Those of this route.
    pub route: Option<String>,
}

impl Store {
    /// One session.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn session(&self, scope: Scope, id: SessionId) -> Result<SessionRecord, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let found = query(ONE).bind(id.to_string()).bind(scope.tenant());
        record::read(&found.fetch_one(&mut connection).await?)
    }

    /// The session that a payment bought.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn session_of_payment(
        &self,
        payment: PaymentId,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let found = query(OF_PAYMENT).bind(payment.to_string());
        let found = found.fetch_optional(&mut connection).await?;
        found.as_ref().map(record::read).transpose()
    }

    /// The pass for a route that this payer has, if one has not ended by then.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn pass_of(
        &self,
        (tenant, route, payer): (TenantId, &str, &str),
        now: WallMillis,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let found = query(PASS)
            .bind(tenant.to_string())
            .bind(route)
            .bind(payer)
            .bind(millis(now))
            .fetch_optional(&mut connection)
            .await?;
        found.as_ref().map(record::read).transpose()
    }

    /// Credit of this payer in a token of which there is at least so much, if some has not ended by
    /// then: what ends first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn credit_of(
        &self,
        (tenant, payer): (TenantId, &str),
        (unit, least): (&str, u64),
        now: WallMillis,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let found = query(CREDIT)
            .bind(tenant.to_string())
            .bind(payer)
            .bind(unit)
            .bind(count(least))
            .bind(millis(now))
            .fetch_optional(&mut connection)
            .await?;
        found.as_ref().map(record::read).transpose()
    }

    /// Sessions, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn sessions(
        &self,
        scope: Scope,
        filter: SessionFilter,
        page: PageRequest<SessionId>,
    ) -> Result<Page<SessionRecord>, StoreError> {
        let (created_at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(filter.route)
            .bind(created_at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        let sessions = rows.iter().map(record::read).collect::<Result<_, _>>()?;
        Ok(page.page(sessions))
    }

    /// Ends a session; what is left of it stays owed. Once it has ended, nothing is changed; gives
    /// whether it ended now.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn revoke_session(
        &self,
        scope: Scope,
        id: SessionId,
    ) -> Result<(SessionRecord, bool), StoreError> {
        drop(self.session(scope, id).await?);
        let closed = self.close_session(id, SessionEnded::Revoked).await?;
        Ok((self.session(scope, id).await?, closed.is_some()))
    }

    /// What calls have taken whose process does not look after it any more, a hundred at most.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn abandoned_uses(
        &self,
        scope: Scope,
        now: WallMillis,
    ) -> Result<Vec<UseRecord>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let rows = query(LEFT).bind(millis(now)).bind(DUE_MAX);
        let rows = rows.fetch_all(&mut connection).await?;
        rows.iter().map(record::read_use).collect()
    }
}
