//! Console sessions: who is signed in, by the keyed hash of what their cookie holds.
//!
//! A session ends with its key or operator: whoever changes what these may do deletes the rows in
//! the same transaction.

use crate::database::GATEWAY;
use crate::query::{Connection, Row, query};
use crate::row::{self, count, millis};
use crate::{Conflict, ManagementKey, Page, PageRequest, Role, Scope, Store, StoreError};
use std::net::IpAddr;
use std::time::Duration;
use tollkeep_types::{
    ConsoleSessionId, ManagementKeyId, OperatorId, TenantId, TokenHash, WallMillis,
};

/// Sessions at most, in all.
const SESSIONS_MAX: i64 = 10_000;
/// Sessions of one key or operator at most: the oldest ends for another.
const OWN_SESSIONS_MAX: u32 = 50;
/// How exact the last use is kept, unless sessions idle away sooner.
const TOUCH_EVERY_MS: u64 = 60_000;

/// Whose session it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SessionHolder {
    /// That of a management key, proven by the text with this digest.
    Key {
        /// Its record; that of the settings has none.
        id: Option<ManagementKeyId>,
        /// The keyed hash of the text.
        digest: TokenHash,
    },
    /// That of a person.
    Operator(OperatorId),
}

/// A session that goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConsoleSession {
    /// Its id.
    pub id: ConsoleSessionId,
    /// The one tenant its holder is bound to.
    pub tenant_id: Option<TenantId>,
    /// What its holder might do when it began; it ends when that changes.
    pub role: Role,
    /// Whose it is.
    pub holder: SessionHolder,
    /// When it began.
    pub created_at: WallMillis,
    /// When it was last used, to the minute.
    pub last_seen_at: WallMillis,
    /// When its holder last proved who they are.
    pub proved_at: WallMillis,
    /// When it ends at the latest.
    pub expires_at: WallMillis,
    /// From where it began.
    pub ip: Option<IpAddr>,
    /// What it began with.
    pub user_agent: Option<String>,
}

/// A session to begin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewConsoleSession {
    /// The keyed hash of what its cookie holds.
    pub digest: TokenHash,
    /// The one tenant its holder is bound to.
    pub tenant_id: Option<TenantId>,
    /// What its holder may do.
    pub role: Role,
    /// Whose it is.
    pub holder: SessionHolder,
    /// When its holder proved who they are.
    pub proved_at: WallMillis,
    /// When it ends at the latest.
    pub expires_at: WallMillis,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
    /// The session in whose place it comes.
    pub instead_of: Option<ConsoleSessionId>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, role, key_id, key_digest, operator_id, created_at, last_seen_at,
               proved_at, expires_at, ip, user_agent
             FROM console_sessions ",
            $rest
        )
    };
}

const FIND: &str = select!("WHERE digest = $1 AND expires_at > $2 AND last_seen_at > $3");

const BY_ID: &str = select!("WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)");

const LIST: &str = select!(
    "WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR (created_at, id) < ($2, $3))
       AND expires_at > $5 AND last_seen_at > $6 AND ($7 IS NULL OR operator_id = $7)
     ORDER BY created_at DESC, id DESC LIMIT $4"
);

const INSERT: &str = "INSERT INTO console_sessions
  (id, tenant_id, digest, role, key_id, key_digest, operator_id, created_at, last_seen_at,
   proved_at, expires_at, ip, user_agent)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12)";

const COUNT: &str = "SELECT count(*) FROM console_sessions";

const FORGET: &str = "DELETE FROM console_sessions WHERE expires_at <= $1";

/// All but the newest of one holder.
const MAKE_ROOM: &str = "DELETE FROM console_sessions WHERE id IN (
  SELECT id FROM console_sessions
  WHERE operator_id = $1 OR key_id = $2 OR (key_id IS NULL AND key_digest = $3)
  ORDER BY created_at DESC, id DESC LIMIT 100000 OFFSET $4)";

const TOUCH: &str =
    "UPDATE console_sessions SET last_seen_at = $2 WHERE id = $1 AND last_seen_at <= $3";

const PROVE: &str = "UPDATE console_sessions SET proved_at = $2 WHERE id = $1";

const END: &str = "DELETE FROM console_sessions WHERE id = $1";

const END_OF_KEY: &str = "DELETE FROM console_sessions WHERE key_id = $1";

const END_OF_OPERATOR: &str =
    "DELETE FROM console_sessions WHERE operator_id = $1 AND ($2 IS NULL OR id <> $2)";

impl Store {
    /// Begins a session; those that are over are forgotten, and the one before it ends.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there are too many; [`StoreError::NotFound`] if its holder is
    /// gone; or the disk.
    pub async fn create_console_session(
        &self,
        new: NewConsoleSession,
    ) -> Result<ConsoleSession, StoreError> {
        self.unattended(async move |inner| {
            let id = ConsoleSessionId::new(inner.wall.clock(), inner.entropy.as_ref());
            let now = inner.wall.now();
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            forget(connection, now).await?;
            if let Some(before) = new.instead_of {
                let end = query(END).bind(before.to_string());
                end.execute(connection).await?;
            }
            make_room(connection, &new.holder).await?;
            let (key_id, key_digest, operator_id) = columns(&new.holder);
            query(INSERT)
                .bind(id.to_string())
                .bind(new.tenant_id.map(|id| id.to_string()))
                .bind(new.digest.bytes().as_slice())
                .bind(new.role.as_str())
                .bind(key_id)
                .bind(key_digest)
                .bind(operator_id)
                .bind(millis(now))
                .bind(millis(new.proved_at))
                .bind(millis(new.expires_at))
                .bind(new.ip.map(|ip| ip.to_string()))
                .bind(new.user_agent)
                .execute(connection)
                .await?;
            let session = by_id(connection, GATEWAY, id).await?;
            write.commit(&[]).await?;
            Ok(session)
        })
        .await
    }

    /// The session with this hash that goes on; `None` if there is none. One that nobody has used
    /// for longer than `idle` is over.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn find_console_session(
        &self,
        digest: &TokenHash,
        idle: Duration,
    ) -> Result<Option<ConsoleSession>, StoreError> {
        let now = self.now();
        let mut connection = self.0.read(GATEWAY).await?;
        let found = query(FIND)
            .bind(digest.bytes().to_vec())
            .bind(millis(now))
            .bind(millis(before(now, idle)))
            .fetch_optional(&mut connection)
            .await?;
        found.as_ref().map(read).transpose()
    }

    /// One session, over or not.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn console_session(
        &self,
        scope: Scope,
        id: ConsoleSessionId,
    ) -> Result<ConsoleSession, StoreError> {
        let mut connection = self.0.read(scope).await?;
        by_id(&mut connection, scope, id).await
    }

    /// Sessions that go on, newest first; of one operator if one is named.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn console_sessions(
        &self,
        scope: Scope,
        of: Option<OperatorId>,
        idle: Duration,
        page: PageRequest<ConsoleSessionId>,
    ) -> Result<Page<ConsoleSession>, StoreError> {
        let now = self.now();
        let (created_at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(created_at)
            .bind(id)
            .bind(page.rows_asked())
            .bind(millis(now))
            .bind(millis(before(now, idle)))
            .bind(of.map(|id| id.to_string()))
            .fetch_all(&mut connection)
            .await?;
        Ok(page.page(rows.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Records that a session was used, at most once a minute, and often enough for `idle`.
    ///
    /// # Errors
    /// The disk.
    pub async fn touch_console_session(
        &self,
        session: &ConsoleSession,
        idle: Duration,
    ) -> Result<(), StoreError> {
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let every_ms = TOUCH_EVERY_MS.min(idle_ms / 8);
        let (id, now) = (session.id, self.now());
        if now.0.saturating_sub(session.last_seen_at.0) < every_ms {
            return Ok(());
        }
        let long_ago = WallMillis(now.0.saturating_sub(every_ms));
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            query(TOUCH)
                .bind(id.to_string())
                .bind(millis(now))
                .bind(millis(long_ago))
                .execute(write.connection())
                .await?;
            write.commit(&[]).await
        })
        .await
    }

    /// Records that its holder has proved again who they are.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it has ended, or the disk.
    pub async fn prove_console_session(
        &self,
        id: ConsoleSessionId,
    ) -> Result<ConsoleSession, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(GATEWAY).await?;
            query(PROVE)
                .bind(id.to_string())
                .bind(millis(now))
                .execute(write.connection())
                .await?;
            let session = by_id(write.connection(), GATEWAY, id).await?;
            write.commit(&[]).await?;
            Ok(session)
        })
        .await
    }

    /// Ends a session; what it was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk.
    pub async fn end_console_session(
        &self,
        scope: Scope,
        id: ConsoleSessionId,
    ) -> Result<ConsoleSession, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(scope).await?;
            let session = by_id(write.connection(), scope, id).await?;
            let end = query(END).bind(id.to_string());
            end.execute(write.connection()).await?;
            write.commit(&[]).await?;
            Ok(session)
        })
        .await
    }

    /// Ends the sessions of an operator; how many there were.
    ///
    /// # Errors
    /// The disk.
    pub async fn end_sessions_of_operator(
        &self,
        scope: Scope,
        id: OperatorId,
    ) -> Result<u64, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(scope).await?;
            let ended = end_of_operator(write.connection(), id, None).await?;
            write.commit(&[]).await?;
            Ok(ended)
        })
        .await
    }
}

/// Ends the sessions of a key that may no longer do what it might, or not from everywhere it might.
pub(crate) async fn end_of_key(
    connection: &mut Connection,
    was: &ManagementKey,
    is: &ManagementKey,
) -> Result<(), StoreError> {
    let stays = is.revoked_at.is_none()
        && was.role == is.role
        && was.scopes == is.scopes
        && was.allowed_ips == is.allowed_ips;
    if !stays {
        let end = query(END_OF_KEY).bind(is.id.to_string());
        end.execute(connection).await?;
    }
    Ok(())
}

/// Ends the sessions of an operator, but for one.
pub(crate) async fn end_of_operator(
    connection: &mut Connection,
    id: OperatorId,
    but: Option<ConsoleSessionId>,
) -> Result<u64, StoreError> {
    let ended = query(END_OF_OPERATOR)
        .bind(id.to_string())
        .bind(but.map(|id| id.to_string()))
        .execute(connection);
    Ok(ended.await?)
}

/// Deletes what is over.
pub(crate) async fn forget(
    connection: &mut Connection,
    now: WallMillis,
) -> Result<u64, StoreError> {
    let forgotten = query(FORGET).bind(millis(now)).execute(connection);
    Ok(forgotten.await?)
}

async fn make_room(connection: &mut Connection, holder: &SessionHolder) -> Result<(), StoreError> {
    let (key_id, key_digest, operator_id) = columns(holder);
    query(MAKE_ROOM)
        .bind(operator_id)
        .bind(key_id)
        .bind(key_digest)
        .bind(count(u64::from(OWN_SESSIONS_MAX - 1)))
        .execute(connection)
        .await?;
    if query(COUNT).fetch_number(connection).await? >= SESSIONS_MAX {
        return Err(StoreError::Conflict(Conflict::SessionsFull));
    }
    Ok(())
}

type Columns = (Option<String>, Option<Vec<u8>>, Option<String>);

fn columns(holder: &SessionHolder) -> Columns {
    match holder {
        SessionHolder::Key { id, digest } => (
            id.map(|id| id.to_string()),
            Some(digest.bytes().to_vec()),
            None,
        ),
        SessionHolder::Operator(id) => (None, None, Some(id.to_string())),
    }
}

/// Before when a session was last used that has idled away.
fn before(now: WallMillis, idle: Duration) -> WallMillis {
    let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    WallMillis(now.0.saturating_sub(idle_ms))
}

async fn by_id(
    connection: &mut Connection,
    scope: Scope,
    id: ConsoleSessionId,
) -> Result<ConsoleSession, StoreError> {
    let row = query(BY_ID)
        .bind(id.to_string())
        .bind(scope.tenant())
        .fetch_one(connection);
    read(&row.await?)
}

fn read(row: &Row) -> Result<ConsoleSession, StoreError> {
    let operator: Option<OperatorId> = row::id_if_set(row, "operator_id")?;
    let holder = match operator {
        Some(id) => SessionHolder::Operator(id),
        None => SessionHolder::Key {
            id: row::id_if_set(row, "key_id")?,
            digest: row::digest(row, "key_digest")?,
        },
    };
    Ok(ConsoleSession {
        id: row::id(row, "id")?,
        tenant_id: row::id_if_set(row, "tenant_id")?,
        role: row::id(row, "role")?,
        holder,
        created_at: row::time(row, "created_at")?,
        last_seen_at: row::time(row, "last_seen_at")?,
        proved_at: row::time(row, "proved_at")?,
        expires_at: row::time(row, "expires_at")?,
        ip: row::id_if_set(row, "ip")?,
        user_agent: row::value(row, "user_agent")?,
    })
}
