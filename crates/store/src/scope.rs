//! Who may see what.

use tollkeep_types::TenantId;

/// On whose behalf the store is asked. There is no unscoped read by id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// One tenant: rows of others don't exist.
    Tenant(TenantId),
    /// The gateway itself, for the named reason; sees all tenants. What it makes without naming a
    /// tenant belongs to the default one.
    Service(&'static str),
}

impl Scope {
    /// The tenant that rows must belong to, as statements compare it; `None` for any.
    pub(crate) fn tenant(self) -> Option<String> {
        match self {
            Self::Tenant(id) => Some(id.to_string()),
            Self::Service(_) => None,
        }
    }
}
