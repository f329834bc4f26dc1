//! How many tokens a call has, roughly.

use serde_json::json;
use tollkeep_llm::count::{NoMessages, estimate_messages};

// LLM-75
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn text_counts_by_its_bytes_and_the_rest_by_what_it_is() {
    let text = |text: &str| json!({"messages": [{"role": "user", "content": text}]});
    let blocks = |blocks| json!({"messages": [{"role": "user", "content": blocks}]});
    let pdf = |bytes: usize| {
        let data = "A".repeat(bytes.div_ceil(3) * 4);
        blocks(
            json!([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}]),
        )
    };
    let schema = json!({"type": "object"});
    let tool = json!({"name": "f", "input_schema": schema});
    let tool_tokens = u64::try_from(tool.to_string().len()).unwrap().div_ceil(3) + 32;
    for (name, body, want) in [
        ("no message", json!({"messages": []}), 0),
        ("an empty one", text(""), 16),
        ("one byte", text("a"), 17),
        ("three bytes", text("abc"), 17),
        ("four bytes", text("abcd"), 18),
        ("bytes of UTF-8", text("世界"), 18),
        ("escapes count as what they mean", text("\n\n\n"), 17),
        (
            "two messages",
            json!({"messages": [{"content": "abc"}, {"content": "abc"}]}),
            34,
        ),
        (
            "a system prompt",
            json!({"system": "abc", "messages": []}),
            17,
        ),
        (
            "blocks of it",
            json!({"system": [{"type": "text", "text": "abc"}], "messages": []}),
            17,
        ),
        (
            "a block",
            blocks(json!([{"type": "text", "text": "abc"}])),
            17,
        ),
        (
            "an image",
            blocks(
                json!([{"type": "image", "source": {"type": "base64", "data": "x".repeat(999)}}]),
            ),
            1616,
        ),
        ("a small document", pdf(10), 3016),
        ("a document", pdf(102_399), 3016),
        ("a larger one", pdf(102_402), 6016),
        (
            "a document of text",
            blocks(json!([{"type": "document", "source": {"type": "text", "data": "abc"}}])),
            17,
        ),
        (
            "a call of a tool",
            blocks(json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}])),
            17,
        ),
        (
            "its result",
            blocks(
                json!([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "abc"}]}]),
            ),
            17,
        ),
        (
            "a thought",
            blocks(json!([{"type": "thinking", "thinking": "abc", "signature": "s".repeat(99)}])),
            17,
        ),
        (
            "a tool",
            json!({"tools": [tool], "messages": []}),
            tool_tokens,
        ),
    ] {
        assert_eq!(
            estimate_messages(body.to_string().as_bytes()),
            Ok(want),
            "{name}"
        );
    }
}

// LLM-75
#[test]
fn what_has_no_messages_is_no_call() {
    for body in [
        json!({}),
        json!({"messages": null}),
        json!({"messages": "hi"}),
        json!({"messages": {"role": "user"}}),
        json!({"messages": ["hi"]}),
    ] {
        let refused = estimate_messages(body.to_string().as_bytes());
        assert_eq!(refused, Err(NoMessages), "{body}");
    }
}

proptest::proptest! {
    // LLM-75
    #[test]
    fn no_count_is_above_the_bytes_and_the_fixed_parts(texts in proptest::collection::vec("\\PC{0,40}", 0..8)) {
        let messages: Vec<_> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        let count = estimate_messages(json!({"messages": messages}).to_string().as_bytes()).unwrap();
        let bytes: usize = texts.iter().map(String::len).sum();
        let fixed = 16 * texts.len();
        proptest::prop_assert!(count <= u64::try_from(bytes + fixed).unwrap());
        proptest::prop_assert!(count >= u64::try_from(bytes / 3 + fixed).unwrap());
    }

    #[test]
    fn no_body_breaks_it(body: Vec<u8>, json in "[\\[\\]{}\":,a-z0-9 ]{0,80}") {
        let odd = format!("{{\"messages\":[{{\"content\":[{json}]}}]}}");
        for body in [&*body, odd.as_bytes()] {
            let most = u64::try_from(body.len()).unwrap() * 3_000;
            proptest::prop_assert!(estimate_messages(body).unwrap_or(0) <= most);
        }
    }
}
