//! `${…}` in the texts of the file and of flags: after parsing, once, never nested (OPS-3).

use crate::env::Env;
use crate::kind::Secrecy;
use crate::reader::Core;
use crate::secret_file;
use crate::tree::{KeyPath, Node, Source, Value};
use std::path::{Path, PathBuf};

/// The two spellings one guide uses for one key (ID-64).
const TWINS: [(&str, &str); 2] = [
    ("CLIPROXY_ENCRYPTION_KEY", "CLIPRO_ENCRYPTION_KEY"),
    ("CLIPRO_ENCRYPTION_KEY", "CLIPROXY_ENCRYPTION_KEY"),
];

/// The node with its references filled in; `None` after a fault was reported.
pub(crate) fn interpolate(
    path: &KeyPath,
    node: &Node,
    secrecy: Secrecy,
    core: &mut Core<'_>,
) -> Option<Node> {
    let mut node = node.clone();
    let before = core.report.error_count();
    fill(path, &mut node, secrecy, core);
    (core.report.error_count() == before).then_some(node)
}

fn fill(path: &KeyPath, node: &mut Node, secrecy: Secrecy, core: &mut Core<'_>) {
    match &mut node.value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::Text(text) | Value::Loose(text) => {
            // The environment is what references point to; it holds none itself.
            if matches!(node.source, Source::Environment(_)) || !text.contains("${") {
                return;
            }
            let mut scope = Scope {
                env: core.env,
                secrecy,
                warnings: Vec::new(),
                files: Vec::new(),
                referred: false,
            };
            match scope.text(text) {
                Ok(filled) => *text = filled,
                Err(problem) => core.report.error(path, &node.source, problem),
            }
            for file in &scope.files {
                core.report.note_file(file);
            }
            for warning in scope.warnings {
                core.report.warn_at(path, &node.source, &warning);
            }
            node.interpolated = scope.referred;
            node.quotable = !scope.referred;
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill(&path.index(index), item, secrecy, core);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                fill(&path.name(&entry.name), &mut entry.node, secrecy, core);
            }
        }
    }
}

/// A text with its references filled in, if they can be.
pub(crate) fn filled(text: &str, env: &Env, secrecy: Secrecy) -> Option<String> {
    let mut scope = Scope {
        env,
        secrecy,
        warnings: Vec::new(),
        files: Vec::new(),
        referred: false,
    };
    scope.text(text).ok()
}

struct Scope<'e> {
    env: &'e Env,
    secrecy: Secrecy,
    warnings: Vec<String>,
    /// Files that were read.
    files: Vec<PathBuf>,
    /// Whether anything from outside the text is now in it.
    referred: bool,
}

impl Scope<'_> {
    fn text(&mut self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = behind;
                continue;
            }
            out.push_str(before);
            let (reference, after) = behind
                .split_once('}')
                .ok_or("has a `${` without `}`; a literal `${` is written `$${`")?;
            out.push_str(&self.reference(reference)?);
            self.referred = true;
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn reference(&mut self, reference: &str) -> Result<String, String> {
        if let Some(file) = reference.strip_prefix("file:") {
            self.files.push(PathBuf::from(file));
            let file = secret_file::read(Path::new(file))?;
            self.warnings.extend(file.warning);
            return Ok(file.text);
        }
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_name(name) {
            let want = "has a `${…}` that is neither `${NAME}` nor `${file:/path}`";
            return Err(format!("{want}; a literal `${{` is written `$${{`"));
        }
        if default.is_some() && self.secrecy == Secrecy::Secret {
            return Err(format!("a secret takes no default: write `${{{name}}}`"));
        }
        if let Some(value) = self.env.set(name) {
            return Ok(value.to_owned());
        }
        let twin = TWINS.iter().find(|(wanted, _)| *wanted == name);
        if let Some((value, twin)) = twin.and_then(|(_, twin)| Some((self.env.set(twin)?, twin))) {
            let warning = format!("`${{{name}}}` is not set; `{twin}` is read instead");
            self.warnings.push(warning);
            return Ok(value.to_owned());
        }
        match default {
            Some(default) => Ok(default.to_owned()),
            None => Err(format!("the environment has no `{name}`, or it is empty")),
        }
    }
}

/// Whether the environment may have something of this name.
pub(crate) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
