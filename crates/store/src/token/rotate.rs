//! Replacing a token by one with another text and the same settings and counters.

use super::keep::{by_id, insert};
use super::revoke::revoke;
use super::{Standing, Token, TokenSecret};
use crate::live::Change;
use crate::open::Inner;
use crate::query::{Connection, query};
use crate::row::millis;
use crate::write::Write;
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

/// How a holder rotates its own token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnRotation {
    /// What is kept of the new text.
    pub secret: TokenSecret,
    /// How long the old token keeps working, in milliseconds.
    pub overlap_ms: u64,
    /// The new token lives as long as the old one was to live, and at most so long.
    pub life_ms_max: u64,
    /// How long after its first token was made a line ends, whoever goes on rotating it.
    pub lineage_ms_max: u64,
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
            let mut write = inner.begin(scope).await?;
            let old = replaceable(&inner, &mut write, scope, id).await?;
            succeed(&inner, write, scope, (old, rotation)).await
        })
        .await
    }

    /// As [`Store::rotate_token`], by the holder of the token, where it may.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] besides if the token is not one that its holder rotates, or its
    /// line is as old as a line may become.
    pub async fn rotate_own_token(
        &self,
        scope: Scope,
        id: TokenId,
        own: OwnRotation,
    ) -> Result<Rotated, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(scope).await?;
            let old = replaceable(&inner, &mut write, scope, id).await?;
            if !old.self_rotate {
                return Err(StoreError::Conflict(Conflict::TokenNotOwn));
            }
            let now = inner.wall.now();
            let end = own.end(&old, now);
            if end <= now {
                return Err(StoreError::Conflict(Conflict::LineageOver));
            }
            let rotation = Rotation {
                secret: own.secret,
                overlap_ms: own.overlap_ms.min(OVERLAP_MS_MAX),
                expires_at: Some(end),
            };
            succeed(&inner, write, scope, (old, rotation)).await
        })
        .await
    }
}

impl OwnRotation {
    /// When the new token ends.
    fn end(&self, old: &Token, now: WallMillis) -> WallMillis {
        let life = |end: WallMillis| end.0.saturating_sub(old.created_at.0);
        let life = old.expires_at.map_or(u64::MAX, life).min(self.life_ms_max);
        let line_end = old.lineage.made_at().0.saturating_add(self.lineage_ms_max);
        WallMillis(now.0.saturating_add(life).min(line_end))
    }
}

/// The token, if it may be replaced.
async fn replaceable(
    inner: &Inner,
    write: &mut Write<'_>,
    scope: Scope,
    id: TokenId,
) -> Result<Token, StoreError> {
    let old = by_id(write.connection(), scope, id).await?;
    if old.replaced_by.is_some() {
        return Err(StoreError::Conflict(Conflict::TokenRotated));
    }
    if old.standing(inner.wall.now()) != Standing::Live {
        return Err(StoreError::Conflict(Conflict::TokenNotActive));
    }
    Ok(old)
}

/// Puts the successor in its place.
async fn succeed(
    inner: &Inner,
    mut write: Write<'_>,
    scope: Scope,
    (old, rotation): (Token, Rotation),
) -> Result<Rotated, StoreError> {
    let connection = write.connection();
    let new = Token {
        id: TokenId::new(inner.wall.clock(), inner.entropy.as_ref()),
        secret: rotation.secret,
        created_at: inner.wall.now(),
        expires_at: rotation.expires_at,
        last_used_at: None,
        ..old.clone()
    };
    insert(connection, &new).await?;
    replace(connection, &old, &new, rotation.overlap_ms).await?;
    let old = by_id(connection, scope, old.id).await?;
    write
        .commit(&[Change::Token(&new), Change::Token(&old)])
        .await?;
    Ok(Rotated { old, new })
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
