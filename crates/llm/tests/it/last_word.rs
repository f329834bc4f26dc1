//! The end mark of a stream is kept back, wherever its bytes are cut.

use tollkeep_llm::usage::LastWord;

const DELTA: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"[DONE]\"}}]}\n\n";

/// What went on before the end, and what was kept back.
fn cut(stream: &str, size: usize) -> (String, String) {
    let mut last = LastWord::default();
    let mut on = Vec::new();
    for piece in stream.as_bytes().chunks(size) {
        last.feed(piece, |bytes| on.extend_from_slice(bytes));
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(on), text(last.end()))
}

// LED-81
#[test]
fn only_the_end_of_a_stream_is_kept_back() {
    for (name, before, end) in [
        ("chat", DELTA.repeat(3), "data: [DONE]\n\n"),
        ("without a blank", DELTA.to_owned(), "data:[DONE]\n\n"),
        (
            "with carriage returns",
            DELTA.replace('\n', "\r\n"),
            "data: [DONE]\r\n\r\n",
        ),
        (
            "messages",
            "event: message_delta\ndata: {}\n\n".to_owned(),
            "event: message_stop\ndata: {}\n\n",
        ),
        (
            "responses",
            "event: response.created\ndata: {}\n\n".to_owned(),
            "event: response.completed\ndata: {}\n\n",
        ),
        (
            "with more behind it",
            DELTA.to_owned(),
            "data: [DONE]\n\ndata: {}\n\n: bye\n\n",
        ),
        ("broken off", DELTA.to_owned(), "data: {\"choi"),
        ("nothing", String::new(), ""),
    ] {
        let stream = format!("{before}{end}");
        for size in 1..=stream.len().max(1) {
            assert_eq!(
                cut(&stream, size),
                (before.clone(), end.to_owned()),
                "{name}, {size} bytes at a time"
            );
        }
    }
}

// LED-81
#[test]
fn an_event_without_end_is_not_kept_for_ever() {
    let endless = format!("data: {}", "x".repeat(2 << 20));
    let (on, kept) = cut(&endless, 64 * 1024);
    assert!(
        on.len() > 1 << 20 && kept.is_empty(),
        "{} {}",
        on.len(),
        kept.len()
    );
    let behind = format!("data: [DONE]\n\n{endless}");
    let (on, kept) = cut(&behind, 64 * 1024);
    assert_eq!((on.len(), kept.len()), (behind.len(), 0));
}
