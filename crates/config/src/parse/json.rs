//! JSON to tree. serde_json reads; the borrowed raw values tell where everything stands.

use super::{Budget, Fault};
use crate::tree::{Entry, KeyPath, Node, Source, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// The tree of a JSON text. `locate` makes a source of a byte offset.
pub(crate) fn parse(text: &str, locate: &dyn Fn(usize) -> Source) -> Result<Node, Vec<Fault>> {
    parse_within(Budget::new(), text, locate)
}

/// As [`parse`], within this budget.
pub(super) fn parse_within(
    budget: Budget,
    text: &str,
    locate: &dyn Fn(usize) -> Source,
) -> Result<Node, Vec<Fault>> {
    let mut reader = Reader {
        base: text.as_ptr() as usize,
        locate,
        budget,
        faults: Vec::new(),
    };
    let node = match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => reader.read(raw, &KeyPath::default(), 0),
        Err(error) => {
            let offset = offset_of(text, error.line(), error.column());
            let problem = format!("not JSON: {}", message(&error));
            let fault = Fault::new(KeyPath::default(), locate(offset), problem);
            Err(fault)
        }
    };
    match node {
        Ok(node) if reader.faults.is_empty() => Ok(node),
        Ok(_) => Err(reader.faults),
        Err(fault) => {
            reader.faults.push(fault);
            Err(reader.faults)
        }
    }
}

/// serde_json's message without the place, which is told apart.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    before + column.saturating_sub(1)
}

struct Reader<'l> {
    /// Address of the first byte of the text; raw values point into it.
    base: usize,
    locate: &'l dyn Fn(usize) -> Source,
    budget: Budget,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn source(&self, raw: &RawValue) -> Source {
        let offset = (raw.get().as_ptr() as usize).saturating_sub(self.base);
        (self.locate)(offset)
    }

    fn read(&mut self, raw: &RawValue, path: &KeyPath, depth: usize) -> Result<Node, Fault> {
        let source = self.source(raw);
        let fault = |problem: String| Fault::new(path.clone(), source.clone(), problem);
        self.budget.spend(1, depth).map_err(fault)?;
        let text = raw.get();
        let broken = |error: serde_json::Error| fault(format!("not JSON: {}", message(&error)));
        let value = match text.as_bytes().first() {
            Some(b'{') => {
                let members = serde_json::from_str::<Members<'_>>(text).map_err(broken)?;
                Value::Map(self.map(members, path, depth)?)
            }
            Some(b'[') => {
                let raws = serde_json::from_str::<Vec<&RawValue>>(text).map_err(broken)?;
                let mut items = Vec::new();
                for (index, raw) in raws.into_iter().enumerate() {
                    items.push(self.read(raw, &path.index(index), depth + 1)?);
                }
                Value::List(items)
            }
            Some(b'"') => Value::Text(serde_json::from_str(text).map_err(broken)?),
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            Some(b'n') | None => Value::Null,
            Some(_) => Value::Number(text.to_owned()),
        };
        Ok(Node::new(value, source))
    }

    fn map(
        &mut self,
        members: Members<'_>,
        path: &KeyPath,
        depth: usize,
    ) -> Result<Vec<Entry>, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashSet<String> = HashSet::new();
        for (key, raw) in members.0 {
            let source = self.source(key);
            let name = serde_json::from_str::<String>(key.get()).map_err(|error| {
                let problem = format!("not JSON: {}", message(&error));
                Fault::new(path.clone(), source.clone(), problem)
            })?;
            let path = path.name(&name);
            let node = self.read(raw, &path, depth + 1)?;
            if !seen.insert(name.clone()) {
                self.faults.push(Fault::new(path, source, "written twice"));
                continue;
            }
            entries.push(Entry { name, source, node });
        }
        Ok(entries)
    }
}

/// The members of an object as written, doubles and all.
struct Members<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Members<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}
