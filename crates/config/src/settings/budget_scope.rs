//! Which calls a budget counts, as operators write it.

use super::provider::read_project;
use crate::kind::{Kind, Shape, Wrong, list, parsed, text};
use crate::tree::{Node, Value};
use serde_json::json;
use std::fmt;
use tollkeep_types::{CredentialId, LineageId, TokenId};

/// Longest name in a scope, and longest piece of metadata.
const SCOPE_BYTES_MAX: usize = 256;
/// Most tokens that share one budget.
const TOKENS_MAX: usize = 1_000;
/// Which calls a budget counts, by the names that operators know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BudgetScope {
    /// All of the tenant.
    Tenant,
    /// Those of a project, by id or slug.
    Project(String),
    /// Those of a token and of those it was rotated from and to.
    Token(TokenName),
    /// Those on a route.
    Route(String),
    /// Those to a provider.
    Provider(String),
    /// Those with a credential.
    Credential(CredentialId),
    /// Those of models.
    Model(String),
    /// Those of several tokens together.
    Tokens(Vec<TokenName>),
    /// Those of tokens with this in their metadata.
    Metadata(PairText),
}

/// A pair of metadata.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PairText {
    /// Its name.
    pub key: String,
    /// What it must be.
    pub value: String,
}

/// A line of tokens, by one of them or by its own id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenName {
    /// By a token.
    Token(TokenId),
    /// By the line.
    Lineage(LineageId),
}

impl std::str::FromStr for TokenName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let token = text.parse().map(Self::Token);
        token
            .or_else(|_| text.parse().map(Self::Lineage))
            .map_err(|_| "want the id of a token, `tid_…`, or of its line, `lin_…`")
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => id.fmt(f),
            Self::Lineage(id) => id.fmt(f),
        }
    }
}

/// The kind of a scope.
pub(super) struct ScopeKind;

impl Kind for ScopeKind {
    type Value = BudgetScope;

    fn shape(&self) -> Shape {
        let text = json!({"type": "string"});
        let tokens = json!({"type": "array", "items": text, "minItems": 1});
        let pair = json!({"type": "object", "minProperties": 1, "maxProperties": 1,
            "additionalProperties": text});
        let schema = json!({"anyOf": [{"const": "tenant"}, {
            "type": "object",
            "properties": {"project": text, "token": text, "route": text, "provider": text,
                "credential": text, "model": text, "tokens": tokens, "metadata": pair},
            "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
        }]});
        Shape::new(
            schema,
            "`tenant`, or one of `project`, `token`, `route`, `provider`, `credential`, `model`, \
             `tokens`, `metadata` with its value",
        )
    }

    fn read(&self, node: &Node) -> Result<BudgetScope, Vec<Wrong>> {
        let wrong = |problem: String| Wrong::of(node, problem);
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Text(word) | Value::Loose(word) if word == "tenant" => {
                return Ok(BudgetScope::Tenant);
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Loose(_)
            | Value::List(_) => {
                return Err(wrong(format!(
                    "want {}, not {}",
                    self.shape().words,
                    node.told()
                )));
            }
        };
        let [entry] = entries else {
            return Err(wrong(format!("want exactly one of {}", self.shape().words)));
        };
        let read = |read: &dyn Fn(&str) -> Result<BudgetScope, String>| {
            read(entry.node.text()?).map_err(|problem| Wrong::of(&entry.node, problem))
        };
        match entry.name.as_str() {
            "project" => read(&|text| read_project(text).map(BudgetScope::Project)),
            "token" => read(&|text| Ok(BudgetScope::Token(text.parse()?))),
            "route" => read(&|text| named(text).map(BudgetScope::Route)),
            "provider" => read(&|text| named(text).map(BudgetScope::Provider)),
            "model" => read(&|text| named(text).map(BudgetScope::Model)),
            "credential" => read(&|text| {
                let id = text.parse().map(BudgetScope::Credential);
                id.map_err(|_| "want the id of a credential, `crd_…`".to_owned())
            }),
            "tokens" => tokens(&entry.node),
            "metadata" => pair(&entry.node),
            other => Err(wrong(format!(
                "{other:?} is no scope: want {}",
                self.shape().words
            ))),
        }
    }
}

fn named(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > SCOPE_BYTES_MAX || text.chars().any(char::is_control) {
        return Err("want 1 to 256 bytes".to_owned());
    }
    Ok(text.to_owned())
}

fn tokens(node: &Node) -> Result<BudgetScope, Vec<Wrong>> {
    let names = parsed("token", |text| {
        text.parse::<TokenName>().map_err(str::to_owned)
    });
    let names = list(names).read(node)?;
    if names.is_empty() || names.len() > TOKENS_MAX {
        return Err(Wrong::of(node, "want 1 to 1000 tokens"));
    }
    Ok(BudgetScope::Tokens(names))
}

fn pair(node: &Node) -> Result<BudgetScope, Vec<Wrong>> {
    let Value::Map(entries) = &node.value else {
        let problem = format!("want one key and its value, not {}", node.told());
        return Err(Wrong::of(node, problem));
    };
    let [entry] = entries.as_slice() else {
        return Err(Wrong::of(node, "want one key and its value"));
    };
    let wrong = |problem: String| Wrong::of(node, problem);
    Ok(BudgetScope::Metadata(PairText {
        key: named(&entry.name).map_err(wrong)?,
        value: named(text().read(&entry.node)?.as_str()).map_err(wrong)?,
    }))
}
