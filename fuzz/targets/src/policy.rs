//! A policy on calls, and what it is asked about.

use std::sync::Arc;
use tollkeep_llm::Surface;
use tollkeep_llm::asks::{Asks, Bounds, Count, bounded};
use tollkeep_llm::body::CallView;
use tollkeep_llm::params;
use tollkeep_policy::call_policy::{
    CallPolicy, HeadFacts, ParamPlace, WrittenPolicy, allow_model, check_head, check_query,
};
use tollkeep_policy::form::{BodyKind, multipart, urlencoded};

/// The first line is a policy, the second a path, a query or a media type, the rest a body.
///
/// Laws: a policy is written as it was read; one more of it changes nothing; a body that was
/// brought down to a bound asks for no more, and is not changed again.
pub fn policy(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let (first, second) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let body = lines.next().unwrap_or_default();
    if let Ok(written) = serde_json::from_slice::<WrittenPolicy>(first)
        && let Ok(policy) = CallPolicy::new(written)
    {
        let policy = Arc::new(policy);
        let text = serde_json::to_string(&policy);
        let again = text
            .ok()
            .and_then(|text| serde_json::from_str::<CallPolicy>(&text).ok());
        assert!(again.as_ref() == Some(&*policy), "written as it was read");
        ask(&policy, second, body);
    }
    bound(body);
    drop(urlencoded(body));
    if let Some(BodyKind::Multipart(boundary)) = BodyKind::of(second) {
        drop(multipart(body, &boundary));
    }
}

fn ask(policy: &Arc<CallPolicy>, line: &[u8], body: &[u8]) {
    let (one, two) = (
        [Arc::clone(policy)],
        [Arc::clone(policy), Arc::clone(policy)],
    );
    let text = String::from_utf8_lossy(line);
    assert_eq!(allow_model(&one, &text), allow_model(&two, &text));
    assert_eq!(check_query(&one, line), check_query(&two, line));
    let facts = HeadFacts {
        method: "POST",
        path: &text,
        fields: [(&b"origin"[..], line)].into_iter(),
    };
    assert_eq!(check_head(&one, &facts), check_head(&two, &facts));
    if CallView::read(body, 64).is_err() {
        return;
    }
    let places: Vec<&[String]> = policy
        .params()
        .iter()
        .filter_map(|rule| match rule.place() {
            ParamPlace::Body(segments) => Some(segments.as_slice()),
            ParamPlace::Query(_) => None,
        })
        .collect();
    let read = params::at(body, &places, &mut |place, _| assert!(place < places.len()));
    assert!(read.is_ok(), "what was read strictly can be read");
}

fn bound(body: &[u8]) {
    if CallView::read(body, 64).is_err() {
        return;
    }
    let bounds = Bounds {
        output_tokens: Some(7),
        choices: Some(2),
        service: Some("default"),
        usage: true,
    };
    for surface in Surface::ALL {
        assert!(Asks::read(surface, body).is_ok());
        let name = if surface == Surface::Responses {
            "max_output_tokens"
        } else {
            "max_tokens"
        };
        let Ok(Some(edited)) = bounded(surface, body, &bounds, name) else {
            continue;
        };
        assert!(CallView::read(&edited, 64).is_ok(), "still strict JSON");
        let again = bounded(surface, &edited, &bounds, name);
        assert!(matches!(again, Ok(None)), "changed twice");
        let within = |count: Option<Count>, max: u64| match count {
            None => true,
            Some(Count::Number(number)) => number <= max,
            Some(Count::Other) => false,
        };
        if let Ok(asks) = Asks::read(surface, &edited) {
            assert!(within(asks.output_tokens, 7) && within(asks.choices, 2));
        }
    }
}
