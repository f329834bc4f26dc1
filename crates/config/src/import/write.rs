//! A file as it is written line by line, with what is to be said beside a line.

use serde_json::Value as Json;

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Lines(String);

/// How deep a line stands.
const INDENT: &str = "  ";

impl Lines {
    /// A remark on lines of its own.
    pub(super) fn remark(&mut self, depth: usize, text: &str) {
        for line in text.lines() {
            self.indent(depth);
            self.0.push_str("# ");
            self.0.push_str(line);
            self.0.push('\n');
        }
    }

    /// A section, whose keys follow.
    pub(super) fn section(&mut self, depth: usize, name: &str) {
        self.indent(depth);
        self.0.push_str(&key(name));
        self.0.push_str(":\n");
    }

    /// A key and its value.
    pub(super) fn key(&mut self, depth: usize, name: &str, value: &Json) {
        self.told(depth, name, value, "");
    }

    /// A key and its value, and what is to be said of them.
    pub(super) fn told(&mut self, depth: usize, name: &str, value: &Json, remark: &str) {
        self.indent(depth);
        self.0.push_str(&key(name));
        self.0.push_str(": ");
        self.0.push_str(&value.to_string());
        self.end(remark);
    }

    /// An item of a list.
    pub(super) fn item(&mut self, depth: usize, value: &Json, remark: &str) {
        self.indent(depth);
        self.0.push_str("- ");
        self.0.push_str(&value.to_string());
        self.end(remark);
    }

    pub(super) fn blank(&mut self) {
        self.0.push('\n');
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn indent(&mut self, depth: usize) {
        for _ in 0..depth {
            self.0.push_str(INDENT);
        }
    }

    fn end(&mut self, remark: &str) {
        if !remark.is_empty() {
            self.0.push_str("  # ");
            self.0.push_str(remark);
        }
        self.0.push('\n');
    }
}

/// A name, quoted unless it can't be read as anything else.
fn key(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&name);
    if is_plain {
        name.to_owned()
    } else {
        Json::from(name).to_string()
    }
}
