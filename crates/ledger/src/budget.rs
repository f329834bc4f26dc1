//! What a budget is, and which budgets a call has to fit.

use crate::amount::{Amount, Measure};
use crate::row::Enforcement;
use crate::window::Window;
use smallvec::SmallVec;
use std::collections::BTreeMap;
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

/// Places of budgets.
pub type Places = SmallVec<[usize; 8]>;

/// Finds the budgets that a call has to fit without a look at each: where there are many, most are of one
/// token or project.
#[derive(Debug, Default)]
pub struct Finder {
    of_token: BTreeMap<LineageId, Vec<usize>>,
    of_project: BTreeMap<ProjectId, Vec<usize>>,
    /// All others.
    wide: Vec<usize>,
}

impl Finder {
    /// Of a tenant's budgets, each known by its place.
    pub fn new<'a>(budgets: impl Iterator<Item = &'a Budget>) -> Self {
        let mut finder = Self::default();
        for (place, budget) in budgets.enumerate() {
            match &budget.scope {
                Scope::Token(token) => finder.of_token.entry(*token).or_default().push(place),
                Scope::Tokens(tokens) => {
                    for token in tokens {
                        finder.of_token.entry(*token).or_default().push(place);
                    }
                }
                Scope::Project(project) => {
                    finder.of_project.entry(*project).or_default().push(place);
                }
                Scope::Tenant(_)
                | Scope::Route(_)
                | Scope::Provider(_)
                | Scope::Credential(_)
                | Scope::Model(_)
                | Scope::Metadata { .. } => finder.wide.push(place),
            }
        }
        finder
    }

    /// The places of the budgets that count a call, in ascending order. HOT.
    pub fn counting<'a>(
        &self,
        budget: impl Fn(usize) -> Option<&'a Budget>,
        call: &CallFacts<'_>,
    ) -> Places {
        let of_token = call.token.and_then(|token| self.of_token.get(&token));
        let of_project = self.of_project.get(&call.project);
        let narrow = of_token.into_iter().chain(of_project).flatten();
        let may = narrow.chain(&self.wide).copied();
        let counts = |place: &usize| budget(*place).is_some_and(|budget| budget.counts(call));
        let mut places: Places = may.filter(counts).collect();
        places.sort_unstable();
        // A shared pot may name a token twice.
        places.dedup();
        places
    }
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
    fn a_call_has_to_fit_every_budget_that_counts_it_in_their_order() {
        let lineage = LineageId::from_bytes;
        let mut budgets = [
            budget(9, Scope::Tenant(TenantId::from_bytes([1; 16]))),
            budget(8, Scope::Project(ProjectId::from_bytes([2; 16]))),
            budget(7, Scope::Project(ProjectId::from_bytes([3; 16]))),
            budget(6, Scope::Token(lineage([4; 16]))),
            budget(5, Scope::Model("gpt-5*-mini".to_owned())),
            budget(4, Scope::Model("gpt-5".to_owned())),
            budget(
                3,
                Scope::Tokens([4, 5, 4].map(|n| lineage([n; 16])).to_vec()),
            ),
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
        budgets.sort_by_key(|budget| budget.id);
        let finder = Finder::new(budgets.iter());
        let numbers = |call: &CallFacts<'_>| -> Vec<u8> {
            let places = finder.counting(|place| budgets.get(place), call);
            let found = places.iter().map(|place| budgets[*place].id.bytes()[0]);
            found.collect()
        };
        assert_eq!(numbers(&call), [2, 3, 5, 6, 8, 9]);
        call.tenant = TenantId::from_bytes([7; 16]);
        assert_eq!(numbers(&call), [0_u8; 0], "another tenant's call");
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
