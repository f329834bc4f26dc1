//! TOML to tree.

use super::{Budget, Fault, Lines};
use crate::tree::{Entry, KeyPath, Node, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The tree of a TOML text.
pub(super) fn parse(text: &str, budget: Budget) -> Result<Node, Vec<Fault>> {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let fault = |error: &toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            let problem = format!("not TOML: {}", error.message());
            Fault::new(KeyPath::default(), lines.source(offset), problem)
        };
        return Err(errors.iter().map(fault).collect());
    }
    let mut reader = Reader { lines, budget };
    let source = reader.lines.source(0);
    let entries = reader.table(table.get_ref(), &KeyPath::default(), 0);
    let entries = entries.map_err(|fault| vec![fault])?;
    Ok(Node::new(Value::Map(entries), source))
}

struct Reader<'t> {
    lines: Lines<'t>,
    budget: Budget,
}

impl Reader<'_> {
    fn table(
        &mut self,
        table: &DeTable<'_>,
        path: &KeyPath,
        depth: usize,
    ) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::new();
        for (name, value) in table {
            let source = self.lines.source(name.span().start);
            let name = name.get_ref().to_string();
            let node = self.value(value, &path.name(&name), depth + 1)?;
            entries.push(Entry { name, source, node });
        }
        Ok(entries)
    }

    fn value(
        &mut self,
        spanned: &Spanned<DeValue<'_>>,
        path: &KeyPath,
        depth: usize,
    ) -> Result<Node, Fault> {
        let source = self.lines.source(spanned.span().start);
        let spent = self.budget.spend(1, depth);
        spent.map_err(|problem| Fault::new(path.clone(), source.clone(), problem))?;
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => Value::Number(integer(number.as_str(), number.radix())),
            DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
            DeValue::Boolean(on) => Value::Bool(*on),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(array) => {
                let mut items = Vec::new();
                for (index, item) in array.iter().enumerate() {
                    items.push(self.value(item, &path.index(index), depth + 1)?);
                }
                Value::List(items)
            }
            DeValue::Table(table) => Value::Map(self.table(table, path, depth)?),
        };
        Ok(Node::new(value, source))
    }
}

/// The number as our kinds read it; other bases keep the prefix that makes them refuse it.
fn integer(digits: &str, radix: u32) -> String {
    match radix {
        10 => digits.to_owned(),
        16 => format!("0x{digits}"),
        8 => format!("0o{digits}"),
        _ => format!("0b{digits}"),
    }
}
