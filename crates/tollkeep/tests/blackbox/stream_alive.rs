//! Streams whose upstream is silent for long: their reader is told that they are not over.

use crate::fixture::{llm, llm_call};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Gate, Origin, PATIENCE, Step, chunk, chunked_head};

const COMMENT: &str = ": keep-alive\n\n";
const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// Path, kind of provider, what is said of a silent stream, and the pieces of one: whole events, the beginning of
/// an event, its end and what comes behind.
const ROWS: [(&str, &str, &str, [&str; 3]); 3] = [
    (
        "/v1/chat/completions",
        "openai",
        COMMENT,
        [
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\r\n\r\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{},",
            "\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n",
        ],
    ),
    (
        "/v1/responses",
        "openai",
        COMMENT,
        [
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\n",
            "event: response.completed\n",
            "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n",
        ],
    ),
    (
        "/v1/messages",
        "anthropic",
        PING,
        [
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
            "event: message_stop",
            "\ndata: {\"type\":\"message_stop\"}\n\n",
        ],
    ),
];

fn ask() -> String {
    r#"{"model":"m","max_tokens":9,"messages":[],"input":"x","stream":true}"#.to_owned()
}

// LLM-D12
#[test]
fn a_silent_stream_is_kept_alive_between_events_and_nowhere_else() {
    for (path, kind, word, [whole, half, rest]) in ROWS {
        for (every, says) in [(1, true), (0, false)] {
            let (first, second) = (Gate::default(), Gate::default());
            let gates = (first.clone(), second.clone());
            let origin = Origin::start(move |_| {
                vec![
                    chunked_head("text/event-stream"),
                    chunk(whole.as_bytes()),
                    Step::Wait(gates.0.clone()),
                    chunk(half.as_bytes()),
                    Step::Wait(gates.1.clone()),
                    chunk(rest.as_bytes()),
                    chunk(b""),
                ]
            });
            let config = format!("llm: {{ stream: {{ keepalive_s: {every} }} }}\n");
            let (gateway, token) = llm(&origin, kind, &config);
            let mut client = gateway.connect();
            client.send(&llm_call(path, &token, &ask()));
            let mut answer = client.head(PATIENCE).unwrap();
            let mut got = Vec::new();
            let wanted = if says {
                whole.len() + 2 * word.len()
            } else {
                whole.len()
            };
            while got.len() < wanted {
                got.extend(client.piece(&mut answer).expect("a piece"));
            }
            // As long as it takes to say something, if it were to be said.
            std::thread::sleep(Duration::from_millis(if says { 0 } else { 1_500 }));
            first.open();
            while !got.ends_with(half.as_bytes()) {
                got.extend(client.piece(&mut answer).expect("a piece"));
            }
            std::thread::sleep(Duration::from_millis(1_500));
            second.open();
            while let Some(piece) = client.piece(&mut answer) {
                got.extend(piece);
            }
            let got = String::from_utf8(got).unwrap();
            let words = got.matches(word).count();
            let want = [whole, &word.repeat(words), half, rest].concat();
            assert_eq!(got, want, "{path} {every}");
            assert_eq!(words >= 2, says, "{path} {every}: {words}");
        }
    }
}

// LLM-D12 LLM-54
#[test]
fn what_keeps_a_stream_alive_is_no_word_of_its_upstream() {
    let (path, kind, word, [whole, ..]) = ROWS[0];
    let origin = Origin::start(move |_| {
        vec![
            chunked_head("text/event-stream"),
            chunk(whole.as_bytes()),
            Step::Hang,
        ]
    });
    let config = "llm: { idle_timeout_ms: 2500, stream: { keepalive_s: 1 } }\n";
    let (gateway, token) = llm(&origin, kind, config);
    let began = Instant::now();
    let answer = gateway.call(&llm_call(path, &token, &ask()));
    assert!(began.elapsed() < Duration::from_secs(15));
    let text = answer.text();
    assert!(
        text.starts_with(&format!("{whole}{word}")) && text.contains("\"error\""),
        "{text}"
    );
}
