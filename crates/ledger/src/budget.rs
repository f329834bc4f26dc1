//! What a budget is, and which budgets a call has to fit.

use crate::amount::{Amount, Measure};
use crate::row::Enforcement;
use crate::window::Window;
use tollkeep_types::{BudgetId, CredentialId, LineageId, ProjectId, TenantId};

/// The largest number of budgets one call may have to fit.
pub const MATCHING_MAX: usize = 32;

/// How grants are written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// Replicas grant from slices that the store counted before.
    Lease,
    /// Each hold is in the store before anything is sent.
    Strict,
}

/// What becomes of a call that does not fit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnShort {
    #[default]
    Refuse,
    /// Its cap of output is lowered until it fits, if that is worth sending.
    Shrink,
}

/// Which calls a budget counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    Tenant(TenantId),
    Project(ProjectId),
    /// A token and those it was rotated from and to.
    Token(LineageId),
    Route(String),
    Provider(String),
    Credential(CredentialId),
    /// A model's name, in which `*` stands for any text.
    Model(String),
    /// Several tokens share it: by name, or by what their metadata says.
    Tokens(Vec<LineageId>),
    Metadata {
        key: String,
        value: String,
    },
}

/// A limit of something over a time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Budget {
    pub id: BudgetId,
    pub tenant: TenantId,
    pub scope: Scope,
    pub measure: Measure,
    pub limit: Amount,
    pub window: Window,
    pub enforcement: Enforcement,
    pub on_short: OnShort,
    pub durability: Durability,
    /// Hundredths of the limit that are told of, once a window each.
    pub warn: Vec<u8>,
}

/// What is known of a call when its budgets are looked for.
#[derive(Clone, Copy, Debug)]
pub struct CallFacts<'a> {
    pub tenant: TenantId,
    pub project: ProjectId,
    pub token: Option<LineageId>,
    /// That of its token.
    pub metadata: &'a [(Box<str>, Box<str>)],
    pub route: &'a str,
    pub provider: &'a str,
    pub credential: Option<CredentialId>,
    pub model: &'a str,
}

impl Budget {
    /// Whether a call counts in this budget. A tenant's budgets see its own calls alone.
    pub fn counts(&self, call: &CallFacts<'_>) -> bool {
        if self.tenant != call.tenant {
            return false;
        }
        match &self.scope {
            Scope::Tenant(tenant) => *tenant == call.tenant,
            Scope::Project(project) => *project == call.project,
            Scope::Token(token) => call.token == Some(*token),
            Scope::Route(route) => route == call.route,
            Scope::Provider(provider) => provider == call.provider,
            Scope::Credential(credential) => call.credential == Some(*credential),
            Scope::Model(glob) => matches_glob(glob, call.model),
            Scope::Tokens(tokens) => call.token.is_some_and(|token| tokens.contains(&token)),
            Scope::Metadata { key, value } => call
                .metadata
                .iter()
                .any(|(has_key, has_value)| **has_key == **key && **has_value == **value),
        }
    }
}

/// The budgets a call has to fit, in the order in which they are taken; nothing if they are too
/// many to be held at once, which refuses the call.
pub fn matching<'a>(budgets: &'a [Budget], call: &CallFacts<'_>) -> Option<Vec<&'a Budget>> {
    let mut found: Vec<&Budget> = budgets
        .iter()
        .filter(|budget| budget.counts(call))
        .collect();
    found.sort_unstable_by_key(|budget| budget.id);
    (found.len() <= MATCHING_MAX).then_some(found)
}

/// Whether a text is one of a pattern in which `*` stands for any text. Linear in the text for
/// each `*`, without recursion.
fn matches_glob(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(number: u8, scope: Scope) -> Budget {
        Budget {
            id: BudgetId::from_bytes([number; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            scope,
            measure: Measure::Cost,
            limit: Amount::MAX,
            window: Window::Lifetime,
            enforcement: Enforcement::Hard,
            on_short: OnShort::Refuse,
            durability: Durability::Lease,
            warn: Vec::new(),
        }
    }

    // LED-60
    #[test]
    fn a_call_has_to_fit_every_budget_that_counts_it_in_ascending_order() {
        let lineage = LineageId::from_bytes;
        let budgets = [
            budget(9, Scope::Tenant(TenantId::from_bytes([1; 16]))),
            budget(8, Scope::Project(ProjectId::from_bytes([2; 16]))),
            budget(7, Scope::Project(ProjectId::from_bytes([3; 16]))),
            budget(6, Scope::Token(lineage([4; 16]))),
            budget(5, Scope::Model("gpt-5*-mini".to_owned())),
            budget(4, Scope::Model("gpt-5".to_owned())),
            budget(3, Scope::Tokens(vec![lineage([4; 16]), lineage([5; 16])])),
            budget(
                2,
                Scope::Metadata {
                    key: "team".to_owned(),
                    value: "a".to_owned(),
                },
            ),
            budget(
                1,
                Scope::Metadata {
                    key: "team".to_owned(),
                    value: "b".to_owned(),
                },
            ),
        ];
        let metadata = [("team".into(), "a".into())];
        let mut call = CallFacts {
            tenant: TenantId::from_bytes([1; 16]),
            project: ProjectId::from_bytes([2; 16]),
            token: Some(lineage([4; 16])),
            metadata: &metadata,
            route: "chat",
            provider: "openai",
            credential: None,
            model: "gpt-5.4-mini",
        };
        let numbers = |call: &CallFacts<'_>| -> Vec<u8> {
            let found = matching(&budgets, call).unwrap();
            found.iter().map(|budget| budget.id.bytes()[0]).collect()
        };
        assert_eq!(numbers(&call), [2, 3, 5, 6, 8, 9]);
        call.tenant = TenantId::from_bytes([7; 16]);
        assert_eq!(numbers(&call), [0_u8; 0], "another tenant's call");
    }

    #[test]
    fn too_many_budgets_are_told_instead_of_held() {
        let tenant = TenantId::from_bytes([1; 16]);
        let many: Vec<_> = (0..=32).map(|n| budget(n, Scope::Tenant(tenant))).collect();
        let call = CallFacts {
            tenant,
            project: ProjectId::from_bytes([2; 16]),
            token: None,
            metadata: &[],
            route: "",
            provider: "",
            credential: None,
            model: "",
        };
        assert_eq!(matching(&many, &call), None);
        assert!(matching(&many[..32], &call).is_some());
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (glob, text, want) in [
            ("*", "", true),
            ("gpt-*", "gpt-5", true),
            ("gpt-*", "xgpt-5", false),
            ("*mini", "gpt-5-mini", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ab", "ab", false),
            ("gpt-5", "gpt-5", true),
            ("gpt-5", "gpt-5.4", false),
        ] {
            assert_eq!(matches_glob(glob, text), want, "{glob} {text}");
        }
    }
}
