//! Ending a token for good.

use super::keep::by_id;
use super::{Token, TokenState};
use crate::live::Change;
use crate::query::{Connection, query};
use crate::row::millis;
use crate::{Scope, Store, StoreError, blocklist};
use tollkeep_types::{TokenId, WallMillis};

/// What became of a revocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revocation {
    /// The token as it is now.
    pub token: Token,
    /// Whether it had been revoked before.
    pub already: bool,
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
}

/// Marks a token revoked and blocks its digest.
pub(crate) async fn revoke(
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
