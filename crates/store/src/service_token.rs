//! Service tokens: the second factor that clients show at the front door, by an id and a secret.
//!
//! They belong to the deployment: a tenant's scope sees none.

use crate::error::is_duplicate_of;
use crate::live::Change;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{Conflict, Scope, Store, StoreError};
use std::str::FromStr;
use tollkeep_types::{ServiceTokenId, TokenHash, WallMillis};

/// Service tokens of a deployment; those that ended count until they are forgotten.
const TOKENS_MAX: u32 = 10_000;
/// How long the record of an ended one is kept: 90 days.
const RECORD_KEPT_MS: u64 = 90 * 86_400_000;

/// Which listener's front door a service token opens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// That of callers.
    Data,
    /// That of operators.
    Management,
}

impl Door {
    /// The word for it in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Management => "management",
        }
    }
}

impl FromStr for Door {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let doors = [Self::Data, Self::Management];
        doors
            .into_iter()
            .find(|door| door.as_str() == word)
            .ok_or(())
    }
}

/// What is kept of a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceSecret {
    /// The keyed hash of its text.
    pub digest: TokenHash,
    /// Which pepper made the hash.
    pub pepper_id: String,
    /// The text as lists show it, masked.
    pub hint: String,
}

/// The record of a service token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceToken {
    /// Its id, which clients send beside the secret.
    pub id: ServiceTokenId,
    /// Its name in lists.
    pub name: String,
    /// The door it opens.
    pub door: Door,
    /// Its secret.
    pub secret: ServiceSecret,
    /// The secret before the last rotation, and until when it holds.
    pub previous: Option<(TokenHash, WallMillis)>,
    /// When it was made.
    pub created_at: WallMillis,
    /// When its secret was last changed.
    pub rotated_at: Option<WallMillis>,
    /// When it stops working; `None`: never.
    pub expires_at: Option<WallMillis>,
    /// When it was revoked.
    pub revoked_at: Option<WallMillis>,
}

impl ServiceToken {
    /// Whether it works at this time.
    pub fn is_live(&self, now: WallMillis) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A service token to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewServiceToken {
    /// Its name in lists.
    pub name: String,
    /// The door it opens.
    pub door: Door,
    /// Its secret.
    pub secret: ServiceSecret,
    /// When it stops working; `None`: never.
    pub expires_at: Option<WallMillis>,
}

/// A new secret for a service token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceRotation {
    /// The new secret.
    pub secret: ServiceSecret,
    /// How long the one before goes on working, in milliseconds.
    pub overlap_ms: u64,
    /// A new end of the token; `None` keeps the one it has.
    pub expires_at: Option<WallMillis>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, door, digest, pepper_id, hint, previous_digest, previous_ends_at,
               created_at, rotated_at, expires_at, revoked_at
             FROM service_tokens ",
            $rest
        )
    };
}

const FIND: &str = select!("WHERE id = $1");

const LIST: &str = select!("ORDER BY created_at DESC, id DESC LIMIT $1");

const COUNT: &str = "SELECT count(*) FROM service_tokens";

const FORGET: &str = "DELETE FROM service_tokens WHERE revoked_at <= $1 OR expires_at <= $1";

const INSERT: &str = "INSERT INTO service_tokens
  (id, name, door, digest, pepper_id, hint, created_at, expires_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const ROTATE: &str = "UPDATE service_tokens SET digest = $2, pepper_id = $3, hint = $4,
  previous_digest = $5, previous_ends_at = $6, rotated_at = $7, expires_at = $8 WHERE id = $1";

const REVOKE: &str = "UPDATE service_tokens SET revoked_at = $2, previous_digest = NULL,
  previous_ends_at = NULL WHERE id = $1 AND revoked_at IS NULL";

impl Store {
    /// Makes a service token.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a tenant; [`StoreError::Conflict`] if there are too many, or
    /// the text is that of another one; or the disk.
    pub async fn create_service_token(
        &self,
        scope: Scope,
        new: NewServiceToken,
    ) -> Result<ServiceToken, StoreError> {
        of_deployment(scope)?;
        self.unattended(async move |inner| {
            let token = ServiceToken {
                id: ServiceTokenId::new(inner.wall.clock(), inner.entropy.as_ref()),
                name: new.name,
                door: new.door,
                secret: new.secret,
                previous: None,
                created_at: inner.wall.now(),
                rotated_at: None,
                expires_at: new.expires_at,
                revoked_at: None,
            };
            let mut write = inner.begin(scope).await?;
            let long_ago = token.created_at.0.saturating_sub(RECORD_KEPT_MS);
            query(FORGET)
                .bind(millis(WallMillis(long_ago)))
                .execute(write.connection())
                .await?;
            let count = query(COUNT).fetch_number(write.connection()).await?;
            if count >= TOKENS_MAX.into() {
                return Err(StoreError::Conflict(Conflict::ServiceTokensFull));
            }
            let inserted = query(INSERT)
                .bind(token.id.to_string())
                .bind(token.name.as_str())
                .bind(token.door.as_str())
                .bind(token.secret.digest.bytes().as_slice())
                .bind(token.secret.pepper_id.as_str())
                .bind(token.secret.hint.as_str())
                .bind(millis(token.created_at))
                .bind(token.expires_at.map(millis))
                .execute(write.connection())
                .await;
            match inserted {
                Err(error) if is_duplicate_of(&error, "service_tokens", "digest") => {
                    return Err(StoreError::Conflict(Conflict::TokenKnown));
                }
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
            write.commit(&[Change::ServiceToken(&token)]).await?;
            Ok(token)
        })
        .await
    }

    /// All service tokens, newest first, ended ones for 90 days.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn service_tokens(&self, scope: Scope) -> Result<Vec<ServiceToken>, StoreError> {
        if of_deployment(scope).is_err() {
            return Ok(Vec::new());
        }
        all(&mut self.0.read(scope).await?).await
    }

    /// Gives a service token a new secret; the one before holds for the overlap.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] for one that has ended; or the disk.
    pub async fn rotate_service_token(
        &self,
        scope: Scope,
        id: ServiceTokenId,
        rotation: ServiceRotation,
    ) -> Result<ServiceToken, StoreError> {
        of_deployment(scope)?;
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let mut token = by_id(write.connection(), id).await?;
            if !token.is_live(now) {
                return Err(StoreError::Conflict(Conflict::TokenNotActive));
            }
            let ends_at = WallMillis(now.0.saturating_add(rotation.overlap_ms));
            token.previous = Some((token.secret.digest, ends_at)).filter(|_| ends_at > now);
            token.secret = rotation.secret;
            token.rotated_at = Some(now);
            token.expires_at = rotation.expires_at.or(token.expires_at);
            let previous = token.previous.as_ref();
            query(ROTATE)
                .bind(id.to_string())
                .bind(token.secret.digest.bytes().as_slice())
                .bind(token.secret.pepper_id.as_str())
                .bind(token.secret.hint.as_str())
                .bind(previous.map(|(digest, _)| digest.bytes().to_vec()))
                .bind(previous.map(|(_, end)| millis(*end)))
                .bind(millis(now))
                .bind(token.expires_at.map(millis))
                .execute(write.connection())
                .await?;
            write.commit(&[Change::ServiceToken(&token)]).await?;
            Ok(token)
        })
        .await
    }

    /// Ends a service token for good; doing it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk.
    pub async fn revoke_service_token(
        &self,
        scope: Scope,
        id: ServiceTokenId,
    ) -> Result<ServiceToken, StoreError> {
        of_deployment(scope)?;
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            query(REVOKE)
                .bind(id.to_string())
                .bind(millis(now))
                .execute(write.connection())
                .await?;
            let token = by_id(write.connection(), id).await?;
            write.commit(&[Change::ServiceToken(&token)]).await?;
            Ok(token)
        })
        .await
    }
}

/// Every service token.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<ServiceToken>, StoreError> {
    let rows = query(LIST).bind(TOKENS_MAX).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

fn of_deployment(scope: Scope) -> Result<(), StoreError> {
    match scope {
        Scope::Service(_) => Ok(()),
        Scope::Tenant(_) => Err(StoreError::NotFound),
    }
}

pub(crate) async fn by_id(
    connection: &mut Connection,
    id: ServiceTokenId,
) -> Result<ServiceToken, StoreError> {
    let found = query(FIND).bind(id.to_string()).fetch_one(connection);
    read(&found.await?)
}

fn read(row: &Row) -> Result<ServiceToken, StoreError> {
    let previous_ends_at = row::time_if_set(row, "previous_ends_at")?;
    Ok(ServiceToken {
        id: row::id(row, "id")?,
        name: row::text(row, "name")?,
        door: row::id(row, "door")?,
        secret: ServiceSecret {
            digest: row::digest(row, "digest")?,
            pepper_id: row::text(row, "pepper_id")?,
            hint: row::text(row, "hint")?,
        },
        previous: match previous_ends_at {
            Some(end) => Some((row::digest(row, "previous_digest")?, end)),
            None => None,
        },
        created_at: row::time(row, "created_at")?,
        rotated_at: row::time_if_set(row, "rotated_at")?,
        expires_at: row::time_if_set(row, "expires_at")?,
        revoked_at: row::time_if_set(row, "revoked_at")?,
    })
}
