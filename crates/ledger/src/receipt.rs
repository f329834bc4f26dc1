//! What a receipt says of a call, how its text is made, and how receipts are checked against each
//! other and against prices. Signing and reading signatures is not of here.
//!
//! A receipt is one of a chain: each names the hash of the one before it, so that none can be taken
//! out or put in. A tenant has one chain for each life of each replica.

mod chain;

pub use chain::{ChainFault, Chains};

use crate::price::{Book, Cost, Provider};
use serde_json::{Map, Value, json};
use tollkeep_types::WallMillis;
use tollkeep_types::usage::{Class, ImageCount, Line, Lines, Modifiers, Service, Unit, Usage};

/// The rail of what prepaid accounts give.
const CREDIT: &str = "credit";
/// Lines of a call at most, and bytes of the payload of a receipt.
const LINES_MAX: usize = 64;
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Why a payload is not that of a receipt, or does not agree with prices.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceiptFault {
    #[error("is no receipt: `{0}` is missing or not of its form")]
    Member(&'static str),
    #[error("is no JSON object as receipts are written")]
    Form,
    #[error("names the price table {version} ({sha256}), which is not the one given")]
    OtherTable { version: String, sha256: String },
    #[error("lists usage that has no cost: {0}")]
    NoCost(String),
    #[error("says {told}, and its lines come to {reckoned}")]
    OtherCost { told: i64, reckoned: i64 },
}

/// How far the cost is known, and by what it ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// Who issued it, and when, in seconds.
    pub issuer: String,
    pub issued_at: u64,
    /// The request, and if it was not the first attempt, its number.
    pub id: String,
    /// The token, if there was one.
    pub subject: Option<String>,
    /// `<replica>.<life>`, the place in it from 1 on, and the hash of the receipt before it.
    pub chain: String,
    pub seq: u64,
    pub prev: String,
    /// With which method the call came, where that is known.
    pub method: Option<String>,
    pub route: String,
    pub model_asked: String,
    pub model_served: Option<String>,
    pub provider: ProviderText,
    /// The instant that selects rates.
    pub quoted_at: WallMillis,
    /// What was used, as usage records have it.
    pub lines: Option<Value>,
    pub price: Option<PriceText>,
    /// In nano-dollars.
    pub cost: i64,
    pub bound: i64,
    /// What the upstream asks by the table, where that is another amount: without a markup, or where the
    /// operator bears it.
    pub upstream: Option<i64>,
    /// What prepaid accounts gave for it.
    pub paid: Vec<PaidText>,
    pub hold: Option<String>,
    /// `settled` or `released`.
    pub state: String,
    /// `reported`, `estimated` or `unknown`.
    pub quality: String,
    /// Evidence that came after the end is in it.
    pub corrected: bool,
    /// The hash of the receipt that said otherwise before, which this one puts right.
    pub adj: Option<String>,
}

/// What a prepaid account gave for a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PaidText {
    pub account: String,
    /// `usd`, in nano-dollars, `tokens` or `requests`.
    pub unit: String,
    pub amount: i64,
}

/// A provider as price tables know it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProviderText {
    pub name: String,
    pub kind: String,
    pub self_hosted: bool,
}

/// The price table, and whether it alone makes the cost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PriceText {
    pub version: String,
    pub sha256: String,
    /// Prices of the operator took part, or something stood in for a price.
    pub own: bool,
}

impl Receipt {
    /// The payload: JSON with its members in order of their names and no blanks. Numbers are whole.
    pub fn payload(&self) -> String {
        let mut all = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                all.insert(name.to_owned(), value);
            }
        };
        put("iss", json!(self.issuer));
        put("iat", json!(self.issued_at));
        put("jti", json!(self.id));
        put("sub", json!(self.subject));
        put("chain", json!(self.chain));
        put("seq", json!(self.seq));
        put("prev", json!(self.prev));
        put("method", json!(self.method));
        put("route", json!(self.route));
        put("model", json!(self.model_served));
        put("model_asked", json!(self.model_asked));
        let provider = &self.provider;
        put(
            "provider",
            json!({"name": provider.name, "kind": provider.kind, "self_hosted": provider.self_hosted}),
        );
        put("quoted_at_ms", json!(self.quoted_at.0));
        put("lines", json!(self.lines));
        let price = self.price.as_ref().map(
            |price| json!({"version": price.version, "sha256": price.sha256, "own": price.own}),
        );
        put("price", json!(price));
        let mut cost = json!({"unit": "usd", "amount": self.cost, "bound": self.bound});
        if let (Some(upstream), Some(members)) = (self.upstream, cost.as_object_mut()) {
            members.insert("upstream".to_owned(), upstream.into());
        }
        put("cost", cost);
        let paid: Vec<_> = self.paid.iter().map(PaidText::value).collect();
        put("pay", json!(Some(paid).filter(|paid| !paid.is_empty())));
        put("hold", json!(self.hold));
        put("state", json!(self.state));
        put("quality", json!(self.quality));
        put("corrected", json!(self.corrected));
        put("adj", json!(self.adj));
        Value::Object(all).to_string()
    }

    /// Reads a payload, exactly as [`Self::payload`] writes it.
    ///
    /// # Errors
    /// It is none.
    pub fn read(payload: &[u8]) -> Result<Self, ReceiptFault> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(ReceiptFault::Form);
        }
        let value: Value = serde_json::from_slice(payload).map_err(|_| ReceiptFault::Form)?;
        let all = Members(&value);
        let provider = Members(value.get("provider").unwrap_or(&Value::Null));
        let cost = Members(value.get("cost").unwrap_or(&Value::Null));
        let price = value.get("price").map(Members);
        let price = price.map(|price| {
            Ok(PriceText {
                version: price.text("version")?,
                sha256: price.text("sha256")?,
                own: price.flag("own")?,
            })
        });
        let receipt = Self {
            issuer: all.text("iss")?,
            issued_at: all.number("iat")?,
            id: all.text("jti")?,
            subject: all.text("sub").ok(),
            chain: all.text("chain")?,
            seq: all.number("seq")?,
            prev: all.text("prev")?,
            method: all.text("method").ok(),
            route: all.text("route")?,
            model_asked: all.text("model_asked")?,
            model_served: all.text("model").ok(),
            provider: ProviderText {
                name: provider.text("name")?,
                kind: provider.text("kind")?,
                self_hosted: provider.flag("self_hosted")?,
            },
            quoted_at: WallMillis(all.number("quoted_at_ms")?),
            lines: value.get("lines").cloned(),
            price: price.transpose()?,
            cost: cost.amount("amount")?,
            bound: cost.amount("bound")?,
            upstream: cost.amount("upstream").ok(),
            paid: paid_of(value.get("pay"))?,
            hold: all.text("hold").ok(),
            state: all.text("state")?,
            quality: all.text("quality")?,
            corrected: all.flag("corrected")?,
            adj: all.text("adj").ok(),
        };
        // What is not read would be believed unseen.
        let is_whole = receipt.payload().as_bytes() == payload;
        is_whole.then_some(receipt).ok_or(ReceiptFault::Form)
    }

    /// Whether the cost follows from the lines and the table. Gives whether that could be said: not
    /// of a cost that nobody reported, of one that evidence has corrected, or of prices of the
    /// operator's own.
    ///
    /// # Errors
    /// It does not follow, or the table is another one.
    pub fn reckon(&self, book: &Book) -> Result<bool, ReceiptFault> {
        let (Some(price), Some(lines)) = (&self.price, &self.lines) else {
            return Ok(false);
        };
        if price.own || self.corrected || self.quality == "unknown" || self.state == "released" {
            return Ok(false);
        }
        if book.version().1 != price.sha256 {
            return Err(ReceiptFault::OtherTable {
                version: price.version.clone(),
                sha256: price.sha256.clone(),
            });
        }
        let told = self.upstream.unwrap_or(self.cost);
        let reckoned = self.cost_of(book, lines)?;
        if told == reckoned {
            return Ok(true);
        }
        Err(ReceiptFault::OtherCost { told, reckoned })
    }

    /// What these lines cost by these prices.
    ///
    /// # Errors
    /// They are no lines, or have no cost.
    pub fn cost_of(&self, book: &Book, lines: &Value) -> Result<i64, ReceiptFault> {
        let lines = lines_of(lines).ok_or(ReceiptFault::Member("lines"))?;
        let cost = Cost {
            provider: Provider {
                name: &self.provider.name,
                kind: &self.provider.kind,
                self_hosted: self.provider.self_hosted,
            },
            asked: &self.model_asked,
            served: self.model_served.as_deref(),
            at: self.quoted_at,
        };
        let cost = cost.of(book, &lines);
        cost.map(|cost| cost.get())
            .map_err(|error| ReceiptFault::NoCost(error.to_string()))
    }
}

impl PaidText {
    fn value(&self) -> Value {
        json!({"rail": CREDIT, "id": self.account, "unit": self.unit, "amount": self.amount})
    }
}

fn paid_of(value: Option<&Value>) -> Result<Vec<PaidText>, ReceiptFault> {
    let listed = value.and_then(Value::as_array).into_iter().flatten();
    let read = listed.map(|one| {
        let one = Members(one);
        Ok(PaidText {
            account: one.text("id")?,
            unit: one.text("unit")?,
            amount: one.amount("amount")?,
        })
    });
    read.collect()
}

struct Members<'v>(&'v Value);

impl Members<'_> {
    fn text(&self, name: &'static str) -> Result<String, ReceiptFault> {
        let text = self.0.get(name).and_then(Value::as_str);
        text.map(str::to_owned).ok_or(ReceiptFault::Member(name))
    }

    fn number(&self, name: &'static str) -> Result<u64, ReceiptFault> {
        let number = self.0.get(name).and_then(Value::as_u64);
        number.ok_or(ReceiptFault::Member(name))
    }

    fn amount(&self, name: &'static str) -> Result<i64, ReceiptFault> {
        let amount = self.0.get(name).and_then(Value::as_i64);
        amount
            .filter(|amount| *amount >= 0)
            .ok_or(ReceiptFault::Member(name))
    }

    fn flag(&self, name: &'static str) -> Result<bool, ReceiptFault> {
        let flag = self.0.get(name).and_then(Value::as_bool);
        flag.ok_or(ReceiptFault::Member(name))
    }
}

/// Lines as usage records have them: counts by the names of classes and units.
fn lines_of(value: &Value) -> Option<Lines> {
    let lines = value
        .as_array()
        .filter(|lines| (1..=LINES_MAX).contains(&lines.len()))?;
    let mut lines = lines.iter().map(line_of).collect::<Option<Vec<_>>>()?;
    let first = lines.remove(0);
    Some(Lines { first, more: lines })
}

fn line_of(value: &Value) -> Option<Line> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(Into::into);
    let mut modifiers = Modifiers::default();
    for modifier in value
        .get("modifiers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        match modifier.as_str()?.split_once(':')? {
            ("speed", value) => modifiers.speed = Some(value.into()),
            ("inference_geo", value) => modifiers.inference_geo = Some(value.into()),
            _ => return None,
        }
    }
    let mut usage = Usage::default();
    for (name, count) in value.get("usage")?.as_object()? {
        let count = count.as_u64()?;
        if let Some(class) = Class::named(name) {
            usage.set(class, count);
        } else if let Some(unit) = Unit::named(name) {
            usage.set_units(unit, count);
        } else {
            let sort = name.strip_prefix("image:")?.into();
            usage.set_images(ImageCount { sort, count });
        }
    }
    Some(Line {
        model: text("model"),
        or_dearer: text("or_dearer"),
        service: Service::named(value.get("service")?.as_str()?)?,
        modifiers,
        usage,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            issuer: "tollkeep".to_owned(),
            issued_at: 1_795_000_000,
            id: "req_1".to_owned(),
            subject: None,
            chain: "rep_1.7".to_owned(),
            seq: 1,
            prev: "0".repeat(64),
            method: Some("POST".to_owned()),
            route: "chat".to_owned(),
            model_asked: "m".to_owned(),
            model_served: Some("m".to_owned()),
            provider: ProviderText {
                name: "p".to_owned(),
                kind: "openai".to_owned(),
                self_hosted: false,
            },
            quoted_at: WallMillis(1_795_000_000_000),
            lines: Some(json!([{"service": "default", "modifiers": ["speed:fast"],
                "usage": {"in_text": 5, "web_search": 1, "image:high:1x1": 2}}])),
            price: None,
            cost: 5,
            bound: 9,
            upstream: None,
            paid: vec![PaidText {
                account: "acc_1".to_owned(),
                unit: "usd".to_owned(),
                amount: 5,
            }],
            hold: None,
            state: "settled".to_owned(),
            quality: "reported".to_owned(),
            corrected: false,
            adj: None,
        }
    }

    // LED-82
    #[test]
    fn a_receipt_is_read_as_it_was_written_and_nothing_else_is_one() {
        let corrects = Receipt {
            corrected: true,
            adj: Some("ab".repeat(32)),
            ..receipt()
        };
        assert_eq!(Receipt::read(corrects.payload().as_bytes()), Ok(corrects));
        // Those from before named no method, and most calls are not paid for.
        let bare = Receipt {
            method: None,
            paid: Vec::new(),
            ..receipt()
        };
        let text = bare.payload();
        assert!(!text.contains("method") && !text.contains("pay"), "{text}");
        assert_eq!(Receipt::read(text.as_bytes()), Ok(bare));
        let receipt = receipt();
        let text = receipt.payload();
        assert_eq!(Receipt::read(text.as_bytes()), Ok(receipt));
        for (name, other) in [
            ("a blank", text.replacen(':', ": ", 1)),
            ("a member more", text.replacen('{', "{\"a\":1,", 1)),
            ("a member less", text.replacen("\"seq\":1,", "", 1)),
            (
                "a negative cost",
                text.replacen("\"amount\":5", "\"amount\":-5", 1),
            ),
            (
                "a broken number",
                text.replacen("\"amount\":5", "\"amount\":5.0", 1),
            ),
            (
                "a member twice",
                text.replacen("\"seq\":1,", "\"seq\":1,\"seq\":1,", 1),
            ),
            (
                "another rail",
                text.replacen("\"rail\":\"credit\"", "\"rail\":\"x402\"", 1),
            ),
            ("no JSON", "x".to_owned()),
        ] {
            assert!(Receipt::read(other.as_bytes()).is_err(), "{name}");
        }
    }

    // LED-83
    #[test]
    fn lines_are_read_from_records() {
        let lines = lines_of(receipt().lines.as_ref().unwrap()).unwrap();
        assert_eq!(lines.first.usage.count(Class::InText), 5);
        assert_eq!(lines.first.usage.images().unwrap().count, 2);
        assert_eq!(lines.first.modifiers.speed.as_deref(), Some("fast"));
        for wrong in [
            json!([]),
            json!([{"service": "default", "usage": {"other": 1}}]),
            json!([{"service": "other", "usage": {}}]),
            json!([{"service": "default", "usage": {"in_text": -1}}]),
            json!([{"service": "default", "modifiers": ["x:y"], "usage": {}}]),
        ] {
            assert_eq!(lines_of(&wrong), None, "{wrong}");
        }
    }

    // LED-82
    #[test]
    fn a_chain_shows_what_was_taken_out_put_in_or_exchanged() {
        let link = |seq: u64, prev: &str| Receipt {
            seq,
            prev: prev.to_owned(),
            ..receipt()
        };
        let faults = |links: &[(u64, &str, &str)], some: bool| {
            let mut chains = Chains::default();
            for (seq, prev, hash) in links {
                chains.add(&link(*seq, prev), (*hash).to_owned());
            }
            chains.faults(some)
        };
        let chain = || "rep_1.7".to_owned();
        let whole = [(1, "0", "a"), (2, "a", "b"), (3, "b", "c")];
        assert_eq!(faults(&whole, false), []);
        assert_eq!(faults(&whole[1..], false), [], "it may begin late");
        let missing = [whole[0], whole[2]];
        let gap = ChainFault::Missing {
            chain: chain(),
            from: 2,
            to: 2,
        };
        assert_eq!(faults(&missing, false), [gap]);
        assert_eq!(faults(&missing, true), []);
        let other = [whole[0], (2, "x", "b")];
        let cut = ChainFault::Cut {
            chain: chain(),
            seq: 2,
        };
        assert_eq!(faults(&other, true), [cut]);
        let twice = [whole[0], whole[1], (2, "a", "d")];
        let twice_at = ChainFault::Twice {
            chain: chain(),
            seq: 2,
        };
        assert_eq!(faults(&twice, true), [twice_at]);
    }
}
