//! Streams: byte for byte, at once, cancelled with their caller, and failing in plain words.

use crate::fixture::{Dice, before, chat, free, gateway, head, llm, llm_call};
use serde_json::Value;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Answer, BodyEnd, Client, Gate, Gateway, Origin, PATIENCE, Step, chunk, chunked_head, eventually,
};

const STREAM: &str = r#"{"model":"m","max_tokens":9,"messages":[],"stream":true}"#;
const DIALECTS: [(&str, &str); 2] = [
    ("openai", "/v1/chat/completions"),
    ("anthropic", "/v1/messages"),
];

/// Events as no reader would write them: every line end, odd lines, characters of all widths.
fn odd_events(dice: &mut Dice) -> Vec<u8> {
    const LINES: &[&str] = &[
        "data: {\"choices\":[{\"delta\":{\"content\":\"Grüße, 世界 🚀\"}}]}\n\n",
        "data:{\"a\":1}\r\n\r\n",
        "event: ping\rdata: {}\r\r",
        ": a comment\n",
        "\n\n\n",
        "retry: 10\n",
        "data: two\ndata: lines\n\n",
        "\u{feff}data: x\n\n",
        "id\n",
        "data: [DONE]\n\n",
    ];
    let mut events = Vec::new();
    while events.len() < 100_000 {
        events.extend_from_slice(dice.one_of(LINES).as_bytes());
    }
    events
}

/// The same bytes in chunks of every size.
fn in_pieces(bytes: &[u8], dice: &mut Dice) -> Vec<Step> {
    let (mut steps, mut rest) = (vec![chunked_head("text/event-stream")], bytes);
    while !rest.is_empty() {
        let largest = *dice.one_of(&[1, 7, 100, 3000]);
        let (piece, behind) = rest.split_at((1 + dice.below(largest)).min(rest.len()));
        steps.push(chunk(piece));
        rest = behind;
    }
    steps.push(chunk(b""));
    steps
}

// LLM-3 EDGE-52
#[test]
fn a_stream_is_relayed_byte_for_byte_however_it_is_cut() {
    for (provider, path) in DIALECTS {
        for seed in 0..4 {
            let mut dice = Dice::new(seed);
            let sent = odd_events(&mut dice);
            let steps = in_pieces(&sent, &mut dice);
            let origin = Origin::start(move |_| steps.clone());
            let (gateway, token) = llm(&origin, provider, "");
            let answer = gateway.call(&llm_call(path, &token, STREAM));
            assert_eq!(
                (answer.status, answer.end),
                (200, BodyEnd::Whole),
                "{provider} {seed}"
            );
            assert!(
                answer.body == sent,
                "{provider} {seed}: {} bytes of {}",
                answer.body.len(),
                sent.len()
            );
            assert!(
                answer
                    .field("content-type")
                    .unwrap()
                    .starts_with("text/event-stream")
            );
        }
    }
}

// EDGE-52
#[test]
fn an_old_caller_gets_the_same_bytes_until_the_connection_ends() {
    let mut dice = Dice::new(9);
    let sent = odd_events(&mut dice);
    let whole = in_pieces(&sent, &mut dice);
    let cut = vec![
        chunked_head("text/event-stream"),
        chunk(b"data: 1\n\n"),
        Step::Close,
    ];
    let origin = Origin::start(move |request| {
        if request.json()["user"] == "cut" {
            cut.clone()
        } else {
            whole.clone()
        }
    });
    let (gateway, token) = llm(&origin, "openai", "");
    let old = |body: &str| {
        let request = String::from_utf8(chat(&token, body))
            .unwrap()
            .replacen("HTTP/1.1", "HTTP/1.0", 1);
        gateway.call(request.as_bytes())
    };
    let answer = old(STREAM);
    assert!(answer.closes() && answer.field("transfer-encoding").is_none());
    assert!(answer.body == sent);
    let failed = old(&STREAM.replace("}", r#","user":"cut"}"#)).text();
    assert!(
        failed.starts_with("data: 1\n\n") && failed.trim_end().ends_with("}}"),
        "{failed}"
    );
    assert!(
        !failed.contains("\r\n"),
        "no chunk framing where there is none: {failed:?}"
    );
}

/// The shortest of several times: what the gateway takes when the machine is not busy.
fn best_of(tries: usize, mut measure: impl FnMut() -> Duration) -> Duration {
    (0..tries).map(|_| measure()).min().unwrap()
}

// EDGE-52
#[test]
fn the_first_byte_reaches_the_caller_within_50_milliseconds() {
    let gates = std::sync::Arc::new(Mutex::new(Vec::<Gate>::new()));
    let given = std::sync::Arc::clone(&gates);
    let origin = Origin::start(move |_| {
        let gate = given.lock().unwrap().last().cloned().unwrap();
        vec![
            Step::Wait(gate),
            chunked_head("text/event-stream"),
            chunk(b"data: 1\n\n"),
            Step::Hang,
        ]
    });
    let (gateway, token) = llm(&origin, "openai", &before(&origin, &free("GET /x")));
    for (name, request) in [
        ("a model", chat(&token, STREAM)),
        ("a plain route", head("GET /x", "")),
    ] {
        let took = best_of(10, || {
            let gate = Gate::default();
            gates.lock().unwrap().push(gate.clone());
            let so_far = origin.count();
            let mut client = gateway.connect();
            client.send(&request);
            origin.wait_for(so_far + 1);
            let began = Instant::now();
            gate.open();
            let mut answer = client.head(PATIENCE).unwrap();
            assert_eq!(
                client.piece(&mut answer).as_deref(),
                Some(&b"data: 1\n\n"[..]),
                "{name}: nothing more is waited for"
            );
            began.elapsed()
        });
        assert!(took < Duration::from_millis(50), "{name}: {took:?}");
    }
}

// EDGE-110
#[test]
fn a_caller_that_hangs_up_takes_its_upstream_call_along_within_100_milliseconds() {
    let origin = Origin::start(|request| {
        let begun = vec![
            chunked_head("text/event-stream"),
            chunk(b"data: 1\n\n"),
            Step::Hang,
        ];
        if request.target.ends_with("silent") || request.text().contains("silent") {
            vec![Step::Hang]
        } else {
            begun
        }
    });
    let (gateway, token) = llm(&origin, "openai", &before(&origin, &free("GET /x")));
    let silent = STREAM.replace('}', r#","user":"silent"}"#);
    for (name, request, begun) in [
        (
            "a model that has not answered",
            chat(&token, &silent),
            false,
        ),
        ("a model's stream", chat(&token, STREAM), true),
        (
            "a plain upstream that has not answered",
            head("GET /x?silent", ""),
            false,
        ),
        ("a plain stream", head("GET /x", ""), true),
    ] {
        let took = best_of(10, || {
            let (requests, left) = (origin.count(), origin.left().len());
            let mut client = gateway.connect();
            client.send(&request);
            origin.wait_for(requests + 1);
            if begun {
                let mut answer = client.head(PATIENCE).unwrap();
                assert!(client.piece(&mut answer).is_some(), "{name}");
            }
            let began = Instant::now();
            drop(client);
            let gone = eventually("the upstream call cancelled", || {
                origin.left().get(left).copied()
            });
            gone.duration_since(began)
        });
        assert!(took < Duration::from_millis(100), "{name}: {took:?}");
        let told = |line: &Value| line["outcome"] == "caller_gone";
        eventually("the outcome", || {
            gateway
                .access_lines()
                .iter()
                .filter(|line| told(line))
                .count()
                .ge(&10)
                .then_some(())
        });
    }
}

/// The events of a stream, each as its lines.
fn events(answer: &Answer) -> Vec<String> {
    answer
        .text()
        .split("\n\n")
        .map(|event| event.trim().to_owned())
        .filter(|event| !event.is_empty())
        .collect()
}

fn cut_stream(provider: &str, path: &str, first: &'static str) -> (Gateway, Answer) {
    let steps = vec![
        chunked_head("text/event-stream"),
        chunk(first.as_bytes()),
        Step::Close,
    ];
    let origin = Origin::start(move |_| steps.clone());
    let (gateway, token) = llm(&origin, provider, "");
    let answer = gateway.call(&llm_call(path, &token, STREAM));
    assert_eq!(
        (answer.status, answer.end),
        (200, BodyEnd::Whole),
        "it ends regularly"
    );
    (gateway, answer)
}

// LLM-D60 EDGE-51
#[test]
fn a_stream_that_breaks_is_told_in_the_callers_dialect_and_ends_regularly() {
    let data_of = |event: &str| -> Value {
        serde_json::from_str(event.rsplit_once("data: ").unwrap().1).unwrap()
    };

    let (gateway, chat) = cut_stream("openai", "/v1/chat/completions", "data: {\"id\":\"1\"}\n\n");
    let told = events(&chat);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        data_of(&told[1])["error"]["type"],
        "server_error",
        "{told:?}"
    );
    assert!(!chat.text().contains("[DONE]"));
    let line = eventually("the access line", || gateway.access_lines().pop());
    assert_eq!(line["outcome"], "cut", "{line}");

    let first = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n";
    let (_, anthropic) = cut_stream("anthropic", "/v1/messages", first);
    let told = events(&anthropic);
    assert!(
        told.last().unwrap().starts_with("event: error\n"),
        "{told:?}"
    );
    let event = data_of(told.last().unwrap());
    assert_eq!(
        (&event["type"], &event["error"]["type"]),
        (&"error".into(), &"api_error".into()),
        "{event}"
    );
    assert!(!anthropic.text().contains("message_stop"));

    let first = "event: response.output_text.delta\n\
                 data: {\"type\":\"response.output_text.delta\",\"sequence_number\":0}\n\n";
    let (_, responses) = cut_stream("openai", "/v1/responses", first);
    let told = events(&responses);
    let event = data_of(told.last().unwrap());
    assert_eq!(event["type"], "response.failed", "{event}");
    assert!(!responses.text().contains("response.completed"));
}

// LLM-D60
#[test]
fn a_stream_cut_within_an_event_still_ends_with_an_event_of_its_own() {
    let (_, answer) = cut_stream(
        "openai",
        "/v1/chat/completions",
        "data: {\"id\":\"1\"}\n\ndata: {\"half",
    );
    let last = events(&answer).pop().unwrap();
    let event: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert!(event["error"].is_object(), "{last}");
}

// EDGE-52
#[test]
fn five_hundred_streams_at_once_lose_no_byte() {
    const STREAMS: usize = 500;
    const EVENTS: usize = 40;
    let gate = Gate::default();
    let held = gate.clone();
    let event = |who: &str, number: usize| {
        format!(
            "data: {{\"who\":\"{who}\",\"n\":{number},\"filler\":\"{}\"}}\n\n",
            "x".repeat(100)
        )
    };
    let origin = Origin::start(move |request| {
        let who = request.json()["user"].as_str().unwrap().to_owned();
        let events = (0..EVENTS).map(|number| chunk(event(&who, number).as_bytes()));
        let begin = [
            chunked_head("text/event-stream"),
            chunk(b"data: begun\n\n"),
            Step::Wait(held.clone()),
        ];
        begin
            .into_iter()
            .chain(events)
            .chain([chunk(b"")])
            .collect()
    });
    let limits = "server: { limits: { connections_per_ip_max: 2000, concurrent_requests_per_ip_max: 2000 } }\n";
    let (gateway, token) = llm(&origin, "openai", limits);
    let mut clients: Vec<Client> = (0..STREAMS)
        .map(|number| {
            let mut client = gateway.connect();
            client.send(&chat(
                &token,
                &STREAM.replace('}', &format!(r#","user":"u{number}"}}"#)),
            ));
            client
        })
        .collect();
    let open = format!("tollkeep_streams_open {STREAMS}");
    eventually("all streams open", || {
        gateway.metrics_text().contains(&open).then_some(())
    });
    gate.open();
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.answer(PATIENCE).unwrap();
        let want: String = (0..EVENTS)
            .map(|at| event(&format!("u{number}"), at))
            .collect();
        assert_eq!(
            (answer.status, answer.end),
            (200, BodyEnd::Whole),
            "{number}"
        );
        assert!(
            answer.text() == format!("data: begun\n\n{want}"),
            "{number}: {} bytes",
            answer.body.len()
        );
    }
    eventually("all streams closed", || {
        gateway
            .metrics_text()
            .contains("tollkeep_streams_open 0")
            .then_some(())
    });
    eventually("a usage record each", || {
        (gateway.usage_lines().len() == STREAMS).then_some(())
    });
}

/// Resident memory of a process, in bytes.
fn resident(gateway: &Gateway) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .unwrap()
        * 1024
}

// EDGE-52 LLM-52
#[test]
fn a_long_answer_adds_little_memory_however_slow_its_reader() {
    const PIECES: usize = 700;
    let piece = vec![b'z'; 64 * 1024];
    let origin = Origin::start(move |_| {
        let pieces = (0..PIECES).map(|_| chunk(&piece));
        [chunked_head("text/plain")]
            .into_iter()
            .chain(pieces)
            .chain([chunk(b"")])
            .collect()
    });
    let gateway = gateway(before(&origin, &free("GET /x"))).start();
    let mut client = gateway.connect();
    client.send(&head("GET /x?first", ""));
    let mut answer = client.head(PATIENCE).unwrap();
    while client.piece(&mut answer).is_some() {}
    let (at_rest, mut most, mut total) = (resident(&gateway), 0, 0);
    client.send(&head("GET /x?second", ""));
    let mut answer = client.head(PATIENCE).unwrap();
    while let Some(data) = client.piece(&mut answer) {
        total += data.len();
        if total % (1024 * 1024) < data.len() {
            most = most.max(resident(&gateway));
        }
    }
    assert_eq!((answer.end, total), (BodyEnd::Whole, PIECES * 64 * 1024));
    assert!(
        most < at_rest + 8 * 1024 * 1024,
        "{at_rest} at rest, {most} at most"
    );
}
