//! Price tables: what is refused, and which of their models is meant.

use serde_json::{Value, json};
use tollkeep_ledger::price::{
    Book, Cost, Payer, Provider, Source, Table, UnknownModel, read_overrides,
};
use tollkeep_types::WallMillis;
use tollkeep_types::usage::{Class, Lines, Usage};

#[expect(clippy::needless_pass_by_value, reason = "made where it is called")]
fn table(models: Value) -> Result<Table, String> {
    let document = json!({
        "format": "tollkeep-prices/1", "version": "1", "published_at": "2026-11-01T00:00:00Z",
        "models": models,
    });
    Table::read(document.to_string().as_bytes(), "0").map_err(|error| error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "made where it is called")]
fn model(name: &str, more: Value) -> Value {
    let mut model = json!({"model": name, "rates": [{"from": "2025-01-01T00:00:00Z", "base": {"in_text": 1, "out_text": 2}}]});
    for (name, value) in more.as_object().into_iter().flatten() {
        model[name] = value.clone();
    }
    model
}

// LED-1 LED-30 LED-31
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_bad_table_is_refused_with_its_model() {
    let base = |base: Value| json!({"rates": [{"from": "2025-01-01T00:00:00Z", "base": base}]});
    let rates = |more: Value| {
        let mut rates = json!({"from": "2025-01-01T00:00:00Z", "base": {"in_text": 1_000_000_000}});
        for (name, value) in more.as_object().unwrap() {
            rates[name] = value.clone();
        }
        json!({"rates": [rates]})
    };
    let from = |from: &str| json!({"from": from, "base": {"in_text": 1}});
    for (name, more, want) in [
        ("a float", base(json!({"in_text": 2.5})), "whole number"),
        ("a text", base(json!({"in_text": "1"})), "whole number"),
        ("below zero", base(json!({"in_text": -1})), "whole number"),
        (
            "beyond measure",
            base(json!({"in_text": 1_000_000_000_000_001_u64})),
            "whole number",
        ),
        ("no class", base(json!({"in_smell": 1})), "in_smell"),
        ("unknown field", json!({"max_inputs": 1}), "max_inputs"),
        ("no rates", json!({"rates": []}), "empty"),
        (
            "not ascending",
            json!({"rates": [from("2026-01-01T00:00:00Z"), from("2025-01-01T00:00:00Z")]}),
            "ascending",
        ),
        (
            "twice at once",
            json!({"rates": [from("2026-01-01T00:00:00Z"), from("2026-01-01T00:00:00Z")]}),
            "ascending",
        ),
        ("no time", json!({"rates": [from("soon")]}), "soon"),
        (
            "ended before it began",
            rates(json!({"until": "2024-01-01T00:00:00Z"})),
            "until",
        ),
        (
            "tiers not ascending",
            rates(
                json!({"tiers": [{"over_input_tokens": 2, "rates": {}}, {"over_input_tokens": 2, "rates": {}}]}),
            ),
            "tiers",
        ),
        (
            "units in tiers",
            rates(json!({"tiers": [{"over_input_tokens": 2, "rates": {"web_search": 1}}]})),
            "tokens",
        ),
        (
            "unknown service",
            rates(json!({"service": {"express": {}}})),
            "express",
        ),
        (
            "factor by nothing",
            rates(json!({"service": {"flex": {"multiply": "1/0"}}})),
            "1/0",
        ),
        (
            "overflow",
            rates(
                json!({"modifiers": {"speed:fast": "1000000/1", "inference_geo:us": "1000000/1"}}),
            ),
            "too large",
        ),
        ("daily rates", rates(json!({"daily_utc": {}})), "daily_utc"),
        (
            "anthropic without writes",
            json!({"provider": "anthropic"}),
            "cache_write_5m",
        ),
        (
            "implicit writes without price",
            json!({"implicit_cache_write": true}),
            "cache_write",
        ),
        ("matches everything", json!({"match": ["*"]}), "everything"),
        ("odd cap field", json!({"cap_field": "max"}), "cap_field"),
    ] {
        let refused = table(json!([model("m", more)])).unwrap_err();
        assert!(
            refused.contains(want) && refused.contains("`m`"),
            "{name}: {refused}"
        );
    }
    assert!(table(json!([model("m", json!({})), model("m", json!({}))])).is_err());
    assert!(Table::read(b"{}", "0").is_err());
    assert!(table(json!([model("m", json!({}))])).is_ok());
}

// LED-30 LED-33 LED-34
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_closest_name_wins() {
    let table = table(json!([
        model("gpt", json!({"match": ["gpt-*"]})),
        model("gpt", json!({"provider": "openai"})),
        model("gpt", json!({"provider": "mine"})),
        model(
            "gpt-x",
            json!({"provider": "openai", "match": ["gpt-x-*", "gpt-*-x"]})
        ),
        model(
            "dear",
            json!({"provider": "openai", "rates": [{"from": "2025-01-01T00:00:00Z", "base": {"in_text": 9, "out_text": 90}, "until": "2027-01-01T00:00:00Z"}]})
        ),
    ]));
    let ours = read_overrides(vec![model("own", json!({"match": ["gpt-own*"]}))]).unwrap();
    let book = |unknown| Book::new(table.clone().unwrap(), ours.clone(), unknown);
    let now: WallMillis = "2026-07-01T00:00:00Z".parse().unwrap();
    let by = |kind, name, self_hosted| Provider {
        name,
        kind,
        self_hosted,
    };
    let refuse = book(UnknownModel::Refuse);
    let found = |name, provider, model| {
        let found = refuse
            .find(by("openai", provider, false), model, now)
            .ok()?;
        let _: &str = name;
        Some((
            found.model.id.to_string(),
            found.model.provider.as_deref().unwrap_or("").to_owned(),
            found.source,
        ))
    };
    let told =
        |id: &str, provider: &str, source| Some((id.to_owned(), provider.to_owned(), source));
    for (name, provider, model, want) in [
        (
            "of its name",
            "mine",
            "gpt",
            told("gpt", "mine", Source::Table),
        ),
        (
            "of its kind",
            "p",
            "gpt",
            told("gpt", "openai", Source::Table),
        ),
        ("by pattern", "p", "gpt-7", told("gpt", "", Source::Table)),
        (
            "by the longer pattern",
            "p",
            "gpt-x-7",
            told("gpt-x", "openai", Source::Table),
        ),
        (
            "an override first",
            "p",
            "gpt-own-7",
            told("own", "", Source::Override),
        ),
        (
            "without its date",
            "p",
            "dear-2026-03-05",
            told("dear", "openai", Source::Table),
        ),
        ("case matters", "p", "GPT", None),
        ("unknown", "p", "claude", None),
    ] {
        assert_eq!(found(name, provider, model), want, "{name}");
    }
    let before = "2024-12-31T23:59:59Z".parse().unwrap();
    let after = "2027-01-01T00:00:00Z".parse().unwrap();
    let openai = by("openai", "p", false);
    assert!(refuse.find(openai, "dear", before).is_err());
    assert!(refuse.find(openai, "dear", after).is_err());
    let dearest = book(UnknownModel::Dearest);
    let stand_in = dearest.find(openai, "claude", now).unwrap();
    assert_eq!(
        (&*stand_in.model.id, stand_in.source),
        ("dear", Source::Dearest)
    );
    assert!(dearest.find(by("groq", "p", false), "claude", now).is_err());
    let zero = book(UnknownModel::Zero);
    assert!(zero.find(openai, "claude", now).is_err());
    let free = zero.find(by("vllm", "p", true), "claude", now).unwrap();
    assert_eq!(
        free.rates.base.token(Class::InText).map(|rate| rate.get()),
        Some(0)
    );
}

/// Whether a text is one of a pattern, by the definition.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_at_checked(1) {
        None => text.is_empty(),
        Some(("*", rest)) => {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| is_like(rest, text)))
        }
        Some((first, rest)) => text.strip_prefix(first).is_some_and(|t| is_like(rest, t)),
    }
}

proptest::proptest! {
    // LED-30
    #[test]
    fn the_most_literal_pattern_is_found_as_if_all_were_looked_at(
        patterns in proptest::collection::vec(("[ab*]{1,4}", 0_usize..3), 1..20),
        names in proptest::collection::vec("[ab]{0,6}", 20),
    ) {
        let literal = |pattern: &str| pattern.replace('*', "").len();
        let providers = [None, Some("kind"), Some("other")];
        let (mut models, mut known) = (Vec::new(), Vec::new());
        for (number, (pattern, of)) in patterns.iter().enumerate() {
            if literal(pattern) == 0 {
                continue;
            }
            // Ids in the order of the patterns, so that the first of alike ones is known.
            let id = format!("model-{number:02}");
            let mut fields = json!({"match": [pattern]});
            if let Some(provider) = providers[*of] {
                fields["provider"] = provider.into();
            }
            models.push(model(&id, fields));
            known.push((pattern, *of, id));
        }
        let book = Book::new(table(models.into()).unwrap(), Vec::new(), UnknownModel::Refuse);
        let provider = Provider { name: "name", kind: "kind", self_hosted: false };
        for name in &names {
            let matching = known.iter().filter(|(pattern, of, _)| *of < 2 && is_like(pattern, name));
            let want = matching.rev().max_by_key(|(pattern, of, _)| (literal(pattern), *of));
            let found = book.listed(provider, name, WallMillis(1_800_000_000_000));
            let found = found.map(|found| found.model.id.to_string());
            proptest::prop_assert_eq!(found, want.map(|(.., id)| id.clone()), "{}", name);
        }
    }
}

// LED-3 LED-34
#[test]
fn a_markup_is_on_the_exact_sum_and_each_amount_is_rounded_up_once() {
    let base = json!([{"from": "2025-01-01T00:00:00Z", "base": {"in_text": 333, "out_text": 333}}]);
    let models = table(json!([model("m", json!({"rates": base}))])).unwrap();
    let markup = json!({"markup": "11/10", "provider": "p"});
    let ours = read_overrides(vec![markup.clone()]).unwrap();
    let book = Book::new(models, ours, UnknownModel::Refuse);
    let provider = Provider {
        name: "p",
        kind: "openai",
        self_hosted: false,
    };
    let cost = Cost {
        provider,
        asked: "m",
        served: None,
        at: "2026-07-01T00:00:00Z".parse().unwrap(),
    };
    let mut usage = Usage::default();
    usage.set(Class::InText, 70);
    usage.set(Class::OutText, 30);
    let factor = book.markup(provider, Payer::default());
    let marked = cost.marked_up(&book, &Lines::from(usage), factor).unwrap();
    // 33.3 nano-dollars, and 36.63: not a tenth more of 34.
    assert_eq!((marked.upstream.get(), marked.cost.get()), (34, 37));
    let twice = read_overrides(vec![markup.clone(), markup]);
    assert!(twice.unwrap_err().to_string().contains("twice"));
}
