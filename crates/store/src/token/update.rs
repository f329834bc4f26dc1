//! Changing what a token may do.

use super::keep::by_id;
use super::{Bindings, CallLimits, Permission, Standing, Token};
use crate::live::Change;
use crate::query::query;
use crate::row::{self, count, millis};
use crate::{Conflict, Scope, Store, StoreError};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use tollkeep_policy::call_policy::CallPolicy;
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
    /// How long it may go unused, in milliseconds; `None` inside: for ever.
    pub idle_ttl_ms: Option<Option<u64>>,
    /// Its own rate limits, all of them.
    pub limits: Option<CallLimits>,
    /// From where and for what it may be used.
    pub bindings: Option<Bindings>,
    /// What may be asked for with it; `None` inside: nothing of its own.
    pub policy: Option<Option<Arc<CallPolicy>>>,
    /// What its holder may do besides calling.
    pub permissions: Option<Vec<Permission>>,
    /// Whether its holder may replace it.
    pub self_rotate: Option<bool>,
    /// Free pairs.
    pub metadata: Option<BTreeMap<String, String>>,
}

impl TokenChange {
    /// The token after the change.
    fn of(self, token: Token) -> Token {
        Token {
            name: self.name.unwrap_or(token.name),
            owner: self.owner.unwrap_or(token.owner),
            max_requests: self.max_requests.unwrap_or(token.max_requests),
            expires_at: self.expires_at.unwrap_or(token.expires_at),
            idle_ttl_ms: self.idle_ttl_ms.unwrap_or(token.idle_ttl_ms),
            limits: self.limits.unwrap_or(token.limits),
            bindings: self.bindings.unwrap_or(token.bindings),
            policy: self.policy.unwrap_or(token.policy),
            permissions: self.permissions.unwrap_or(token.permissions),
            self_rotate: self.self_rotate.unwrap_or(token.self_rotate),
            metadata: self.metadata.unwrap_or(token.metadata),
            ..token
        }
    }
}

const UPDATE: &str = "UPDATE tokens SET name = $2, owner = $3, max_requests = $4, expires_at = $5,
    idle_ttl_ms = $6, limits = $7, bindings = $8, policy = $9, permissions = $10, metadata = $11,
    self_rotate = $12
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
            let token = change.of(token);
            query(UPDATE)
                .bind(id.to_string())
                .bind(token.name.as_str())
                .bind(token.owner.as_str())
                .bind(token.max_requests.map(|max| count(max.get())))
                .bind(token.expires_at.map(millis))
                .bind(token.idle_ttl_ms.map(count))
                .bind(row::to_json(&token.limits)?)
                .bind(row::to_json(&token.bindings)?)
                .bind(row::json_text(token.policy.as_deref())?)
                .bind(row::to_json(&token.permissions)?)
                .bind(row::to_json(&token.metadata)?)
                .bind(token.self_rotate)
                .execute(connection)
                .await?;
            let token = by_id(write.connection(), scope, id).await?;
            write.commit(&[Change::Token(&token)]).await?;
            Ok(token)
        })
        .await
    }
}
