//! The vectors of usage, cost and bounds, as their file has them.

use serde::Deserialize;
use serde_json::Value;
use tollkeep_ledger::price::{Book, Provider, Table, UnknownModel};

#[derive(Deserialize)]
pub(crate) struct Vectors {
    price_table: Value,
    pub(crate) usage: Vec<UsageCase>,
    pub(crate) bounds: Vec<BoundCase>,
}

#[derive(Deserialize)]
pub(crate) struct UsageCase {
    pub(crate) id: String,
    pub(crate) dialect: String,
    pub(crate) model: String,
    pub(crate) at: String,
    pub(crate) request: Option<Value>,
    pub(crate) response: Option<Value>,
    pub(crate) response_text: Option<String>,
    pub(crate) sse: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) hold: Option<Hold>,
    pub(crate) expect: UsageWant,
}

#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Hold {
    pub(crate) in_tokens: u64,
    pub(crate) out_cap: u64,
}

#[derive(Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct UsageWant {
    pub(crate) quality: String,
    pub(crate) settle: String,
    pub(crate) flags: Vec<String>,
    pub(crate) lines: Vec<LineWant>,
    pub(crate) cost_nano_usd: Option<i64>,
    #[serde(default)]
    pub(crate) unpriced: Vec<String>,
}

#[derive(Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct LineWant {
    pub(crate) model: String,
    pub(crate) service: String,
    #[serde(default)]
    pub(crate) modifiers: Vec<String>,
    pub(crate) usage: serde_json::Map<String, Value>,
    pub(crate) tier: String,
}

#[derive(Deserialize)]
pub(crate) struct BoundCase {
    pub(crate) id: String,
    pub(crate) dialect: String,
    pub(crate) model: String,
    pub(crate) body: String,
    pub(crate) options: BoundOptions,
    pub(crate) expect: BoundWant,
}

#[derive(Deserialize)]
pub(crate) struct BoundOptions {
    pub(crate) max_output_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub(crate) struct BoundWant {
    pub(crate) refuse: Option<String>,
    pub(crate) in_tokens: Option<u64>,
    pub(crate) out_tokens: Option<u64>,
    pub(crate) bound_nano_usd: Option<i64>,
    pub(crate) write_field: Option<String>,
    pub(crate) write_value: Option<u64>,
}

pub(crate) fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../data/usage-cost.json")).unwrap()
}

/// Any provider: the models of the vectors belong to none.
pub(crate) const ANY: Provider<'static> = Provider {
    name: "any",
    kind: "any",
    self_hosted: false,
};

impl Vectors {
    pub(crate) fn book(&self) -> Book {
        let table = self.price_table.to_string();
        let table = Table::read(table.as_bytes(), "0").unwrap();
        Book::new(table, Vec::new(), UnknownModel::Refuse)
    }
}

impl BoundCase {
    /// The body, with `<<c*N>>` as N times `c`.
    pub(crate) fn body(&self) -> String {
        let mut body = String::new();
        let mut rest = &*self.body;
        while let Some((before, after)) = rest.split_once("<<") {
            let (what, after) = after.split_once(">>").unwrap();
            let (text, count) = what.split_once('*').unwrap();
            body += before;
            body += &text.repeat(count.parse().unwrap());
            rest = after;
        }
        body + rest
    }
}
