//! What the logins may do: less than would let them see or change too much.

use super::{APP, JOBS};
use crate::query::{Connection, query};
use crate::{OpenError, StoreError};

const WHO: &str =
    "SELECT rolsuper AS is_super, rolbypassrls AS passes_by, rolcreaterole AS makes_roles,
    coalesce(pg_has_role(oid, to_regrole('tollkeep_app'), 'MEMBER'), false) AS is_app,
    coalesce(pg_has_role(oid, to_regrole('tollkeep_jobs'), 'MEMBER'), false) AS is_jobs,
    coalesce(pg_has_role(oid, to_regrole('tollkeep_owner'), 'MEMBER'), false) OR EXISTS (
      SELECT 1 FROM pg_class WHERE relnamespace = current_schema()::regnamespace
        AND relkind IN ('r', 'p') AND pg_has_role(pg_roles.oid, relowner, 'MEMBER')) AS owns
  FROM pg_roles WHERE rolname = current_user";

/// What a login may do.
pub(super) struct Who {
    is_super: bool,
    passes_by: bool,
    makes_roles: bool,
    owns: bool,
    pub(super) is_app: bool,
    pub(super) is_jobs: bool,
}

impl Who {
    pub(super) async fn ask(mut connection: Connection) -> Result<Self, OpenError> {
        use crate::row::value;
        let row = query(WHO).fetch_one(&mut connection).await;
        let row = row.map_err(StoreError::from)?;
        Ok(Self {
            is_super: value(&row, "is_super")?,
            passes_by: value(&row, "passes_by")?,
            makes_roles: value(&row, "makes_roles")?,
            owns: value(&row, "owns")?,
            is_app: value(&row, "is_app")?,
            is_jobs: value(&row, "is_jobs")?,
        })
    }

    pub(super) fn fault(&self, role: &str, has_role: bool) -> Option<&'static str> {
        Some(match (self, role) {
            (Self { is_super: true, .. }, _) => {
                "is a superuser, from whom no row is hidden; docs/guide/postgresql.md makes better ones"
            }
            (
                Self {
                    passes_by: true, ..
                },
                _,
            ) => "has BYPASSRLS: no row would be hidden from it",
            (Self { owns: true, .. }, _) => "owns the tables: it could lift what hides rows",
            (
                Self {
                    makes_roles: true, ..
                },
                _,
            ) => "has CREATEROLE: it could make itself anyone",
            (_, APP) if !has_role => "is no member of tollkeep_app",
            (_, JOBS) if !has_role => "is no member of tollkeep_jobs",
            _ => return None,
        })
    }
}
