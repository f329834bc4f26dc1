//! What whole answers tell, and that line ends make no difference. What the vectors cost is tested
//! in the ledger.

use serde_json::{Value, json};
use tollkeep_llm::body::CallView;
use tollkeep_llm::surface::UsageDialect;
use tollkeep_llm::usage::{Asked, BodyEnd, BodyUsage, Outcome, StreamReport, StreamUsage};
use tollkeep_types::usage::{Class, UnknownUsage, Usage, UsageReport};

#[derive(serde::Deserialize)]
struct Vector {
    id: String,
    dialect: String,
    request: Option<Value>,
    sse: Option<String>,
}

impl Vector {
    fn dialect(&self) -> UsageDialect {
        match &*self.dialect {
            "openai.chat" | "openai.completions" => UsageDialect::Chat,
            "openai.responses" => UsageDialect::Responses,
            "openai.embeddings" => UsageDialect::Embeddings,
            "anthropic.messages" => UsageDialect::Anthropic,
            other => panic!("{other}"),
        }
    }

    fn asked(&self) -> Asked {
        let request = self.request.as_ref().unwrap_or(&json!({})).to_string();
        Asked::of(&CallView::read(request.as_bytes(), 128).unwrap())
    }
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../data/usage.json")).unwrap()
}

/// Feeds the pieces and checks that the report says what it would say of a whole.
fn fed<'a>(
    vector: &Vector,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    end: BodyEnd,
) -> StreamReport {
    let mut stream = StreamUsage::new(vector.dialect(), vector.asked());
    for piece in pieces {
        stream.feed(piece);
    }
    stream.finish(end)
}

#[test]
fn line_ends_make_no_difference() {
    for vector in vectors() {
        let Some(sse) = &vector.sse else { continue };
        let lf = sse.replace("\r\n", "\n");
        let want = fed(&vector, [lf.as_bytes()], BodyEnd::Broken);
        for end in ["\r", "\r\n"] {
            let other = lf.replace('\n', end);
            assert_eq!(
                fed(&vector, [other.as_bytes()], BodyEnd::Broken),
                want,
                "{} {end:?}",
                vector.id
            );
            for at in 1..other.len() {
                let (left, right) = other.as_bytes().split_at(at);
                assert_eq!(
                    fed(&vector, [left, right], BodyEnd::Broken),
                    want,
                    "{} {end:?} {at}",
                    vector.id
                );
            }
        }
    }
}

fn chat(status: u16, body: &str) -> (UsageReport, Outcome) {
    let read = BodyUsage::read(
        UsageDialect::Chat,
        &Asked::default(),
        status,
        body.as_bytes(),
    );
    (read.told.report, read.outcome)
}

fn usage(counts: &[(Class, u64)]) -> UsageReport {
    let mut usage = Usage::default();
    for (class, count) in counts {
        usage.set(*class, *count);
    }
    UsageReport::Reported(usage.into())
}

// LED-25
#[test]
fn what_is_owed_depends_on_status_and_usage() {
    let unknown = UsageReport::Unknown;
    #[rustfmt::skip]
    let rows = [
        ("empty", 200, "", unknown(UnknownUsage::Unreadable), Outcome::Error),
        ("empty refusal", 503, "", UsageReport::Released, Outcome::Error),
        ("page", 502, "<html>", UsageReport::Released, Outcome::Error),
        ("error in a 200", 200, r#"{"error":{"message":"no"}}"#, UsageReport::Released, Outcome::Error),
        ("no error", 200, r#"{"error":null}"#, unknown(UnknownUsage::Absent), Outcome::Complete),
        ("usage null", 200, r#"{"usage":null}"#, unknown(UnknownUsage::Absent), Outcome::Complete),
        ("usage says nothing", 200, r#"{"usage":{}}"#, unknown(UnknownUsage::Absent), Outcome::Complete),
        ("usage in other words", 200, r#"{"usage":{"input_tokens":3}}"#, unknown(UnknownUsage::Absent), Outcome::Complete),
        ("explicit zeros", 200, r#"{"usage":{"prompt_tokens":0,"completion_tokens":0}}"#, usage(&[]), Outcome::Complete),
        ("only output", 200, r#"{"usage":{"completion_tokens":2}}"#, usage(&[(Class::OutText, 2)]), Outcome::Complete),
        ("usage twice", 200, r#"{"usage":{"prompt_tokens":9},"usage":{"prompt_tokens":0}}"#, usage(&[(Class::InText, 9)]), Outcome::Complete),
        ("count twice", 200, r#"{"usage":{"prompt_tokens":9,"prompt_tokens":0}}"#, usage(&[(Class::InText, 9)]), Outcome::Complete),
        ("usage is a number", 200, r#"{"usage":7}"#, unknown(UnknownUsage::Malformed), Outcome::Complete),
        ("malformed in a refusal", 500, r#"{"usage":{"prompt_tokens":-1}}"#, unknown(UnknownUsage::Malformed), Outcome::Error),
        ("deeper usage", 200, r#"{"choices":[{"message":{"usage":{"prompt_tokens":1}}}]}"#, unknown(UnknownUsage::Absent), Outcome::Complete),
        ("two values", 200, r#"{"usage":{"prompt_tokens":1}}{}"#, unknown(UnknownUsage::Unreadable), Outcome::Error),
    ];
    for (name, status, body, report, outcome) in rows {
        assert_eq!(chat(status, body), (report, outcome), "{name}");
    }
}

// LED-13
#[test]
fn counts_are_whole_and_believable() {
    let malformed = UsageReport::Unknown(UnknownUsage::Malformed);
    for (count, want) in [
        ("0", usage(&[])),
        ("null", usage(&[])),
        ("7", usage(&[(Class::InText, 7)])),
        ("7.0", usage(&[(Class::InText, 7)])),
        ("0.7e1", usage(&[(Class::InText, 7)])),
        ("-0.0", usage(&[])),
        ("1099511627776", usage(&[(Class::InText, 1 << 40)])),
        ("1099511627777", malformed.clone()),
        ("1099511627776.5", malformed.clone()),
        ("1e13", malformed.clone()),
        ("1e400", malformed.clone()),
        ("99999999999999999999", malformed.clone()),
        ("-1", malformed.clone()),
        ("-1e400", malformed.clone()),
        ("0.5", malformed.clone()),
        ("\"7\"", malformed.clone()),
        ("true", malformed.clone()),
        ("[7]", malformed.clone()),
        ("{}", malformed.clone()),
    ] {
        let body = format!(r#"{{"usage":{{"prompt_tokens":{count},"completion_tokens":0}}}}"#);
        assert_eq!(chat(200, &body).0, want, "{count}");
        let nested = format!(
            r#"{{"usage":{{"prompt_tokens":0,"prompt_tokens_details":{{"cached_tokens":{count}}}}}}}"#
        );
        let is_malformed = chat(200, &nested).0 == malformed;
        assert_eq!(is_malformed, want == malformed, "cached {count}");
    }
}

// LED-14
#[test]
fn parts_beyond_their_whole_stand_beside_it() {
    use Class::*;
    #[rustfmt::skip]
    let rows = [
        ("cached and written beyond the prompt", r#""prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":8,"cache_write_tokens":3}"#, vec![(InText, 10), (CacheReadText, 8), (CacheWrite, 3)]),
        ("audio beyond the prompt", r#""prompt_tokens":10,"prompt_tokens_details":{"audio_tokens":11}"#, vec![(InText, 10), (InAudio, 11)]),
        ("audio, then images, then cache", r#""prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":6,"audio_tokens":3,"image_tokens":2}"#, vec![(InAudio, 3), (InImage, 1), (CacheReadImage, 1), (CacheReadText, 5)]),
        ("audio out beyond the output", r#""completion_tokens":5,"completion_tokens_details":{"audio_tokens":9}"#, vec![(OutText, 5), (OutAudio, 9)]),
        ("reasoning beyond the output, total agrees with the output", r#""completion_tokens":5,"total_tokens":5,"completion_tokens_details":{"reasoning_tokens":9}"#, vec![(OutText, 5), (OutReasoning, 9)]),
        ("the total has room for part of the reasoning", r#""completion_tokens":9,"total_tokens":11,"completion_tokens_details":{"reasoning_tokens":5}"#, vec![(OutText, 4), (OutReasoning, 7)]),
        ("the total has room for more than the reasoning", r#""completion_tokens":9,"total_tokens":20,"completion_tokens_details":{"reasoning_tokens":5}"#, vec![(OutText, 9), (OutReasoning, 11)]),
    ];
    for (name, counts, want) in rows {
        assert_eq!(
            chat(200, &format!("{{\"usage\":{{{counts}}}}}")).0,
            usage(&want),
            "{name}"
        );
    }
}

#[test]
fn anthropic_cache_writes_beyond_their_lifetimes_take_the_asked_one() {
    let body = br#"{"usage":{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":10,
        "cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4},
        "output_tokens_details":{"thinking_tokens":9}}}"#;
    for (hour_cache, five, hour) in [(false, 6, 4), (true, 3, 7)] {
        let asked = Asked {
            hour_cache,
            ..Asked::default()
        };
        let read = BodyUsage::read(UsageDialect::Anthropic, &asked, 200, body);
        let want = [
            (Class::InText, 1),
            (Class::CacheWrite5m, five),
            (Class::CacheWrite1h, hour),
            (Class::OutText, 2),
            (Class::OutReasoning, 9),
        ];
        assert_eq!(read.told.report, usage(&want), "{hour_cache}");
    }
}

// LED-27
#[test]
fn a_usage_object_beyond_64_kib_is_unknown() {
    for (padding, want) in [
        (60_000, usage(&[(Class::InText, 1)])),
        (70_000, UsageReport::Unknown(UnknownUsage::TooLarge)),
    ] {
        let body = format!(
            r#"{{"usage":{{"prompt_tokens":1,"x":"{}"}}}}"#,
            "x".repeat(padding)
        );
        assert_eq!(chat(200, &body).0, want, "{padding}");
    }
}

#[test]
fn model_names_are_bounded() {
    let body = format!(r#"{{"model":"{}"}}"#, "é".repeat(200));
    let read = BodyUsage::read(UsageDialect::Chat, &Asked::default(), 200, body.as_bytes());
    assert_eq!(read.model.as_deref(), Some(&*"é".repeat(128)));
    for body in [
        r#"{"model":""}"#,
        r#"{"model":7}"#,
        r#"{"model":null}"#,
        "{}",
    ] {
        let read = BodyUsage::read(UsageDialect::Chat, &Asked::default(), 200, body.as_bytes());
        assert_eq!(read.model, None, "{body}");
    }
    let read = BodyUsage::read(
        UsageDialect::Chat,
        &Asked::default(),
        200,
        br#"{"model":"\u0061"}"#,
    );
    assert_eq!(read.model.as_deref(), Some("a"));
}

proptest::proptest! {
    // LED-14
    #[test]
    fn no_token_is_lost(
        counts in proptest::array::uniform8(0..2000_u64),
    ) {
        let [prompt, cached, written, audio, image, completion, reasoning, audio_out] = counts;
        let body = json!({"usage": {
            "prompt_tokens": prompt, "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written, "audio_tokens": audio, "image_tokens": image},
            "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": audio_out},
        }}).to_string();
        let UsageReport::Reported(usage) = chat(200, &body).0 else { panic!("{body}") };
        proptest::prop_assert!(usage.input() >= prompt);
        proptest::prop_assert!(usage.output() >= completion);
        if cached + written <= prompt && audio + image <= prompt - written {
            proptest::prop_assert_eq!(usage.input(), prompt);
        }
        if reasoning + audio_out <= completion {
            proptest::prop_assert_eq!(usage.output(), completion);
        }
        proptest::prop_assert_eq!(usage.first.usage.count(Class::InAudio) + usage.first.usage.count(Class::CacheReadAudio), audio);
    }

    #[test]
    fn any_answer_is_read(body: Vec<u8>, status: u16) {
        for dialect in [UsageDialect::Chat, UsageDialect::Responses, UsageDialect::Embeddings, UsageDialect::Anthropic] {
            drop(BodyUsage::read(dialect, &Asked::default(), status, &body));
        }
    }
}
