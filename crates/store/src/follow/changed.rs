//! What the list of changes says of each: of what kind it is, and which row.

use crate::live::{Change, Cut};
use std::str::FromStr;
use tollkeep_types::{BudgetId, CredentialId};

/// What was changed, by the name of its row.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(super) what: What,
    pub(super) row: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    Tenant,
    Project,
    Token,
    ServiceToken,
    IpEntries,
    Maintenance,
    CutToken,
    CutProject,
    CutTenant,
    CutCredential,
    Credential,
    Budget,
    Accounts,
    Quarantines,
    Prices,
}

impl What {
    /// The word for it in the database.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Token => "token",
            Self::ServiceToken => "service_token",
            Self::IpEntries => "ip_entries",
            Self::Maintenance => "maintenance",
            Self::CutToken => "cut_token",
            Self::CutProject => "cut_project",
            Self::CutTenant => "cut_tenant",
            Self::CutCredential => "cut_credential",
            Self::Credential => "credential",
            Self::Budget => "budget",
            Self::Accounts => "accounts",
            Self::Quarantines => "quarantines",
            Self::Prices => "prices",
        }
    }
}

impl What {
    /// Whether requests meet it as soon as it is shown, and not when that is told.
    pub(super) const fn is_live_at_once(self) -> bool {
        match self {
            Self::Tenant
            | Self::Project
            | Self::Token
            | Self::ServiceToken
            | Self::CutToken
            | Self::CutProject
            | Self::CutTenant
            | Self::CutCredential => true,
            Self::IpEntries
            | Self::Maintenance
            | Self::Credential
            | Self::Budget
            | Self::Accounts
            | Self::Quarantines
            | Self::Prices => false,
        }
    }
}

impl FromStr for What {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let all = [
            Self::Tenant,
            Self::Project,
            Self::Token,
            Self::ServiceToken,
            Self::IpEntries,
            Self::Maintenance,
            Self::CutToken,
            Self::CutProject,
            Self::CutTenant,
            Self::CutCredential,
            Self::Credential,
            Self::Budget,
            Self::Accounts,
            Self::Quarantines,
            Self::Prices,
        ];
        let found = all.into_iter().find(|what| what.as_str() == word);
        found.ok_or(())
    }
}

impl Changed {
    /// The entries of address lists.
    pub(crate) const IP_ENTRIES: Self = Self::whole(What::IpEntries);
    /// Open prepaid accounts.
    pub(crate) const ACCOUNTS: Self = Self::whole(What::Accounts);
    /// Models in quarantine.
    pub(crate) const QUARANTINES: Self = Self::whole(What::Quarantines);
    /// Prices that operators wrote or took in.
    pub(crate) const PRICES: Self = Self::whole(What::Prices);
    /// Maintenance.
    pub(crate) const MAINTENANCE: Self = Self::whole(What::Maintenance);

    /// A credential, which may be gone.
    pub(crate) fn credential(id: CredentialId) -> Self {
        Self {
            what: What::Credential,
            row: id.to_string(),
        }
    }

    /// A budget, which may be ended.
    pub(crate) fn budget(id: BudgetId) -> Self {
        Self {
            what: What::Budget,
            row: id.to_string(),
        }
    }

    const fn whole(what: What) -> Self {
        let row = String::new();
        Self { what, row }
    }
}

impl From<&Change<'_>> for Changed {
    fn from(change: &Change<'_>) -> Self {
        let (what, row) = match change {
            Change::Tenant(tenant) => (What::Tenant, tenant.id.to_string()),
            Change::Project(project) => (What::Project, project.id.to_string()),
            Change::Token(token) => (What::Token, token.id.to_string()),
            Change::ServiceToken(token) => (What::ServiceToken, token.id.to_string()),
            Change::Cut(Cut::Token(id, _)) => (What::CutToken, id.to_string()),
            Change::Cut(Cut::Project(id)) => (What::CutProject, id.to_string()),
            Change::Cut(Cut::Tenant(id)) => (What::CutTenant, id.to_string()),
            Change::Cut(Cut::Credential(id)) => (What::CutCredential, id.to_string()),
        };
        Self { what, row }
    }
}
