//! What models cost: the table, and what the operator knows better (LED-33, LED-34).

use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{Kind, Shape, Wrong, choice, list, parsed, path};
use crate::reader::keys;
use crate::tree::{Node, Value};
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use tollkeep_ledger::price::{Override, UnknownModel, read_overrides};

const UNKNOWN_MODELS: [(&str, UnknownModel); 3] = [
    ("refuse", UnknownModel::Refuse),
    ("dearest", UnknownModel::Dearest),
    ("zero", UnknownModel::Zero),
];

/// Most overrides.
const OVERRIDES_MAX: usize = 10_000;

keys! {
    /// What models cost. A table is shipped with the program; nothing is fetched.
    pub struct Prices {
        /// A price table to use instead of the shipped one, of format `tollkeep-prices/1`. It is
        /// read at start and when settings are taken over.
        file: Option<PathBuf> = path().optional(),
        /// What a model without a price costs in records: `refuse`: it has no cost; `dearest`: as
        /// the dearest model of its provider; `zero`: nothing at providers with `self_hosted`,
        /// and no cost at others. Where a hard budget of money or an account counts a call, its model
        /// needs a price, and what is `dearest` is none.
        unknown_model: UnknownModel = choice(&UNKNOWN_MODELS).or(UnknownModel::Refuse),
        /// Who may sign price tables that `tollkeep price import` takes in while the gateway runs:
        /// Ed25519 keys, the 32 bytes of each in base64. None: no table is taken in.
        keys: Vec<String> = list(parsed("key", read_key)).or_empty(),
        /// Models with prices of yours, written as in a price table. Each replaces the whole
        /// model of its name, or of the names that its `match` has. And markups, such as
        /// `{markup: "11/10", provider: openai}`: what calls are charged beyond what their upstream
        /// asks, by `token` (`tid_…`, or its line, `lin_…`), `project` (`prj_…`) or `provider`.
        overrides: Vec<Override> = Overrides.or_empty(),
    }
}

impl Prices {
    pub(super) fn check(self, checks: &mut Checks<'_>) -> Self {
        if self.unknown_model == UnknownModel::Dearest {
            let problem = "is `dearest`: that is for records alone; where a hard budget of money or an \
                           account counts a call, a model without a price is refused";
            checks.warn("prices.unknown_model", problem);
        }
        self
    }
}

impl Default for Prices {
    /// The shipped table as it is.
    fn default() -> Self {
        Self {
            file: None,
            unknown_model: UnknownModel::Refuse,
            keys: Vec::new(),
            overrides: Vec::new(),
        }
    }
}

/// The 32 bytes of a key are 44 characters.
fn read_key(text: &str) -> Result<String, String> {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let body = text.strip_suffix('=').filter(|body| body.len() == 43);
    if body.is_some_and(|body| body.bytes().all(is_base64)) {
        return Ok(text.to_owned());
    }
    Err("want the 32 bytes of an Ed25519 key in base64, 44 characters".to_owned())
}

/// A list of models as price tables have them, and of markups.
struct Overrides;

impl Kind for Overrides {
    type Value = Vec<Override>;

    fn shape(&self) -> Shape {
        let model = json!({"type": "object", "required": ["model", "rates"]});
        let text = json!({"type": "string"});
        let markup = json!({"type": "object", "required": ["markup"], "additionalProperties": false,
            "properties": {"markup": text, "token": text, "project": text, "provider": text}});
        let schema = json!({"type": "array", "items": {"anyOf": [model, markup]}});
        Shape::new(
            schema,
            "list of models as price tables have them, and of markups",
        )
    }

    fn read(&self, node: &Node) -> Result<Vec<Override>, Vec<Wrong>> {
        let Value::List(entries) = &node.value else {
            let problem = format!("want a list of models and markups, not {}", node.told());
            return Err(Wrong::of(node, problem));
        };
        if entries.len() > OVERRIDES_MAX {
            let problem = format!("has more than {OVERRIDES_MAX} entries");
            return Err(Wrong::of(node, problem));
        }
        let entries = entries.iter().map(json_of).collect();
        read_overrides(entries).map_err(|error| Wrong::of(node, error.to_string()))
    }
}

/// The value as JSON. Numbers that are not whole stay what they are, and are refused as prices.
fn json_of(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(on) => Json::from(*on),
        Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
        Value::Text(text) | Value::Loose(text) => Json::from(text.clone()),
        Value::List(items) => items.iter().map(json_of).collect(),
        Value::Map(entries) => {
            let entries = entries.iter();
            Json::Object(
                entries
                    .map(|entry| (entry.name.clone(), json_of(&entry.node)))
                    .collect(),
            )
        }
    }
}
