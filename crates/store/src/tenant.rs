//! Tenants: owners of projects. One, `default`, is made at first start.

use crate::database::{Database, GATEWAY};
use crate::error::is_duplicate_of;
use crate::live::Change;
use crate::project::{check_slug, slug_like};
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{CallLimits, Conflict, Page, PageRequest, Scope, Store, StoreError, token};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_types::{Clock, Entropy, TenantId, WallMillis};

/// Slug of the tenant that a single-tenant user never has to name.
pub(crate) const DEFAULT_SLUG: &str = "default";
/// Why the tokens of a deleted tenant were revoked, in their records.
const DELETED: &str = "the tenant was deleted";
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
    /// Rate limits that its projects inherit.
    pub limits: CallLimits,
    /// What may be asked for with its tokens.
    pub policy: Option<Arc<CallPolicy>>,
    /// Free pairs.
    pub metadata: BTreeMap<String, String>,
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
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NewTenant {
    /// Its name, 1 to 200 characters.
    pub name: String,
    /// Its slug; made from the name if not given.
    pub slug: Option<String>,
    /// Rate limits that its projects inherit.
    pub limits: CallLimits,
    /// What may be asked for with its tokens.
    pub policy: Option<Arc<CallPolicy>>,
    /// Free pairs.
    pub metadata: BTreeMap<String, String>,
}

/// What to change of a tenant; what is not given stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TenantChange {
    /// Its name, 1 to 200 characters.
    pub name: Option<String>,
    /// Its slug.
    pub slug: Option<String>,
    /// Rate limits that its projects inherit, all of them.
    pub limits: Option<CallLimits>,
    /// What may be asked for with its tokens; `None` inside: nothing of its own.
    pub policy: Option<Option<Arc<CallPolicy>>>,
    /// Free pairs.
    pub metadata: Option<BTreeMap<String, String>>,
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
            "SELECT id, slug, name, status, limits, policy, metadata, created_at FROM tenants ",
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

const OF_NOTE: &str = select!("WHERE status <> 'active' OR limits <> '{}' OR policy IS NOT NULL");

const COUNT: &str = "SELECT count(*) FROM tenants";

const INSERT: &str = "INSERT INTO tenants (id, slug, name, created_at, limits, policy, metadata)
  VALUES ($1, $2, $3, $4, $5, $6, $7)";

const SET_STATUS: &str = "UPDATE tenants SET status = $2 WHERE id = $1";

const UPDATE: &str =
    "UPDATE tenants SET name = $2, slug = $3, limits = $4, policy = $5, metadata = $6
  WHERE id = $1";

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
        check_slug(&slug)?;
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
                .bind(row::to_json(&new.limits)?)
                .bind(row::json_text(new.policy.as_deref())?)
                .bind(row::to_json(&new.metadata)?)
                .execute(&mut *connection)
                .await;
            inserted.map_err(slug_conflict)?;
            let tenant = find(connection, Scope::Tenant(id), TenantRef::Id(id)).await?;
            write.commit(&[Change::Tenant(&tenant)]).await?;
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

    /// Changes a tenant. Its limits and policy take effect with the next call of its tokens.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] if there is another one of that slug, or
    /// if the default tenant was to have another; [`StoreError::Invalid`]; or the disk.
    pub async fn change_tenant(
        &self,
        id: TenantId,
        change: TenantChange,
    ) -> Result<Tenant, StoreError> {
        if let Some(slug) = &change.slug {
            check_slug(slug)?;
        }
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let tenant = find(connection, Scope::Tenant(id), TenantRef::Id(id)).await?;
            let is_default = id == inner.default_tenant.id;
            if is_default
                && change
                    .slug
                    .as_ref()
                    .is_some_and(|slug| *slug != tenant.slug)
            {
                return Err(StoreError::Conflict(Conflict::TenantDefault));
            }
            let tenant = Tenant {
                name: change.name.unwrap_or(tenant.name),
                slug: change.slug.unwrap_or(tenant.slug),
                limits: change.limits.unwrap_or(tenant.limits),
                policy: change.policy.unwrap_or(tenant.policy),
                metadata: change.metadata.unwrap_or(tenant.metadata),
                ..tenant
            };
            let updated = query(UPDATE)
                .bind(id.to_string())
                .bind(tenant.name.as_str())
                .bind(tenant.slug.as_str())
                .bind(row::to_json(&tenant.limits)?)
                .bind(row::json_text(tenant.policy.as_deref())?)
                .bind(row::to_json(&tenant.metadata)?)
                .execute(&mut *connection)
                .await;
            updated.map_err(slug_conflict)?;
            write.commit(&[Change::Tenant(&tenant)]).await?;
            Ok(tenant)
        })
        .await
    }

    /// Suspends, resumes or deletes a tenant; takes effect on the next call of its tokens. The keys
    /// and tokens of a deleted one are revoked.
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
                // Nobody need be told of each: none of a deleted tenant's is taken.
                let tokens = token::of_tenant(connection, id).await?;
                token::revoke_all(connection, tokens, inner.wall.now(), DELETED).await?;
            }
            let tenant = Tenant { status, ..tenant };
            write.commit(&[Change::Tenant(&tenant)]).await?;
            Ok(tenant)
        })
        .await
    }
}

fn slug_conflict(error: sqlx::Error) -> StoreError {
    match is_duplicate_of(&error, "tenants", "slug") {
        true => StoreError::Conflict(Conflict::TenantSlug),
        false => error.into(),
    }
}

/// Tenants whose calls are refused or bounded, for the live table.
pub(crate) async fn of_note(connection: &mut Connection) -> Result<Vec<Tenant>, StoreError> {
    let rows = query(OF_NOTE).fetch_all(connection).await?;
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
        limits: row::json(row, "limits")?,
        policy: row::policy(row, "policy")?,
        metadata: row::json(row, "metadata")?,
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
        limits: CallLimits::default(),
        policy: None,
        metadata: BTreeMap::new(),
        created_at: clock.wall(),
    };
    query(INSERT)
        .bind(tenant.id.to_string())
        .bind(&tenant.slug)
        .bind(&tenant.name)
        .bind(millis(tenant.created_at))
        .bind(row::to_json(&tenant.limits)?)
        .bind(None::<String>)
        .bind(row::to_json(&tenant.metadata)?)
        .execute(connection)
        .await?;
    drop(turn.commit().await?);
    Ok(tenant)
}
