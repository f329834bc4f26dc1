//! Management keys: what operators hold.

use crate::error::is_duplicate_of;
use crate::row::{self, millis};
use crate::{Conflict, Scope, Store, StoreError};
use sqlx::sqlite::SqliteRow;
use std::str::FromStr;
use tollkeep_types::{ManagementKeyId, TenantId, TokenHash, WallMillis};

/// Most keys of a deployment in one list.
const KEYS_MAX: u32 = 1000;
/// How exact the last use of a key is kept, in milliseconds. A transaction that changes nothing is
/// not synced, so most calls cost no disk write.
const TOUCH_EVERY_MS: u64 = 60_000;

/// What a key may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Everything.
    Owner,
    /// Everything but money, keys of owners, and irreversible things.
    Admin,
    /// Tokens, lists and breakers.
    Operator,
    /// Reading.
    Viewer,
    /// Everything of one tenant.
    TenantAdmin,
}

impl Role {
    /// The word for it in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::TenantAdmin => "tenant-admin",
        }
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let roles = [
            Self::Owner,
            Self::Admin,
            Self::Operator,
            Self::Viewer,
            Self::TenantAdmin,
        ];
        let found = roles.into_iter().find(|role| role.as_str() == word);
        found.ok_or(())
    }
}

/// The record of a management key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ManagementKey {
    /// Its id.
    pub id: ManagementKeyId,
    /// The one tenant it is bound to, if it is.
    pub tenant_id: Option<TenantId>,
    /// Its name in lists.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The text as lists show it, masked.
    pub hint: String,
    /// When it was made.
    pub created_at: WallMillis,
    /// When it stops working.
    pub expires_at: WallMillis,
    /// When it was last used, to the minute.
    pub last_used_at: Option<WallMillis>,
}

/// A management key to be made. It is bound to the tenant of the scope that makes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewManagementKey {
    /// Its name in lists.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The keyed hash of its text.
    pub digest: TokenHash,
    /// Which pepper made the hash.
    pub pepper_id: String,
    /// The text as lists show it, masked.
    pub hint: String,
    /// When it stops working.
    pub expires_at: WallMillis,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, name, role, hint, created_at, expires_at, last_used_at
             FROM management_keys ",
            $rest
        )
    };
}

const FIND: &str = select!(
    "WHERE digest = ?1 AND state = 'active' AND expires_at > ?2
       AND (?3 IS NULL OR tenant_id = ?3)"
);

const LIST: &str =
    select!("WHERE (?1 IS NULL OR tenant_id = ?1) ORDER BY created_at DESC, id DESC LIMIT ?2");

const INSERT: &str = "INSERT INTO management_keys
  (id, tenant_id, name, role, digest, pepper_id, hint, state, created_at, expires_at)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'active', ?8, ?9)";

const COUNT_OWNERS: &str = "SELECT count(*) FROM management_keys
  WHERE role = 'owner' AND state = 'active' AND expires_at > ?1 AND (?2 IS NULL OR tenant_id = ?2)";

const TOUCH: &str = "UPDATE management_keys SET last_used_at = ?2
  WHERE id = ?1 AND coalesce(last_used_at <= ?3, 1) AND (?4 IS NULL OR tenant_id = ?4)";

impl Store {
    /// Makes a management key; one made for a tenant is bound to it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the text is that of another key; or the disk.
    pub async fn create_management_key(
        &self,
        scope: Scope,
        new: NewManagementKey,
    ) -> Result<ManagementKey, StoreError> {
        self.unattended(async move |inner| {
            let key = ManagementKey {
                id: ManagementKeyId::new(inner.wall.clock(), inner.entropy.as_ref()),
                tenant_id: match scope {
                    Scope::Tenant(id) => Some(id),
                    Scope::Service(_) => None,
                },
                name: new.name,
                role: new.role,
                hint: new.hint,
                created_at: inner.wall.now(),
                expires_at: new.expires_at,
                last_used_at: None,
            };
            let mut write = inner.begin().await?;
            let inserted = sqlx::query(INSERT)
                .bind(key.id.to_string())
                .bind(scope.tenant())
                .bind(key.name.as_str())
                .bind(key.role.as_str())
                .bind(new.digest.bytes().as_slice())
                .bind(new.pepper_id.as_str())
                .bind(key.hint.as_str())
                .bind(millis(key.created_at))
                .bind(millis(key.expires_at))
                .execute(write.connection())
                .await;
            match inserted {
                Err(error) if is_duplicate_of(&error, "management_keys.digest") => {
                    return Err(StoreError::Conflict(Conflict::TokenKnown));
                }
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
            write.commit(&[]).await?;
            Ok(key)
        })
        .await
    }

    /// The key with this hash that may be used now; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn find_management_key(
        &self,
        scope: Scope,
        digest: &TokenHash,
    ) -> Result<Option<ManagementKey>, StoreError> {
        let found = sqlx::query(FIND)
            .bind(digest.bytes().to_vec())
            .bind(millis(self.now()))
            .bind(scope.tenant())
            .fetch_optional(&self.0.readers)
            .await?;
        found.as_ref().map(read).transpose()
    }

    /// Management keys, newest first, expired ones included.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn management_keys(&self, scope: Scope) -> Result<Vec<ManagementKey>, StoreError> {
        let rows = sqlx::query(LIST)
            .bind(scope.tenant())
            .bind(KEYS_MAX)
            .fetch_all(&self.0.readers)
            .await?;
        rows.iter().map(read).collect()
    }

    /// How many owner keys may be used now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn count_live_owners(&self, scope: Scope) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar(COUNT_OWNERS)
            .bind(millis(self.now()))
            .bind(scope.tenant())
            .fetch_one(&self.0.readers)
            .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Records that a key was used, at most once a minute.
    ///
    /// # Errors
    /// The disk; the use itself is no less valid for it.
    pub async fn touch_management_key(
        &self,
        scope: Scope,
        id: ManagementKeyId,
    ) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let long_ago = WallMillis(now.0.saturating_sub(TOUCH_EVERY_MS));
            let mut write = inner.begin().await?;
            sqlx::query(TOUCH)
                .bind(id.to_string())
                .bind(millis(now))
                .bind(millis(long_ago))
                .bind(scope.tenant())
                .execute(write.connection())
                .await?;
            write.commit(&[]).await
        })
        .await
    }
}

fn read(row: &SqliteRow) -> Result<ManagementKey, StoreError> {
    Ok(ManagementKey {
        id: row::id(row, "id")?,
        tenant_id: row::id_if_set(row, "tenant_id")?,
        name: row::text(row, "name")?,
        role: row::id(row, "role")?,
        hint: row::text(row, "hint")?,
        created_at: row::time(row, "created_at")?,
        expires_at: row::time(row, "expires_at")?,
        last_used_at: row::time_if_set(row, "last_used_at")?,
    })
}
