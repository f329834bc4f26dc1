//! Error answers as providers write them, and what kind of failure they are.

use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tollkeep_llm::failure::{Failure, of_answer, told_wait};

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
    class: String,
    retry_after_ms: Option<u64>,
}

fn word(failure: Failure) -> &'static str {
    match failure {
        Failure::Timeout => "timeout",
        Failure::Transient => "transient",
        Failure::Overload => "overload",
        Failure::RateLimit => "rate_limit",
        Failure::Quota => "quota",
        Failure::Billing => "billing",
        Failure::Auth => "auth",
        Failure::ModelMissing => "model_missing",
        Failure::ContextOverflow => "context_overflow",
        Failure::Policy => "policy",
        Failure::BadRequest => "bad_request",
        Failure::Resource => "resource",
        Failure::Challenge => "challenge",
    }
}

// LLM-R40 LLM-R41 LLM-R45
#[test]
fn every_error_of_a_provider_has_its_kind_and_wait() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../data/failures.json")).unwrap();
    assert!(cases.len() >= 34);
    for case in cases {
        let body = match &case.body {
            Value::String(text) => text.clone(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => case.body.to_string(),
        };
        let is_challenge = case.headers.contains_key("cf-mitigated");
        let failure = of_answer(case.status, is_challenge, body.as_bytes());
        assert_eq!(word(failure), case.class, "{}", case.name);
        let field = |name: &str| case.headers.get(name).map(String::as_bytes);
        let told = told_wait(field, body.as_bytes());
        let want = case.retry_after_ms.map(Duration::from_millis);
        assert_eq!(told, want, "{}", case.name);
    }
}
