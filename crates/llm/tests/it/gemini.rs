//! Calls of Gemini: models in paths, names in bodies, how streams begin, what is given again.

use serde_json::{Value, json};
use tollkeep_llm::exact::{Repeatable, Repeated};
use tollkeep_llm::failure::{Failure, told_wait};
use tollkeep_llm::gemini::{
    GeminiFault, GeminiView, judged_path, model_of, with_model, write_model,
};
use tollkeep_llm::opening::{Begun, Opening};
use tollkeep_llm::surface::UsageDialect;
use tollkeep_llm::{Dialect, Surface, SurfaceMatch, surface_of};

// LLM-1
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn the_path_names_the_call_and_its_model() {
    let generate = Surface::Generate;
    for (name, path, surface, model) in [
        (
            "plain",
            "/v1beta/models/gemini-2.5-pro:generateContent",
            generate,
            Some("gemini-2.5-pro"),
        ),
        (
            "stable",
            "/v1/models/gemini-2.5-pro:generateContent",
            generate,
            Some("gemini-2.5-pro"),
        ),
        (
            "stream",
            "/v1beta/models/m:streamGenerateContent",
            Surface::StreamGenerate,
            Some("m"),
        ),
        (
            "count",
            "/v1beta/models/m:countTokens",
            Surface::GeminiCount,
            Some("m"),
        ),
        (
            "slash",
            "/v1beta/models/vendor/m:generateContent",
            generate,
            Some("vendor/m"),
        ),
        (
            "encoded slash",
            "/v1beta/models/vendor%2Fm:generateContent",
            generate,
            Some("vendor/m"),
        ),
        (
            "colon",
            "/v1beta/models/m:8b:generateContent",
            generate,
            Some("m:8b"),
        ),
        (
            "encoded colon",
            "/v1beta/models/m%3A8b:generateContent",
            generate,
            Some("m:8b"),
        ),
        (
            "a verb in the model",
            "/v1beta/models/m:countTokens:generateContent",
            generate,
            Some("m:countTokens"),
        ),
        (
            "beyond ASCII",
            "/v1beta/models/m%C3%A9:generateContent",
            generate,
            Some("mé"),
        ),
        (
            "encoded up",
            "/v1beta/models/a%2F..%2Ffiles:generateContent",
            generate,
            None,
        ),
        (
            "encoded here",
            "/v1beta/models/.%2Ffiles:generateContent",
            generate,
            None,
        ),
        (
            "encoded nothing",
            "/v1beta/models/a%2F%2Fb:generateContent",
            generate,
            None,
        ),
        (
            "ends with a slash",
            "/v1beta/models/a%2F:generateContent",
            generate,
            None,
        ),
        (
            "broken",
            "/v1beta/models/a%2:generateContent",
            generate,
            None,
        ),
        (
            "no UTF-8",
            "/v1beta/models/a%FF:generateContent",
            generate,
            None,
        ),
        (
            "control",
            "/v1beta/models/a%0D%0Ab:generateContent",
            generate,
            None,
        ),
        (
            "backslash",
            "/v1beta/models/a%5C..%5Cb:generateContent",
            generate,
            None,
        ),
    ] {
        assert_eq!(
            surface_of("POST", path),
            SurfaceMatch::Surface(surface),
            "{name}"
        );
        assert_eq!(model_of(path).as_deref(), model, "{name}");
    }
    let long = format!("/v1beta/models/{}:generateContent", "m".repeat(257));
    assert_eq!(model_of(&long), None);
}

// LLM-1
#[test]
fn what_names_no_call_is_told_in_its_dialect() {
    let post = |path| surface_of("POST", path);
    for path in [
        "/v1beta/models/m",
        "/v1beta/models/m:",
        "/v1beta/models/:generateContent",
        "/v1beta/models:generateContent",
        "/v1beta/models/m:generatecontent",
        "/v1beta/models/m:generateContent/x",
        "/v1beta/models/m%3AgenerateContent",
        "/v1beta/models/m:embedContent",
        "/v1beta/models/m:batchGenerateContent",
        "/v1beta/tunedModels/m:generateContent",
        "/v1beta/cachedContents",
        "/v1/models/m:embedContent",
        "/v1/models/m:batchEmbedContents",
        "/v1/tunedModels/m:generateContent",
        "/v1/cachedContents",
    ] {
        assert_eq!(post(path), SurfaceMatch::Unknown(Dialect::Gemini), "{path}");
        assert_eq!(model_of(path), None, "{path}");
    }
    let not = SurfaceMatch::MethodNotAllowed {
        allow: "POST",
        dialect: Dialect::Gemini,
    };
    for path in [
        "/v1beta/models/m:generateContent",
        "/v1/models/m:countTokens",
    ] {
        assert_eq!(surface_of("GET", path), not, "{path}");
    }
    // Names of other dialects may have colons.
    assert_eq!(
        surface_of("GET", "/v1/models/ft:gpt-4o:org"),
        SurfaceMatch::Surface(Surface::Model)
    );
}

// LLM-1
#[test]
fn a_model_goes_into_a_path_and_leads_nowhere_else() {
    let written = |model: &str| {
        let mut out = b"at ".to_vec();
        let fits = write_model(&mut out, model);
        fits.then(|| String::from_utf8(out.split_off(3)).unwrap())
    };
    for (model, want) in [
        ("gemini-2.5-pro", Some("gemini-2.5-pro")),
        ("models/gemini-2.5-pro", Some("gemini-2.5-pro")),
        ("vendor/m", Some("vendor/m")),
        ("m:countTokens", Some("m%3AcountTokens")),
        ("a b?c#d%2F&e", Some("a%20b%3Fc%23d%252F%26e")),
        ("é", Some("%C3%A9")),
        ("", None),
        ("models/", None),
        ("..", None),
        ("a/../b", None),
        ("/a", None),
        ("a\r\nb", None),
        ("a\\b", None),
    ] {
        assert_eq!(written(model).as_deref(), want, "{model:?}");
    }
}

proptest::proptest! {
    // LLM-1
    #[test]
    fn whatever_a_model_is_called_the_path_stays_one(model in "\\PC{0,20}", base in "[a-c./%:]{0,12}") {
        for model in [model, base] {
            let mut out = Vec::new();
            if write_model(&mut out, &model) {
                let text = String::from_utf8(out).unwrap();
                let path = format!("/v1beta/models/{text}:generateContent");
                proptest::prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#:;\\".contains(&byte)));
                let bare = model.strip_prefix("models/").unwrap_or(&model);
                let read = model_of(&path);
                proptest::prop_assert_eq!(read.as_deref(), Some(bare));
            } else {
                proptest::prop_assert!(out.is_empty());
            }
        }
    }
}

// ID-90
#[test]
fn policies_are_asked_about_one_path_whatever_the_version() {
    for (path, want) in [
        (
            "/v1/models/m:generateContent",
            Some("/v1beta/models/m:generateContent"),
        ),
        (
            "/v1beta/models/m:generateContent",
            Some("/v1beta/models/m:generateContent"),
        ),
        ("/v1/models/m", None),
        ("/v1/chat/completions", None),
    ] {
        assert_eq!(judged_path(path).as_deref(), want, "{path}");
    }
}

// LLM-1 LLM-30
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_body_says_nothing_twice_and_names_no_other_model() {
    let read = |body: &str| GeminiView::read(body.as_bytes(), "m");
    for (name, body, cap, choices) in [
        ("nothing", "{}", None, 0),
        (
            "camel",
            r#"{"generationConfig":{"maxOutputTokens":7,"candidateCount":2}}"#,
            Some(7),
            2,
        ),
        (
            "snake",
            r#"{"generation_config":{"max_output_tokens":7,"candidate_count":2}}"#,
            Some(7),
            2,
        ),
        (
            "in quotes",
            r#"{"generationConfig":{"maxOutputTokens":"7"}}"#,
            Some(7),
            0,
        ),
        (
            "elsewhere",
            r#"{"generationConfig":{"thinkingConfig":{"maxOutputTokens":1}}}"#,
            None,
            0,
        ),
        ("the same model", r#"{"model":"models/m"}"#, None, 0),
        (
            "bare",
            r#"{"m\u006fdel":"m","generateContentRequest":{"model":"models/m"}}"#,
            None,
            0,
        ),
    ] {
        let view = read(body).unwrap();
        assert_eq!((view.output_cap, view.choices), (cap, choices), "{name}");
    }
    for (name, body, fault) in [
        (
            "other",
            r#"{"model":"models/dear"}"#,
            GeminiFault::OtherModel,
        ),
        (
            "hidden",
            r#"{"\u006dodel":"dear"}"#,
            GeminiFault::OtherModel,
        ),
        (
            "to count",
            r#"{"generateContentRequest":{"model":"models/dear"}}"#,
            GeminiFault::OtherModel,
        ),
        (
            "twice",
            r#"{"generationConfig":{},"generation_config":{}}"#,
            GeminiFault::Twice("generationConfig"),
        ),
        (
            "twice within",
            r#"{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":99}}"#,
            GeminiFault::Twice("maxOutputTokens"),
        ),
        (
            "twice in thought",
            r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":1,"thinking_budget":9}}}"#,
            GeminiFault::Twice("thinkingBudget"),
        ),
    ] {
        assert_eq!(read(body), Err(fault), "{name}");
    }
}

// LLM-40
#[test]
fn a_model_is_renamed_where_a_body_names_it_and_nowhere_else() {
    for (body, want) in [
        (r#"{"contents":[{"model":"m"}]}"#, None),
        (
            r#"{ "model" : "models/m" , "a":1}"#,
            Some(r#"{ "model" : "models/n" , "a":1}"#),
        ),
        (
            r#"{"generateContentRequest":{"model":"m","contents":[]}}"#,
            Some(r#"{"generateContentRequest":{"model":"models/n","contents":[]}}"#),
        ),
    ] {
        let edited = with_model(body.as_bytes(), "n").unwrap();
        assert_eq!(edited.as_deref(), want.map(str::as_bytes), "{body}");
    }
}

fn begun(events: &[Value]) -> Begun {
    let text: String = events
        .iter()
        .map(|data| format!("data: {data}\r\n\r\n"))
        .collect();
    Opening::new(UsageDialect::Gemini).feed(text.as_bytes())
}

// LLM-50 LLM-51
#[test]
fn a_stream_begins_with_its_first_part() {
    let parts = |parts: Value| json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}]});
    for nothing in [
        parts(json!([])),
        parts(json!([{"text": ""}])),
        json!({"candidates": null, "usageMetadata": {"promptTokenCount": 3}, "modelVersion": "m"}),
        json!({"usageMetadata": {"promptTokenCount": 3}, "responseId": "r"}),
    ] {
        assert_eq!(
            begun(std::slice::from_ref(&nothing)),
            Begun::Nothing,
            "{nothing}"
        );
    }
    for content in [
        parts(json!([{"text": "H"}])),
        parts(json!([{"text": "Hm", "thought": true}])),
        parts(json!([{"functionCall": {"name": "f"}}])),
        parts(json!([{"text": "", "thoughtSignature": "x"}])),
        json!({"candidates": [{"finishReason": "STOP"}]}),
        json!({"promptFeedback": {"blockReason": "SAFETY"}}),
        json!({"something": "new"}),
        json!({"candidates": [{"content": {"parts": 1}}]}),
    ] {
        assert_eq!(
            begun(std::slice::from_ref(&content)),
            Begun::Content,
            "{content}"
        );
    }
}

// LLM-50 LLM-R40
#[test]
fn a_stream_that_fails_at_once_is_read_like_an_error_answer() {
    for (code, word, status, failure) in [
        (Some(503), "UNAVAILABLE", 503, Failure::Transient),
        (None, "UNAVAILABLE", 503, Failure::Transient),
        (Some(429), "RESOURCE_EXHAUSTED", 429, Failure::RateLimit),
        (None, "INVALID_ARGUMENT", 400, Failure::BadRequest),
        (None, "PERMISSION_DENIED", 403, Failure::Auth),
        (Some(500), "INTERNAL", 500, Failure::Transient),
        (None, "SOMETHING", 500, Failure::Transient),
    ] {
        let error = json!({"error": {"code": code, "message": "m", "status": word}});
        let greeting = json!({"usageMetadata": {}});
        let Begun::Failed(failed) = begun(&[greeting, error]) else {
            panic!("{word}");
        };
        assert_eq!(failed.status, status, "{word}");
        if status != 503 {
            assert_eq!(failed.failure, failure, "{word}");
        }
        let body: Value = serde_json::from_slice(&failed.body).unwrap();
        assert_eq!(
            body,
            json!({"error": {"code": status, "message": "m", "status": word}})
        );
    }
}

// LLM-R45
#[test]
fn google_says_in_details_how_long_to_wait() {
    let wait = |delay: &str| {
        let body = json!({"error": {"code": 429, "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]}});
        told_wait(|_| None, body.to_string().as_bytes()).map(|wait| wait.as_millis())
    };
    assert_eq!(wait("34.074824224s"), Some(34_074));
    assert_eq!(wait("7s"), Some(7_000));
    assert_eq!(wait("0s"), None);
    assert_eq!(wait("soon"), None);
}

// LLM-83
#[test]
fn what_may_be_given_again_is_seen() {
    let asked = |body: &str| Repeatable::read(Surface::Generate, body.as_bytes(), 64).unwrap();
    for (body, want) in [
        ("{}", false),
        (r#"{"temperature":0}"#, false),
        (r#"{"generationConfig":{"temperature":0}}"#, true),
        (r#"{"generation_config":{"temperature":0.0}}"#, true),
        (r#"{"generationConfig":{"temperature":1}}"#, false),
        (r#"{"generationConfig":{"seed":4}}"#, true),
    ] {
        assert_eq!(asked(body).is_deterministic(), want, "{body}");
    }
    let answer = |parts: Value, reason: &str| {
        let body = json!({"candidates": [{"content": {"parts": parts}, "finishReason": reason}]});
        Repeated::of_body(Surface::Generate, body.to_string().as_bytes())
    };
    let plain = answer(json!([{"text": "H"}]), "STOP");
    assert!(plain.is_complete() && !plain.calls_tools && !plain.is_cut_short && !plain.is_sealed);
    assert!(answer(json!([]), "MAX_TOKENS").is_cut_short);
    assert!(answer(json!([{"functionCall": {"name": "f"}}]), "STOP").calls_tools);
    assert!(answer(json!([{"text": "", "thoughtSignature": "x"}]), "STOP").is_sealed);
    let blocked = br#"{"promptFeedback":{"blockReason":"SAFETY"}}"#;
    assert!(!Repeated::of_body(Surface::Generate, blocked).is_complete());
}
