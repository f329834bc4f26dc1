//! Prices, rules that choose them, and who is paid.

use super::{Kind, Parsed, Shape, Wrong, parsed};
use crate::reader::snake;
use crate::tree::{Entry, Node, Step, Value};
use serde_json::json;
use tollkeep_payments::evm::Address;
use tollkeep_payments::price::{Price, PriceFault};
use tollkeep_payments::pricing::{Condition, Decimal, Pattern, Rule, Wanted};
use tollkeep_types::money::{NanoUsd, ParseAmountError};

/// The kind of [`Price`].
pub(crate) struct Prices;

/// A price: `"$0.01"`, `"21sat"`, `{usd: "$0.01", sats: 21}`, `{asset: USDC, amount: "10000"}`.
pub(crate) const fn priced() -> Prices {
    Prices
}

const WORDS: &str = "price: `\"$0.01\"`, `\"21sat\"`, `{usd: \"$0.01\", sats: 21}` or \
                     `{asset: USDC, amount: \"10000\"}`";

impl Kind for Prices {
    type Value = Price;

    fn shape(&self) -> Shape {
        let object = json!({"type": "object"});
        Shape::new(json!({"anyOf": [{"type": "string"}, object]}), WORDS)
    }

    fn read(&self, node: &Node) -> Result<Price, Vec<Wrong>> {
        let fault = |fault: PriceFault| Wrong::of(node, format!("{} {fault}", node.told()));
        match &node.value {
            Value::Text(text) | Value::Loose(text) => text.parse().map_err(fault),
            Value::Number(_) => Err(fault(PriceFault::Ambiguous)),
            Value::Map(entries) => of_map(node, entries),
            Value::Null | Value::Bool(_) | Value::List(_) => Err(Wrong::of(
                node,
                format!("want a {WORDS}, not {}", node.told()),
            )),
        }
    }
}

fn of_map(node: &Node, entries: &[Entry]) -> Result<Price, Vec<Wrong>> {
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    let of = |name: &str| {
        let missing = || Wrong::of(node, format!("`{name}` is missing"));
        node.get(name).ok_or_else(missing)
    };
    match names.as_slice() {
        ["sats", "usd"] => {
            let usd = inside("usd", priced().read(of("usd")?))?.usd();
            let usd = usd.ok_or_else(|| Wrong::of(node, "`usd` is not in dollars"))?;
            let written = of("sats")?;
            let sats = written_digits(written).map(|digits| format!("{digits}sat"));
            let msat = sats.and_then(|text| text.parse::<Price>().ok());
            let msat = msat.and_then(|price| price.msat());
            let wrong = || {
                let problem = format!("want a whole number of sats, not {}", written.told());
                Wrong::of(written, problem)
            };
            let msat = inside("sats", msat.ok_or_else(wrong))?;
            Ok(Price::Both { usd, msat })
        }
        ["amount", "asset"] => {
            let symbol = inside("asset", of("asset")?.text())?.into();
            let written = of("amount")?;
            let amount = written_digits(written).and_then(|digits| digits.parse().ok());
            let wrong = || {
                let problem = "want the smallest units of the token in digits";
                Wrong::of(written, format!("{problem}, not {}", written.told()))
            };
            let amount = inside("amount", amount.ok_or_else(wrong))?;
            Ok(Price::Asset { symbol, amount })
        }
        ["cel"] => Err(Wrong::of(
            node,
            "`cel` is not supported here: it can be the `price` of a route alone",
        )),
        _ => Err(Wrong::of(node, format!("want a {WORDS}"))),
    }
}

/// What a request of a route costs, as it is written there.
#[derive(Clone, Debug)]
pub(crate) enum RoutePrice {
    /// Always the same.
    Fixed(Price),
    /// What this expression says.
    Cel(String),
}

/// The kind of [`RoutePrice`].
pub(crate) struct RoutePrices;

/// A price, or an expression that makes one: `{cel: "…"}`.
pub(crate) const fn route_price() -> RoutePrices {
    RoutePrices
}

impl Kind for RoutePrices {
    type Value = RoutePrice;

    fn shape(&self) -> Shape {
        let shape = priced().shape();
        let words = format!("{}, or `{{cel: \"…\"}}`", shape.words);
        Shape { words, ..shape }
    }

    fn read(&self, node: &Node) -> Result<RoutePrice, Vec<Wrong>> {
        match (&node.value, node.get("cel")) {
            (Value::Map(entries), Some(text)) if entries.len() == 1 => {
                let text = inside("cel", text.text())?;
                Ok(RoutePrice::Cel(text.to_owned()))
            }
            _ => priced().read(node).map(RoutePrice::Fixed),
        }
    }
}

/// The digits of a number or text that holds nothing else.
fn written_digits(node: &Node) -> Option<&str> {
    let text = match &node.value {
        Value::Number(text) | Value::Text(text) | Value::Loose(text) => text,
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => return None,
    };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(text)
}

/// Says in which member something is wrong.
fn inside<T>(name: &str, read: Result<T, Vec<Wrong>>) -> Result<T, Vec<Wrong>> {
    read.map_err(|wrongs| {
        let place = |mut wrong: Wrong| {
            wrong.inside.insert(0, Step::Name(name.to_owned()));
            wrong
        };
        wrongs.into_iter().map(place).collect()
    })
}

/// A price, or empty text for none.
pub(crate) struct PriceOrNone;

/// A price that other files write as empty text where there is none.
pub(crate) const fn price_or_none() -> PriceOrNone {
    PriceOrNone
}

impl Kind for PriceOrNone {
    type Value = Option<Price>;

    fn shape(&self) -> Shape {
        let shape = priced().shape();
        let words = format!("{}, or `\"\"`", shape.words);
        Shape { words, ..shape }
    }

    fn read(&self, node: &Node) -> Result<Option<Price>, Vec<Wrong>> {
        if node.as_text() == Some("") {
            return Ok(None);
        }
        priced().read(node).map(Some)
    }
}

/// Dollars, as `"$0.01"`.
pub(crate) const fn dollars() -> Parsed<NanoUsd> {
    parsed("dollars, `\"$0.01\"`", |text| {
        text.parse()
            .map_err(|fault: ParseAmountError| format!("{text:?}: {fault}"))
    })
}

/// The kind of a [`Rule`].
pub(crate) struct Rules;

/// A price for requests that fit: `{where: {body.model: "gpt-4*"}, price: "$0.03"}`.
pub(crate) const fn rule() -> Rules {
    Rules
}

/// Conditions of one rule at most.
const CONDITIONS_MAX: usize = 16;

const RULE: &str = "`{where: {body.model: \"gpt-4*\"}, price: \"$0.03\"}`";

impl Kind for Rules {
    type Value = Rule;

    fn shape(&self) -> Shape {
        let value = json!({"type": ["string", "number", "boolean"]});
        let conditions = json!({"type": "object", "additionalProperties": value});
        let schema = json!({
            "type": "object",
            "required": ["where", "price"],
            "properties": {
                "where": conditions, "price": priced().shape().schema,
                "pay_to": {"type": "string"}, "payTo": {"type": "string"},
            },
            "additionalProperties": false,
        });
        Shape::new(schema, RULE)
    }

    fn read(&self, node: &Node) -> Result<Rule, Vec<Wrong>> {
        let Value::Map(entries) = &node.value else {
            return Err(Wrong::of(node, format!("want {RULE}, not {}", node.told())));
        };
        let (mut conditions, mut cost, mut to) = (None, None, None);
        for entry in entries {
            let (name, value) = (&entry.name, &entry.node);
            let twice = match snake(name).as_str() {
                "where" => conditions.replace(inside(name, of_where(value))?).is_some(),
                "price" => cost.replace(inside(name, priced().read(value))?).is_some(),
                "pay_to" => to.replace(inside(name, pay_to().read(value))?).is_some(),
                _ => {
                    let problem = format!("`{name}` is no key of a rule: want {RULE}");
                    return Err(Wrong::of(node, problem));
                }
            };
            if twice {
                return Err(Wrong::of(node, format!("`{name}` stands twice")));
            }
        }
        match (conditions, cost) {
            (Some(conditions), Some(price)) => Ok(Rule {
                conditions,
                price,
                pay_to: to,
            }),
            (None, _) => Err(Wrong::of(node, "`where` is missing")),
            (_, None) => Err(Wrong::of(node, "`price` is missing")),
        }
    }
}

fn of_where(node: &Node) -> Result<Vec<Condition>, Vec<Wrong>> {
    let Value::Map(entries) = &node.value else {
        let problem = format!("want conditions, not {}", node.told());
        return Err(Wrong::of(node, problem));
    };
    if entries.is_empty() {
        let problem = "has no condition: what always fits is the `fallback`";
        return Err(Wrong::of(node, problem));
    }
    if entries.len() > CONDITIONS_MAX {
        return Err(Wrong::of(
            node,
            format!("has more than {CONDITIONS_MAX} conditions"),
        ));
    }
    let condition = |entry: &Entry| {
        let value = &entry.node;
        let wanted = wanted(value).ok_or_else(|| {
            let problem = format!("want a text, number or switch, not {}", value.told());
            Wrong::of(value, problem)
        });
        let made = wanted.and_then(|wanted| {
            let made = Condition::new(&entry.name, wanted);
            made.map_err(|fault| Wrong::of(value, fault.to_string()))
        });
        inside(&entry.name, made)
    };
    entries.iter().map(condition).collect()
}

fn wanted(node: &Node) -> Option<Wanted> {
    match &node.value {
        Value::Text(text) | Value::Loose(text) => Pattern::new(text).map(Wanted::Text),
        Value::Number(text) => Decimal::new(text).map(Wanted::Number),
        Value::Bool(on) => Some(Wanted::Bool(*on)),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// The kind of who is paid.
pub(crate) struct PayTo;

/// An address of an EVM chain, its checksum right where it has one.
pub(crate) const fn pay_to() -> PayTo {
    PayTo
}

impl Kind for PayTo {
    type Value = Address;

    fn shape(&self) -> Shape {
        let pattern = "^0x[0-9a-fA-F]{40}$";
        let schema = json!({"type": "string", "pattern": pattern});
        Shape::new(schema, "address of 20 bytes, `0x…`")
    }

    fn read(&self, node: &Node) -> Result<Address, Vec<Wrong>> {
        if matches!(node.value, Value::List(_)) {
            let problem = "lists shares, and no payment is split on the way: write the one address \
                           that is paid (`payTo_mode: accrue` is not supported yet)";
            return Err(Wrong::of(node, problem));
        }
        let read = node.text()?.parse();
        read.map_err(|fault| Wrong::of(node, format!("{} {fault}", node.told())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Format, parse};

    fn node(text: &str) -> Node {
        let tree = parse(Format::Yaml, &format!("key: {text}\n"));
        tree.ok().and_then(|tree| tree.get("key").cloned()).unwrap()
    }

    // PAY-20
    #[test]
    fn prices_have_five_spellings_and_no_number_is_one() {
        for (text, want) in [
            ("'$0.01'", Ok("$0.01")),
            ("'0.01'", Ok("$0.01")),
            ("21sat", Ok("21sat")),
            ("1500msat", Ok("1500msat")),
            ("{usd: '$0.01', sats: 21}", Ok("$0.01 or 21sat")),
            ("{asset: USDC, amount: '10000'}", Ok("10000 units of USDC")),
            ("0.01", Err("`0.01` is ambiguous: write \"$1\"")),
            ("10000", Err("is ambiguous")),
            ("'10000'", Err("is ambiguous")),
            ("1e3", Err("is ambiguous")),
            ("'$1e3'", Err("\"$1e3\" is not a price")),
            ("'€1'", Err("is not a price")),
            ("true", Err("want a price")),
            ("[1]", Err("want a price")),
            ("{usd: '21sat', sats: 21}", Err("`usd` is not in dollars")),
            ("{usd: '$1', sats: 2.5}", Err("want a whole number of sats")),
            ("{usd: '$1'}", Err("want a price")),
            (
                "{asset: USDC, amount: '1.5'}",
                Err("want the smallest units"),
            ),
            (
                "{asset: USDC, amount: '-1'}",
                Err("want the smallest units"),
            ),
            ("{cel: '1'}", Err("`cel` is not supported here")),
        ] {
            match (priced().read(&node(text)), want) {
                (Ok(price), want) => assert_eq!(Ok(price.to_string().as_str()), want, "{text}"),
                (Err(wrongs), want) => {
                    let problem = &wrongs[0].problem;
                    assert!(problem.contains(want.unwrap_err()), "{text}: {problem}");
                }
            }
        }
    }

    // PAY-25 PAY-30
    #[test]
    fn a_rule_that_could_never_hold_is_told() {
        for (text, want) in [
            ("{price: '$1'}", "`where` is missing"),
            ("{where: {body.a: x}}", "`price` is missing"),
            (
                "{where: {}, price: '$1'}",
                "what always fits is the `fallback`",
            ),
            (
                "{where: {query.a: 4}, price: '$1'}",
                "write the value in quotes",
            ),
            (
                "{where: {body.a: null}, price: '$1'}",
                "want a text, number or switch",
            ),
            (
                "{where: {body.a: 0x10}, price: '$1'}",
                "want a text, number or switch",
            ),
            ("{where: {model: x}, price: '$1'}", "want `params.…`"),
            ("{where: {body.a: x}, price: 1}", "is ambiguous"),
            (
                "{where: {body.a: x}, prise: '$1'}",
                "`prise` is no key of a rule",
            ),
            (
                "{where: {body.a: x}, price: '$1', payTo: '0x1'}",
                "want `0x` and 40",
            ),
            (
                "{where: {body.a: x}, price: '$1', payTo: [{address: '0x1', share: 1}]}",
                "no payment is split",
            ),
        ] {
            let wrongs = rule().read(&node(text)).unwrap_err();
            assert!(
                wrongs[0].problem.contains(want),
                "{text}: {}",
                wrongs[0].problem
            );
        }
        let read = rule().read(&node("{where: {body.n: 4.0, body.s: true}, price: '$1'}"));
        assert_eq!(read.unwrap().conditions.len(), 2);
    }
}
