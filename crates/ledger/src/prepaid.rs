//! Prepaid accounts of those who call: whose calls have to fit them, and are charged to them.

use crate::amount::Measure;
use crate::budget::CallFacts;
use crate::posting::Unit;
use tollkeep_types::{AccountId, LineageId, ProjectId, TenantId};

/// Accounts that one call may have to fit: of its token, its project and its tenant, each in every
/// unit.
pub const PAYING_MAX: usize = 9;

/// Whose an account is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Holder {
    Tenant(TenantId),
    Project(ProjectId),
    /// A token and those it was rotated from and to.
    Token(LineageId),
}

/// An open account. While it is, each call of its holder has to fit it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prepaid {
    pub id: AccountId,
    pub tenant: TenantId,
    pub holder: Holder,
    pub unit: Unit,
}

impl Prepaid {
    /// Whether a call is charged to it.
    pub fn pays(&self, call: &CallFacts<'_>) -> bool {
        self.tenant == call.tenant
            && match self.holder {
                Holder::Tenant(tenant) => tenant == call.tenant,
                Holder::Project(project) => project == call.project,
                Holder::Token(token) => call.token == Some(token),
            }
    }

    /// What of a call it is charged.
    pub const fn measure(&self) -> Measure {
        self.unit.measure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LED-65a
    #[test]
    fn an_account_pays_for_the_calls_of_its_holder_alone() {
        let (one, other) = ([1; 16], [2; 16]);
        let call = CallFacts {
            tenant: TenantId::from_bytes(one),
            project: ProjectId::from_bytes(one),
            token: Some(LineageId::from_bytes(one)),
            metadata: &[],
            route: "",
            provider: "",
            credential: None,
            model: "",
        };
        let account = |tenant, holder| Prepaid {
            id: AccountId::from_bytes(one),
            tenant: TenantId::from_bytes(tenant),
            holder,
            unit: Unit::Usd,
        };
        for (name, account, want) in [
            (
                "token",
                account(one, Holder::Token(LineageId::from_bytes(one))),
                true,
            ),
            (
                "other token",
                account(one, Holder::Token(LineageId::from_bytes(other))),
                false,
            ),
            (
                "project",
                account(one, Holder::Project(ProjectId::from_bytes(one))),
                true,
            ),
            (
                "other project",
                account(one, Holder::Project(ProjectId::from_bytes(other))),
                false,
            ),
            (
                "tenant",
                account(one, Holder::Tenant(TenantId::from_bytes(one))),
                true,
            ),
            (
                "other tenant",
                account(other, Holder::Tenant(TenantId::from_bytes(other))),
                false,
            ),
            (
                "of another tenant",
                account(other, Holder::Token(LineageId::from_bytes(one))),
                false,
            ),
        ] {
            assert_eq!(account.pays(&call), want, "{name}");
        }
        let nobody = CallFacts {
            token: None,
            ..call
        };
        assert!(!account(one, Holder::Token(LineageId::from_bytes(one))).pays(&nobody));
    }
}
