//! `config example`: a file to start from.

use crate::describe::{Description, any_entry, last_name, prose};
use crate::parse::{Format, parse};
use crate::reader::{Fallback, Form, KeyLine, Line};
use crate::tree::KeyPath;
use serde_json::Value as Json;
use std::fmt::Write as _;

/// An annotated file: a short one that serves an LLM provider, or one with every key, its
/// default and what it means.
pub fn example(full: bool) -> String {
    if full {
        every_key()
    } else {
        include_str!("../../../examples/one-provider.yaml").to_owned()
    }
}

const HEAD: &str = "\
# yaml-language-server: $schema=tollkeep.schema.json
# Every key of Tollkeep with its default. `tollkeep config schema` writes the schema above.
";

/// Columns of a comment line.
const WIDTH: usize = 96;

fn every_key() -> String {
    let mut out = Writer {
        text: HEAD.to_owned(),
        indent: 0,
        commented: None,
        description: Description::new(),
    };
    out.section(&KeyPath::default());
    out.text
}

struct Writer {
    text: String,
    indent: usize,
    /// The column of the `#` before what is an example instead of a default.
    commented: Option<usize>,
    description: Description,
}

impl Writer {
    fn section(&mut self, path: &KeyPath) {
        let lines: Vec<Line> = self.description.below(path).cloned().collect();
        for line in &lines {
            match line {
                Line::Key(key) => self.key(key),
                Line::Section {
                    path, about, form, ..
                } => self.part(path, about, *form),
            }
        }
    }

    fn key(&mut self, key: &KeyLine) {
        self.comment(&format!("{} ({})", prose(key.doc), key.shape.words));
        let name = last_name(&key.path);
        match &key.default {
            Fallback::Value(default) => self.line(&format!("{name}: {}", yaml(default))),
            Fallback::Nothing | Fallback::Required | Fallback::Environment(_) => {
                self.example(|out| out.line(&format!("{name}:")));
            }
        }
    }

    fn part(&mut self, path: &KeyPath, about: &str, form: Form) {
        if self.indent == 0 {
            self.text.push('\n');
        }
        self.comment(&prose(about));
        let name = last_name(path);
        match form {
            Form::One | Form::Named | Form::Listed => {
                self.line(&format!("{name}:"));
                self.inside(2, |out| out.section(path));
            }
            Form::OneOrOff => self.example(|out| {
                out.line(&format!("{name}:"));
                out.inside(2, |out| out.section(path));
            }),
            Form::Map => {
                self.line(&format!("{name}:"));
                let entry = any_entry(path, form);
                self.example(|out| {
                    out.inside(2, |out| {
                        out.line("<name>:");
                        out.inside(2, |out| out.section(&entry));
                    });
                });
            }
            Form::List => {
                self.line(&format!("{name}:"));
                let entry = any_entry(path, form);
                self.example(|out| {
                    out.inside(2, |out| out.line("-"));
                    out.inside(4, |out| out.section(&entry));
                });
            }
        }
    }

    fn inside(&mut self, indent: usize, write: impl FnOnce(&mut Self)) {
        self.indent += indent;
        write(self);
        self.indent -= indent;
    }

    /// Writes what is no default, behind `#`.
    fn example(&mut self, write: impl FnOnce(&mut Self)) {
        let outer = self.commented;
        self.commented = outer.or(Some(self.indent));
        write(self);
        self.commented = outer;
    }

    fn comment(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && self.indent + line.len() + word.len() > WIDTH {
                self.line(&format!("# {line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(&format!("# {line}"));
    }

    fn line(&mut self, text: &str) {
        let mark = self.commented.map_or("", |_| "# ");
        let before = self.commented.unwrap_or(self.indent);
        let behind = self.indent - before;
        // Writing to a string can't fail.
        let _written = writeln!(self.text, "{:before$}{mark}{:behind$}{text}", "", "");
    }
}

/// A default as YAML: plain where that means the same.
fn yaml(value: &Json) -> String {
    let Json::String(text) = value else {
        return value.to_string();
    };
    let reads_back = || {
        let tree = parse(Format::Yaml, &format!("key: {text}\n")).ok()?;
        Some(tree.get("key")?.as_text()? == text)
    };
    // Words that older readers of YAML take for booleans.
    let is_switch = ["on", "off", "yes", "no", "y", "n"].contains(&text.as_str());
    if reads_back() == Some(true) && !is_switch {
        text.clone()
    } else {
        value.to_string()
    }
}
