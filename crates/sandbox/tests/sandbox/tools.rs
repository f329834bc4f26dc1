//! Tool calls and structured output: when they come and that they fit their schema.

use serde_json::{Value, json};

use crate::door::{Surface, json_of, with};

/// A call with two tools, and the names and arguments of the calls it gets.
fn called(surface: Surface, text: &str, more: &[(&str, Value)]) -> Vec<(String, Value)> {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string", "minLength": 2}}, "required": ["city"]});
    let tool = |name: &str| match surface {
        Surface::Messages => json!({"name": name, "input_schema": schema}),
        Surface::Chat => {
            json!({"type": "function", "function": {"name": name, "parameters": schema}})
        }
        Surface::Responses | Surface::Completions | Surface::Generate => {
            json!({"type": "function", "name": name, "parameters": schema})
        }
    };
    let mut body = with(
        surface.body("sandbox-1", text),
        "tools",
        json!([tool("weather"), tool("time")]),
    );
    for (name, value) in more {
        body[*name] = value.clone();
    }
    let answer = json_of(&surface.send(&body));
    let read = |text: &Value| serde_json::from_str(text.as_str().unwrap()).unwrap();
    let found: Vec<(Value, Value)> = match surface {
        Surface::Chat => {
            let calls = answer["choices"][0]["message"]["tool_calls"].as_array();
            let calls = calls.into_iter().flatten();
            calls
                .map(|call| {
                    (
                        call["function"]["name"].clone(),
                        read(&call["function"]["arguments"]),
                    )
                })
                .collect()
        }
        Surface::Messages => {
            let blocks = answer["content"].as_array().unwrap().iter();
            let calls = blocks.filter(|block| block["type"] == "tool_use");
            calls
                .map(|call| (call["name"].clone(), call["input"].clone()))
                .collect()
        }
        Surface::Responses | Surface::Completions | Surface::Generate => {
            let items = answer["output"].as_array().unwrap().iter();
            let calls = items.filter(|item| item["type"] == "function_call");
            calls
                .map(|call| (call["name"].clone(), read(&call["arguments"])))
                .collect()
        }
    };
    found
        .into_iter()
        .map(|(name, input)| (name.as_str().unwrap().to_owned(), input))
        .collect()
}

// OPS-23
#[test]
fn tools_are_called_when_a_question_is_asked_or_as_steered() {
    for surface in [Surface::Chat, Surface::Responses, Surface::Messages] {
        let names = |text: &str, more: &[(&str, Value)]| -> Vec<String> {
            called(surface, text, more)
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        };
        let fits = json!({"city": "xx"});
        assert_eq!(
            called(surface, "Rain?", &[]),
            [("weather".to_owned(), fits)],
            "{surface:?}"
        );
        assert_eq!(names("Rain.", &[]), [""; 0], "{surface:?}: no question");
        assert_eq!(
            names("sandbox:tools=3; Rain.", &[]),
            ["weather", "time", "weather"],
            "{surface:?}"
        );
        assert_eq!(names("sandbox:tools=0; Rain?", &[]), [""; 0], "{surface:?}");
        let (must, none, one, alone) = match surface {
            Surface::Messages => (
                json!({"type": "any"}),
                json!({"type": "none"}),
                json!({"type": "tool", "name": "time"}),
                (
                    "tool_choice",
                    json!({"type": "auto", "disable_parallel_tool_use": true}),
                ),
            ),
            Surface::Chat => (
                json!("required"),
                json!("none"),
                json!({"type": "function", "function": {"name": "time"}}),
                ("parallel_tool_calls", json!(false)),
            ),
            Surface::Responses | Surface::Completions | Surface::Generate => (
                json!("required"),
                json!("none"),
                json!({"type": "function", "name": "time"}),
                ("parallel_tool_calls", json!(false)),
            ),
        };
        assert_eq!(
            names("Rain.", &[("tool_choice", must)]),
            ["weather"],
            "{surface:?}"
        );
        assert_eq!(
            names("Rain?", &[("tool_choice", none)]),
            [""; 0],
            "{surface:?}"
        );
        assert_eq!(
            names("Rain.", &[("tool_choice", one)]),
            ["time"],
            "{surface:?}"
        );
        assert_eq!(
            names("sandbox:tools=2; Rain.", &[alone]),
            ["weather"],
            "{surface:?}"
        );
    }
}

#[test]
fn a_tools_result_is_answered_in_words() {
    let results = [
        (
            Surface::Chat,
            "messages",
            json!([{"role": "user", "content": "Rain?"},
                {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "a", "content": "wet"}]),
        ),
        (
            Surface::Responses,
            "input",
            json!([{"role": "user", "content": "Rain?"},
                {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "a", "output": "wet"}]),
        ),
        (
            Surface::Messages,
            "messages",
            json!([{"role": "user", "content": "Rain?"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "weather", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "wet"}]}]),
        ),
    ];
    for (surface, name, conversation) in results {
        assert!(
            called(surface, "x", &[(name, conversation)]).is_empty(),
            "{surface:?}"
        );
    }
}

// OPS-23
#[test]
fn a_json_schema_gets_its_smallest_instance() {
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 3}}});
    for (surface, name, format) in [
        (
            Surface::Chat,
            "response_format",
            json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}),
        ),
        (
            Surface::Responses,
            "text",
            json!({"format": {"type": "json_schema", "name": "x", "schema": schema}}),
        ),
        (
            Surface::Messages,
            "output_config",
            json!({"format": {"type": "json_schema", "schema": schema}}),
        ),
    ] {
        let plan = surface.send(&with(surface.body("sandbox-1", "a"), name, format));
        assert_eq!(surface.text(&plan), r#"{"n":3}"#, "{surface:?}");
    }
}
