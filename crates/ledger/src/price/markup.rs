//! What is charged beyond what upstreams ask: an exact factor, by token, project or provider.
//!
//! Of several that are of a call one holds, the closest: that of its token, of the token's line, of its
//! project, of its provider by name, then by kind. They are not multiplied, so that each can be read alone.

use super::book::Provider;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use tollkeep_types::money::Ratio;
use tollkeep_types::{LineageId, ProjectId, TokenId};

/// Longest name of a provider.
const NAME_BYTES_MAX: usize = 256;

/// Whose calls are marked up.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Whose {
    /// Those with this token.
    Token(TokenId),
    /// Those with this token or one that it was rotated from or to.
    Lineage(LineageId),
    /// Those of a project.
    Project(ProjectId),
    /// Those to a provider, by its name or kind.
    Provider(Box<str>),
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "the token {id}"),
            Self::Lineage(id) => write!(f, "the line of tokens {id}"),
            Self::Project(id) => write!(f, "the project {id}"),
            Self::Provider(name) => write!(f, "the provider `{name}`"),
        }
    }
}

/// A factor, and whose calls it is of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Markup {
    /// Whose calls.
    pub whose: Whose,
    /// At least one.
    pub factor: Ratio,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    markup: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    project: Option<String>,
    #[serde(default)]
    provider: Option<String>,
}

impl Markup {
    /// Whether an entry is meant as one.
    pub(super) fn is_meant(entry: &Value) -> bool {
        entry.get("markup").is_some() && entry.get("model").is_none()
    }

    /// Reads `{markup: "11/10", project: prj_…}`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(entry: Value) -> Result<Self, String> {
        let entry: Entry = serde_json::from_value(entry).map_err(|error| error.to_string())?;
        let factor: Ratio = entry.markup.parse().map_err(|_| {
            "a markup is two whole numbers of at most a million, as \"11/10\"".to_owned()
        })?;
        let (over, under) = factor.parts();
        if over < under {
            return Err(format!(
                "`{factor}` is less than 1: a markup is what is charged beyond what the upstream asks"
            ));
        }
        let whose = match (entry.token, entry.project, entry.provider) {
            (Some(token), None, None) => token_named(&token)?,
            (None, Some(project), None) => {
                let id = project.parse().map(Whose::Project);
                id.map_err(|_| "`project` wants the id of a project, `prj_…`".to_owned())?
            }
            (None, None, Some(name)) if (1..=NAME_BYTES_MAX).contains(&name.len()) => {
                Whose::Provider(name.into())
            }
            (None, None, Some(_)) => {
                return Err(format!(
                    "`provider` is not 1 to {NAME_BYTES_MAX} bytes long"
                ));
            }
            (None, None, None) | (Some(_), ..) | (_, Some(_), _) => {
                return Err("want one of `token`, `project`, `provider`".to_owned());
            }
        };
        Ok(Self { whose, factor })
    }
}

fn token_named(text: &str) -> Result<Whose, String> {
    let token = text.parse().map(Whose::Token);
    token
        .or_else(|_| text.parse().map(Whose::Lineage))
        .map_err(|_| "`token` wants the id of a token, `tid_…`, or of its line, `lin_…`".to_owned())
}

/// Who pays for a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payer {
    /// Its token.
    pub token: Option<TokenId>,
    /// The line of the token.
    pub lineage: Option<LineageId>,
    /// Its project.
    pub project: Option<ProjectId>,
}

/// All of them, where they are found quickly.
#[derive(Clone, Debug, Default)]
pub(super) struct Markups {
    providers: HashMap<Box<str>, Ratio>,
    /// All others.
    payers: HashMap<Whose, Ratio>,
}

impl Markups {
    /// Of several of the same calls the first one holds.
    pub(super) fn new(markups: impl Iterator<Item = Markup>) -> Self {
        let mut all = Self::default();
        for Markup { whose, factor } in markups {
            match whose {
                Whose::Provider(name) => all.providers.entry(name).or_insert(factor),
                whose @ (Whose::Token(_) | Whose::Lineage(_) | Whose::Project(_)) => {
                    all.payers.entry(whose).or_insert(factor)
                }
            };
        }
        all
    }

    /// HOT. That of a call; one, where there is none.
    pub(super) fn of(&self, provider: Provider<'_>, payer: Payer) -> Ratio {
        if self.payers.is_empty() && self.providers.is_empty() {
            return Ratio::ONE;
        }
        let token = || self.payers.get(&Whose::Token(payer.token?));
        let lineage = || self.payers.get(&Whose::Lineage(payer.lineage?));
        let project = || self.payers.get(&Whose::Project(payer.project?));
        let found = token().or_else(lineage).or_else(project);
        let found = found.or_else(|| self.providers.get(provider.name));
        let found = found.or_else(|| self.providers.get(provider.kind));
        found.copied().unwrap_or(Ratio::ONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TOKEN: &str = "tid_0192f3c4a5b67fffbfffffffffffffff";
    const LINE: &str = "lin_0192f3c4a5b67fffbfffffffffffffff";
    const PROJECT: &str = "prj_0192f3c4a5b67fffbfffffffffffffff";

    // LED-34
    #[test]
    fn a_markup_is_a_fraction_of_one_whose_calls_it_is() {
        for (name, entry, want) in [
            ("a token", json!({"markup": "11/10", "token": TOKEN}), true),
            ("its line", json!({"markup": "11/10", "token": LINE}), true),
            (
                "a project",
                json!({"markup": "3/2", "project": PROJECT}),
                true,
            ),
            (
                "a provider",
                json!({"markup": "1/1", "provider": "openai"}),
                true,
            ),
            ("nobody's", json!({"markup": "11/10"}), false),
            (
                "two",
                json!({"markup": "11/10", "token": TOKEN, "provider": "openai"}),
                false,
            ),
            (
                "two others",
                json!({"markup": "11/10", "project": PROJECT, "provider": "openai"}),
                false,
            ),
            (
                "less than one",
                json!({"markup": "9/10", "project": PROJECT}),
                false,
            ),
            (
                "nothing",
                json!({"markup": "0/1", "project": PROJECT}),
                false,
            ),
            ("a float", json!({"markup": 1.1, "project": PROJECT}), false),
            (
                "a decimal",
                json!({"markup": "1.1", "project": PROJECT}),
                false,
            ),
            (
                "by nothing",
                json!({"markup": "1/0", "project": PROJECT}),
                false,
            ),
            (
                "a slug",
                json!({"markup": "11/10", "project": "default"}),
                false,
            ),
            (
                "a project as a token",
                json!({"markup": "11/10", "token": PROJECT}),
                false,
            ),
            (
                "a name that is none",
                json!({"markup": "11/10", "provider": ""}),
                false,
            ),
            (
                "a member nobody knows",
                json!({"markup": "11/10", "provider": "a", "route": "b"}),
                false,
            ),
        ] {
            assert_eq!(Markup::read(entry).is_ok(), want, "{name}");
        }
    }

    // LED-34
    #[test]
    fn the_closest_markup_of_a_call_is_its_markup() {
        let all = [
            (json!({"markup": "2/1", "token": TOKEN}), "2/1"),
            (json!({"markup": "3/1", "token": LINE}), "3/1"),
            (json!({"markup": "4/1", "project": PROJECT}), "4/1"),
            (json!({"markup": "5/1", "provider": "acme"}), "5/1"),
            (json!({"markup": "6/1", "provider": "openai"}), "6/1"),
        ];
        let provider = Provider {
            name: "acme",
            kind: "openai",
            self_hosted: false,
        };
        let payer = Payer {
            token: TOKEN.parse().ok(),
            lineage: LINE.parse().ok(),
            project: PROJECT.parse().ok(),
        };
        for from in 0..all.len() {
            let left = all.iter().skip(from);
            let read = left.map(|(entry, _)| Markup::read(entry.clone()).unwrap());
            let found = Markups::new(read).of(provider, payer);
            let (_, want) = &all[from];
            assert_eq!(found.to_string(), *want);
        }
        assert_eq!(Markups::default().of(provider, payer), Ratio::ONE);
        let nobody = Markups::new(
            all.iter()
                .take(3)
                .map(|(entry, _)| Markup::read(entry.clone()).unwrap()),
        );
        assert_eq!(nobody.of(provider, Payer::default()), Ratio::ONE);
    }
}
