//! What calls of Gemini ask for, in either spelling, and what they are brought down to.

use serde_json::{Value, json};
use tollkeep_llm::Surface;
use tollkeep_llm::asks::{Asks, Bounds, Count, bounded};
use tollkeep_llm::demand::{self, Form, Known};

fn asks(body: &Value) -> Asks {
    Asks::read(Surface::Generate, body.to_string().as_bytes()).unwrap()
}

// ID-90
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn features_are_seen_in_both_spellings() {
    let parts = |parts: Value| json!({"contents": [{"role": "user", "parts": parts}]});
    let seen = |asks: &Asks| {
        let words = [
            (asks.tools > 0, format!("tools:{}", asks.tools)),
            (asks.images > 0, format!("images:{}", asks.images)),
            (asks.files, "files".to_owned()),
            (asks.web_search, "search".to_owned()),
            (asks.remote_urls, "remote".to_owned()),
        ];
        let words = words
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, word)| word);
        words.collect::<Vec<_>>().join(" ")
    };
    for (name, body, want) in [
        (
            "text",
            parts(json!([{"text": "http://a.example image/png"}])),
            "",
        ),
        (
            "functions",
            json!({"tools": [{"functionDeclarations": [{"name": "a"}, {"name": "b"}]}]}),
            "tools:2",
        ),
        (
            "snake functions",
            json!({"tools": [{"function_declarations": [{"name": "googleSearch"}]}]}),
            "tools:1",
        ),
        (
            "search",
            json!({"tools": [{"googleSearch": {}}]}),
            "tools:1 search",
        ),
        (
            "snake search",
            json!({"tools": [{"google_search": {}}]}),
            "tools:1 search",
        ),
        (
            "one tool",
            json!({"tools": {"google_search": {}}}),
            "tools:1 search",
        ),
        (
            "old search",
            json!({"tools": [{"googleSearchRetrieval": {}}]}),
            "tools:1 search",
        ),
        (
            "fetch",
            json!({"tools": [{"url_context": {}}]}),
            "tools:1 search remote",
        ),
        (
            "code",
            json!({"tools": [{"codeExecution": {}}, {"googleSearch": null}, null]}),
            "tools:1",
        ),
        (
            "image",
            parts(json!([{"inlineData": {"mimeType": "image/png", "data": "AA"}}])),
            "images:1",
        ),
        (
            "snake image",
            parts(json!([{"inline_data": {"mime_type": "IMAGE/PNG", "data": "AA"}}])),
            "images:1",
        ),
        (
            "one part",
            parts(json!({"inlineData": {"mimeType": "image/png"}})),
            "images:1",
        ),
        (
            "audio",
            parts(json!([{"inlineData": {"mimeType": "audio/wav", "data": "AA"}}])),
            "files",
        ),
        (
            "both kinds",
            parts(json!([{"inlineData": {"mimeType": "image/png", "mime_type": "audio/wav"}}])),
            "images:1 files",
        ),
        (
            "link",
            parts(json!([{"fileData": {"fileUri": "https://a.example/x.pdf"}}])),
            "files remote",
        ),
        (
            "snake link",
            parts(json!([{"file_data": {"file_uri": "gs://a/x", "mime_type": "image/png"}}])),
            "images:1 remote",
        ),
        (
            "in the system",
            json!({"system_instruction": {"parts": [{"inlineData": {"mimeType": "image/gif"}}]}}),
            "images:1",
        ),
        (
            "in an answer of a function",
            parts(
                json!([{"functionResponse": {"response": {"inlineData": {}}, "parts": [{"inlineData": {"mimeType": "image/png"}}]}}]),
            ),
            "images:1",
        ),
        (
            "kept before",
            json!({"cachedContent": "cachedContents/x"}),
            "files",
        ),
        (
            "to count",
            json!({"generateContentRequest": {"tools": [{"googleSearch": {}}]}}),
            "tools:1 search",
        ),
    ] {
        assert_eq!(seen(&asks(&body)), want, "{name}");
    }
    let stream = Asks::read(Surface::StreamGenerate, b"{}").unwrap();
    assert!(stream.stream && !asks(&json!({"stream": true})).stream);
    let counted = asks(&json!({
        "contents": [{"parts": [{"text": "x".repeat(30)}]}, {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}],
        "systemInstruction": {"parts": [{"text": "y".repeat(30)}]},
    }));
    assert_eq!(counted.input_tokens(), 20 + 3 * 16 + 1600);
}

// ID-90
#[test]
fn how_much_is_asked_for_is_seen_wherever_it_stands() {
    let number = |n| Some(Count::Number(n));
    for (body, output, choices) in [
        (json!({"maxOutputTokens": 5}), None, None),
        (
            json!({"generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}),
            number(5),
            number(2),
        ),
        (
            json!({"generation_config": {"max_output_tokens": "5"}}),
            number(5),
            None,
        ),
        (
            json!({"generationConfig": {"maxOutputTokens": null}}),
            None,
            None,
        ),
        (
            json!({"generationConfig": {"maxOutputTokens": 1.5}}),
            Some(Count::Other),
            None,
        ),
        (json!({"generationConfig": []}), None, None),
    ] {
        let asks = asks(&body);
        assert_eq!(
            (asks.output_tokens, asks.choices),
            (output, choices),
            "{body}"
        );
    }
}

// ID-90 LED-41
#[test]
fn bounds_are_written_into_the_settings_of_the_generation() {
    let five = Bounds {
        output_tokens: Some(5),
        choices: Some(1),
        service: None,
        usage: false,
    };
    for (body, want) in [
        ("{}", Some(r#"{"generationConfig":{"maxOutputTokens":5}}"#)),
        (
            r#" {"a":1}"#,
            Some(r#" {"generationConfig":{"maxOutputTokens":5},"a":1}"#),
        ),
        (
            r#"{"generationConfig":{"maxOutputTokens":4,"candidateCount":1}}"#,
            None,
        ),
        (r#"{"generationConfig":{"maxOutputTokens":"4"}}"#, None),
        (
            r#"{"generationConfig":{"maxOutputTokens": 6 ,"candidateCount":3}}"#,
            Some(r#"{"generationConfig":{"maxOutputTokens": 5,"candidateCount":1}}"#),
        ),
        (
            r#"{"generation_config":{"max_output_tokens":null,"candidate_count":null}}"#,
            Some(r#"{"generation_config":{"max_output_tokens":5,"candidate_count":null}}"#),
        ),
        (
            r#"{"generation\u0043onfig":{"topK":1}}"#,
            Some(r#"{"generation\u0043onfig":{"maxOutputTokens":5,"topK":1}}"#),
        ),
        (
            r#"{"generationConfig": { }}"#,
            Some(r#"{"generationConfig": {"maxOutputTokens":5 }}"#),
        ),
        (
            r#"{"generationConfig":null}"#,
            Some(r#"{"generationConfig":{"maxOutputTokens":5}}"#),
        ),
        (
            r#"{"generationConfig":{"maxOutputTokens":1e9},"max_tokens":9,"n":4}"#,
            Some(r#"{"generationConfig":{"maxOutputTokens":5},"max_tokens":9,"n":4}"#),
        ),
    ] {
        let edited = bounded(
            Surface::StreamGenerate,
            body.as_bytes(),
            &five,
            "max_tokens",
        )
        .unwrap();
        let edited = edited.map(|edited| String::from_utf8(edited).unwrap());
        assert_eq!(edited.as_deref(), want, "{body}");
    }
    let count = bounded(Surface::GeminiCount, b"{}", &five, "max_tokens");
    assert_eq!(count.unwrap(), None, "nothing is made");
    let choices = Bounds {
        output_tokens: None,
        ..five
    };
    assert_eq!(
        bounded(Surface::Generate, b"{}", &choices, "").unwrap(),
        None
    );
}

// LED-41 LED-43 LED-43a
#[test]
fn what_bounds_the_cost_is_read_in_both_spellings() {
    let read =
        |body: &Value| demand::read(Form::Gemini, body.to_string().as_bytes(), &Known::default());
    let camel = json!({
        "contents": [{"parts": [{"text": "x"}]}], "safetySettings": [], "toolConfig": {},
        "systemInstruction": {"parts": []}, "tools": [{"functionDeclarations": [{}]}, {"googleSearch": {}}],
        "generationConfig": {"maxOutputTokens": 9, "candidateCount": 3, "thinkingConfig": {"thinkingBudget": 7}},
    });
    let snake = json!({
        "contents": [{"parts": [{"text": "x"}]}], "safety_settings": [], "tool_config": {},
        "system_instruction": {"parts": []}, "tools": [{"function_declarations": [{}]}, {"google_search": {}}],
        "generation_config": {"max_output_tokens": 9, "candidate_count": 3, "thinking_config": {"thinking_budget": 7}},
    });
    let (camel, snake) = (read(&camel), read(&snake));
    assert_eq!(camel.obstacle, None);
    assert_eq!(
        (camel.cap, camel.choices, camel.thinking_budget),
        (Some(9), 3, Some(7))
    );
    assert!(camel.searches.grounded);
    let same = tollkeep_types::demand::Demand {
        bytes: camel.bytes,
        ..snake
    };
    assert_eq!(same, camel);
    for (name, body) in [
        ("field", json!({"serviceTier": "flex"})),
        ("setting", json!({"generationConfig": {"somethingNew": 1}})),
        ("tool", json!({"tools": [{"codeExecution": {}}]})),
        ("snake tool", json!({"tools": [{"url_context": {}}]})),
        (
            "part",
            json!({"contents": [{"parts": [{"videoMetadata": {}}]}]}),
        ),
        (
            "no cap",
            json!({"generationConfig": {"max_output_tokens": 0}}),
        ),
        (
            "two kinds",
            json!({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "mime_type": "image/png"}}]}]}),
        ),
    ] {
        assert!(read(&body).obstacle.is_some(), "{name}");
    }
}
