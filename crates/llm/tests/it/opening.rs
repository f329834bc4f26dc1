//! How streams begin, as vendors write them.

use serde_json::{Value, json};
use tollkeep_llm::failure::Failure;
use tollkeep_llm::opening::{Begun, Opening};
use tollkeep_llm::surface::UsageDialect::{self, Anthropic, Chat, Images, Responses};

fn sse(events: &[&str]) -> String {
    events
        .iter()
        .map(|data| format!("data: {data}\n\n"))
        .collect()
}

fn said(dialect: UsageDialect, text: &str) -> Begun {
    Opening::new(dialect).feed(text.as_bytes())
}

const ROLE: &str = r#"{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#;
const AZURE: &str = r#"{"choices":[],"id":"","prompt_filter_results":[{"prompt_index":0}]}"#;
const START: &str = r#"{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}"#;
const TEXT_BLOCK: &str =
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
const CREATED: &str =
    r#"{"type":"response.created","sequence_number":0,"response":{"id":"r","error":null}}"#;

// LLM-50
#[test]
fn what_only_says_that_an_answer_begins_says_nothing() {
    for (dialect, events) in [
        (Chat, &[ROLE, AZURE, r#"{"choices":[{"delta":null}]}"#][..]),
        (
            Chat,
            &[r#"{"choices":[{"text":"","index":0,"finish_reason":null}]}"#],
        ),
        (
            Anthropic,
            &[
                START,
                r#"{"type": "ping"}"#,
                TEXT_BLOCK,
                r#"{"type":"content_block_start","content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            ],
        ),
        (
            Responses,
            &[
                CREATED,
                r#"{"type":"response.in_progress","response":{}}"#,
                r#"{"type":"response.output_item.added","item":{"type":"message","content":[]}}"#,
                r#"{"type":"response.output_item.added","item":{"type":"reasoning","summary":[]}}"#,
                r#"{"type":"response.content_part.added","part":{"type":"output_text","text":""}}"#,
            ],
        ),
    ] {
        let text = format!(": a comment\n\nretry: 5\n\n{}", sse(events));
        assert_eq!(said(dialect, &text), Begun::Nothing, "{text}");
    }
}

// LLM-50 LLM-51
#[test]
fn whatever_else_comes_is_content() {
    for (dialect, event) in [
        (Chat, r#"{"choices":[{"delta":{"content":"H"}}]}"#),
        (
            Chat,
            r#"{"choices":[{"delta":{"reasoning_content":"Hm"}}]}"#,
        ),
        (
            Chat,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
        ),
        (Chat, r#"{"choices":[{"delta":{"refusal":"No"}}]}"#),
        (Chat, r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#),
        (Chat, r#"{"choices":[{"text":"H"}]}"#),
        (Chat, "[DONE]"),
        (Chat, "what is this"),
        (Chat, r#"{"other":1}"#),
        (Chat, r#"{"choices":[{"delta":{"role":"#),
        (
            Anthropic,
            r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"Hm"}}"#,
        ),
        (
            Anthropic,
            r#"{"type":"content_block_start","content_block":{"type":"tool_use","name":"f"}}"#,
        ),
        (
            Anthropic,
            r#"{"type":"content_block_start","content_block":{"type":"redacted_thinking","data":"x"}}"#,
        ),
        (
            Anthropic,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
        ),
        (Anthropic, r#"{"type":"something_new"}"#),
        (
            Responses,
            r#"{"type":"response.output_text.delta","delta":"H"}"#,
        ),
        (
            Responses,
            r#"{"type":"response.output_item.added","item":{"type":"function_call"}}"#,
        ),
        (
            Responses,
            r#"{"type":"response.completed","response":{"error":null}}"#,
        ),
        (Images, r#"{"type":"image_generation.partial_image"}"#),
    ] {
        assert_eq!(said(dialect, &sse(&[event])), Begun::Content, "{event}");
    }
    // What comes first counts.
    let late = sse(&[
        ROLE,
        r#"{"choices":[{"delta":{"content":"H"}}]}"#,
        r#"{"error":{}}"#,
    ]);
    assert_eq!(said(Chat, &late), Begun::Content);
}

// LLM-50 LLM-R40 LLM-R41
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_stream_that_fails_at_once_is_read_like_an_error_answer() {
    for (name, dialect, event, status, failure) in [
        (
            "chat",
            Chat,
            r#"{"error":{"message":"m","type":"server_error","code":null}}"#,
            500,
            Failure::Transient,
        ),
        (
            "a number",
            Chat,
            r#"{"id":"g","choices":[{"delta":{},"finish_reason":"error"}],"error":{"code":502,"message":"m"}}"#,
            502,
            Failure::Transient,
        ),
        (
            "limits",
            Chat,
            r#"{"error":{"message":"m","type":"tokens","code":"rate_limit_exceeded"}}"#,
            429,
            Failure::RateLimit,
        ),
        (
            "a number in quotes",
            Chat,
            r#"{"error":{"message":"m","code":"429"}}"#,
            429,
            Failure::RateLimit,
        ),
        (
            "flat",
            Chat,
            r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#,
            400,
            Failure::BadRequest,
        ),
        (
            "a sentence",
            Chat,
            r#"{"error":"out of luck"}"#,
            500,
            Failure::Transient,
        ),
        (
            "too long",
            Chat,
            r#"{"error":{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            400,
            Failure::ContextOverflow,
        ),
        (
            "overloaded",
            Anthropic,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            529,
            Failure::Overload,
        ),
        (
            "the account",
            Anthropic,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to go on"}}"#,
            402,
            Failure::Billing,
        ),
        (
            "not known",
            Anthropic,
            r#"{"type":"error"}"#,
            500,
            Failure::Transient,
        ),
        (
            "failed",
            Responses,
            r#"{"type":"response.failed","response":{"metadata":{"a":"insufficient_quota"},"error":{"code":"server_error","message":"m"}}}"#,
            500,
            Failure::Transient,
        ),
        (
            "its prompt",
            Responses,
            r#"{"type":"response.failed","response":{"error":{"code":"invalid_prompt","message":"m"}}}"#,
            400,
            Failure::BadRequest,
        ),
        (
            "an event of its own",
            Responses,
            r#"{"type":"error","code":"server_is_overloaded","message":"m","param":null}"#,
            503,
            Failure::Overload,
        ),
        (
            "nested",
            Responses,
            r#"{"type":"error","error":{"type":"invalid_request_error","code":"model_not_found","message":"m","param":"model"}}"#,
            404,
            Failure::ModelMissing,
        ),
    ] {
        let greetings = [(Anthropic, START), (Responses, CREATED), (Chat, ROLE)];
        let greeted = greetings.iter().find(|(of, _)| *of == dialect).unwrap().1;
        for events in [sse(&[event]), sse(&[greeted, event])] {
            let Begun::Failed(failed) = said(dialect, &events) else {
                panic!("{name}");
            };
            assert_eq!((failed.status, failed.failure), (status, failure), "{name}");
            let body: Value = serde_json::from_slice(&failed.body).unwrap();
            assert!(
                body["error"]["message"].is_string() && body["error"]["type"].is_string(),
                "{name}: {body}"
            );
            assert_eq!(
                body["type"] == "error",
                dialect == Anthropic,
                "{name}: {body}"
            );
        }
    }
    let Begun::Failed(failed) = said(
        Responses,
        &sse(&[
            r#"{"type":"error","error":{"type":"invalid_request_error","code":"model_not_found","message":"m","param":"model"}}"#,
        ]),
    ) else {
        panic!("failed");
    };
    assert_eq!(
        serde_json::from_slice::<Value>(&failed.body).unwrap(),
        json!({"error": {"message": "m", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}})
    );
}

// LLM-50
#[test]
fn the_last_event_may_lack_its_blank_line() {
    let end = |text: &str| {
        let mut opening = Opening::new(Chat);
        assert_eq!(opening.feed(text.as_bytes()), Begun::Nothing, "{text}");
        opening.end()
    };
    assert_eq!(end(""), Begun::Nothing);
    assert_eq!(end(": comment"), Begun::Nothing);
    assert_eq!(end(&format!("data: {ROLE}\n")), Begun::Nothing);
    assert_eq!(end("data: [DONE]"), Begun::Content);
    assert!(matches!(
        end("data: {\"error\":{\"message\":\"m\"}}"),
        Begun::Failed(_)
    ));
}

proptest::proptest! {
    // LLM-50
    #[test]
    fn how_a_beginning_is_cut_says_nothing(cuts in proptest::collection::vec(1_usize..40, 1..60), fails: bool) {
        let last = if fails { r#"{"error":{"message":"m","code":503}}"# } else { "[DONE]" };
        let text = format!("\u{feff}: c\r\n\r\n{}", sse(&[ROLE, AZURE, last]));
        let (mut opening, mut rest, mut begun) = (Opening::new(Chat), text.as_bytes(), Begun::Nothing);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() || begun != Begun::Nothing {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            begun = opening.feed(piece);
            rest = behind;
        }
        proptest::prop_assert_eq!(matches!(begun, Begun::Failed(_)), fails);
        proptest::prop_assert_eq!(begun == Begun::Content, !fails);
    }

    #[test]
    fn nothing_that_comes_breaks_a_beginning(bytes: Vec<u8>, json in "[\\[\\]{}\":,a-z ]{0,80}") {
        for dialect in [Chat, Anthropic, Responses, Images] {
            let mut opening = Opening::new(dialect);
            drop(opening.feed(&bytes));
            drop(opening.feed(format!("\n\ndata: {json}\n\ndata: {json}").as_bytes()));
            drop(opening.end());
        }
    }
}
