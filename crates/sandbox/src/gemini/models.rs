//! `GET /v1beta/models` and `GET /v1beta/models/{id}`.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::models::{self, MODELS, Model, Skill};

/// Models on a page whose call doesn't say how many.
const PAGE: usize = 50;
/// Most models on a page.
const PAGE_MAX: usize = 1_000;

/// A page of models, chosen by `pageSize` and `pageToken`, which is the id of the last model before it.
pub(crate) fn list(query: &str) -> Result<Value, Fault> {
    let (mut size, mut after) = (PAGE, None);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "pageSize" => {
                let parsed = value.parse().ok().filter(|n| (1..=PAGE_MAX).contains(n));
                size = parsed.ok_or(Fault::Unfit {
                    param: "pageSize",
                    want: "an integer from 1 to 1000",
                })?;
            }
            "pageToken" => after = Some(value),
            _ => {}
        }
    }
    let writers = MODELS
        .iter()
        .filter(|model| model.skill != Skill::Embedding);
    let mut rest = writers.filter(|model| after.is_none_or(|after| model.id > after));
    let page: Vec<Model> = rest.by_ref().take(size).copied().collect();
    let mut list = json!({"models": page.iter().copied().map(object).collect::<Vec<_>>()});
    if let (Value::Object(members), Some(last), Some(_)) = (&mut list, page.last(), rest.next()) {
        members.insert("nextPageToken".to_owned(), last.id.into());
    }
    Ok(list)
}

/// One model.
pub(crate) fn one(id: &str) -> Result<Value, Fault> {
    models::writer(id).map(object)
}

fn object(model: Model) -> Value {
    json!({
        "name": format!("models/{}", model.id),
        "version": "001",
        "displayName": model.title,
        "inputTokenLimit": 200_000,
        "outputTokenLimit": 64_000,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
        "thinking": model.skill == Skill::Thinking,
    })
}
