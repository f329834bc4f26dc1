//! What calls ask of a model, and what they are brought down to.

use serde_json::{Value, json};
use tollkeep_llm::Surface;
use tollkeep_llm::asks::{Asks, BoundFault, Bounds, Count, bounded};

fn asks(surface: Surface, body: &Value) -> Asks {
    Asks::read(surface, body.to_string().as_bytes()).unwrap()
}

fn message(content: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

// ID-90
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn features_are_seen_in_every_dialect() {
    let seen = |asks: &Asks| {
        let words = [
            (asks.tools > 0, format!("tools:{}", asks.tools)),
            (asks.images > 0, format!("images:{}", asks.images)),
            (asks.files, "files".to_owned()),
            (asks.stream, "stream".to_owned()),
            (asks.web_search, "search".to_owned()),
            (asks.remote_urls, "remote".to_owned()),
        ];
        let words = words
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, word)| word);
        words.collect::<Vec<_>>().join(" ")
    };
    let function = json!({"type": "function", "function": {"name": "f", "parameters":
        {"properties": {"url": {"type": "file", "default": "http://x"}}}}});
    let image = |url: &str| message(&json!([{"type": "image_url", "image_url": {"url": url}}]));
    let rows = [
        (
            "text",
            Surface::Chat,
            message(&json!("http://a.example/ type image")),
            "",
        ),
        (
            "no tools",
            Surface::Chat,
            json!({"tools": [], "functions": null}),
            "",
        ),
        (
            "tools",
            Surface::Chat,
            json!({"tools": [function, {}]}),
            "tools:2",
        ),
        (
            "functions",
            Surface::Chat,
            json!({"functions": [{"name": "f"}]}),
            "tools:1",
        ),
        (
            "an image by address",
            Surface::Chat,
            image("https://a.example/x.png"),
            "images:1 remote",
        ),
        (
            "an image inside",
            Surface::Chat,
            image("Data:image/png;base64,AAAA"),
            "images:1",
        ),
        (
            "a file",
            Surface::Chat,
            message(
                &json!([{"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}]),
            ),
            "files",
        ),
        ("stream", Surface::Chat, json!({"stream": true}), "stream"),
        ("no stream", Surface::Chat, json!({"stream": false}), ""),
        (
            "an odd stream",
            Surface::Chat,
            json!({"stream": 1}),
            "stream",
        ),
        (
            "search",
            Surface::Chat,
            json!({"web_search_options": {}}),
            "search",
        ),
        (
            "a model that searches",
            Surface::Chat,
            json!({"model": "gpt-4o-search-preview"}),
            "search",
        ),
        (
            "a plugin that searches",
            Surface::Chat,
            json!({"plugins": [{"id": "web"}]}),
            "search",
        ),
        (
            "responses",
            Surface::Responses,
            json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://a.example"}, {"type": "input_file", "file_url": "https://a.example"}]}], "tools": [{"type": "web_search_preview"}]}),
            "tools:1 images:1 files search remote",
        ),
        (
            "a remote tool",
            Surface::Responses,
            json!({"tools": [{"type": "mcp", "server_url": "https://a.example"}]}),
            "tools:1 remote",
        ),
        (
            "messages",
            Surface::Messages,
            message(
                &json!([{"type": "image", "source": {"type": "url", "url": "https://a.example"}}, {"type": "document", "source": {"type": "base64", "data": "AAAA"}}]),
            ),
            "images:1 files remote",
        ),
        (
            "what a tool was told",
            Surface::Messages,
            json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": {"url": "https://a.example", "type": "image"}}]}], "tools": [{"type": "web_search_20250305"}]}),
            "tools:1 search",
        ),
    ];
    for (name, surface, body, want) in rows {
        assert_eq!(seen(&asks(surface, &body)), want, "{name}");
    }
    let escaped = br#"{"messages":[{"content":[{"\u0074ype":"im\u0061ge_url"}]}]}"#;
    assert_eq!(Asks::read(Surface::Chat, escaped).unwrap().images, 1);
}

// ID-90
#[test]
fn how_much_is_asked_for_is_the_most_of_all_spellings() {
    use Count::{Number, Other};
    for (surface, body, want) in [
        (Surface::Chat, json!({}), (None, None)),
        (
            Surface::Chat,
            json!({"max_tokens": 5, "max_completion_tokens": 7, "n": 2}),
            (Some(Number(7)), Some(Number(2))),
        ),
        (
            Surface::Chat,
            json!({"max_tokens": 9, "max_completion_tokens": "x", "n": null}),
            (Some(Other), None),
        ),
        (
            Surface::Chat,
            json!({"max_tokens": 1.5, "n": -1}),
            (Some(Other), Some(Other)),
        ),
        (
            Surface::Completions,
            json!({"max_tokens": 5, "best_of": 3, "n": 1}),
            (Some(Number(5)), Some(Number(3))),
        ),
        (
            Surface::Responses,
            json!({"max_output_tokens": 6, "max_tokens": 9, "n": 9}),
            (Some(Number(6)), None),
        ),
        (
            Surface::Messages,
            json!({"max_tokens": 4}),
            (Some(Number(4)), None),
        ),
        (Surface::Embeddings, json!({"max_tokens": 4}), (None, None)),
    ] {
        let asks = asks(surface, &body);
        assert_eq!((asks.output_tokens, asks.choices), want, "{body}");
    }
}

// ID-90
#[test]
fn input_is_estimated_by_its_parts() {
    for (body, want) in [
        (json!({}), 0),
        (
            json!({"model": "m", "messages": [{"role": "user", "content": "abcdef"}]}),
            16 + 4,
        ),
        (
            message(&json!([{"type": "image_url", "image_url": {"url": "data:,AAAAAAAA"}}])),
            16 + 2 + 1600 + 1,
        ),
        (json!({"input": [[1, 2, 3], [4]]}), 4),
        (json!({"tools": [{"a": 1}]}), 32 + 3),
    ] {
        assert_eq!(asks(Surface::Chat, &body).input_tokens(), want, "{body}");
    }
}

// ID-90
#[test]
fn bounds_are_written_in_and_nothing_else_changes() {
    let five = Bounds {
        output_tokens: Some(5),
        choices: Some(1),
        service: None,
        usage: false,
    };
    for (surface, body, want) in [
        (
            Surface::Chat,
            r#" {"a":1}"#,
            Some(r#" {"max_tokens":5,"a":1}"#),
        ),
        (Surface::Chat, "{}", Some(r#"{"max_tokens":5}"#)),
        (Surface::Chat, r#"{"max_tokens":4,"n":1}"#, None),
        (
            Surface::Chat,
            r#"{"max_tokens": 6 ,"x":[1, 2],"n":3}"#,
            Some(r#"{"max_tokens": 5,"x":[1, 2],"n":1}"#),
        ),
        (
            Surface::Chat,
            r#"{"max_completion_tokens":"9","max_tokens":null}"#,
            Some(r#"{"max_completion_tokens":5,"max_tokens":5}"#),
        ),
        (
            Surface::Chat,
            r#"{"m\u0061x_tokens":9,"n":null}"#,
            Some(r#"{"m\u0061x_tokens":5,"n":null}"#),
        ),
        (
            Surface::Messages,
            r#"{"max_tokens":1e9}"#,
            Some(r#"{"max_tokens":5}"#),
        ),
        (Surface::Embeddings, r#"{"max_tokens":9,"n":9}"#, None),
    ] {
        let edited = bounded(surface, body.as_bytes(), &five, "max_tokens").unwrap();
        let edited = edited.map(|edited| String::from_utf8(edited).unwrap());
        assert_eq!(edited.as_deref(), want, "{body}");
    }
}

// ID-90
#[test]
fn a_model_thinks_with_fewer_tokens_than_it_may_give_out() {
    let bound = |max, body: &str| {
        let bounds = Bounds {
            output_tokens: Some(max),
            choices: None,
            service: None,
            usage: false,
        };
        let edited = bounded(Surface::Messages, body.as_bytes(), &bounds, "max_tokens");
        edited.map(|edited| edited.map(|edited| String::from_utf8(edited).unwrap()))
    };
    let body = r#"{"thinking":{"type":"enabled","budget_tokens": 4000},"max_tokens":9000}"#;
    let lowered = r#"{"thinking":{"type":"enabled","budget_tokens": 1999},"max_tokens":2000}"#;
    assert_eq!(bound(2000, body), Ok(Some(lowered.to_owned())));
    let only_output = body.replace("9000", "5000");
    assert_eq!(bound(5000, body), Ok(Some(only_output)));
    assert_eq!(bound(1024, body), Err(BoundFault::Thinking));
    assert_eq!(bound(9000, body), Ok(None), "it fits");
    let own_fault = r#"{"thinking":{"budget_tokens":4000},"max_tokens":2000}"#;
    assert_eq!(bound(3000, own_fault), Ok(None), "not ours to mend");
    let no_output = r#"{"thinking":{"budget_tokens":4000}}"#;
    let want = r#"{"max_tokens":2000,"thinking":{"budget_tokens":1999}}"#;
    assert_eq!(bound(2000, no_output), Ok(Some(want.to_owned())));
    let odd = r#"{"thinking":{"budget_tokens":"all"},"max_tokens":9000}"#;
    let want = r#"{"thinking":{"budget_tokens":1999},"max_tokens":2000}"#;
    assert_eq!(bound(2000, odd), Ok(Some(want.to_owned())));
    assert_eq!(
        bound(2000, r#"{"thinking":{"type":"disabled"},"max_tokens":1}"#),
        Ok(None)
    );
}

proptest::proptest! {
    // ID-90
    #[test]
    fn what_was_bounded_asks_for_no_more(tokens in 0_u64..20, n in 0_u64..5, max in 1_u64..10, says: bool) {
        let mut body = json!({"n": n, "messages": []});
        if says {
            body["max_tokens"] = tokens.into();
        }
        let text = body.to_string();
        let bounds = Bounds { output_tokens: Some(max), choices: Some(1), service: None, usage: false };
        let edited = bounded(Surface::Chat, text.as_bytes(), &bounds, "max_tokens").unwrap();
        let edited = edited.unwrap_or_else(|| text.into_bytes());
        let asks = Asks::read(Surface::Chat, &edited).unwrap();
        let Some(Count::Number(asked)) = asks.output_tokens else { panic!() };
        proptest::prop_assert!(asked <= max);
        proptest::prop_assert!(matches!(asks.choices, Some(Count::Number(0 | 1))));
        proptest::prop_assert_eq!(bounded(Surface::Chat, &edited, &bounds, "max_tokens").unwrap(), None);
    }
}

// LED-42
#[test]
fn the_service_is_named_where_the_body_leaves_it_to_the_account() {
    let bounds = Bounds {
        output_tokens: Some(7),
        choices: None,
        service: Some("default"),
        usage: false,
    };
    for (body, want) in [
        (
            r#"{}"#,
            Some(r#"{"max_tokens":7,"service_tier":"default"}"#),
        ),
        (
            r#"{"max_tokens":5}"#,
            Some(r#"{"service_tier":"default","max_tokens":5}"#),
        ),
        (
            r#"{"service_tier":"auto","max_tokens":9}"#,
            Some(r#"{"service_tier":"default","max_tokens":7}"#),
        ),
        (
            r#"{"service_tier": "\u0061uto" ,"max_tokens":5}"#,
            Some(r#"{"service_tier": "default","max_tokens":5}"#),
        ),
        (
            r#"{"service_tier":null,"max_tokens":5}"#,
            Some(r#"{"service_tier":"default","max_tokens":5}"#),
        ),
        (r#"{"service_tier":"flex","max_tokens":5}"#, None),
    ] {
        let edited = bounded(Surface::Chat, body.as_bytes(), &bounds, "max_tokens").unwrap();
        let edited = edited.map(|body| String::from_utf8(body).unwrap());
        assert_eq!(edited.as_deref(), want, "{body}");
    }
}

// LED-23 LLM-D34
#[test]
fn a_stream_is_asked_for_its_usage_whatever_its_options() {
    let bounds = Bounds {
        usage: true,
        ..Bounds::default()
    };
    for (body, want) in [
        (
            r#"{"stream":true}"#,
            Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#),
        ),
        (
            r#"{"stream_options":{},"a":1}"#,
            Some(r#"{"stream_options":{"include_usage":true},"a":1}"#),
        ),
        (
            r#"{"stream_options":{"x":[1]},"a":1}"#,
            Some(r#"{"stream_options":{"include_usage":true,"x":[1]},"a":1}"#),
        ),
        (
            r#"{"stream_options":{"include_usage":false},"a":1}"#,
            Some(r#"{"stream_options":{"include_usage":true},"a":1}"#),
        ),
        (
            r#"{"stream_options":null}"#,
            Some(r#"{"stream_options":{"include_usage":true}}"#),
        ),
    ] {
        let edited = bounded(Surface::Chat, body.as_bytes(), &bounds, "max_tokens").unwrap();
        let edited = edited.map(|body| String::from_utf8(body).unwrap());
        assert_eq!(edited.as_deref(), want, "{body}");
    }
}

// LED-23 LED-26 LLM-D34
#[test]
fn the_usage_line_is_taken_out_however_the_stream_is_cut() {
    use tollkeep_llm::usage::HiddenUsage;
    for (stream, want) in [
        (
            "data: {\"choices\":[{}]}\n\ndata: {\"choices\":[],\"usage\":{\"a\":1}}\n\ndata: [DONE]\n\n",
            "data: {\"choices\":[{}]}\n\ndata: [DONE]\n\n",
        ),
        (
            ": hi\r\n\r\ndata:{\"usage\":{},\"choices\":[]}\r\n\r\ndata: x\r\n\r\n",
            ": hi\r\n\r\ndata: x\r\n\r\n",
        ),
        // With a choice, without usage, or without an end: as it came.
        (
            "data: {\"choices\":[1],\"usage\":{}}\n\n",
            "data: {\"choices\":[1],\"usage\":{}}\n\n",
        ),
        (
            "data: {\"choices\":[],\"usage\":null}\n\n",
            "data: {\"choices\":[],\"usage\":null}\n\n",
        ),
        (
            "data: {\"choices\":[],\"usage\":{}}",
            "data: {\"choices\":[],\"usage\":{}}",
        ),
        ("\n\n\nnot\rjson\r\r", "\n\n\nnot\rjson\r\r"),
    ] {
        for cut in 1..=stream.len() {
            let (mut hidden, mut out) = (HiddenUsage::default(), Vec::new());
            for piece in stream.as_bytes().chunks(cut) {
                hidden.feed(piece, |kept| out.extend_from_slice(kept));
            }
            out.extend(hidden.end());
            assert_eq!(String::from_utf8(out).unwrap(), want, "{cut}");
        }
    }
}
