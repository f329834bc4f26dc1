//! Changing what a token may do.

use super::keep::by_id;
use super::{Standing, Token};
use crate::live::Change;
use crate::query::query;
use crate::row::{count, millis};
use crate::{Conflict, Scope, Store, StoreError};
use std::num::NonZeroU64;
use tollkeep_types::{TokenId, WallMillis};

/// What to change of a token; what is not given stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TokenChange {
    /// Its name in lists.
    pub name: Option<String>,
    /// Who holds it.
    pub owner: Option<String>,
    /// How many calls its lineage may make in all; `None` inside: any.
    pub max_requests: Option<Option<NonZeroU64>>,
    /// When it stops working; `None` inside: never.
    pub expires_at: Option<Option<WallMillis>>,
}

const UPDATE: &str = "UPDATE tokens SET name = $2, owner = $3, max_requests = $4, expires_at = $5
  WHERE id = $1";

impl Store {
    /// Changes a token; takes effect with its next call.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the token has ended; [`StoreError::NotFound`]; or the disk.
    pub async fn change_token(
        &self,
        scope: Scope,
        id: TokenId,
        change: TokenChange,
    ) -> Result<Token, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let connection = write.connection();
            let token = by_id(connection, scope, id).await?;
            match token.standing(now) {
                Standing::Live | Standing::Suspended => {}
                Standing::Expired | Standing::Revoked => {
                    return Err(StoreError::Conflict(Conflict::TokenNotActive));
                }
            }
            let max_requests = change.max_requests.unwrap_or(token.max_requests);
            let expires_at = change.expires_at.unwrap_or(token.expires_at);
            query(UPDATE)
                .bind(id.to_string())
                .bind(change.name.unwrap_or(token.name))
                .bind(change.owner.unwrap_or(token.owner))
                .bind(max_requests.map(|max| count(max.get())))
                .bind(expires_at.map(millis))
                .execute(connection)
                .await?;
            let token = by_id(write.connection(), scope, id).await?;
            write.commit(&[Change::Token(&token)]).await?;
            Ok(token)
        })
        .await
    }
}
