//! Management keys: what operators hold.

use crate::database::GATEWAY;
use crate::error::is_duplicate_of;
use crate::key_room::{self, lasting};
use crate::owner::owner_stays;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{Conflict, Page, PageRequest, Scope, Store, StoreError, console_session, tenant};
use ipnet::IpNet;
use std::net::IpAddr;
use std::str::FromStr;
use tollkeep_types::{ManagementKeyId, OperatorId, TenantId, TokenHash, WallMillis};

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
    /// The person whose own it is: it may do what they may, and ends with them.
    pub operator_id: Option<OperatorId>,
    /// Its name in lists.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it is narrowed to, as globs on `noun:verb`; `None`: all that its role allows.
    pub scopes: Option<Vec<String>>,
    /// From where it may be used; none: from anywhere.
    pub allowed_ips: Vec<IpNet>,
    /// The text as lists show it, masked.
    pub hint: String,
    /// When it was made.
    pub created_at: WallMillis,
    /// Who made it; `None` for the first one.
    pub created_by: Option<String>,
    /// When it stops working.
    pub expires_at: WallMillis,
    /// When it last got another text.
    pub rotated_at: Option<WallMillis>,
    /// Until when the text before works.
    pub previous_ends_at: Option<WallMillis>,
    /// When it was revoked.
    pub revoked_at: Option<WallMillis>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<WallMillis>,
    /// From where it was last used.
    pub last_used_ip: Option<IpAddr>,
}

impl ManagementKey {
    /// Whether it may be used at `now`.
    pub fn is_live(&self, now: WallMillis) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }

    /// How far it is an owner that can do everything from anywhere: not, for a while, or lasting.
    fn ownership(&self, now: WallMillis) -> u8 {
        let is_whole =
            self.role == Role::Owner && self.scopes.is_none() && self.operator_id.is_none();
        if !is_whole || !self.allowed_ips.is_empty() || !self.is_live(now) {
            0
        } else if self.expires_at <= lasting(now) {
            1
        } else {
            2
        }
    }
}

/// What is kept of a management key's text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ManagementSecret {
    /// The keyed hash of its text.
    pub digest: TokenHash,
    /// Which pepper made the hash.
    pub pepper_id: String,
    /// The text as lists show it, masked.
    pub hint: String,
}

/// A management key to be made. It is bound to the tenant of the scope that makes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewManagementKey {
    /// The person whose own it is.
    pub operator_id: Option<OperatorId>,
    /// Its name in lists.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it is narrowed to.
    pub scopes: Option<Vec<String>>,
    /// From where it may be used.
    pub allowed_ips: Vec<IpNet>,
    /// What is kept of its text.
    pub secret: ManagementSecret,
    /// When it stops working.
    pub expires_at: WallMillis,
    /// Who makes it.
    pub created_by: Option<String>,
}

/// What to do to a key.
#[derive(Clone, Debug)]
pub enum KeyChange {
    /// Other settings, as those of this record.
    Settings(ManagementKey),
    /// Another text.
    Rotate {
        /// What is kept of the new text.
        secret: ManagementSecret,
        /// Until when the text before works.
        previous_ends_at: WallMillis,
        /// When it stops working.
        expires_at: WallMillis,
    },
    /// Its end, for good.
    Revoke,
}

/// Whether the last owner key may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LastOwner {
    /// It may not.
    Stays,
    /// It may: there is an owner that is not stored.
    MayGo,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, operator_id, name, role, scopes, allowed_ips, hint, created_at, created_by,
               expires_at, rotated_at, previous_ends_at, revoked_at, last_used_at, last_used_ip
             FROM management_keys ",
            $rest
        )
    };
}

const FIND: &str = select!(
    "WHERE (digest = $1 OR (previous_digest = $1 AND previous_ends_at > $2))
       AND state = 'active' AND expires_at > $2 AND ($3 IS NULL OR tenant_id = $3)
       AND NOT EXISTS (SELECT 1 FROM tenants
         WHERE tenants.id = management_keys.tenant_id AND tenants.status = 'deleted')
       AND (operator_id IS NULL OR EXISTS (SELECT 1 FROM operators
         WHERE operators.id = management_keys.operator_id AND operators.disabled_at IS NULL
           AND operators.role = management_keys.role))"
);

const BY_ID: &str = select!("WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)");

const LIST: &str = select!(
    "WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR (created_at, id) < ($2, $3))
       AND ($5 IS NULL OR operator_id = $5)
     ORDER BY created_at DESC, id DESC LIMIT $4"
);

const INSERT: &str = "INSERT INTO management_keys
  (id, tenant_id, name, role, digest, pepper_id, hint, state, created_at, expires_at, scopes,
   allowed_ips, created_by, operator_id)
  VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8, $9, $10, $11, $12, $13)";

const TOUCH: &str = "UPDATE management_keys SET last_used_at = $2, last_used_ip = $5
  WHERE id = $1 AND coalesce(last_used_at <= $3, TRUE) AND ($4 IS NULL OR tenant_id = $4)";

const SETTINGS: &str = "UPDATE management_keys
  SET name = $2, role = $3, scopes = $4, allowed_ips = $5, expires_at = $6 WHERE id = $1";

const ROTATE: &str = "UPDATE management_keys SET previous_digest = digest, previous_ends_at = $5,
    digest = $2, pepper_id = $3, hint = $4, expires_at = $6, rotated_at = $7
  WHERE id = $1";

const REVOKE: &str = "UPDATE management_keys SET state = 'revoked', revoked_at = $2 WHERE id = $1";

impl Store {
    /// Makes a management key; one made for a tenant is bound to it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the text is that of another key, there are too many, or the
    /// tenant was deleted; or the disk.
    pub async fn create_management_key(
        &self,
        scope: Scope,
        new: NewManagementKey,
    ) -> Result<ManagementKey, StoreError> {
        self.unattended(async move |inner| {
            let id = ManagementKeyId::new(inner.wall.clock(), inner.entropy.as_ref());
            // A tenant can't see how many keys there are in all.
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            if let Scope::Tenant(id) = scope {
                tenant::hold(connection, id).await?;
            }
            key_room::check(connection, scope.tenant(), inner.wall.now()).await?;
            let inserted = query(INSERT)
                .bind(id.to_string())
                .bind(scope.tenant())
                .bind(new.name.as_str())
                .bind(new.role.as_str())
                .bind(new.secret.digest.bytes().as_slice())
                .bind(new.secret.pepper_id.as_str())
                .bind(new.secret.hint.as_str())
                .bind(millis(inner.wall.now()))
                .bind(millis(new.expires_at))
                .bind(scopes_text(new.scopes.as_ref())?)
                .bind(row::to_json(&new.allowed_ips)?)
                .bind(new.created_by.as_deref())
                .bind(new.operator_id.map(|id| id.to_string()))
                .execute(write.connection())
                .await;
            inserted.map_err(known)?;
            let key = by_id(write.connection(), scope, id).await?;
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
        let mut connection = self.0.read(scope).await?;
        let found = query(FIND)
            .bind(digest.bytes().to_vec())
            .bind(millis(self.now()))
            .bind(scope.tenant())
            .fetch_optional(&mut connection)
            .await?;
        found.as_ref().map(read).transpose()
    }

    /// One key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn management_key(
        &self,
        scope: Scope,
        id: ManagementKeyId,
    ) -> Result<ManagementKey, StoreError> {
        let mut connection = self.0.read(scope).await?;
        by_id(&mut connection, scope, id).await
    }

    /// Management keys, newest first, ended ones included; a person's own if one is named.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn management_keys(
        &self,
        scope: Scope,
        of: Option<OperatorId>,
        page: PageRequest<ManagementKeyId>,
    ) -> Result<Page<ManagementKey>, StoreError> {
        let (created_at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(created_at)
            .bind(id)
            .bind(page.rows_asked())
            .bind(of.map(|id| id.to_string()))
            .fetch_all(&mut connection)
            .await?;
        Ok(page.page(rows.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Changes a key that is as it `was` when it was looked at.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it changed meanwhile, has ended, or is the last owner and must
    /// stay; [`StoreError::NotFound`]; or the disk.
    pub async fn change_management_key(
        &self,
        scope: Scope,
        was: ManagementKey,
        change: KeyChange,
        last: LastOwner,
    ) -> Result<ManagementKey, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let connection = write.connection();
            let key = by_id(connection, scope, was.id).await?;
            if key.revoked_at.is_some() && matches!(change, KeyChange::Revoke) {
                return Ok(key);
            }
            let as_used = |key: &ManagementKey| ManagementKey {
                last_used_at: None,
                last_used_ip: None,
                ..key.clone()
            };
            if as_used(&key) != as_used(&was) {
                return Err(StoreError::Conflict(Conflict::Changed));
            }
            if !key.is_live(now) && !matches!(change, KeyChange::Revoke) {
                return Err(StoreError::Conflict(Conflict::ManagementKeyEnded));
            }
            make_change(connection, &key, change, now).await?;
            let after = by_id(connection, scope, key.id).await?;
            if after.ownership(now) < key.ownership(now) && last == LastOwner::Stays {
                owner_stays(connection, now).await?;
            }
            console_session::end_of_key(connection, &key, &after).await?;
            write.commit(&[]).await?;
            Ok(after)
        })
        .await
    }

    /// Records that a key was used from an address, at most once a minute.
    ///
    /// # Errors
    /// The disk; the use itself is no less valid for it.
    pub async fn touch_management_key(
        &self,
        scope: Scope,
        id: ManagementKeyId,
        ip: Option<IpAddr>,
    ) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let long_ago = WallMillis(now.0.saturating_sub(TOUCH_EVERY_MS));
            let mut write = inner.begin(scope).await?;
            query(TOUCH)
                .bind(id.to_string())
                .bind(millis(now))
                .bind(millis(long_ago))
                .bind(scope.tenant())
                .bind(ip.map(|ip| ip.to_string()))
                .execute(write.connection())
                .await?;
            write.commit(&[]).await
        })
        .await
    }
}

async fn make_change(
    connection: &mut Connection,
    key: &ManagementKey,
    change: KeyChange,
    now: WallMillis,
) -> Result<(), StoreError> {
    let changed = match change {
        KeyChange::Settings(wanted) => {
            query(SETTINGS)
                .bind(key.id.to_string())
                .bind(wanted.name)
                .bind(wanted.role.as_str())
                .bind(scopes_text(wanted.scopes.as_ref())?)
                .bind(row::to_json(&wanted.allowed_ips)?)
                .bind(millis(wanted.expires_at))
                .execute(connection)
                .await
        }
        KeyChange::Rotate {
            secret,
            previous_ends_at,
            expires_at,
        } => {
            query(ROTATE)
                .bind(key.id.to_string())
                .bind(secret.digest.bytes().to_vec())
                .bind(secret.pepper_id)
                .bind(secret.hint)
                // A rotation does not prolong the text before.
                .bind(millis(previous_ends_at.min(key.expires_at)))
                .bind(millis(expires_at))
                .bind(millis(now))
                .execute(connection)
                .await
        }
        KeyChange::Revoke => {
            query(REVOKE)
                .bind(key.id.to_string())
                .bind(millis(now))
                .execute(connection)
                .await
        }
    };
    changed.map_err(known)?;
    Ok(())
}

fn known(error: sqlx::Error) -> StoreError {
    if is_duplicate_of(&error, "management_keys", "digest") {
        StoreError::Conflict(Conflict::TokenKnown)
    } else {
        error.into()
    }
}

fn scopes_text(scopes: Option<&Vec<String>>) -> Result<Option<String>, StoreError> {
    scopes.map(row::to_json).transpose()
}

async fn by_id(
    connection: &mut Connection,
    scope: Scope,
    id: ManagementKeyId,
) -> Result<ManagementKey, StoreError> {
    let row = query(BY_ID)
        .bind(id.to_string())
        .bind(scope.tenant())
        .fetch_one(connection)
        .await?;
    read(&row)
}

fn read(row: &Row) -> Result<ManagementKey, StoreError> {
    let has_scopes = row::value::<Option<String>>(row, "scopes")?.is_some();
    Ok(ManagementKey {
        id: row::id(row, "id")?,
        tenant_id: row::id_if_set(row, "tenant_id")?,
        operator_id: row::id_if_set(row, "operator_id")?,
        name: row::text(row, "name")?,
        role: row::id(row, "role")?,
        scopes: has_scopes.then(|| row::json(row, "scopes")).transpose()?,
        allowed_ips: row::json(row, "allowed_ips")?,
        hint: row::text(row, "hint")?,
        created_at: row::time(row, "created_at")?,
        created_by: row::value(row, "created_by")?,
        expires_at: row::time(row, "expires_at")?,
        rotated_at: row::time_if_set(row, "rotated_at")?,
        previous_ends_at: row::time_if_set(row, "previous_ends_at")?,
        revoked_at: row::time_if_set(row, "revoked_at")?,
        last_used_at: row::time_if_set(row, "last_used_at")?,
        last_used_ip: row::id_if_set(row, "last_used_ip")?,
    })
}
