//! Ending a token for good.

use super::keep::{by_id, of_project};
use super::{Token, TokenState};
use crate::live::Change;
use crate::query::{Connection, query};
use crate::row::millis;
use crate::{Scope, Store, StoreError, blocklist, project};
use tollkeep_types::{ProjectId, TokenHash, TokenId, WallMillis};

/// What became of a revocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revocation {
    /// The token as it is now.
    pub token: Token,
    /// Whether it had been revoked before.
    pub already: bool,
}

/// What became of the tokens of a project.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProjectRevocation {
    /// Those that are revoked now.
    pub revoked: Vec<(TokenId, TokenHash)>,
    /// How many were revoked before.
    pub already: u64,
    /// How many there are on record.
    pub total: u64,
}

const REVOKE: &str = "UPDATE tokens SET state = 'revoked', revoked_at = $2, revoked_reason = $3,
    ended_at = coalesce(ended_at, $2)
  WHERE id = $1";

impl Store {
    /// Revokes a token: refused from its next call on, its text blocked from coming back. Revoking
    /// twice changes nothing, also not the reason.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk; then the token still works.
    pub async fn revoke_token(
        &self,
        scope: Scope,
        id: TokenId,
        reason: &str,
    ) -> Result<Revocation, StoreError> {
        let reason = reason.to_owned();
        self.unattended(async move |inner| {
            let mut write = inner.begin(scope).await?;
            let token = by_id(write.connection(), scope, id).await?;
            if token.state == TokenState::Revoked {
                return Ok(Revocation {
                    token,
                    already: true,
                });
            }
            revoke(write.connection(), &token, inner.wall.now(), &reason).await?;
            let token = by_id(write.connection(), scope, id).await?;
            write.commit(&[Change::Token(&token)]).await?;
            Ok(Revocation {
                token,
                already: false,
            })
        })
        .await
    }

    /// Revokes all tokens of a project, all or none. Doing it twice changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk; then all of them still work.
    pub async fn revoke_project_tokens(
        &self,
        scope: Scope,
        id: ProjectId,
        reason: &str,
    ) -> Result<ProjectRevocation, StoreError> {
        let reason = reason.to_owned();
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let connection = write.connection();
            project::by_id(connection, scope, id).await?;
            let tokens = of_project(connection, id).await?;
            let (live, revocation) = revoke_all(connection, tokens, now, &reason).await?;
            let changes: Vec<_> = live.iter().map(Change::Token).collect();
            write.commit(&changes).await?;
            Ok(revocation)
        })
        .await
    }
}

/// Revokes those of the tokens that are not revoked yet; gives them as they are then.
pub(crate) async fn revoke_all(
    connection: &mut Connection,
    tokens: Vec<Token>,
    at: WallMillis,
    reason: &str,
) -> Result<(Vec<Token>, ProjectRevocation), StoreError> {
    let total = u64::try_from(tokens.len()).unwrap_or(u64::MAX);
    let mut live = Vec::with_capacity(tokens.len());
    for token in tokens {
        if token.state != TokenState::Revoked {
            revoke(connection, &token, at, reason).await?;
            live.push(Token {
                state: TokenState::Revoked,
                ..token
            });
        }
    }
    let revoked: Vec<_> = live
        .iter()
        .map(|token| (token.id, token.secret.digest))
        .collect();
    let already = total.saturating_sub(u64::try_from(revoked.len()).unwrap_or(0));
    let revocation = ProjectRevocation {
        revoked,
        already,
        total,
    };
    Ok((live, revocation))
}

/// Marks a token revoked and blocks its digest.
pub(super) async fn revoke(
    connection: &mut Connection,
    token: &Token,
    at: WallMillis,
    reason: &str,
) -> Result<(), StoreError> {
    query(REVOKE)
        .bind(token.id.to_string())
        .bind(millis(at))
        .bind(reason.to_owned())
        .execute(&mut *connection)
        .await?;
    blocklist::block(connection, &token.secret.digest, token.expires_at).await
}
