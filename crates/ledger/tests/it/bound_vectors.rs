//! The bound of every vector, from the bytes of a request.

use crate::vectors::{ANY, BoundWant, vectors};
use tollkeep_ledger::bound::{Options, bound};
use tollkeep_llm::body::CallView;
use tollkeep_llm::demand::{Form, Known, read};

fn form(dialect: &str) -> Form {
    match dialect {
        "openai.chat" => Form::Chat,
        "openai.completions" => Form::Completions,
        "openai.responses" => Form::Responses,
        "openai.embeddings" => Form::Embeddings,
        "anthropic.messages" => Form::Messages,
        "gemini.generate" => Form::Gemini,
        other => panic!("{other}"),
    }
}

// LED-40 LED-41 LED-42 LED-43 LED-43a LED-44 LED-45 LED-47
#[test]
fn every_vector_is_bounded_as_it_says() {
    let vectors = vectors();
    let book = vectors.book();
    let mut wrong = Vec::new();
    assert_eq!(vectors.bounds.len(), 34);
    for case in &vectors.bounds {
        let body = case.body();
        CallView::read(body.as_bytes(), 128).unwrap();
        let demand = read(form(&case.dialect), body.as_bytes(), &Known::default());
        let at = "2026-07-01T12:00:00Z".parse().unwrap();
        let found = book.find(ANY, &case.model, at).unwrap();
        let options = Options {
            max_output_tokens: case.options.max_output_tokens,
            ..Options::default()
        };
        let bounded = match bound(&demand, found, &options) {
            Ok(bound) => BoundWant {
                refuse: None,
                in_tokens: Some(bound.input_tokens),
                out_tokens: Some(bound.output_tokens),
                bound_nano_usd: Some(bound.amount.get()),
                write_field: bound.cap.map(|cap| cap.field.to_owned()),
                write_value: bound.cap.map(|cap| cap.tokens),
            },
            Err(refused) => BoundWant {
                refuse: Some(refused.code().to_owned()),
                ..BoundWant::default()
            },
        };
        if bounded != case.expect {
            let want = &case.expect;
            wrong.push(format!("{}: {bounded:?}\nwant {want:?}", case.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
