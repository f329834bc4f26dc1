//! Prices as they are written, and what requests cost by rules.

use crate::vectors::vectors;
use serde_json::Value;
use tollkeep_payments::evm::Address;
use tollkeep_payments::price::{Price, PriceFault, token_units};
use tollkeep_payments::pricing::{
    Asked, Condition, ConditionFault, Decimal, ModelPrices, Origin, Parts, Pattern, Pricing,
    PricingFault, Quote, QuoteFault, Rule, UnknownModel, Wanted,
};
use tollkeep_types::money::NanoUsd;

// PAY-20 PAY-21
#[test]
fn prices_are_read_as_the_vectors_have_them() {
    for case in vectors("prices").1 {
        let name = case["name"].as_str().unwrap();
        let expect = &case["expect"];
        let read = case["price"].as_str().unwrap().parse::<Price>();
        if let Some(error) = expect["error"].as_str() {
            let kind = match read {
                Err(PriceFault::NotAPrice) => "not a price",
                Err(PriceFault::Ambiguous) => "ambiguous",
                Err(PriceFault::OutOfRange) => "out of range",
                Ok(price) => panic!("{name}: {price}"),
            };
            assert!(error.starts_with(kind), "{name}: {kind}");
            continue;
        }
        let price = read.unwrap();
        let (unit, amount) = match &price {
            Price::Usd(usd) => ("nano_usd", usd.get()),
            Price::Msat(msat) => ("msat", i64::try_from(*msat).unwrap()),
            Price::Both { .. } | Price::Asset { .. } => panic!("{name}"),
        };
        assert_eq!(expect["unit"], unit, "{name}");
        assert_eq!(expect["amount"], amount, "{name}");
        assert_eq!(expect["free"], price.is_free(), "{name}");
        let units = price.usd().and_then(|usd| token_units(usd, 6));
        let want = expect["usdc_atomic"].as_u64().map(u128::from);
        assert_eq!(units, want, "{name}");
    }
}

fn price(text: &str) -> Price {
    text.parse().unwrap()
}

fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

fn wanted(json: &Value) -> Wanted {
    match json {
        Value::String(text) => Wanted::Text(Pattern::new(text).unwrap()),
        Value::Number(number) => Wanted::Number(Decimal::new(&number.to_string()).unwrap()),
        Value::Bool(on) => Wanted::Bool(*on),
        Value::Null | Value::Array(_) | Value::Object(_) => panic!("{json}"),
    }
}

fn rule(conditions: &Value, cost: &str) -> Rule {
    let conditions = conditions.as_object().unwrap();
    let condition = |(place, value): (&String, &Value)| Condition::new(place, wanted(value));
    Rule {
        conditions: conditions.iter().map(|at| condition(at).unwrap()).collect(),
        price: price(cost),
        pay_to: None,
    }
}

fn chat() -> Pricing {
    let (file, _) = vectors("routes");
    let route = &file["routes"]["POST /v1/chat"];
    let rules = route["match"].as_array().unwrap();
    let rules = rules.iter();
    let parts = Parts {
        rules: rules
            .map(|at| rule(&at["where"], at["price"].as_str().unwrap()))
            .collect(),
        fallback: Some(price(route["fallback"].as_str().unwrap())),
        ..Parts::default()
    };
    Pricing::new(parts).unwrap().unwrap()
}

// As far as it is decided here: PAY-26.
// PAY-25
#[test]
fn rules_choose_the_price_as_the_vectors_have_it() {
    let pricing = chat();
    let mut asked = 0;
    for case in vectors("routes").1 {
        if case["path"] != "/v1/chat" || case["expect"]["status"] == 405 {
            continue;
        }
        asked += 1;
        let headers = case["headers"].as_object().unwrap();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let quote = pricing.quote(&Asked {
            params: &[],
            query: case["query"].as_str().unwrap(),
            headers: &headers,
            body: case["body"].as_str().unwrap().as_bytes(),
        });
        let name = &case["name"];
        match quote {
            Ok(quote) => {
                let want = price(case["expect"]["price"].as_str().unwrap());
                assert_eq!(quote.price, want, "{name}");
            }
            Err(fault) => assert_eq!(case["expect"]["status"], fault.status(), "{name}"),
        }
    }
    assert_eq!(asked, 15);
}

fn json<'a>(query: &'a str, headers: &'a [(&'a str, &'a str)], body: &'a str) -> Asked<'a> {
    Asked {
        params: &[],
        query,
        headers,
        body: body.as_bytes(),
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

// As far as it is decided here: PAY-26.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_can_be_read_in_two_ways_has_no_price() {
    let pricing = chat();
    let body = r#"{"model":"gpt-4"}"#;
    let dear = Ok("$0.03");
    for (name, asked, want) in [
        ("plain", json("", &[JSON], body), dear),
        (
            "+json",
            json("", &[("Content-Type", "application/vnd.x+json")], body),
            dear,
        ),
        (
            "utf-8",
            json(
                "",
                &[("Content-Type", "application/json; Charset=\"UTF-8\"")],
                body,
            ),
            dear,
        ),
        (
            "another charset",
            json(
                "",
                &[("Content-Type", "application/json; charset=utf-16")],
                body,
            ),
            Err(QuoteFault::NotJson),
        ),
        ("no type", json("", &[], body), Err(QuoteFault::NotJson)),
        (
            "two types",
            json("", &[JSON, ("CONTENT-TYPE", "text/plain")], body),
            Err(QuoteFault::Ambiguous),
        ),
        (
            "a form",
            json(
                "",
                &[("Content-Type", "application/x-www-form-urlencoded")],
                body,
            ),
            Err(QuoteFault::NotJson),
        ),
        (
            "a field twice",
            json("", &[JSON, ("x-tier", "a"), ("X-Tier", "gold")], body),
            Err(QuoteFault::Ambiguous),
        ),
        (
            "the second name in escapes",
            json("size=s&%73ize=xl", &[JSON], body),
            Err(QuoteFault::Ambiguous),
        ),
        (
            "half an escape",
            json("size=%x", &[JSON], body),
            Err(QuoteFault::Ambiguous),
        ),
        (
            "others may stand twice",
            json("a=1&a=2", &[JSON], body),
            dear,
        ),
        (
            "deep twins",
            json("", &[JSON], r#"{"model":"gpt-4","a":{"b":1,"b":2}}"#),
            Err(QuoteFault::BrokenBody),
        ),
        (
            "an escaped twin",
            json("", &[JSON], r#"{"model":"x","mod\u0065l":"gpt-4"}"#),
            Err(QuoteFault::BrokenBody),
        ),
        (
            "no body",
            json("", &[JSON], ""),
            Err(QuoteFault::BrokenBody),
        ),
    ] {
        let quote = pricing.quote(&asked).map(|quote| quote.price);
        assert_eq!(quote, want.map(price), "{name}");
    }
    let latin = Asked {
        body: b"{\"model\":\"\xe9\"}",
        ..json("", &[JSON], "")
    };
    assert_eq!(pricing.quote(&latin), Err(QuoteFault::NotJson));
}

// PAY-25
#[test]
fn conditions_look_where_they_say_and_can_hold() {
    let text = || Wanted::Text(Pattern::new("a*").unwrap());
    let number = || Wanted::Number(Decimal::new("4").unwrap());
    let deep = format!("body{}", ".a".repeat(17));
    for (place, value, want) in [
        ("body.model", text(), Ok("body.model=a*")),
        ("headers.X-Tier", text(), Ok("headers.x-tier=a*")),
        ("body.n", number(), Ok("body.n=4")),
        ("query.n", number(), Err(ConditionFault::TextOnly)),
        (
            "params.id",
            Wanted::Bool(true),
            Err(ConditionFault::TextOnly),
        ),
        ("model", text(), Err(ConditionFault::NoPlace)),
        ("cookies.x", text(), Err(ConditionFault::NoPlace)),
        ("body.", text(), Err(ConditionFault::NoPlace)),
        ("body.a..b", text(), Err(ConditionFault::NoPlace)),
        (deep.as_str(), text(), Err(ConditionFault::TooDeep)),
    ] {
        let made = Condition::new(place, value).map(|condition| condition.to_string());
        assert_eq!(made.as_deref(), want.as_ref().copied(), "{place}");
    }
    let rules = vec![rule(
        &serde_json::json!({"body.messages.1.role": "user"}),
        "$2",
    )];
    let parts = Parts {
        rules,
        fallback: Some(price("$1")),
        ..Parts::default()
    };
    let pricing = Pricing::new(parts).unwrap().unwrap();
    for (body, want) in [
        (r#"{"messages":[{"role":"system"},{"role":"user"}]}"#, "$2"),
        (r#"{"messages":{"1":{"role":"user"}}}"#, "$2"),
        (r#"{"messages":[{"role":"user"}]}"#, "$1"),
        (r#"{"messages":"user"}"#, "$1"),
        (r#"{"messages":null}"#, "$1"),
    ] {
        let quote = pricing.quote(&json("", &[JSON], body)).unwrap();
        assert_eq!(quote.price, price(want), "{body}");
    }
}

fn quoted(parts: Parts, asked: &Asked<'_>) -> Result<Quote, QuoteFault> {
    Pricing::new(parts).unwrap().unwrap().quote(asked)
}

// PAY-24
#[test]
fn prices_come_in_one_order_and_never_silently() {
    let written = |text: &str| Some(price(text));
    let nothing = Asked::default();
    let parts = Parts {
        price: written("$3"),
        fallback: written("$2"),
        default: written("$1"),
        ..Parts::default()
    };
    let told = |parts: Parts| {
        let quote = quoted(parts, &nothing).unwrap();
        (quote.origin, quote.price.to_string())
    };
    assert_eq!(told(parts.clone()), (Origin::Price, "$3".to_owned()));
    let parts = Parts {
        price: None,
        ..parts
    };
    assert_eq!(told(parts.clone()), (Origin::Fallback, "$2".to_owned()));
    let parts = Parts {
        fallback: None,
        ..parts
    };
    assert_eq!(told(parts.clone()), (Origin::Default, "$1".to_owned()));
    let rules = vec![rule(&serde_json::json!({"query.a": "1"}), "$9")];
    // What is usual elsewhere is no fallback.
    let made = Pricing::new(Parts {
        rules: rules.clone(),
        ..parts
    });
    assert_eq!(made.map(|_| ()), Err(PricingFault::FallbackMissing));
    let beside = Parts {
        rules,
        price: written("$3"),
        ..Parts::default()
    };
    assert_eq!(told(beside.clone()), (Origin::Fallback, "$3".to_owned()));
    let first = quoted(beside, &json("a=1", &[], "")).unwrap();
    assert_eq!((first.origin, first.price), (Origin::Rule(0), price("$9")));
    assert!(Pricing::new(Parts::default()).unwrap().is_none());
}

// As far as it is decided here: PAY-6, PAY-27.
#[test]
fn bounds_raise_and_refuse() {
    let bounded = |cost: &str| Parts {
        price: Some(price(cost)),
        min: Some(usd("$0.01")),
        max: Some(usd("$1")),
        ..Parts::default()
    };
    let nothing = Asked::default();
    for (cost, want) in [
        ("$0.001", Ok(("$0.01", true))),
        ("$0", Ok(("$0.01", true))),
        ("$0.01", Ok(("$0.01", false))),
        ("$1", Ok(("$1", false))),
        ("$1.000000001", Err(QuoteFault::OutOfBounds)),
    ] {
        let quote = quoted(bounded(cost), &nothing).map(|quote| (quote.price, quote.is_raised));
        let want = want.map(|(text, raised)| (price(text), raised));
        assert_eq!(quote, want, "{cost}");
    }
    let crossed = Parts {
        min: Some(usd("$2")),
        ..bounded("$1")
    };
    let fault = |parts: Parts| Pricing::new(parts).map(|_| ()).unwrap_err();
    assert_eq!(fault(crossed), PricingFault::BoundsCrossed);
    assert_eq!(fault(bounded("21sat")), PricingFault::BoundsWithoutDollars);
    assert_eq!(QuoteFault::OutOfBounds.status(), 500);
    assert_eq!(QuoteFault::Unresolved.code(), "price_unresolved");
}

// PAY-28
#[test]
fn models_have_flat_prices_and_unknown_ones_are_not_had_cheaply() {
    let models = |unknown| {
        let own = [("mine", "$5"), ("gpt-4*", "$4"), ("gpt-4o", "$3")];
        let own = own.map(|(pattern, cost)| (Pattern::new(pattern).unwrap(), price(cost)));
        Some(ModelPrices::new(own.to_vec(), unknown))
    };
    let body = |model: &str| format!(r#"{{"model":"{model}"}}"#);
    let parts = |unknown, fallback: Option<&str>| Parts {
        models: models(unknown),
        fallback: fallback.map(price),
        ..Parts::default()
    };
    let reject = Err(QuoteFault::UnknownModel);
    let fall = Some(UnknownModel::Fallback);
    for (name, model, parts, want) in [
        ("exact", "gpt-4o", parts(None, None), Ok("$3")),
        ("pattern", "gpt-4-turbo", parts(None, None), Ok("$4")),
        ("table", "o1-pro", parts(None, None), Ok("$0.60")),
        ("no fallback", "x", parts(None, None), reject),
        ("a cheap fallback", "x", parts(None, Some("$0.001")), reject),
        (
            "a dear fallback",
            "x",
            parts(None, Some("$0.50")),
            Ok("$0.50"),
        ),
        (
            "cheap on purpose",
            "x",
            parts(fall, Some("$0.001")),
            Ok("$0.001"),
        ),
        (
            "refused on purpose",
            "x",
            parts(Some(UnknownModel::Reject), Some("$9")),
            reject,
        ),
        (
            "on purpose, of nothing",
            "x",
            parts(fall, None),
            Err(QuoteFault::Unresolved),
        ),
    ] {
        let body = body(model);
        let quote = quoted(parts, &json("", &[JSON], &body)).map(|quote| quote.price);
        assert_eq!(quote, want.map(price), "{name}");
    }
    for body in ["{}", r#"{"model":4}"#, r#"{"model":""}"#, "[]"] {
        let quote = quoted(parts(None, None), &json("", &[JSON], body));
        assert_eq!(quote, Err(QuoteFault::NoModel), "{body}");
    }
}

#[test]
fn a_rule_says_who_is_paid() {
    let address: Address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
        .parse()
        .unwrap();
    let parts = Parts {
        rules: vec![Rule {
            pay_to: Some(address),
            ..rule(&serde_json::json!({"params.id": "7"}), "$1")
        }],
        fallback: Some(price("$1")),
        ..Parts::default()
    };
    let asked = Asked {
        params: &[("id", "7")],
        ..Asked::default()
    };
    let to = |asked: &Asked<'_>| quoted(parts.clone(), asked).unwrap().pay_to;
    assert_eq!(to(&asked), Some(address));
    assert_eq!(to(&Asked::default()), None);
}
