//! The models the emulator pretends to have.

use crate::fault::Fault;

/// When every model was "released" and every answer "created": 2026-01-01, in Unix seconds.
pub(crate) const CREATED: u64 = 1_767_225_600;
/// [`CREATED`] as the Anthropic API writes it.
pub(crate) const CREATED_TEXT: &str = "2026-01-01T00:00:00Z";

/// What a model can do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Skill {
    /// Text, tools, images.
    Text,
    /// The same, after thinking.
    Thinking,
    /// Vectors.
    Embedding,
}

/// One model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Model {
    /// The name on the wire.
    pub(crate) id: &'static str,
    /// The name for people.
    pub(crate) title: &'static str,
    /// What it can do.
    pub(crate) skill: Skill,
}

/// All models, sorted by id.
pub(crate) const MODELS: [Model; 3] = [
    Model {
        id: "sandbox-1",
        title: "Sandbox 1",
        skill: Skill::Text,
    },
    Model {
        id: "sandbox-embed",
        title: "Sandbox Embed",
        skill: Skill::Embedding,
    },
    Model {
        id: "sandbox-think",
        title: "Sandbox Think",
        skill: Skill::Thinking,
    },
];

/// The names of all models, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|model| model.id)
}

/// The model of this name that writes text.
pub(crate) fn writer(name: &str) -> Result<Model, Fault> {
    find(name, |skill| skill != Skill::Embedding)
}

/// The model of this name that makes vectors.
pub(crate) fn embedder(name: &str) -> Result<Model, Fault> {
    find(name, |skill| skill == Skill::Embedding)
}

/// The model of this name, if it can do what is asked.
pub(crate) fn find(name: &str, can: impl Fn(Skill) -> bool) -> Result<Model, Fault> {
    let found = MODELS
        .iter()
        .find(|model| model.id == name && can(model.skill));
    found
        .copied()
        .ok_or_else(|| Fault::UnknownModel(name.to_owned()))
}
