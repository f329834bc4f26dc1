//! `GET /v1/models` in OpenAI form.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::models::{self, CREATED, MODELS, Model};

/// All models.
pub(crate) fn list() -> Value {
    json!({"object": "list", "data": MODELS.map(object)})
}

/// One model.
pub(crate) fn one(id: &str) -> Result<Value, Fault> {
    models::find(id, |_| true).map(object)
}

fn object(model: Model) -> Value {
    json!({"id": model.id, "object": "model", "created": CREATED, "owned_by": "sandbox"})
}
