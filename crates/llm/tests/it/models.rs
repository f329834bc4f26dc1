//! Model lists.

use serde_json::{Value, json};
use tollkeep_llm::Dialect;
use tollkeep_llm::models::{
    Listed, Page, PageError, Signs, form, list_anthropic, list_gemini, list_openai, one_anthropic,
    one_gemini, one_openai,
};
use tollkeep_types::WallMillis;

fn value(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

// LLM-70
#[test]
fn the_form_is_that_of_the_path_or_of_the_client() {
    let [none, anthropic, google, both] =
        [(false, false), (true, false), (false, true), (true, true)]
            .map(|(anthropic, google)| Signs { anthropic, google });
    for (path, signs, want) in [
        ("/v1/models", none, Dialect::Chat),
        ("/openai/v1/models", none, Dialect::Chat),
        ("/v1/models", anthropic, Dialect::Anthropic),
        ("/v1/models", both, Dialect::Anthropic),
        ("/anthropic/v1/models", none, Dialect::Anthropic),
        ("/anthropic/v1/models", google, Dialect::Anthropic),
        ("/anthropic/v1/models/x", none, Dialect::Anthropic),
        ("/v1/models", google, Dialect::Gemini),
        ("/v1/models/x", google, Dialect::Gemini),
        ("/v1beta/models", none, Dialect::Gemini),
        ("/v1beta/models/x", anthropic, Dialect::Gemini),
    ] {
        assert_eq!(form(path, signs), want, "{path} {signs:?}");
    }
}

// LLM-70
#[test]
fn gemini_lists_come_in_pages() {
    let names: Vec<String> = (100..200).map(|n| format!("m-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (query, first, count, next) in [
        ("", "m-100", 50, Some("m-149")),
        ("pageSize=0", "m-100", 50, Some("m-149")),
        ("page_size=1&pageToken=", "m-100", 1, Some("m-100")),
        ("pageSize=2000", "m-100", 100, None),
        (
            "pageSize=5&pageToken=m%2D190&queryBase=true",
            "m-191",
            5,
            Some("m-195"),
        ),
        ("pageToken=m-149", "m-150", 50, None),
    ] {
        let page = Page::parse_gemini(Some(query.as_bytes())).unwrap();
        let list = value(&list_gemini(&names, &page, Listed::named));
        let models = list["models"].as_array().unwrap();
        assert_eq!(models.len(), count, "{query}");
        assert_eq!(models[0]["name"], format!("models/{first}"), "{query}");
        assert_eq!(list["nextPageToken"].as_str(), next, "{query}");
    }
    let empty = value(&list_gemini(
        &[],
        &Page::parse_gemini(None).unwrap(),
        Listed::named,
    ));
    assert_eq!(empty, json!({"models": []}));
    for (query, error) in [
        ("pageSize=-1", PageError::PageSize),
        ("pageSize=ten", PageError::PageSize),
        ("pageSize=1&page_size=2", PageError::Query),
        ("pageToken=a&pageToken=b", PageError::Query),
        ("pageToken=%ff", PageError::Query),
    ] {
        assert_eq!(
            Page::parse_gemini(Some(query.as_bytes())),
            Err(error),
            "{query}"
        );
    }
}

// LLM-74
#[test]
fn openai_lists_hold_the_names_and_no_provider() {
    let model =
        |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "tollkeep"});
    assert_eq!(
        value(&list_openai(["a", "b\"\\\n/c"].map(Listed::named))),
        json!({"object": "list", "data": [model("a"), model("b\"\\\n/c")]}),
    );
    assert_eq!(
        value(&list_openai([])),
        json!({"object": "list", "data": []})
    );
    assert_eq!(value(&one_openai(Listed::named("a"))), model("a"));
}

// LLM-74
#[test]
fn what_is_known_of_a_model_is_told() {
    let known = Listed {
        id: "a",
        display_name: Some("A \"1\""),
        created: Some(WallMillis(1_759_104_000_123)),
        owner: Some("mine"),
        max_input_tokens: Some(200_000),
        max_tokens: Some(64_000),
        generates: true,
    };
    assert_eq!(
        value(&one_openai(known)),
        json!({"id": "a", "object": "model", "created": 1_759_104_000, "owned_by": "mine"}),
    );
    assert_eq!(
        value(&one_anthropic(known)),
        json!({
            "type": "model", "id": "a", "display_name": "A \"1\"", "created_at": "2025-09-29T00:00:00Z",
            "lifecycle": "active", "max_input_tokens": 200_000, "max_tokens": 64_000,
        }),
    );
    assert_eq!(
        value(&one_gemini(known)),
        json!({
            "name": "models/a", "displayName": "A \"1\"", "inputTokenLimit": 200_000,
            "outputTokenLimit": 64_000, "supportedGenerationMethods": ["generateContent", "countTokens"],
        }),
    );
    assert_eq!(
        value(&one_gemini(Listed::named("a/b"))),
        json!({"name": "models/a/b", "displayName": "a/b", "supportedGenerationMethods": []}),
    );
}

#[test]
fn anthropic_lists_come_in_pages() {
    let names: Vec<String> = (10..60).map(|n| format!("m-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (query, first, last, count, more) in [
        ("", "m-10", "m-29", 20, true),
        ("limit=1", "m-10", "m-10", 1, true),
        ("limit=50", "m-10", "m-59", 50, false),
        ("limit=1000", "m-10", "m-59", 50, false),
        ("limit=5&after_id=m-20", "m-21", "m-25", 5, true),
        ("after_id=m-39", "m-40", "m-59", 20, false),
        ("after_id=m-38", "m-39", "m-58", 20, true),
        ("limit=3&before_id=m-20", "m-17", "m-19", 3, true),
        ("limit=3&before_id=m-12", "m-10", "m-11", 2, false),
        ("after_id=m%2D57&beta=true&&x", "m-58", "m-59", 2, false),
        ("after_id=m-57zzz", "m-58", "m-59", 2, false),
    ] {
        let page = Page::parse(Some(query.as_bytes())).unwrap();
        let list = value(&list_anthropic(&names, &page, Listed::named));
        let data = list["data"].as_array().unwrap();
        assert_eq!(data.len(), count, "{query}");
        assert_eq!(list["has_more"], json!(more), "{query}");
        assert_eq!(
            (&list["first_id"], &list["last_id"]),
            (&json!(first), &json!(last)),
            "{query}"
        );
        assert_eq!(
            (&data[0]["id"], &data[count - 1]["id"]),
            (&json!(first), &json!(last)),
            "{query}"
        );
    }
}

#[test]
fn anthropic_models_have_their_members() {
    let model = json!({
        "type": "model", "id": "a", "display_name": "a", "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active", "max_input_tokens": null, "max_tokens": null,
    });
    let page = Page::parse(None).unwrap();
    assert_eq!(value(&one_anthropic(Listed::named("a"))), model);
    assert_eq!(
        value(&list_anthropic(&["a"], &page, Listed::named)),
        json!({"data": [model], "has_more": false, "first_id": "a", "last_id": "a"}),
    );
    assert_eq!(
        value(&list_anthropic(&[], &page, Listed::named)),
        json!({"data": [], "has_more": false, "first_id": null, "last_id": null}),
    );
}

#[test]
fn queries_that_name_no_page_are_refused() {
    for (query, error) in [
        ("limit=0", PageError::Limit),
        ("limit=1001", PageError::Limit),
        ("limit=-1", PageError::Limit),
        ("limit=ten", PageError::Limit),
        ("limit=", PageError::Limit),
        ("limit", PageError::Limit),
        ("limit=1&limit=2", PageError::Query),
        ("after_id=a&before_id=b", PageError::TwoCursors),
        ("after_id=%ff", PageError::Query),
        ("after_id=%4", PageError::Query),
        ("after_id=%zz", PageError::Query),
    ] {
        assert_eq!(Page::parse(Some(query.as_bytes())), Err(error), "{query}");
    }
}

proptest::proptest! {
    #[test]
    fn walking_the_pages_meets_every_name_once(
        names in proptest::collection::btree_set("[a-d]{1,4}", 0..40),
        limit in 1..10_usize,
        backwards: bool,
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut met: Vec<String> = Vec::new();
        let mut query = format!("limit={limit}{}", if backwards { "&before_id=~" } else { "" });
        loop {
            let list = value(&list_anthropic(&names, &Page::parse(Some(query.as_bytes())).unwrap(), Listed::named));
            let page = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned());
            if backwards {
                met.splice(0..0, page);
            } else {
                met.extend(page);
            }
            if list["has_more"] == json!(false) {
                break;
            }
            query = if backwards {
                format!("limit={limit}&before_id={}", list["first_id"].as_str().unwrap())
            } else {
                format!("limit={limit}&after_id={}", list["last_id"].as_str().unwrap())
            };
        }
        proptest::prop_assert_eq!(met, names);
    }

    #[test]
    fn any_query_is_read_or_refused(query: Vec<u8>) {
        drop(Page::parse(Some(&query)));
    }
}
