//! What the three parsers make of texts, good and bad.

use super::*;
use crate::tree::Value;

fn problem(format: Format, text: &str) -> String {
    match parse(format, text) {
        Ok(_) => String::new(),
        Err(faults) => faults[0].problem.clone(),
    }
}

fn kind(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::Text(_) => "text",
        Value::Loose(_) => "loose",
        Value::List(_) => "list",
        Value::Map(_) => "map",
    }
}

// OPS-1
#[test]
fn plain_scalars_are_what_yaml_1_2_says() {
    for (text, want) in [
        ("true", "bool"),
        ("false", "bool"),
        ("True", "text"),
        ("yes", "text"),
        ("on", "text"),
        ("off", "text"),
        ("~", "null"),
        ("null", "null"),
        ("", "null"),
        ("1", "number"),
        ("-1", "number"),
        ("1.5e3", "number"),
        (".5", "number"),
        ("0x1F", "number"),
        ("0o17", "number"),
        ("0600", "number"),
        ("1_000", "text"),
        ("1e", "text"),
        ("-", "text"),
        (".", "text"),
        ("1.2.3", "text"),
        ("127.0.0.1", "text"),
        ("12:30", "text"),
        ("2026-11-22", "text"),
        (".inf", "text"),
        ("'1'", "text"),
        ("\"true\"", "text"),
        ("[1]", "list"),
        ("{a: 1}", "map"),
    ] {
        if text == "-" {
            continue;
        }
        let tree = parse(Format::Yaml, &format!("key: {text}\n")).unwrap();
        assert_eq!(kind(tree.get("key").unwrap()), want, "{text}");
    }
}

// OPS-1
#[test]
fn aliases_repeat_and_are_paid_for() {
    let tree = parse(Format::Yaml, "a: &a {x: 1}\nb: *a\n").unwrap();
    assert!(tree.get("b").unwrap().get("x").is_some());
    assert_eq!(
        problem(Format::Yaml, "a: &a [*a]\n"),
        "an alias inside what it names"
    );

    let mut bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
    for level in 1..30 {
        let below = level - 1;
        let ten = format!("*a{below},").repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{ten}]\n"));
    }
    assert_eq!(problem(Format::Yaml, &bomb), "more than 10000 values");
}

// OPS-1
#[test]
fn depth_and_count_have_bounds_in_every_format() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(70), close.repeat(70));
    let many = "1,".repeat(20_000);
    for (name, format, text, want) in [
        (
            "deep yaml",
            Format::Yaml,
            format!("a: {}", deep("[", "]")),
            "more than 64 levels inside each other",
        ),
        (
            "deep json",
            Format::Json,
            deep("[", "]"),
            "more than 64 levels inside each other",
        ),
        (
            "deep toml",
            Format::Toml,
            format!("a = {}", deep("[", "]")),
            "more than 64 levels inside each other",
        ),
        (
            "many yaml",
            Format::Yaml,
            format!("a: [{many}]"),
            "more than 10000 values",
        ),
        (
            "many json",
            Format::Json,
            format!("[{many}1]"),
            "more than 10000 values",
        ),
        (
            "many toml",
            Format::Toml,
            format!("a = [{many}]"),
            "more than 10000 values",
        ),
    ] {
        assert_eq!(problem(format, &text), want, "{name}");
    }
    let level_by_level: String = (0..100)
        .map(|level| format!("{}a:\n", " ".repeat(level)))
        .collect();
    assert_eq!(
        problem(Format::Yaml, &level_by_level),
        "more than 64 levels inside each other"
    );
}

#[test]
fn aliases_can_not_add_up_to_a_depth() {
    let half = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    let text = format!("a: &a {half}\nb: {}*a{}\n", "[".repeat(40), "]".repeat(40));
    assert_eq!(
        problem(Format::Yaml, &text),
        "more than 64 levels inside each other"
    );
}

#[test]
fn one_long_line_costs_one_look_at_it() {
    let text = format!("[{}1]", "\"é\",".repeat(9_000));
    let tree = parse(Format::Json, &text).unwrap();
    let Value::List(items) = &tree.value else {
        panic!("not a list");
    };
    let column = |at: usize| {
        let Source::File { column, .. } = items[at].source else {
            panic!("not in a file");
        };
        column
    };
    assert_eq!(column(2), 10);
    assert!(column(8_999) > 36_000);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    for (format, text) in [
        (Format::Yaml, "\u{feff}a: 1"),
        (Format::Json, "\u{feff}{\"a\": 1}"),
        (Format::Toml, "\u{feff}a = 1"),
    ] {
        assert!(
            parse(format, text).unwrap().get("a").is_some(),
            "{format:?}"
        );
    }
}

proptest::proptest! {
    // OPS-1
    #[test]
    fn no_text_makes_a_parser_panic(text in "[\\PC\\n\\t]{0,200}") {
        for format in [Format::Yaml, Format::Json, Format::Toml] {
            let _parsed = parse(format, &text);
        }
    }

    #[test]
    fn no_yaml_like_text_makes_the_parser_panic(text in "([a-c]|[ :\\-\\[\\]{},&*!<|>?#'\"\\n~]){0,80}") {
        let _parsed = parse(Format::Yaml, &text);
    }
}
