//! Limits of budgets: money as text, counts as whole numbers. No float is either.

use super::number::decimal;
use super::{Kind, Shape, Wrong};
use crate::tree::{Node, Value};
use serde_json::json;
use tollkeep_types::money::NanoUsd;

/// A limit as it is written, before its unit is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Limit {
    /// Money.
    Usd(NanoUsd),
    /// So many of something.
    Count(i64),
}

/// The kind of [`Limit`].
pub(crate) struct Limits;

/// Money as `"$12.50"`, `"12.50"` or `{nano_usd: N}`; tokens and requests as a whole number.
pub(crate) const fn limit() -> Limits {
    Limits
}

const WORDS: &str =
    "`\"$12.50\"`, `\"12.50\"` or `{nano_usd: N}`; of tokens or requests a whole number";

impl Kind for Limits {
    type Value = Limit;

    fn shape(&self) -> Shape {
        let nano = json!({
            "type": "object",
            "required": ["nano_usd"],
            "properties": {"nano_usd": {"type": "integer", "minimum": 0}},
            "additionalProperties": false,
        });
        let count = json!({"type": "integer", "minimum": 0});
        Shape::new(json!({"anyOf": [{"type": "string"}, count, nano]}), WORDS)
    }

    fn read(&self, node: &Node) -> Result<Limit, Vec<Wrong>> {
        let wrong = |problem: String| Wrong::of(node, problem);
        let whole = |node: &Node| {
            let number = decimal(node).and_then(|number| i64::try_from(number).ok());
            number.filter(|number| *number >= 0)
        };
        match &node.value {
            Value::Map(entries) => match entries.as_slice() {
                [entry] if entry.name == "nano_usd" => whole(&entry.node)
                    .map(|nano| Limit::Usd(NanoUsd::new(nano)))
                    .ok_or_else(|| {
                        let told = entry.node.told();
                        wrong(format!("want a whole number of nano-dollars, not {told}"))
                    }),
                _ => Err(wrong("want `nano_usd` alone".to_owned())),
            },
            Value::Number(text) => whole(node).map(Limit::Count).ok_or_else(|| {
                let problem =
                    "no float and nothing negative is an amount: write money in quotes, as";
                wrong(format!("{problem} \"$12.50\", not `{text}`"))
            }),
            Value::Text(text) | Value::Loose(text) => match whole(node) {
                Some(count) => Ok(Limit::Count(count)),
                None => text
                    .parse()
                    .map(Limit::Usd)
                    .map_err(|error| wrong(format!("{error}, not {}", node.told()))),
            },
            Value::Null | Value::Bool(_) | Value::List(_) => {
                Err(wrong(format!("want {WORDS}, not {}", node.told())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Source;

    // LED-1 LED-4
    #[test]
    fn amounts_are_texts_with_a_point_or_a_sign_and_counts_are_whole() {
        let number = |text: &str| Value::Number(text.to_owned());
        let text = |text: &str| Value::Text(text.to_owned());
        let dollars = |nano| Ok(Limit::Usd(NanoUsd::new(nano)));
        for (name, value, want) in [
            ("sign", text("$12.50"), dollars(12_500_000_000)),
            ("sign, no point", text("$100"), dollars(100_000_000_000)),
            ("point", text("12.50"), dollars(12_500_000_000)),
            ("smallest", text("0.000000001"), dollars(1)),
            ("count", number("1000"), Ok(Limit::Count(1000))),
            ("nothing", number("0"), Ok(Limit::Count(0))),
            ("float", number("12.5"), Err("no float")),
            ("exponent", number("1e3"), Err("no float")),
            ("below zero", number("-1"), Err("no float")),
            ("text below zero", text("-12.50"), Err("an amount is")),
            ("neither", text("12"), Err("needs the `$`")),
            ("ten decimals", text("$0.0000000001"), Err("an amount is")),
            ("euros", text("€12.50"), Err("an amount is")),
            (
                "too much",
                text("$9999999999.00"),
                Err("at most $9223372036"),
            ),
            ("switch", Value::Bool(true), Err("want `\"$12.50\"`")),
        ] {
            let read = limit().read(&Node::new(value, Source::Flag));
            match (read, want) {
                (Ok(read), want) => assert_eq!(Ok(read), want, "{name}"),
                (Err(wrong), Err(want)) => {
                    let problem = &wrong[0].problem;
                    assert!(problem.contains(want), "{name}: {problem}");
                }
                (Err(wrong), Ok(_)) => panic!("{name}: {wrong:?}"),
            }
        }
    }
}
