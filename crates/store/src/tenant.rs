//! Tenants: owners of projects. One, `default`, is made at first start.

use crate::database::{Database, GATEWAY};
use crate::error::is_duplicate_of;
use crate::live::Change;
use crate::project::{is_slug, slug_like};
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{Conflict, Page, PageRequest, Scope, Store, StoreError};
use std::str::FromStr;
use tollkeep_types::{Clock, Entropy, TenantId, WallMillis};

/// Slug of the tenant that a single-tenant user never has to name.
pub(crate) const DEFAULT_SLUG: &str = "default";
/// Most tenants on record, deleted ones included.
const TENANTS_MAX: i64 = 100_000;

/// An owner of projects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its short name, unique.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// What it is now.
    pub status: TenantStatus,
    /// When it was made.
    pub created_at: WallMillis,
}

/// What a tenant is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TenantStatus {
    /// In use.
    Active,
    /// Its calls are refused, and its keys read only.
    Suspended,
    /// Gone for good; its records stay.
    Deleted,
}

impl TenantStatus {
    /// The word for it in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }
}

impl FromStr for TenantStatus {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let all = [Self::Active, Self::Suspended, Self::Deleted];
        let found = all.into_iter().find(|status| status.as_str() == word);
        found.ok_or(())
    }
}

/// A tenant to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewTenant {
    /// Its name, 1 to 200 characters.
    pub name: String,
    /// Its slug; made from the name if not given.
    pub slug: Option<String>,
}

/// A tenant by either of its names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TenantRef<'a> {
    /// By id.
    Id(TenantId),
    /// By slug.
    Slug(&'a str),
}

impl<'a> TenantRef<'a> {
    /// An id if the text is one, else a slug.
    pub fn of(text: &'a str) -> Self {
        text.parse().map_or(Self::Slug(text), Self::Id)
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, slug, name, status, created_at FROM tenants ",
            $rest
        )
    };
}

const FIND: &str =
    select!("WHERE (id = $1 OR slug = $2) AND ($3 IS NULL OR id = $3) AND status <> 'deleted'");

const LIST: &str = select!(
    "WHERE ($1 IS NULL OR id = $1) AND status <> 'deleted'
       AND ($2 IS NULL OR (created_at, id) < ($2, $3))
     ORDER BY created_at DESC, id DESC LIMIT $4"
);

const BY_ID: &str = select!("WHERE id = $1");

/// The same, and it stays as it is until the change that asks is made. A file has one change at a
/// time anyway.
const SERVER_HOLD: &str = select!("WHERE id = $1 FOR SHARE");

const NOT_ACTIVE: &str = select!("WHERE status <> 'active'");

const COUNT: &str = "SELECT count(*) FROM tenants";

const INSERT: &str = "INSERT INTO tenants (id, slug, name, created_at) VALUES ($1, $2, $3, $4)";

const SET_STATUS: &str = "UPDATE tenants SET status = $2 WHERE id = $1";

const RENAME: &str = "UPDATE tenants SET name = $2 WHERE id = $1";

const REVOKE_KEYS: &str = "UPDATE management_keys SET state = 'revoked', revoked_at = $2
  WHERE tenant_id = $1 AND state = 'active'";

impl Store {
    /// Makes a tenant.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is one of that slug, or there are too many;
    /// [`StoreError::Invalid`]; or the disk.
    pub async fn create_tenant(&self, new: NewTenant) -> Result<Tenant, StoreError> {
        let slug = new.slug.unwrap_or_else(|| slug_like(&new.name));
        if !is_slug(&slug) {
            return Err(StoreError::Invalid(
                "slug must be 1 to 63 of a-z, 0-9 and `-`, not starting with `-`",
            ));
        }
        self.unattended(async move |inner| {
            let id = TenantId::new(inner.wall.clock(), inner.entropy.as_ref());
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let count = query(COUNT).fetch_number(&mut *connection).await?;
            if count >= TENANTS_MAX {
                return Err(StoreError::Conflict(Conflict::TenantsFull));
            }
            let inserted = query(INSERT)
                .bind(id.to_string())
                .bind(slug)
                .bind(new.name)
                .bind(millis(inner.wall.now()))
                .execute(&mut *connection)
                .await;
            inserted.map_err(|error| match is_duplicate_of(&error, "tenants", "slug") {
                true => StoreError::Conflict(Conflict::TenantSlug),
                false => error.into(),
            })?;
            let tenant = find(connection, Scope::Tenant(id), TenantRef::Id(id)).await?;
            write.commit(&[]).await?;
            Ok(tenant)
        })
        .await
    }

    /// One tenant; a deleted one is not there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn tenant(&self, scope: Scope, id: TenantId) -> Result<Tenant, StoreError> {
        self.tenant_by(scope, TenantRef::Id(id)).await
    }

    /// One tenant by either of its names.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn tenant_by(
        &self,
        scope: Scope,
        tenant: TenantRef<'_>,
    ) -> Result<Tenant, StoreError> {
        let mut connection = self.0.read(scope).await?;
        find(&mut connection, scope, tenant).await
    }

    /// Tenants, newest first, without deleted ones.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn tenants(
        &self,
        scope: Scope,
        page: PageRequest<TenantId>,
    ) -> Result<Page<Tenant>, StoreError> {
        let (created_at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(created_at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        Ok(page.page(rows.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Gives a tenant another name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk.
    pub async fn rename_tenant(&self, id: TenantId, name: String) -> Result<Tenant, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let scope = Scope::Tenant(id);
            let tenant = find(connection, scope, TenantRef::Id(id)).await?;
            query(RENAME)
                .bind(id.to_string())
                .bind(name.as_str())
                .execute(&mut *connection)
                .await?;
            write.commit(&[]).await?;
            Ok(Tenant { name, ..tenant })
        })
        .await
    }

    /// Suspends, resumes or deletes a tenant; takes effect on the next call of its tokens. The keys
    /// of a deleted one are revoked.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`] for the default tenant; or the disk.
    pub async fn set_tenant_status(
        &self,
        id: TenantId,
        status: TenantStatus,
    ) -> Result<Tenant, StoreError> {
        self.unattended(async move |inner| {
            if id == inner.default_tenant.id && status != TenantStatus::Active {
                return Err(StoreError::Conflict(Conflict::TenantDefault));
            }
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let tenant = find(connection, Scope::Tenant(id), TenantRef::Id(id)).await?;
            query(SET_STATUS)
                .bind(id.to_string())
                .bind(status.as_str())
                .execute(&mut *connection)
                .await?;
            if status == TenantStatus::Deleted {
                query(REVOKE_KEYS)
                    .bind(id.to_string())
                    .bind(millis(inner.wall.now()))
                    .execute(&mut *connection)
                    .await?;
            }
            let tenant = Tenant { status, ..tenant };
            write.commit(&[Change::Tenant(&tenant)]).await?;
            Ok(tenant)
        })
        .await
    }
}

/// Tenants whose calls are refused, for the live table.
pub(crate) async fn not_active(connection: &mut Connection) -> Result<Vec<Tenant>, StoreError> {
    let rows = query(NOT_ACTIVE).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// One tenant, deleted ones included.
pub(crate) async fn by_id(connection: &mut Connection, id: TenantId) -> Result<Tenant, StoreError> {
    let row = query(BY_ID).bind(id.to_string()).fetch_one(connection);
    read(&row.await?)
}

/// One tenant that is not deleted, nor will be before the change that asks is made.
pub(crate) async fn hold(connection: &mut Connection, id: TenantId) -> Result<(), StoreError> {
    let statement = connection.dialect(BY_ID, SERVER_HOLD);
    let row = query(statement).bind(id.to_string()).fetch_one(connection);
    match read(&row.await?)?.status {
        TenantStatus::Active | TenantStatus::Suspended => Ok(()),
        TenantStatus::Deleted => Err(StoreError::Conflict(Conflict::TenantDeleted)),
    }
}

async fn find(
    connection: &mut Connection,
    scope: Scope,
    tenant: TenantRef<'_>,
) -> Result<Tenant, StoreError> {
    let (id, slug) = match tenant {
        TenantRef::Id(id) => (Some(id.to_string()), None),
        TenantRef::Slug(slug) => (None, Some(slug.to_owned())),
    };
    let row = query(FIND)
        .bind(id)
        .bind(slug)
        .bind(scope.tenant())
        .fetch_one(connection)
        .await?;
    read(&row)
}

fn read(row: &Row) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        id: row::id(row, "id")?,
        slug: row::text(row, "slug")?,
        name: row::text(row, "name")?,
        status: row::id(row, "status")?,
        created_at: row::time(row, "created_at")?,
    })
}

/// The default tenant, made if there is none.
pub(crate) async fn ensure_default(
    database: &Database,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Tenant, StoreError> {
    let mut turn = database.begin(GATEWAY).await?;
    let connection = turn.connection();
    match find(connection, GATEWAY, TenantRef::Slug(DEFAULT_SLUG)).await {
        Err(StoreError::NotFound) => {}
        found => return found,
    }
    let tenant = Tenant {
        id: TenantId::new(clock, entropy),
        slug: DEFAULT_SLUG.to_owned(),
        name: DEFAULT_SLUG.to_owned(),
        status: TenantStatus::Active,
        created_at: clock.wall(),
    };
    query(INSERT)
        .bind(tenant.id.to_string())
        .bind(&tenant.slug)
        .bind(&tenant.name)
        .bind(millis(tenant.created_at))
        .execute(connection)
        .await?;
    drop(turn.commit().await?);
    Ok(tenant)
}
