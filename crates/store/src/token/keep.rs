//! Making, finding and listing tokens.

use super::{NewToken, Token, TokenSecret};
use crate::database::GATEWAY;
use crate::error::is_duplicate_of;
use crate::live::Change;
use crate::query::{Connection, Row, query};
use crate::row::{self, count, millis};
use crate::{
    Conflict, Page, PageRequest, Scope, Store, StoreError, blocklist, project, token::TokenState,
};
use std::num::NonZeroU64;
use tollkeep_types::{LineageId, ProjectId, TenantId, TokenId};

/// Which tokens a list shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TokenFilter {
    /// Only those of this project.
    pub project: Option<ProjectId>,
    /// Only those that may be used now, as far as the token itself decides.
    pub only_live: bool,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT tokens.id, tenant_id, project_id, lineage_id, name, digest, pepper_id, hint,
               fingerprint, state, created_at, expires_at, idle_ttl_ms, last_used_at, max_requests,
               request_count, limits, bindings, policy, permissions, metadata, owner, self_rotate, suspended_at,
               suspended_by, suspended_reason, replaced_by, grace_ends_at, revoked_at,
               revoked_reason, ended_at
             FROM tokens JOIN lineages ON lineages.id = lineage_id ",
            $rest
        )
    };
}

const BY_ID: &str = select!("WHERE tokens.id = $1 AND ($2 IS NULL OR tenant_id = $2)");

const LIST: &str = select!(
    "WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR project_id = $2)
       AND (NOT $3 OR (state IN ('active', 'rotating') AND ended_at IS NULL
         AND (expires_at IS NULL OR expires_at > $4)
         AND (grace_ends_at IS NULL OR grace_ends_at > $4)
         AND (idle_ttl_ms IS NULL OR coalesce(last_used_at, created_at) > $4 - idle_ttl_ms)))
       AND ($5 IS NULL OR (created_at, tokens.id) < ($5, $6))
     ORDER BY created_at DESC, tokens.id DESC LIMIT $7"
);

const OPEN: &str = select!("WHERE ended_at IS NULL");

const OF_PROJECT: &str = select!("WHERE project_id = $1");

const OF_LINEAGE: &str =
    select!("WHERE lineage_id = $1 AND ended_at IS NULL ORDER BY created_at, tokens.id");

const OF_TENANT: &str = select!("WHERE tenant_id = $1 AND state <> 'revoked'");

const INSERT_LINEAGE: &str = "INSERT INTO lineages (id, request_count) VALUES ($1, 0)";

const INSERT: &str = "INSERT INTO tokens
  (id, tenant_id, project_id, lineage_id, name, digest, pepper_id, hint, fingerprint, state,
   created_at, expires_at, idle_ttl_ms, max_requests, limits, bindings, metadata, owner, policy,
   permissions, self_rotate)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
   $20, $21)";

impl Store {
    /// Makes a token of a project that the scope may see.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a project; [`StoreError::Conflict`] if the text is
    /// that of another token or of one that ended; or the disk.
    pub async fn create_token(&self, scope: Scope, new: NewToken) -> Result<Token, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(scope).await?;
            let connection = write.connection();
            let project = project::by_id(connection, scope, new.project_id).await?;
            let clock = inner.wall.clock();
            let token = Token {
                id: TokenId::new(clock, inner.entropy.as_ref()),
                tenant_id: project.tenant_id,
                project_id: project.id,
                lineage: LineageId::new(clock, inner.entropy.as_ref()),
                name: new.name,
                secret: new.secret,
                state: TokenState::Active,
                created_at: inner.wall.now(),
                expires_at: new.expires_at,
                idle_ttl_ms: new.idle_ttl_ms,
                last_used_at: None,
                max_requests: new.max_requests,
                request_count: 0,
                limits: new.limits,
                bindings: new.bindings,
                policy: new.policy,
                permissions: new.permissions,
                metadata: new.metadata,
                owner: new.owner,
                self_rotate: new.self_rotate,
                suspended_at: None,
                suspended_by: None,
                suspended_reason: None,
                replaced_by: None,
                grace_ends_at: None,
                revoked_at: None,
                revoked_reason: None,
                ended_at: None,
            };
            query(INSERT_LINEAGE)
                .bind(token.lineage.to_string())
                .execute(&mut *connection)
                .await?;
            insert(connection, &token).await?;
            write.commit(&[Change::Token(&token)]).await?;
            Ok(token)
        })
        .await
    }

    /// One token.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn token(&self, scope: Scope, id: TokenId) -> Result<Token, StoreError> {
        let mut connection = self.0.read(scope).await?;
        by_id(&mut connection, scope, id).await
    }

    /// The tokens of a line that have not ended for good, the oldest first. For the gateway's own
    /// work, so there is no scope.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn tokens_of_lineage(&self, id: LineageId) -> Result<Vec<Token>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        of_lineage(&mut connection, id).await
    }

    /// Tokens, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn tokens(
        &self,
        scope: Scope,
        filter: TokenFilter,
        page: PageRequest<TokenId>,
    ) -> Result<Page<Token>, StoreError> {
        let (created_at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(filter.project.map(|project| project.to_string()))
            .bind(filter.only_live)
            .bind(millis(self.now()))
            .bind(created_at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        let tokens = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(page.page(tokens))
    }
}

/// Every token that has not ended for good, for the live table.
pub(crate) async fn open(connection: &mut Connection) -> Result<Vec<Token>, StoreError> {
    let rows = query(OPEN).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// Every token of a project, ended ones included.
pub(crate) async fn of_project(
    connection: &mut Connection,
    id: ProjectId,
) -> Result<Vec<Token>, StoreError> {
    let rows = query(OF_PROJECT).bind(id.to_string());
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// The tokens of a line that have not ended for good.
pub(super) async fn of_lineage(
    connection: &mut Connection,
    id: LineageId,
) -> Result<Vec<Token>, StoreError> {
    let rows = query(OF_LINEAGE).bind(id.to_string());
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// Every token of a tenant that was not revoked.
pub(crate) async fn of_tenant(
    connection: &mut Connection,
    id: TenantId,
) -> Result<Vec<Token>, StoreError> {
    let rows = query(OF_TENANT).bind(id.to_string());
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn by_id(
    connection: &mut Connection,
    scope: Scope,
    id: TokenId,
) -> Result<Token, StoreError> {
    let row = query(BY_ID)
        .bind(id.to_string())
        .bind(scope.tenant())
        .fetch_one(connection)
        .await?;
    read(&row)
}

/// Inserts a new token, unless its text is known.
pub(super) async fn insert(connection: &mut Connection, token: &Token) -> Result<(), StoreError> {
    if blocklist::blocks(connection, &token.secret.digest, token.created_at).await? {
        return Err(StoreError::Conflict(Conflict::TokenBlocked));
    }
    let inserted = query(INSERT)
        .bind(token.id.to_string())
        .bind(token.tenant_id.to_string())
        .bind(token.project_id.to_string())
        .bind(token.lineage.to_string())
        .bind(token.name.as_str())
        .bind(token.secret.digest.bytes().as_slice())
        .bind(token.secret.pepper_id.as_str())
        .bind(token.secret.hint.as_str())
        .bind(token.secret.fingerprint.as_str())
        .bind(token.state.as_str())
        .bind(millis(token.created_at))
        .bind(token.expires_at.map(millis))
        .bind(token.idle_ttl_ms.map(count))
        .bind(token.max_requests.map(|max| count(max.get())))
        .bind(row::to_json(&token.limits)?)
        .bind(row::to_json(&token.bindings)?)
        .bind(row::to_json(&token.metadata)?)
        .bind(token.owner.as_str())
        .bind(row::json_text(token.policy.as_deref())?)
        .bind(row::to_json(&token.permissions)?)
        .bind(token.self_rotate)
        .execute(connection)
        .await;
    match inserted {
        Err(error) if is_duplicate_of(&error, "tokens", "digest") => {
            Err(StoreError::Conflict(Conflict::TokenKnown))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

fn read(row: &Row) -> Result<Token, StoreError> {
    Ok(Token {
        id: row::id(row, "id")?,
        tenant_id: row::id(row, "tenant_id")?,
        project_id: row::id(row, "project_id")?,
        lineage: row::id(row, "lineage_id")?,
        name: row::text(row, "name")?,
        secret: TokenSecret {
            digest: row::digest(row, "digest")?,
            pepper_id: row::text(row, "pepper_id")?,
            hint: row::text(row, "hint")?,
            fingerprint: row::text(row, "fingerprint")?,
        },
        state: row::id(row, "state")?,
        created_at: row::time(row, "created_at")?,
        expires_at: row::time_if_set(row, "expires_at")?,
        idle_ttl_ms: row::number_if_set(row, "idle_ttl_ms")?,
        last_used_at: row::time_if_set(row, "last_used_at")?,
        max_requests: row::number_if_set(row, "max_requests")?.and_then(NonZeroU64::new),
        request_count: row::number(row, "request_count")?,
        limits: row::json(row, "limits")?,
        bindings: row::json(row, "bindings")?,
        policy: row::policy(row, "policy")?,
        permissions: row::json(row, "permissions")?,
        metadata: row::json(row, "metadata")?,
        owner: row::text(row, "owner")?,
        self_rotate: row::value(row, "self_rotate")?,
        suspended_at: row::time_if_set(row, "suspended_at")?,
        suspended_by: row::value(row, "suspended_by")?,
        suspended_reason: row::value(row, "suspended_reason")?,
        replaced_by: row::id_if_set(row, "replaced_by")?,
        grace_ends_at: row::time_if_set(row, "grace_ends_at")?,
        revoked_at: row::time_if_set(row, "revoked_at")?,
        revoked_reason: row::value(row, "revoked_reason")?,
        ended_at: row::time_if_set(row, "ended_at")?,
    })
}
