//! Which calls a budget counts: from the names that operators write to the ids that calls have.

use tollkeep_config::settings::{BudgetScope, CredentialTenant, TokenName};
use tollkeep_ledger::budget::Scope as Counts;
use tollkeep_store::{ProjectRef, Scope, Store, StoreError, TenantRef};
use tollkeep_types::{LineageId, TenantId};

/// Why a scope can't be.
#[derive(Debug, thiserror::Error)]
pub enum ScopeError {
    /// It names something that is not there.
    #[error("there is no such {0}")]
    Missing(&'static str),
    /// Nobody can say.
    #[error(transparent)]
    Store(StoreError),
}

impl ScopeError {
    fn of(what: &'static str) -> impl Fn(StoreError) -> Self {
        move |error| {
            if error == StoreError::NotFound {
                return Self::Missing(what);
            }
            Self::Store(error)
        }
    }
}

/// The tenant that the settings name.
///
/// # Errors
/// It is not there.
pub async fn tenant_of(store: &Store, tenant: CredentialTenant) -> Result<TenantId, ScopeError> {
    match tenant {
        CredentialTenant::Default | CredentialTenant::Every => Ok(store.default_tenant().id),
        CredentialTenant::Id(id) => {
            let reader = Scope::Service("budgets of the settings");
            let found = store.tenant_by(reader, TenantRef::Id(id)).await;
            found
                .map(|tenant| tenant.id)
                .map_err(ScopeError::of("tenant"))
        }
    }
}

/// The scope by ids, of a budget of this tenant.
///
/// # Errors
/// A project or token is not there, or is another tenant's.
pub async fn scope_of(
    store: &Store,
    tenant: TenantId,
    scope: BudgetScope,
) -> Result<Counts, ScopeError> {
    let own = Scope::Tenant(tenant);
    Ok(match scope {
        BudgetScope::Tenant => Counts::Tenant(tenant),
        BudgetScope::Project(project) => {
            let found = store.project(own, ProjectRef::of(&project)).await;
            Counts::Project(found.map_err(ScopeError::of("project"))?.id)
        }
        BudgetScope::Token(token) => Counts::Token(lineage(store, own, token).await?),
        BudgetScope::Tokens(tokens) => {
            let mut lineages = Vec::with_capacity(tokens.len());
            for token in tokens {
                lineages.push(lineage(store, own, token).await?);
            }
            lineages.sort_unstable();
            lineages.dedup();
            Counts::Tokens(lineages)
        }
        BudgetScope::Route(name) => Counts::Route(name),
        BudgetScope::Provider(name) => Counts::Provider(name),
        BudgetScope::Model(glob) => Counts::Model(glob),
        BudgetScope::Credential(id) => Counts::Credential(id),
        BudgetScope::Metadata(pair) => Counts::Metadata {
            key: pair.key,
            value: pair.value,
        },
    })
}

async fn lineage(store: &Store, own: Scope, token: TokenName) -> Result<LineageId, ScopeError> {
    match token {
        TokenName::Token(id) => {
            let found = store.token(own, id).await;
            Ok(found.map_err(ScopeError::of("token"))?.lineage)
        }
        // It counts calls of its tenant alone, whosesoever the line is.
        TokenName::Lineage(id) => Ok(id),
    }
}
