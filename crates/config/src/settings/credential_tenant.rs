//! Whose calls a credential of the settings serves.

use std::fmt;
use tollkeep_types::TenantId;

/// Whose calls a credential serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialTenant {
    /// Those of the default tenant, and of nobody.
    Default,
    /// Those of this one.
    Id(TenantId),
    /// Everybody's.
    Every,
}

impl fmt::Display for CredentialTenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Id(id) => write!(f, "{id}"),
            Self::Every => f.write_str("*"),
        }
    }
}

pub(super) fn read_tenant(text: &str) -> Result<CredentialTenant, String> {
    match text {
        "default" => Ok(CredentialTenant::Default),
        "*" => Ok(CredentialTenant::Every),
        id => id
            .parse()
            .map(CredentialTenant::Id)
            .map_err(|_| "want `default`, `*`, or the id of a tenant, `ten_…`".to_owned()),
    }
}
