//! Replacing a token by one with another text and the same settings and counters.

use super::keep::{by_id, insert};
use super::revoke::revoke;
use super::{Standing, Token, TokenSecret};
use crate::live::Change;
use crate::query::{Connection, query};
use crate::row::millis;
use crate::{Conflict, Scope, Store, StoreError};
use tollkeep_types::{TokenId, WallMillis};

/// Longest time for which the old and the new token both work: 30 days.
const OVERLAP_MS_MAX: u64 = 30 * 86_400_000;

/// Why the old token was revoked, in its record.
pub(crate) const REASON: &str = "rotated";

/// How to rotate a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// What is kept of the new text.
    pub secret: TokenSecret,
    /// How long the old token keeps working, in milliseconds; 0: not at all; at most 30 days.
    pub overlap_ms: u64,
    /// When the new token stops working; `None`: never.
    pub expires_at: Option<WallMillis>,
}

/// The two tokens after a rotation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotated {
    /// The replaced token.
    pub old: Token,
    /// Its successor.
    pub new: Token,
}

const REPLACE: &str = "UPDATE tokens SET state = 'rotating', replaced_by = $2, grace_ends_at = $3
  WHERE id = $1";

impl Store {
    /// Makes a successor with the same settings, of the same lineage, so that no count is refilled.
    /// The old token works until the overlap or its own time ends.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the token was rotated before or is not active, or the new text
    /// is known; [`StoreError::Invalid`] for too long an overlap; [`StoreError::NotFound`]; or the
    /// disk.
    pub async fn rotate_token(
        &self,
        scope: Scope,
        id: TokenId,
        rotation: Rotation,
    ) -> Result<Rotated, StoreError> {
        if rotation.overlap_ms > OVERLAP_MS_MAX {
            return Err(StoreError::Invalid("overlap must be at most 30 days"));
        }
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let connection = write.connection();
            let old = by_id(connection, scope, id).await?;
            if old.replaced_by.is_some() {
                return Err(StoreError::Conflict(Conflict::TokenRotated));
            }
            if old.standing(now) != Standing::Live {
                return Err(StoreError::Conflict(Conflict::TokenNotActive));
            }
            let new = Token {
                id: TokenId::new(inner.wall.clock(), inner.entropy.as_ref()),
                secret: rotation.secret,
                created_at: now,
                expires_at: rotation.expires_at,
                last_used_at: None,
                ..old.clone()
            };
            insert(connection, &new).await?;
            replace(connection, &old, &new, rotation.overlap_ms).await?;
            let old = by_id(connection, scope, id).await?;
            write
                .commit(&[Change::Token(&new), Change::Token(&old)])
                .await?;
            Ok(Rotated { old, new })
        })
        .await
    }
}

/// Marks the old token as replaced; without an overlap it ends here.
async fn replace(
    connection: &mut Connection,
    old: &Token,
    new: &Token,
    overlap_ms: u64,
) -> Result<(), StoreError> {
    let grace_ends_at = WallMillis(new.created_at.0.saturating_add(overlap_ms));
    query(REPLACE)
        .bind(old.id.to_string())
        .bind(new.id.to_string())
        .bind(millis(grace_ends_at))
        .execute(&mut *connection)
        .await?;
    if overlap_ms == 0 {
        revoke(connection, old, grace_ends_at, REASON).await?;
    }
    Ok(())
}
