//! Switching a token off for a while.

use super::keep::{by_id, of_lineage};
use super::{Standing, Token, TokenState};
use crate::database::GATEWAY;
use crate::live::{Change, Cut};
use crate::query::{Connection, query};
use crate::row::millis;
use crate::{Conflict, Scope, Store, StoreError};
use tollkeep_types::{LineageId, TokenId, WallMillis};

/// Whether a token is switched off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Switch {
    /// It is refused until it is on again.
    Off(Suspender),
    /// It may be used.
    On,
}

/// Who switches a token off, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suspender {
    /// Who, in a word: an operator's key, or `gateway`.
    pub by: String,
    /// Why.
    pub reason: String,
}

const SET_STATE: &str = "UPDATE tokens
  SET state = $2, suspended_at = $3, suspended_by = $4, suspended_reason = $5 WHERE id = $1";

impl Store {
    /// Switches a token off or on; takes effect with its next call. Doing it twice changes nothing,
    /// also not who did it.
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
            match (token.standing(now), switch) {
                (Standing::Live, Switch::Off(by)) => {
                    suspend(connection, &token, now, &by).await?;
                }
                (Standing::Suspended, Switch::On) => resume(connection, &token).await?,
                (Standing::Live, Switch::On) | (Standing::Suspended, Switch::Off(_)) => {
                    return Ok(token);
                }
                (Standing::Expired | Standing::Revoked, _) => {
                    return Err(StoreError::Conflict(Conflict::TokenNotActive));
                }
            }
            let token = by_id(write.connection(), scope, id).await?;
            write.commit(&[Change::Token(&token)]).await?;
            Ok(token)
        })
        .await
    }

    /// Switches off every token of a line that may be used, and ends what is on its way to their
    /// holders. Gives those it switched off. The gateway's own doing, so there is no scope.
    ///
    /// # Errors
    /// The disk; then all of them still work.
    pub async fn suspend_lineage(
        &self,
        lineage: LineageId,
        by: Suspender,
    ) -> Result<Vec<Token>, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let mut tokens = of_lineage(connection, lineage).await?;
            tokens.retain(|token| token.standing(now) == Standing::Live);
            for token in &mut tokens {
                suspend(connection, token, now, &by).await?;
                *token = by_id(connection, GATEWAY, token.id).await?;
            }
            let ended = tokens.iter().map(Change::Token);
            let cuts = tokens
                .iter()
                .map(|token| Change::Cut(Cut::Token(token.id, token.secret.digest)));
            let changes: Vec<_> = ended.chain(cuts).collect();
            write.commit(&changes).await?;
            Ok(tokens)
        })
        .await
    }
}

async fn suspend(
    connection: &mut Connection,
    token: &Token,
    now: WallMillis,
    by: &Suspender,
) -> Result<(), StoreError> {
    query(SET_STATE)
        .bind(token.id.to_string())
        .bind(TokenState::Suspended.as_str())
        .bind(millis(now))
        .bind(&by.by)
        .bind(&by.reason)
        .execute(connection)
        .await?;
    Ok(())
}

async fn resume(connection: &mut Connection, token: &Token) -> Result<(), StoreError> {
    // A token that was replaced goes on ending.
    let state = match token.grace_ends_at {
        Some(_) => TokenState::Rotating,
        None => TokenState::Active,
    };
    query(SET_STATE)
        .bind(token.id.to_string())
        .bind(state.as_str())
        .bind(None::<i64>)
        .bind(None::<&str>)
        .bind(None::<&str>)
        .execute(connection)
        .await?;
    Ok(())
}
