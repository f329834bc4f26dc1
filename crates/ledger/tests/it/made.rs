//! The bounds of images and of speech, and of what only the operator knows.

use crate::vectors::ANY;
use serde_json::{Value, json};
use tollkeep_ledger::bound::{Bound, Options, bound};
use tollkeep_ledger::price::{Book, Cost, Table, UnknownModel};
use tollkeep_llm::body::CallView;
use tollkeep_llm::demand::{Form, Known, KnownTool, read};
use tollkeep_llm::surface::{Surface, UsageDialect};
use tollkeep_llm::usage::{Asked, BodyUsage};
use tollkeep_types::WallMillis;
use tollkeep_types::usage::Unit;

const AT: WallMillis = WallMillis(1_800_000_000_000);

fn book() -> Book {
    let model = |name: &str, facts: Value, base: Value| {
        let mut model =
            json!({"model": name, "rates": [{"from": "2025-01-01T00:00:00Z", "base": base}]});
        for (name, value) in facts.as_object().unwrap() {
            model[name] = value.clone();
        }
        model
    };
    let by_token = json!({"in_text": 5_000_000, "out_image": 40_000_000});
    let document = json!({
        "format": "tollkeep-prices/1", "version": "1", "published_at": "2026-11-01T00:00:00Z",
        "models": [
            model("one-by-one", json!({}), json!({
                "image:standard:1024x1024": 40_000_000_000_u64, "image:hd:1024x1024": 80_000_000_000_u64,
                "image:standard:1792x1024": 60_000_000_000_u64,
            })),
            model("by-token", json!({"image_output_tokens_max": 6240}), by_token.clone()),
            model("by-token-of-any-size", json!({}), by_token),
            model("voice", json!({}), json!({"char_in": 15_000_000})),
            model("voice-by-token", json!({}), json!({"in_text": 600_000, "out_audio": 12_000_000})),
            model("text", json!({"max_input": 1000, "max_output": 100}), json!({
                "in_text": 1_000_000, "out_text": 2_000_000, "code_session": 30_000_000_000_u64,
            })),
        ],
    });
    let table = Table::read(document.to_string().as_bytes(), "0").unwrap();
    Book::new(table, Vec::new(), UnknownModel::Refuse)
}

fn bounded(form: Form, body: &Value, known: &Known) -> Result<Bound, String> {
    let (book, text) = (book(), body.to_string());
    let found = book.find(ANY, body["model"].as_str().unwrap(), AT).unwrap();
    let demand = read(form, text.as_bytes(), known);
    bound(&demand, found, &Options::default())
        .map_err(|refused| format!("{}: {refused}", refused.code()))
}

fn cost(surface: Surface, dialect: UsageDialect, body: &Value, answer: &Value) -> i64 {
    let (book, text) = (book(), body.to_string());
    let view = CallView::read(text.as_bytes(), 128).unwrap();
    let asked = Asked::of_call(surface, &view, text.as_bytes());
    let answer = answer.to_string();
    let told = BodyUsage::read(dialect, &asked, 200, answer.as_bytes()).told;
    let cost = Cost {
        provider: ANY,
        asked: body["model"].as_str().unwrap(),
        served: None,
        at: AT,
    };
    cost.of(&book, told.report.lines().unwrap()).unwrap().get()
}

// LED-44
#[test]
fn images_are_bounded_by_the_dearest_sort_that_may_be_made() {
    for (name, more, want) in [
        ("any", json!({}), Ok(80_000_000)),
        ("two", json!({"n": 2}), Ok(160_000_000)),
        (
            "left to the upstream",
            json!({"quality": "auto"}),
            Ok(80_000_000),
        ),
        (
            "of a quality",
            json!({"quality": "standard"}),
            Ok(60_000_000),
        ),
        (
            "of a sort",
            json!({"quality": "standard", "size": "1024x1024", "n": 3}),
            Ok(120_000_000),
        ),
        (
            "without a price",
            json!({"size": "1x1"}),
            Err("model_not_priced"),
        ),
        (
            "with pieces on the way",
            json!({"partial_images": 2}),
            Err("cost_not_boundable"),
        ),
        ("not so many", json!({"n": 1.5}), Err("cost_not_boundable")),
    ] {
        let mut body = json!({"model": "one-by-one", "prompt": "a cat"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let got = bounded(Form::Images, &body, &Known::default());
        match want {
            Ok(amount) => {
                let got = got.unwrap();
                assert_eq!((got.amount.get(), got.cap), (amount, None), "{name}");
                let many = body["n"].as_u64().unwrap_or(1);
                let made: Vec<_> = (0..many).map(|_| json!({"url": "https://x"})).collect();
                let cost = cost(
                    Surface::Images,
                    UsageDialect::Images,
                    &body,
                    &json!({"data": made}),
                );
                assert!(cost <= amount && cost > 0, "{name}: {cost}");
            }
            Err(code) => assert!(
                got.as_ref().unwrap_err().starts_with(code),
                "{name}: {got:?}"
            ),
        }
    }
}

// LED-44
#[test]
fn images_that_are_billed_by_token_need_to_be_known_by_their_size() {
    let body = json!({"model": "by-token", "prompt": "a cat", "n": 2});
    let got = bounded(Form::Images, &body, &Known::default()).unwrap();
    assert_eq!(got.output_tokens, 12_480);
    let tokens = i64::try_from(body.to_string().len()).unwrap() + 64 + 16;
    assert_eq!(got.amount.get(), tokens * 5_000 + 12_480 * 40_000);
    let answer = json!({"data": [{}, {}], "usage": {
        "input_tokens": 9, "output_tokens": 12_480, "total_tokens": 12_489,
        "input_tokens_details": {"text_tokens": 9, "image_tokens": 0},
    }});
    let cost = cost(Surface::Images, UsageDialect::Images, &body, &answer);
    assert_eq!(cost, 9 * 5_000 + 12_480 * 40_000);
    let body = json!({"model": "by-token-of-any-size", "prompt": "a cat"});
    let refused = bounded(Form::Images, &body, &Known::default()).unwrap_err();
    assert!(refused.contains("image_output_tokens_max"), "{refused}");
}

// LED-44
#[test]
fn speech_is_bounded_by_exactly_what_it_costs() {
    let body = json!({"model": "voice", "voice": "x", "input": "Grüße 🦀"});
    let got = bounded(Form::Speech, &body, &Known::default()).unwrap();
    assert_eq!(got.amount.get(), 7 * 15_000);
    let cost = cost(Surface::Speech, UsageDialect::Speech, &body, &json!({}));
    assert_eq!(cost, got.amount.get());
    for (model, more, code) in [
        ("voice-by-token", json!("x"), "model_not_priced"),
        ("voice", json!(["x"]), "cost_not_boundable"),
    ] {
        let body = json!({"model": model, "voice": "x", "input": more});
        let refused = bounded(Form::Speech, &body, &Known::default()).unwrap_err();
        assert!(refused.starts_with(code), "{refused}");
    }
}

// LED-43 LED-43a
#[test]
fn what_the_operator_knows_can_be_bounded() {
    let tool =
        |kind: &str, extra_tokens: u64, unit: Option<Unit>, max_uses: Option<u64>| KnownTool {
            kind: kind.to_owned(),
            extra_tokens,
            unit,
            max_uses,
        };
    let known = Known {
        fields: vec!["plugins".to_owned()],
        tools: vec![
            tool("local_shell", 300, None, None),
            tool("code_interpreter", 50, Some(Unit::CodeSession), Some(2)),
        ],
    };
    let ask = |more: Value| {
        let mut body = json!({"model": "text", "messages": [], "max_tokens": 10});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        bounded(Form::Chat, &body, &known)
    };
    let plain = ask(json!({})).unwrap();
    let field = ask(json!({"plugins": []})).unwrap();
    assert_eq!(field.output_tokens, plain.output_tokens);
    assert!(ask(json!({"plug": []})).unwrap_err().contains("`plug`"));
    let tools = |kind: &str| ask(json!({"tools": [{"type": kind}]}));
    let shell = tools("local_shell").unwrap();
    let function = tools("functionality").unwrap_err();
    assert!(function.starts_with("cost_not_boundable"), "{function}");
    // One reading of the context, which is bounded by the model's own.
    assert_eq!(shell.input_tokens, 1000);
    // Three rounds, two sessions.
    let code = tools("code_interpreter").unwrap();
    assert_eq!((code.input_tokens, code.output_tokens), (3_000, 30));
    assert_eq!(
        code.amount.get(),
        3_000 * 1_000 + 30 * 2_000 + 2 * 30_000_000
    );
}

// LED-41 LED-43a
#[test]
fn a_cap_of_zero_is_none_where_upstreams_may_read_it_so_and_a_huge_one_is_the_models() {
    let chat = r#"{"model":"text","messages":[],"max_tokens":@}"#;
    let newer = r#"{"model":"text","messages":[],"max_completion_tokens":@}"#;
    let responses = r#"{"model":"text","input":"a","max_output_tokens":@}"#;
    let gemini = r#"{"model":"text","contents":[],"generationConfig":{"maxOutputTokens":@}}"#;
    let completions = r#"{"model":"text","prompt":"a","max_tokens":@}"#;
    for (form, body, zero_is_said) in [
        (Form::Chat, chat, false),
        (Form::Chat, newer, false),
        (Form::Responses, responses, false),
        (Form::Gemini, gemini, false),
        // These say what it means: nothing is written.
        (Form::Completions, completions, true),
        (Form::Messages, chat, true),
    ] {
        let cap = |value: &str| {
            let body: Value = serde_json::from_str(&body.replace('@', value)).unwrap();
            let bound = bounded(form, &body, &Known::default())?;
            Ok::<_, String>(bound.cap.map(|cap| cap.tokens))
        };
        match cap("0") {
            Ok(zero) => assert!(zero_is_said && zero == Some(0), "{body}: {zero:?}"),
            Err(why) => {
                let is_told = why.starts_with("cost_not_boundable") && why.contains("is zero");
                assert!(!zero_is_said && is_told, "{body}: {why}");
            }
        }
        assert_eq!(cap("7"), Ok(Some(7)), "{body}");
        for huge in ["9007199254740991", "18446744073709551615"] {
            assert_eq!(cap(huge), Ok(Some(100)), "{body}");
        }
        for wrong in ["-1", "1.5", "\"7\""] {
            assert!(cap(wrong).is_err(), "{body} {wrong}");
        }
    }
    // The least of two is no way around it.
    let both =
        json!({"model": "text", "messages": [], "max_tokens": 0, "max_completion_tokens": 5});
    assert!(bounded(Form::Chat, &both, &Known::default()).is_err());
}
