//! What a call gets, and each row of the steering table.

use serde_json::{Value, json};
use tollkeep_sandbox::{Ending, Plan, answer};

use crate::door::{SURFACES, Surface, anthropic, events, json_of, with};

fn delays(plan: &Plan) -> Vec<u32> {
    plan.pieces.iter().map(|piece| piece.delay_ms).collect()
}

// OPS-23
#[test]
fn the_same_body_gives_the_same_bytes_and_another_body_other_ids() {
    for surface in SURFACES {
        assert_eq!(surface.say("Hello"), surface.say("Hello"), "{surface:?}");
        assert_eq!(
            surface.stream("Hello"),
            surface.stream("Hello"),
            "{surface:?}"
        );
        let name = match surface {
            Surface::Generate => "responseId",
            Surface::Chat | Surface::Completions | Surface::Responses | Surface::Messages => "id",
        };
        let id = |text| json_of(&surface.say(text))[name].clone();
        assert_ne!(id("Hello"), id("Hello!"), "{surface:?}");
    }
}

// OPS-23
#[test]
fn the_answer_repeats_the_last_user_text() {
    for surface in SURFACES {
        let plan = surface.say("Hello  there");
        assert_eq!(plan.status, 200, "{surface:?}");
        assert_eq!(surface.text(&plan), "You said: Hello  there", "{surface:?}");
        // 12 bytes in, 4 words out.
        assert_eq!(surface.usage(&plan), Some((3, 4)), "{surface:?}");
        let streamed = surface.deltas(&surface.stream("Hello  there"));
        assert_eq!(
            streamed,
            ["You ", "said: ", "Hello  ", "there"],
            "{surface:?}"
        );
    }
    let conversation = json!({"model": "sandbox-1", "messages": [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "an answer"},
        {"role": "user", "content": [{"type": "text", "text": "last"}, {"type": "image_url", "image_url": {"url": "data:"}}]},
    ]});
    assert_eq!(
        Surface::Chat.text(&Surface::Chat.send(&conversation)),
        "You said: last"
    );
}

// OPS-23
#[test]
fn an_answer_never_passes_its_cap_unless_told_to_disobey() {
    for (surface, cap) in [
        (Surface::Chat, "max_completion_tokens"),
        (Surface::Completions, "max_tokens"),
        (Surface::Responses, "max_output_tokens"),
        (Surface::Messages, "max_tokens"),
        (Surface::Generate, "generationConfig"),
    ] {
        let three = match surface {
            Surface::Generate => json!({"maxOutputTokens": 3}),
            Surface::Chat | Surface::Completions | Surface::Responses | Surface::Messages => {
                json!(3)
            }
        };
        let capped = |text: &str| {
            let body = surface.body("sandbox-1", text);
            surface.send(&with(body, cap, three.clone()))
        };
        let plan = capped("a b c");
        assert_eq!(surface.text(&plan), "You said: a", "{surface:?}");
        assert_eq!(surface.usage(&plan).unwrap().1, 3, "{surface:?}");
        let body = json_of(&plan);
        let stopped = match surface {
            Surface::Chat | Surface::Completions => body["choices"][0]["finish_reason"] == "length",
            Surface::Responses => {
                body["status"] == "incomplete"
                    && body["incomplete_details"]["reason"] == "max_output_tokens"
            }
            Surface::Messages => body["stop_reason"] == "max_tokens",
            Surface::Generate => body["candidates"][0]["finishReason"] == "MAX_TOKENS",
        };
        assert!(stopped, "{surface:?}: {body}");
        let disobedient = capped("sandbox:disobey=10; a");
        assert_eq!(
            surface.text(&disobedient).split(' ').count(),
            30,
            "{surface:?}"
        );
        assert_eq!(surface.usage(&disobedient).unwrap().1, 30, "{surface:?}");
    }
}

// OPS-23
#[test]
fn waits_pieces_and_length_are_as_steered() {
    for surface in SURFACES {
        let delayed = surface.say("sandbox:delay=40; a");
        assert_eq!(delayed.delay_ms, 40, "{surface:?}");
        let plan = surface.stream("sandbox:chunks=3,gap=20,words=9; a");
        assert_eq!(surface.deltas(&plan).len(), 3, "{surface:?}");
        assert_eq!(
            surface.deltas(&plan).concat().split(' ').count(),
            9,
            "{surface:?}"
        );
        assert_eq!(
            delays(&plan).iter().filter(|ms| **ms == 20).count(),
            2,
            "{surface:?}"
        );
        let more = surface.stream("sandbox:chunks=12; a");
        assert_eq!(
            surface.deltas(&more).len(),
            12,
            "{surface:?}: the text grows with the pieces"
        );
        let whole = surface.say("sandbox:chunks=4,gap=5; a");
        assert_eq!(delays(&whole), [0, 5, 5, 5], "{surface:?}");
    }
}

// OPS-23
#[test]
fn a_stream_fails_with_its_vendors_event_after_so_many_pieces() {
    for surface in SURFACES {
        for (after, want) in [(0, 0), (2, 2), (99, 5)] {
            let name = format!("{surface:?} after {after}");
            let plan = surface.stream(&format!("sandbox:error_after={after}; a b c"));
            assert_eq!((plan.status, plan.ending), (200, Ending::Clean), "{name}");
            assert_eq!(surface.deltas(&plan).len(), want, "{name}");
            let last = events(&plan).pop().unwrap();
            let failed = match surface {
                Surface::Chat | Surface::Completions => last["error"]["type"] == "server_error",
                Surface::Responses => {
                    last["type"] == "response.failed"
                        && last["response"]["status"] == "failed"
                        && last["response"]["error"]["code"] == "server_error"
                }
                Surface::Messages => last["error"]["type"] == "overloaded_error",
                Surface::Generate => last["error"]["status"] == "UNAVAILABLE",
            };
            assert!(failed, "{name}: {last}");
            let body = String::from_utf8(plan.body()).unwrap();
            for end in [
                "[DONE]",
                "message_stop",
                "response.completed",
                "\"stop\"",
                "end_turn",
            ] {
                assert!(!body.contains(end), "{name}: {end} after a failure");
            }
        }
        let whole = surface.say("sandbox:error_after=1; a");
        assert!(
            whole.status >= 500,
            "{surface:?}: a whole answer fails as one"
        );
    }
}

// OPS-23
#[test]
fn a_connection_breaks_after_so_many_pieces_and_never_too_late() {
    for surface in SURFACES {
        for (after, want) in [(0, 0), (2, 2), (99, 5)] {
            let plan = surface.stream(&format!("sandbox:cut_after={after}; a b c"));
            assert_eq!(plan.ending, Ending::Cut, "{surface:?} after {after}");
            assert_eq!(
                surface.deltas(&plan).len(),
                want,
                "{surface:?} after {after}"
            );
        }
        let whole = surface.say("sandbox:cut_after=9; a");
        assert_eq!(whole.ending, Ending::Cut, "{surface:?}");
        let read: Result<Value, _> = serde_json::from_slice(&whole.body());
        assert!(read.is_err(), "{surface:?}: half a body is not JSON");
    }
}

// OPS-23
#[test]
fn a_page_of_html_comes_with_200() {
    for surface in SURFACES {
        let plan = surface.stream("sandbox:html=1;");
        assert_eq!(plan.status, 200, "{surface:?}");
        assert_eq!(
            plan.header("content-type"),
            Some("text/html; charset=utf-8"),
            "{surface:?}"
        );
        assert!(plan.body().starts_with(b"<!DOCTYPE html>"), "{surface:?}");
    }
}

// OPS-23
#[test]
fn usage_is_claimed_as_steered() {
    for surface in SURFACES {
        let claim = |what: &str| surface.usage(&surface.say(&format!("sandbox:usage={what};1234")));
        assert_eq!(claim("none"), None, "{surface:?}");
        assert_eq!(claim("zero"), Some((0, 0)), "{surface:?}");
        let (input, output) = claim("huge").unwrap();
        assert!(input > 1 << 40 && output > 1 << 40, "{surface:?}");
        let (input, output) = claim("negative").unwrap();
        assert!(input < 0 && output < 0, "{surface:?}");
        let streamed = surface.stream("sandbox:usage=none;1234");
        assert!(
            !String::from_utf8(streamed.body())
                .unwrap()
                .contains("_tokens\":1"),
            "{surface:?}"
        );
    }
}

// OPS-23
#[test]
fn thinking_comes_first_where_asked_for_or_usual() {
    let thought = |surface: Surface, model: &str, text: &str| -> (String, i64) {
        let plan = surface.send(&surface.body(model, text));
        let body = json_of(&plan);
        let (text, counted) = match surface {
            Surface::Chat => (
                &body["choices"][0]["message"]["reasoning_content"],
                &body["usage"]["completion_tokens_details"]["reasoning_tokens"],
            ),
            Surface::Responses => (
                &body["output"][0]["summary"][0]["text"],
                &body["usage"]["output_tokens_details"]["reasoning_tokens"],
            ),
            Surface::Completions | Surface::Messages | Surface::Generate => (
                &body["content"][0]["thinking"],
                &body["usage"]["output_tokens_details"]["thinking_tokens"],
            ),
        };
        let text = text.as_str().unwrap_or_default().to_owned();
        (text, counted.as_i64().unwrap_or(0))
    };
    for surface in [Surface::Chat, Surface::Responses, Surface::Messages] {
        let words = |(text, counted): (String, i64)| (text.split_whitespace().count(), counted);
        assert_eq!(
            words(thought(surface, "sandbox-1", "a")),
            (0, 0),
            "{surface:?}"
        );
        assert_eq!(
            words(thought(surface, "sandbox-think", "a")),
            (6, 6),
            "{surface:?}"
        );
        let steered = "sandbox:think=9; a";
        assert_eq!(
            words(thought(surface, "sandbox-1", steered)),
            (9, 9),
            "{surface:?}"
        );
        let off = "sandbox:think=0; a";
        assert_eq!(
            words(thought(surface, "sandbox-think", off)),
            (0, 0),
            "{surface:?}"
        );
        let deltas = surface.deltas(&surface.stream("sandbox:think=2; a"));
        assert_eq!(deltas.len(), 5, "{surface:?}: two thought, three said");
    }
}

#[test]
fn tokens_are_counted_without_a_call() {
    let body = json!({"model": "sandbox-1", "system": "abcd", "messages": [{"role": "user", "content": "Hello"}]});
    let counted = answer(
        "POST",
        "/v1/messages/count_tokens",
        &anthropic(),
        body.to_string().as_bytes(),
    );
    assert_eq!(json_of(&counted), json!({"input_tokens": 3}));
    let said = json_of(&Surface::Messages.send(&with(body, "max_tokens", json!(9))));
    assert_eq!(said["usage"]["input_tokens"], 3);
}
