//! What bodies and parameters look like: declared once, read by [`crate::members`] and told by
//! [`mod@crate::openapi`], so that the two can't differ.

use serde_json::{Map, Value, json};

/// A member of an object, or a parameter of a query.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// Of a request: it must be there. Of an answer: it is always there.
    pub(crate) is_required: bool,
    /// Of an answer: it may be `null`. Of a request, what is not required may be.
    is_nullable: bool,
}

/// What a value looks like.
#[derive(Debug)]
pub(crate) enum Kind {
    /// At most so many characters, none of them a control character.
    Text(usize),
    /// From the first to the second, both included.
    Number(u64, u64),
    /// A whole number that may be negative, from the first to the second.
    Signed(i64, i64),
    Switch,
    /// `90s`, `15m`, `24h`, `30d`.
    Duration,
    /// RFC 3339.
    Time,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// What an id starts with.
    Id(&'static str),
    /// At most so many texts, each of at most so many characters.
    Texts(usize, usize),
    /// At most so many pairs of texts.
    Pairs(usize),
    Object(&'static [Member]),
    Objects(&'static [Member]),
    /// Names to lists of texts.
    Lists,
    /// An object of its own form.
    Document,
    /// Money as text or `{"nano_usd": N}`, or a whole number of something.
    Amount,
    /// Hundredths, at most ten of them.
    Percents,
}

/// No bound but the type's.
pub(crate) const UNBOUND: u64 = u64::MAX;

impl Member {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            about,
            kind,
            is_required: false,
            is_nullable: false,
        }
    }

    /// Must be in a request.
    pub(crate) const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Whether an answer has a secret in it that no other one shows again.
    pub(crate) fn is_shown_once(&self) -> bool {
        self.name == "secret" || self.about.ends_with("shown here alone")
    }

    /// May be `null` in an answer.
    pub(crate) const fn or_null(mut self) -> Self {
        self.is_nullable = true;
        self
    }
}

macro_rules! makers {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) = $kind:expr;)+) => {
        $($(#[$doc])* pub(crate) const fn $name(name: &'static str $(, $argument: $type)*, about: &'static str) -> Member {
            Member::new(name, $kind, about)
        })+
    };
}

makers! {
    text(max: usize) = Kind::Text(max);
    number() = Kind::Number(0, UNBOUND);
    bounded(min: u64, max: u64) = Kind::Number(min, max);
    signed(min: i64, max: i64) = Kind::Signed(min, max);
    switch() = Kind::Switch;
    duration() = Kind::Duration;
    time() = Kind::Time;
    choice(words: &'static [&'static str]) = Kind::Choice(words);
    id(prefix: &'static str) = Kind::Id(prefix);
    texts(items: usize, chars: usize) = Kind::Texts(items, chars);
    pairs(max: usize) = Kind::Pairs(max);
    object(members: &'static [Member]) = Kind::Object(members);
    objects(members: &'static [Member]) = Kind::Objects(members);
    lists() = Kind::Lists;
    document() = Kind::Document;
    amount() = Kind::Amount;
    percents() = Kind::Percents;
}

/// Which way a body goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// To us: absent and `null` are the same.
    In,
    /// From us: all members are there.
    Out,
}

/// The schema of an object with these members, in parts.
pub(crate) fn schema(parts: &[&[Member]], way: Way) -> Value {
    let members = || parts.iter().copied().flatten();
    let properties: Map<String, Value> = members()
        .map(|member| (member.name.to_owned(), member.schema(way)))
        .collect();
    let required: Vec<&str> = members()
        .filter(|member| member.is_required || way == Way::Out)
        .map(|member| member.name)
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

impl Member {
    /// The schema of its value.
    pub(crate) fn schema(&self, way: Way) -> Value {
        let is_nullable = match way {
            Way::In => !self.is_required,
            Way::Out => self.is_nullable,
        };
        let mut schema = self.kind.schema(way);
        if let Some(members) = schema.as_object_mut() {
            if is_nullable && let Some(kind) = members.get("type").cloned() {
                let mut kinds = kind.as_array().cloned().unwrap_or_else(|| vec![kind]);
                kinds.push("null".into());
                members.insert("type".to_owned(), kinds.into());
                if let Some(words) = members.get_mut("enum").and_then(Value::as_array_mut) {
                    words.push(Value::Null);
                }
            }
            members.insert("description".to_owned(), self.about.into());
        }
        schema
    }
}

impl Kind {
    /// The schema of a value of the kind.
    pub(crate) fn schema(&self, way: Way) -> Value {
        match self {
            Self::Text(max) if way == Way::In => json!({ "type": "string", "maxLength": max }),
            Self::Text(_) => json!({ "type": "string" }),
            Self::Number(min, UNBOUND) => json!({ "type": "integer", "minimum": min }),
            Self::Number(min, max) => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Self::Signed(min, max) => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Self::Switch => json!({ "type": "boolean" }),
            Self::Duration => json!({ "type": "string", "pattern": "^[0-9]+[smhd]$" }),
            Self::Time => json!({ "type": "string", "format": "date-time" }),
            Self::Choice(words) => json!({ "type": "string", "enum": words }),
            Self::Id(prefix) => {
                json!({ "type": "string", "pattern": format!("^{prefix}[0-9a-f]{{32}}$") })
            }
            Self::Texts(items, chars) if way == Way::In => json!({
                "type": "array",
                "maxItems": items,
                "items": { "type": "string", "maxLength": chars },
            }),
            Self::Texts(..) => json!({ "type": "array", "items": { "type": "string" } }),
            Self::Pairs(max) => json!({
                "type": "object",
                "maxProperties": max,
                "additionalProperties": { "type": "string" },
            }),
            Self::Object(members) => schema_of_part(members, way),
            Self::Objects(members) => {
                json!({ "type": "array", "items": schema_of_part(members, way) })
            }
            Self::Amount => json!({
                "type": ["string", "integer", "object"],
                "minimum": 0,
                "maximum": i64::MAX,
                "pattern": r"^(\$[0-9]{1,10}|\$?[0-9]{1,10}\.[0-9]{1,9})$",
                "properties": {
                    "nano_usd": { "type": "integer", "minimum": 0, "maximum": i64::MAX },
                },
                "required": ["nano_usd"],
                "additionalProperties": false,
            }),
            Self::Document => json!({ "type": "object" }),
            Self::Percents => json!({
                "type": "array",
                "maxItems": 10,
                "items": { "type": "integer", "minimum": 1, "maximum": 100 },
            }),
            Self::Lists => json!({
                "type": "object",
                "additionalProperties": { "type": "array", "items": { "type": "string" } },
            }),
        }
    }
}

/// Inside an object, members that are not set are left out rather than `null`.
fn schema_of_part(members: &'static [Member], way: Way) -> Value {
    let mut schema = schema(&[members], way);
    if way == Way::Out {
        let required: Vec<&str> = members
            .iter()
            .filter(|member| member.is_required)
            .map(|member| member.name)
            .collect();
        if let Some(object) = schema.as_object_mut() {
            object.insert("required".to_owned(), json!(required));
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: &[Member] = &[
        text("name", 9, "a name").required(),
        choice("door", &["data"], "a door").or_null(),
    ];

    #[test]
    fn what_may_be_left_out_of_a_request_is_there_in_an_answer() {
        let asked = schema(&[MEMBERS], Way::In);
        assert_eq!(asked["required"], json!(["name"]));
        assert_eq!(asked["properties"]["name"]["type"], "string");
        assert_eq!(
            asked["properties"]["door"]["type"],
            json!(["string", "null"])
        );
        let told = schema(&[MEMBERS], Way::Out);
        assert_eq!(told["required"], json!(["name", "door"]));
        assert_eq!(told["properties"]["door"]["enum"], json!(["data", null]));
        assert_eq!(told["properties"]["name"].get("maxLength"), None);
    }
}
