//! What a refusal tells its caller besides its row: a better text, and a code in the caller's words.

use super::{AuthnFailure, Refusal};
use tollkeep_llm::Dialect;
use tollkeep_policy::call_policy::CallRefusal;

impl Refusal {
    /// A text for the caller that is better than the row's, where it is safe to give one.
    pub(crate) fn detail(&self) -> Option<&str> {
        if let Self::InvalidJson(text)
        | Self::DuplicateKey(text)
        | Self::InvalidForm(text)
        | Self::Policy(CallRefusal::Param(text)) = self
        {
            return Some(text.as_str()).filter(|text| !text.is_empty());
        }
        if let Self::Maintenance { message, .. } = self {
            return Some(message);
        }
        if let Self::CostNotBoundable(text) | Self::ModelNotPriced(text) = self {
            return Some(text);
        }
        if let Self::HookDenied(deny) = self {
            return Some(&deny.message);
        }
        matches!(self, Self::Unauthenticated(AuthnFailure::Query))
            .then_some("credential in query string is disabled")
    }

    /// The code in the body: the dialects have words of their own, plain bodies carry ours.
    pub(crate) fn code_in(&self, dialect: Dialect) -> &str {
        if let Self::HookDenied(deny) = self {
            return &deny.code;
        }
        let public = self.public();
        if dialect == Dialect::Plain || self.has_own_code() {
            public.code
        } else {
            public.kind.code()
        }
    }

    /// The code in the field that every refusal has. On surfaces of models nothing speaks of tokens:
    /// callers there know keys (LLM-64).
    pub(crate) fn code_in_field(&self, dialect: Dialect) -> &str {
        if matches!(self, Self::Unauthenticated(_)) && dialect != Dialect::Plain {
            return self.public().kind.class();
        }
        self.code_in(Dialect::Plain)
    }

    /// Whether every dialect shows our code rather than its own word for the class.
    fn has_own_code(&self) -> bool {
        matches!(
            self,
            Self::TokenBinding(_)
                | Self::InvalidForm(_)
                | Self::UnsupportedParameter(_)
                | Self::Policy(
                    CallRefusal::Header
                        | CallRefusal::Param(_)
                        | CallRefusal::Limit(_)
                        | CallRefusal::Feature(_)
                        | CallRefusal::When
                        | CallRefusal::WhenFailed(_)
                )
                | Self::TenantSuspended
                | Self::AccessRevoked
                | Self::FrontDoor
                | Self::LockedOut
                | Self::CostNotBoundable(_)
                | Self::ModelNotPriced(_)
                | Self::Unpriced(_)
                | Self::Payment(_)
                | Self::UpstreamPaymentRequired
                | Self::HookFailed
                | Self::LedgerUnavailable
                | Self::AuditUnavailable
                | Self::AuthUnavailable
                | Self::CredentialUnavailable(_)
                | Self::NotCached
        )
    }
}
