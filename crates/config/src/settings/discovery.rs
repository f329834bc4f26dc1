//! What strangers may find out about what is sold.

use crate::field::KindExt;
use crate::kind::{Kind, Shape, Wrong, parsed, switch};
use crate::reader::keys;
use crate::tree::{Node, Value};
use serde_json::{Map, Value as Json, json};

keys! {
    /// How strangers find this gateway, and what it sells.
    pub(crate) struct PublicFile {
        /// How callers know this gateway, as `https://api.example.com`: payers are told by it what
        /// they pay for. Default: what their requests say.
        public_url: Option<Box<str>> = parsed("URL", super::payments::public_url).optional(),
        /// Whether anybody may read what is sold: `/.well-known/x402`,
        /// `/.well-known/openapi.json`, `/llms.txt`. They are there as soon as a route costs
        /// something; a route of one of these paths comes first.
        discovery: bool = switch().or(true),
    }
}

keys! {
    /// What strangers are told of a route.
    pub(crate) struct ShownFile {
        /// Whether it is told of. Routes for tokens alone never are.
        discoverable: bool = switch().or(true),
        /// What is told of it besides, at most 8 KiB as JSON; its `description` is told in all
        /// documents, and `streaming: true` as `x-streaming` of OpenAPI, which calls of models have
        /// without it.
        metadata: Option<Map<String, Json>> = Metadata.optional(),
    }
}

/// Bytes of [`Metadata`] as JSON.
const METADATA_BYTES_MAX: usize = 8 * 1024;
/// Lists and maps in one another, in [`Metadata`].
const DEPTH_MAX: usize = 16;

/// Any map that JSON can hold.
struct Metadata;

impl Kind for Metadata {
    type Value = Map<String, Json>;

    fn shape(&self) -> Shape {
        Shape::new(json!({"type": "object"}), "map, at most 8 KiB as JSON")
    }

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let wrong = |problem: &str| Wrong::of(node, problem);
        let Some(Json::Object(map)) = as_json(node, 0) else {
            return Err(wrong("want a map of text, numbers, lists and maps"));
        };
        if Json::from(map.clone()).to_string().len() > METADATA_BYTES_MAX {
            return Err(wrong("is too long: want at most 8 KiB as JSON"));
        }
        Ok(map)
    }
}

fn as_json(node: &Node, depth: usize) -> Option<Json> {
    if depth > DEPTH_MAX {
        return None;
    }
    let inner = |node: &Node| as_json(node, depth + 1);
    Some(match &node.value {
        Value::Null => Json::Null,
        Value::Bool(on) => Json::Bool(*on),
        // YAML writes numbers in ways that JSON doesn't; those are told as they are written.
        Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
        Value::Text(text) | Value::Loose(text) => text.as_str().into(),
        Value::List(nodes) => nodes.iter().map(inner).collect::<Option<Vec<_>>>()?.into(),
        Value::Map(entries) => {
            let member =
                |entry: &crate::tree::Entry| Some((entry.name.clone(), inner(&entry.node)?));
            Json::Object(entries.iter().map(member).collect::<Option<_>>()?)
        }
    })
}
