//! What a stream tells besides usage: content, end, error, model.

use proptest::prelude::*;
use tollkeep_llm::surface::UsageDialect;
use tollkeep_llm::usage::{Asked, BodyEnd, Outcome, StreamReport, StreamUsage};
use tollkeep_types::usage::{Class, UnknownUsage, UsageReport};

use BodyEnd::{Broken, Clean};
use UsageDialect::{Anthropic, Chat, Gemini, Responses};

fn read(dialect: UsageDialect, sse: &str) -> StreamUsage {
    let mut stream = StreamUsage::new(dialect, Asked::default());
    stream.feed(sse.as_bytes());
    stream
}

const ROLE: &str = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}],\"usage\":null}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\": \"stop\"}]}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
const FAIL: &str = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

// LLM-D21
#[test]
fn a_stream_is_complete_by_its_own_end_mark_only() {
    let created = "data: {\"type\":\"response.created\",\"response\":{\"model\":\"m\"}}\n\n";
    let delta = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n";
    let completed = "data: {\"type\":\"response.completed\",\"response\":{}}\n\n";
    let start = "data: {\"type\":\"message_start\",\"message\":{\"model\":\"m\"}}\n\n";
    let block = "data: {\"type\":\"content_block_delta\",\"delta\":{}}\n\n";
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    #[rustfmt::skip]
    let rows = [
        ("done", Chat, [ROLE, TEXT, DONE].concat(), Outcome::Complete, Outcome::Complete),
        ("finish without done", Chat, [TEXT, STOP, USAGE].concat(), Outcome::Complete, Outcome::Cut),
        ("neither", Chat, [ROLE, TEXT].concat(), Outcome::Cut, Outcome::Cut),
        ("nothing", Chat, String::new(), Outcome::Cut, Outcome::Cut),
        ("done without its blank line", Chat, [TEXT, "data: [DONE]"].concat(), Outcome::Complete, Outcome::Complete),
        ("half a done", Chat, [TEXT, "data: [DON"].concat(), Outcome::Cut, Outcome::Cut),
        ("done in text", Chat, TEXT.replace(":\"a\"", ":\"[DONE]\""), Outcome::Cut, Outcome::Cut),
        ("finish reason in text", Chat, [TEXT, &TEXT.replace(":\"a\"", r#":"\"finish_reason\":\"stop\"""#),].concat(), Outcome::Cut, Outcome::Cut),
        ("completed", Responses, [created, delta, completed].concat(), Outcome::Complete, Outcome::Complete),
        ("incomplete", Responses, [delta, &completed.replace("completed", "incomplete")].concat(), Outcome::Complete, Outcome::Complete),
        ("cancelled", Responses, [delta, &completed.replace("completed", "cancelled")].concat(), Outcome::Complete, Outcome::Complete),
        ("only deltas", Responses, [created, delta].concat(), Outcome::Cut, Outcome::Cut),
        ("chat's mark means nothing here", Responses, [created, delta, DONE].concat(), Outcome::Cut, Outcome::Cut),
        ("stop", Anthropic, [start, block, stop].concat(), Outcome::Complete, Outcome::Complete),
        ("stop reason only", Anthropic, [start, "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",].concat(), Outcome::Cut, Outcome::Cut),
        ("type not first", Anthropic, [start, "data: {\"x\":1, \"type\" : \"message_stop\"}\n\n"].concat(), Outcome::Complete, Outcome::Complete),
        ("no space after the colon", Anthropic, [start, "data:{\"type\": \"message_stop\"}\n\n"].concat(), Outcome::Complete, Outcome::Complete),
        ("data in two lines", Anthropic, [start, "data: {\"type\":\ndata: \"message_stop\"}\n\n"].concat(), Outcome::Complete, Outcome::Complete),
        ("byte order mark", Anthropic, ["\u{feff}", stop].concat(), Outcome::Complete, Outcome::Complete),
    ];
    for (name, dialect, sse, clean, broken) in rows {
        for (end, want) in [(Clean, clean), (Broken, broken)] {
            let stream = read(dialect, &sse);
            assert_eq!(stream.finish(end).outcome, want, "{name} {end:?}");
        }
    }
}

// LED-25
#[test]
fn an_error_before_any_output_owes_nothing() {
    let start = "data: {\"type\":\"message_start\",\"message\":{\"model\":\"m\"}}\n\n";
    let overloaded =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    let failed = "data: {\"type\":\"response.failed\",\"response\":{\"error\":{}}}\n\n";
    let delta = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n";
    let cut = UsageReport::Unknown(UnknownUsage::Cut);
    #[rustfmt::skip]
    let rows = [
        ("at once", Chat, FAIL.to_owned(), true, UsageReport::Released),
        ("after the role", Chat, [ROLE, FAIL].concat(), true, UsageReport::Released),
        ("and then done", Chat, [FAIL, DONE].concat(), true, UsageReport::Released),
        ("after content", Chat, [ROLE, TEXT, FAIL].concat(), false, cut.clone()),
        ("after content and usage", Chat, [TEXT, USAGE, FAIL].concat(), false, cut.clone()),
        ("with a finish reason", Chat, [TEXT, STOP, FAIL, DONE].concat(), false, cut.clone()),
        ("before message_start", Anthropic, overloaded.to_owned(), true, UsageReport::Released),
        ("after a ping", Anthropic, ["data: {\"type\":\"ping\"}\n\n", overloaded].concat(), true, UsageReport::Released),
        ("after message_start", Anthropic, [start, overloaded].concat(), true, cut.clone()),
        ("failed", Responses, failed.to_owned(), true, UsageReport::Released),
        ("failed after output", Responses, [delta, failed].concat(), false, cut),
        ("error event", Responses, "data: {\"type\":\"error\",\"code\":\"x\"}\n\n".to_owned(), true, UsageReport::Released),
    ];
    for (name, dialect, sse, before, report) in rows {
        let stream = read(dialect, &sse);
        assert_eq!(stream.failed_before_content(), before, "{name}");
        let end = stream.finish(Clean);
        assert_eq!(
            (end.outcome, end.told.report),
            (Outcome::Error, report),
            "{name}"
        );
    }
}

#[test]
fn an_error_that_tells_usage_is_charged() {
    let sse = [
        TEXT,
        "data: {\"error\":{},\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n",
    ]
    .concat();
    let end = read(Chat, &sse).finish(Clean);
    assert_eq!(end.outcome, Outcome::Error);
    let UsageReport::Reported(usage) = end.told.report else {
        panic!("{end:?}")
    };
    assert_eq!(
        (
            usage.first.usage.count(Class::InText),
            usage.first.usage.count(Class::OutText)
        ),
        (3, 1)
    );
}

#[test]
fn content_is_what_the_model_made() {
    let chunk = |delta: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{delta},\"finish_reason\":null}}]}}\n\n")
    };
    #[rustfmt::skip]
    let rows = [
        ("role", Chat, ROLE.to_owned(), false),
        ("null content", Chat, chunk(r#"{"role":"assistant","content":null,"tool_calls":[]}"#), false),
        ("no delta", Chat, chunk("null"), false),
        ("finish", Chat, STOP.to_owned(), false),
        ("usage", Chat, USAGE.to_owned(), false),
        ("comment", Chat, ": keep-alive\n\n".to_owned(), false),
        ("text", Chat, TEXT.to_owned(), true),
        ("thinking", Chat, chunk(r#"{"reasoning_content":"a"}"#), true),
        ("refusal", Chat, chunk(r#"{"refusal":"a"}"#), true),
        ("tool call", Chat, chunk(r#"{"tool_calls":[{"index":0}]}"#), true),
        ("legacy text", Chat, "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\n\n".to_owned(), true),
        ("legacy empty text", Chat, "data: {\"choices\":[{\"text\":\"\"}]}\n\n".to_owned(), false),
        ("block start", Anthropic, "data: {\"type\":\"content_block_start\"}\n\n".to_owned(), false),
        ("block delta", Anthropic, "data: {\"type\":\"content_block_delta\"}\n\n".to_owned(), true),
        ("block delta, type last", Anthropic, "data: {\"index\":0,\"type\":\"content_block_delta\"}\n\n".to_owned(), true),
        ("created", Responses, "data: {\"type\":\"response.created\"}\n\n".to_owned(), false),
        ("item", Responses, "data: {\"type\":\"response.output_item.added\"}\n\n".to_owned(), false),
        ("delta", Responses, "data: {\"type\":\"response.function_call_arguments.delta\"}\n\n".to_owned(), true),
        ("delta, type last", Responses, "data: {\"a\":1,\"type\":\"response.refusal.delta\"}\n\n".to_owned(), true),
    ];
    for (name, dialect, sse, want) in rows {
        assert_eq!(read(dialect, &sse).saw_content(), want, "{name}");
    }
}

// LED-53 LED-57
#[test]
fn only_what_goes_on_beyond_its_cap_for_certain_is_said_to() {
    let chat =
        |delta: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n");
    let other = |text: &str| chat(text).replace("\"index\":0", "\"index\":1");
    let running = |output: u32| {
        format!(
            "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":{output}}}}}\n\n"
        )
    };
    let block = |delta: &str| {
        format!("data: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{delta}}}\n\n")
    };
    let ended = |output: u32| {
        format!(
            "data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{{\"output_tokens\":{output}}}}}\n\n"
        )
    };
    let response = |kind: &str, text: &str| {
        format!("data: {{\"type\":\"response.{kind}.delta\",\"delta\":\"{text}\"}}\n\n")
    };
    let gemini = |parts: &str, thoughts: u32| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{parts}]}}}}],\"usageMetadata\":{{\"candidatesTokenCount\":1,\"thoughtsTokenCount\":{thoughts}}}}}\n\n"
        )
    };
    let word = r#"{"content":" word"}"#;
    let (said, thought) = (r#"{"text":" a b"}"#, r#"{"text":" a b","thought":true}"#);
    let picture = format!(r#"{{"images":["{}"]}}"#, "a b ".repeat(4_000));
    #[rustfmt::skip]
    let rows = [
        ("as many words as tokens", Chat, chat(word).repeat(5), false),
        ("one more", Chat, chat(word).repeat(6), true),
        ("one more, and the end", Chat, [chat(word).repeat(6), DONE.to_owned()].concat(), false),
        ("arguments", Chat, chat(r#"{"tool_calls":[{"function":{"arguments":" a b"}}]}"#).repeat(6), true),
        ("thoughts, in other words", Chat, chat(r#"{"reasoning_content":" a b"}"#).repeat(6), false),
        ("what is no text", Chat, chat(&picture).repeat(6), false),
        ("two answers side by side", Chat, [chat(word), other(word)].concat().repeat(5), false),
        ("legacy", Chat, "data: {\"choices\":[{\"text\":\" word\",\"index\":0}]}\n\n".repeat(6), true),
        ("its own count", Chat, [TEXT, &running(6)].concat(), true),
        ("its own count, within", Chat, [TEXT, &running(5)].concat(), false),
        ("its own count at the end", Chat, [STOP, &running(6)].concat(), false),
        ("more behind the end", Chat, [STOP.to_owned(), chat(word).repeat(6)].concat(), true),
        ("blocks", Anthropic, block(r#"{"type":"text_delta","text":" word"}"#).repeat(6), true),
        ("arguments in blocks", Anthropic, block(r#"{"partial_json":" a b"}"#).repeat(6), true),
        ("thinking", Anthropic, block(r#"{"thinking":" a b"}"#).repeat(6), false),
        ("type last", Anthropic, "data: {\"delta\":{\"text\":\" a b\"},\"type\":\"content_block_delta\"}\n\n".repeat(6), true),
        ("the count at the end", Anthropic, ended(6), false),
        ("text", Responses, response("output_text", " word").repeat(6), true),
        ("a summary", Responses, response("reasoning_summary_text", " word").repeat(6), false),
        ("parts", Gemini, gemini(said, 0).repeat(6), true),
        ("parts that were thought", Gemini, gemini(thought, 0).repeat(6), false),
        ("thoughts by its count", Gemini, gemini(said, 5), true),
    ];
    for (name, dialect, sse, want) in rows {
        let stream = read(dialect, &sse);
        assert_eq!(stream.goes_on_beyond(5), want, "{name}");
        let certain = stream.finish(Broken).told.certain_output;
        assert!(certain <= 6, "{name}: {certain}");
    }
}

#[test]
fn the_end_mark_is_known_while_the_stream_runs() {
    let mut stream = read(Chat, &[TEXT, USAGE, "data: [DONE]\n"].concat());
    assert!(!stream.saw_terminal());
    stream.feed(b"\n");
    assert!(stream.saw_terminal());
    assert_eq!(stream.events(), 3);
}

#[test]
fn the_first_model_named_is_kept() {
    for (name, dialect, sse, want) in [
        ("chat", Chat, [ROLE, TEXT].concat(), Some("m")),
        (
            "an empty one first",
            Chat,
            [&ROLE.replace("\"m\"", "\"\""), ROLE].concat(),
            Some("m"),
        ),
        (
            "anthropic",
            Anthropic,
            "data: {\"type\":\"message_start\",\"message\":{\"model\":\"m\"}}\n\n".to_owned(),
            Some("m"),
        ),
        (
            "responses",
            Responses,
            "data: {\"type\":\"response.created\",\"response\":{\"model\":\"m\"}}\n\n".to_owned(),
            Some("m"),
        ),
        ("none", Chat, TEXT.to_owned(), None),
    ] {
        assert_eq!(
            read(dialect, &sse).finish(Clean).model.as_deref(),
            want,
            "{name}"
        );
    }
}

// LED-27
#[test]
fn lines_and_events_beyond_their_limits_make_usage_unknown() {
    const MIB: usize = 1 << 20;
    let line = |len: usize| format!("data: {{\"x\":\"{}\"}}\n\n", "x".repeat(len));
    let lines = |count: usize| {
        format!(
            "{}\n",
            format!("data: {}\n", " ".repeat(MIB - 100)).repeat(count)
        )
    };
    let too_large = UsageReport::Unknown(UnknownUsage::TooLarge);
    for (name, sse, known) in [
        ("a long line", line(MIB - 100), true),
        ("too long a line", line(MIB), false),
        (
            "too long a comment",
            format!(": {}\n\n", " ".repeat(MIB)),
            false,
        ),
        (
            "a line without an end",
            format!("data: {}", " ".repeat(MIB)),
            false,
        ),
        ("a long event", lines(4), true),
        ("too long an event", lines(5), false),
    ] {
        let sse = if sse.ends_with("\n\n") {
            [TEXT, USAGE, &sse, DONE].concat()
        } else {
            [TEXT, USAGE, DONE, &sse].concat()
        };
        let whole = read(Chat, &sse).finish(Clean);
        assert_eq!(
            whole.told.report == too_large,
            !known,
            "{name}: {:?}",
            whole.told.report
        );
        assert_eq!(whole.outcome, Outcome::Complete, "{name}");
        for size in [1000, 65_536, MIB - 1] {
            let mut stream = StreamUsage::new(Chat, Asked::default());
            sse.as_bytes()
                .chunks(size)
                .for_each(|piece| stream.feed(piece));
            assert_eq!(stream.finish(Clean), whole, "{name} {size}");
        }
    }
}

#[test]
fn broken_events_make_usage_unknown_only_where_they_may_have_told_it() {
    let unreadable = UsageReport::Unknown(UnknownUsage::Unreadable);
    #[rustfmt::skip]
    let rows = [
        ("broken usage", [TEXT, "data: {\"usage\":{\"prompt_tokens\":\n\n", USAGE, DONE,].concat(), Some(unreadable)),
        ("broken text", [TEXT, "data: {\"choices\":[{\"delta\":\n\n", USAGE, DONE].concat(), None),
        ("a word", ["data: ping\n\n", TEXT, USAGE, DONE].concat(), None),
        ("negative", [TEXT, &USAGE.replace('3', "-3"), USAGE, DONE].concat(), Some(UsageReport::Unknown(UnknownUsage::Malformed))),
    ];
    for (name, sse, want) in rows {
        let report = read(Chat, &sse).finish(Clean).told.report;
        match want {
            Some(want) => assert_eq!(report, want, "{name}"),
            None => assert!(
                matches!(report, UsageReport::Reported(_)),
                "{name}: {report:?}"
            ),
        }
    }
}

fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        ROLE,
        TEXT,
        STOP,
        USAGE,
        FAIL,
        DONE,
        "data: {\"type\":\"message_start\",\"message\":{\"model\":\"x\",\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"delta\":{}}\n\n",
        "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\n",
        "data: {\"type\":\"message_stop\"}\r\n\r\n",
        "data: {\"type\":\"response.created\",\"response\":{\"model\":\"y\"}}\r\r",
        "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}}\n\n",
        "data: {\"type\":\"response.output_text.delta\"}\n\n",
        "event: x\n",
        ": ping\n\n",
        "data: {\n",
        "data: }\n\n",
        "\u{feff}",
        "\r\n",
        "\r",
        "\n",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[a-z:{}\"\r\n ]{0,12}"]
}

fn cut_at(
    dialect: UsageDialect,
    bytes: &[u8],
    cuts: &[prop::sample::Index],
    end: BodyEnd,
) -> (StreamReport, [bool; 3], u64) {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut stream = StreamUsage::new(dialect, Asked::default());
    let mut from = 0;
    for place in places.into_iter().chain([bytes.len()]) {
        stream.feed(&bytes[from..place]);
        from = place;
    }
    let flags = [
        stream.saw_content(),
        stream.saw_terminal(),
        stream.failed_before_content(),
    ];
    let events = stream.events();
    (stream.finish(end), flags, events)
}

proptest! {
    // LED-26
    #[test]
    fn cuts_change_nothing(
        pieces in proptest::collection::vec(piece(), 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        clean: bool,
    ) {
        let bytes = pieces.concat().into_bytes();
        let end = if clean { Clean } else { Broken };
        for dialect in [Chat, Responses, Anthropic, UsageDialect::Embeddings] {
            let whole = cut_at(dialect, &bytes, &[], end);
            prop_assert_eq!(&cut_at(dialect, &bytes, &cuts, end), &whole);
        }
    }

    #[test]
    fn any_bytes_are_a_stream(bytes: Vec<u8>, cuts: Vec<prop::sample::Index>) {
        for dialect in [Chat, Responses, Anthropic] {
            let whole = cut_at(dialect, &bytes, &[], Broken);
            prop_assert_eq!(&cut_at(dialect, &bytes, &cuts, Broken), &whole);
        }
    }
}
