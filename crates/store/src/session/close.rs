//! The end of a session: written down once, whoever of all replicas sees it first, and told in the
//! transaction of that. What is left in it stays owed.

use super::record::{self, SessionEnded, SessionRecord};
use super::select_session;
use crate::open::Inner;
use crate::outbox::Happened;
use crate::query::query;
use crate::row::{self, millis};
use crate::{Scope, Store, StoreError};
use tollkeep_types::{SessionId, WallMillis};

/// Sessions that are looked at together.
const ROWS_MAX: u32 = 100;
/// Routes that have sessions, as far as they are looked at together.
const ROUTES_MAX: u32 = 10_000;

const OVER: &str =
    select_session!("WHERE ended_at IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2");

const OF_ROUTE: &str = select_session!(
    "WHERE ended_at IS NULL AND scope = $1 AND created_at < $2 ORDER BY created_at LIMIT $3"
);

const ROUTES: &str = "SELECT DISTINCT scope FROM sessions
  WHERE ended_at IS NULL AND model <> 'credit' AND created_at < $1 LIMIT $2";

const END: &str =
    "UPDATE sessions SET state = $2, ended_at = $3, ended_because = $4, updated_at = $3
  WHERE id = $1 AND ended_at IS NULL";

const ONE: &str = select_session!("WHERE id = $1");

impl Store {
    /// Sessions whose time is over and whose end was not written down yet, a hundred at most.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn sessions_over(
        &self,
        scope: Scope,
        now: WallMillis,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let rows = query(OVER).bind(millis(now)).bind(ROWS_MAX);
        let rows = rows.fetch_all(&mut connection).await?;
        rows.iter().map(record::read).collect()
    }

    /// The routes of sessions that began before a time and have not ended. Credit is of none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn routes_of_sessions(
        &self,
        scope: Scope,
        before: WallMillis,
    ) -> Result<Vec<String>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let rows = query(ROUTES).bind(millis(before)).bind(ROUTES_MAX);
        let rows = rows.fetch_all(&mut connection).await?;
        rows.iter().map(|found| row::text(found, "scope")).collect()
    }

    /// Sessions of a route that began before a time and have not ended, a hundred at most.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn sessions_of_route(
        &self,
        scope: Scope,
        (route, before): (&str, WallMillis),
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let rows = query(OF_ROUTE).bind(route).bind(millis(before));
        let rows = rows.bind(ROWS_MAX).fetch_all(&mut connection).await?;
        rows.iter().map(record::read).collect()
    }

    /// Writes down that a session is over, and has it told. `None`: somebody did before.
    ///
    /// # Errors
    /// The disk.
    pub async fn close_session(
        &self,
        id: SessionId,
        because: SessionEnded,
    ) -> Result<Option<SessionRecord>, StoreError> {
        // In a trial nothing is done.
        if self.0.intent.trial.is_some() {
            return Ok(None);
        }
        self.unattended(async move |inner| close(&inner, id, because).await)
            .await
    }
}

async fn close(
    inner: &Inner,
    id: SessionId,
    because: SessionEnded,
) -> Result<Option<SessionRecord>, StoreError> {
    let now = inner.wall.now();
    let mut turn = inner.database.begin_ledger().await?;
    let connection = turn.connection();
    let changed = query(END)
        .bind(id.to_string())
        .bind(because.state().as_str())
        .bind(millis(now))
        .bind(because.as_str())
        .execute(connection)
        .await?;
    if changed == 0 {
        turn.undo().await;
        return Ok(None);
    }
    let found = query(ONE).bind(id.to_string());
    let session = record::read(&found.fetch_one(&mut *connection).await?)?;
    let happened = Happened::SessionEnded {
        session: &session,
        because,
    };
    inner.tell(connection, &happened, now).await?;
    let _turn = turn.commit().await?;
    Ok(Some(session))
}
