//! Switching a token off for a while.

use super::keep::by_id;
use super::{Standing, Token, TokenState};
use crate::live::Change;
use crate::query::query;
use crate::{Conflict, Scope, Store, StoreError};
use tollkeep_types::TokenId;

/// Whether a token is switched off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Switch {
    /// It is refused until it is on again.
    Off,
    /// It may be used.
    On,
}

const SET_STATE: &str = "UPDATE tokens SET state = $2 WHERE id = $1";

impl Store {
    /// Switches a token off or on; takes effect with its next call. Doing it twice changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the token has ended; [`StoreError::NotFound`]; or the disk.
    pub async fn switch_token(
        &self,
        scope: Scope,
        id: TokenId,
        switch: Switch,
    ) -> Result<Token, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let connection = write.connection();
            let token = by_id(connection, scope, id).await?;
            let state = match (token.standing(now), switch) {
                (Standing::Live, Switch::Off) => TokenState::Suspended,
                // A token that was replaced goes on ending.
                (Standing::Suspended, Switch::On) if token.grace_ends_at.is_some() => {
                    TokenState::Rotating
                }
                (Standing::Suspended, Switch::On) => TokenState::Active,
                (Standing::Live, Switch::On) | (Standing::Suspended, Switch::Off) => {
                    return Ok(token);
                }
                (Standing::Expired | Standing::Revoked, _) => {
                    return Err(StoreError::Conflict(Conflict::TokenNotActive));
                }
            };
            query(SET_STATE)
                .bind(id.to_string())
                .bind(state.as_str())
                .execute(connection)
                .await?;
            let token = by_id(write.connection(), scope, id).await?;
            write.commit(&[Change::Token(&token)]).await?;
            Ok(token)
        })
        .await
    }
}
