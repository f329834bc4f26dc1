//! The JSON body of a call to a model.

use tollkeep_llm::body::CallView;
use tollkeep_llm::gemini::{GeminiFault, GeminiView, with_model};

/// The bytes are a request body.
///
/// Laws: what is read does not depend on a depth limit that was not met; with another model's
/// name in it a body is read as before but for that name.
pub fn call(data: &[u8]) {
    let read = CallView::read(data, 64);
    let shallow = CallView::read(data, 4);
    match &read {
        Ok(view) => {
            assert!(shallow.is_err() || shallow.as_ref() == Ok(view));
            check_renamed(data, view);
            check_gemini(data);
        }
        Err(refusal) => {
            assert!(refusal.offset <= data.len() && !refusal.message().is_empty());
            assert!(shallow.is_err());
        }
    }
}

/// Once every name of its model is another, a body names that one and no other.
fn check_gemini(data: &[u8]) {
    let edited = with_model(data, "m");
    assert!(edited.is_ok(), "what was read strictly can be read");
    let edited = edited.ok().flatten();
    let body = edited.as_deref().unwrap_or(data);
    let before = GeminiView::read(data, "m");
    match GeminiView::read(body, "m") {
        Err(fault) => assert!(!matches!(
            fault,
            GeminiFault::OtherModel | GeminiFault::Unreadable
        )),
        Ok(view) => assert!(before.is_err() || before == Ok(view)),
    }
    assert!(CallView::read(body, 64).is_ok(), "still strict JSON");
}

fn check_renamed(data: &[u8], view: &CallView<'_>) {
    assert!(
        std::str::from_utf8(data).is_ok(),
        "a body that is not UTF-8"
    );
    for name in ["", "gpt-4o", "a \"quoted\"\\ name\n\u{1f600}"] {
        let Some(edited) = view.with_model(data, name) else {
            assert!(view.model.is_none());
            continue;
        };
        let again = CallView::read(&edited, 64);
        let same = again.as_ref().is_ok_and(|again| {
            again.model.as_deref() == Some(name)
                && (again.stream, again.include_usage, again.hour_cache)
                    == (view.stream, view.include_usage, view.hour_cache)
                && again.service_tier == view.service_tier
        });
        assert!(same, "{again:?}");
    }
}
