//! `GET /v1/models` in Anthropic form.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::models::{self, CREATED_TEXT, MODELS, Model, Skill};

/// Models on a page whose call doesn't say how many.
const LIMIT: usize = 20;
/// Most models on a page.
const LIMIT_MAX: usize = 1_000;

/// A page of models, chosen by `limit`, `after_id` and `before_id`.
pub(crate) fn list(query: &str) -> Result<Value, Fault> {
    let mut limit = LIMIT;
    let mut after = None;
    let mut before = None;
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "limit" => {
                let parsed = value.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n));
                let unfit = Fault::Unfit {
                    param: "limit",
                    want: "an integer from 1 to 1000",
                };
                limit = parsed.ok_or(unfit)?;
            }
            "after_id" => after = Some(value),
            "before_id" => before = Some(value),
            _ => {}
        }
    }
    let writers = MODELS
        .iter()
        .filter(|model| model.skill != Skill::Embedding);
    let after_it = writers.filter(|model| after.is_none_or(|after| model.id > after));
    let chosen: Vec<Model> = after_it
        .filter(|model| before.is_none_or(|before| model.id < before))
        .copied()
        .collect();
    let page: Vec<Model> = chosen.iter().take(limit).copied().collect();
    Ok(json!({
        "data": page.iter().copied().map(object).collect::<Vec<_>>(),
        "has_more": chosen.len() > page.len(),
        "first_id": page.first().map(|model| model.id),
        "last_id": page.last().map(|model| model.id),
    }))
}

/// One model.
pub(crate) fn one(id: &str) -> Result<Value, Fault> {
    models::writer(id).map(object)
}

fn object(model: Model) -> Value {
    json!({
        "type": "model",
        "id": model.id,
        "display_name": model.title,
        "created_at": CREATED_TEXT,
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    })
}
