//! Tenants: owners of projects. One, `default`, is made at first start.

use crate::StoreError;
use crate::row::{self, millis};
use sqlx::SqliteConnection;
use tollkeep_types::{Clock, Entropy, TenantId, WallMillis};

/// Slug of the tenant that a single-tenant user never has to name.
pub(crate) const DEFAULT_SLUG: &str = "default";

/// An owner of projects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its short name, unique.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: WallMillis,
}

const FIND: &str = "SELECT id, slug, name, created_at FROM tenants WHERE slug = ?1";

const INSERT: &str = "INSERT INTO tenants (id, slug, name, created_at) VALUES (?1, ?2, ?3, ?4)";

/// The default tenant, made if there is none.
pub(crate) async fn ensure_default(
    connection: &mut SqliteConnection,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Tenant, StoreError> {
    let found = sqlx::query(FIND)
        .bind(DEFAULT_SLUG)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(found) = found {
        return Ok(Tenant {
            id: row::id(&found, "id")?,
            slug: row::text(&found, "slug")?,
            name: row::text(&found, "name")?,
            created_at: row::time(&found, "created_at")?,
        });
    }
    let tenant = Tenant {
        id: TenantId::new(clock, entropy),
        slug: DEFAULT_SLUG.to_owned(),
        name: DEFAULT_SLUG.to_owned(),
        created_at: clock.wall(),
    };
    sqlx::query(INSERT)
        .bind(tenant.id.to_string())
        .bind(&tenant.slug)
        .bind(&tenant.name)
        .bind(millis(tenant.created_at))
        .execute(connection)
        .await?;
    Ok(tenant)
}
