//! Where a requirement is proved: ids in a comment directly above a test, or in a text inside it
//! (the name of a table's row).

mod scripts;

use std::collections::BTreeMap;

use super::requirements::is_id;
use crate::finding::Finding;
use crate::repo::Repo;
use crate::source::{Function, Source};

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Test {
    pub(super) file: String,
    pub(super) line: usize,
    /// `crate::module::name`, or the name a script gives it.
    pub(super) name: String,
}

#[derive(Default)]
pub(super) struct Evidence {
    pub(super) tests: BTreeMap<String, Vec<Test>>,
    /// Ids that stand above no test.
    pub(super) findings: Vec<Finding>,
}

impl Evidence {
    fn add(&mut self, id: &str, test: &Test) {
        let tests = self.tests.entry(id.to_owned()).or_default();
        if !tests.contains(test) {
            tests.push(test.clone());
        }
    }

    fn dangling(&mut self, file: &str, line: usize) {
        self.findings.push(Finding::new(
            file,
            line,
            "requirement",
            "the ids stand above no test",
        ));
    }
}

pub(super) fn gather(repo: &Repo) -> Evidence {
    let mut evidence = Evidence::default();
    for source in repo
        .sources
        .iter()
        .filter(|source| !source.path.starts_with("xtask/"))
    {
        from_source(source, &mut evidence);
    }
    for (name, text) in &repo.texts {
        if name.starts_with("tests/") {
            scripts::from_script(name, text, &mut evidence);
        }
    }
    evidence
}

fn from_source(source: &Source, evidence: &mut Evidence) {
    let lines: Vec<&str> = source.text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let ids = ids_of_comment(line, "//");
        if ids.is_empty() {
            continue;
        }
        let number = index.saturating_add(1);
        match test_below(source, &lines, number) {
            Some(test) => ids.iter().for_each(|id| evidence.add(id, &test)),
            None => evidence.dangling(&source.path, number),
        }
    }
    for function in source
        .functions
        .iter()
        .filter(|function| is_test(source, &lines, function))
    {
        let test = test_of(source, function);
        for id in ids_of_literals(source, function) {
            evidence.add(&id, &test);
        }
    }
}

/// The ids of a line that holds a comment of ids and nothing else.
fn ids_of_comment<'a>(line: &'a str, mark: &str) -> Vec<&'a str> {
    let Some(words) = line.trim_start().strip_prefix(mark) else {
        return Vec::new();
    };
    let ids: Vec<&str> = words.split_whitespace().collect();
    if ids.iter().all(|word| is_id(word)) {
        ids
    } else {
        Vec::new()
    }
}

/// The test whose `fn` comes next after line `number`, with only attributes and comments between.
fn test_below(source: &Source, lines: &[&str], number: usize) -> Option<Test> {
    let function = source
        .functions
        .iter()
        .find(|function| source.line_of(function.bytes.start) > number)?;
    let between = lines.get(number..source.line_of(function.bytes.start).saturating_sub(1))?;
    let only_decoration = between.iter().all(|line| is_decoration(line));
    (only_decoration && is_test(source, lines, function)).then(|| test_of(source, function))
}

fn is_decoration(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("//") || line.starts_with("#[") || line.starts_with(')') || line.ends_with(',')
}

/// Whether one of the attributes above a function makes it a test.
fn is_test(source: &Source, lines: &[&str], function: &Function) -> bool {
    let above = lines
        .get(..source.line_of(function.bytes.start).saturating_sub(1))
        .unwrap_or(&[]);
    let decoration = above.iter().rev().take_while(|line| is_decoration(line));
    decoration.map(|line| line.trim()).any(|line| {
        let attribute = line.strip_prefix("#[").unwrap_or("");
        let path = attribute.split(['(', ']']).next().unwrap_or("");
        path == "test" || path.ends_with("::test")
    })
}

fn test_of(source: &Source, function: &Function) -> Test {
    let mut name = module_path(&source.path);
    for (module, range) in &source.modules {
        if range.contains(&function.bytes.start) {
            name.push_str("::");
            name.push_str(module);
        }
    }
    let line = source.line_of(function.bytes.start);
    Test {
        file: source.path.clone(),
        line,
        name: format!("{name}::{}", function.name),
    }
}

/// `crates/http1/src/head/fields.rs` is `http1::head::fields`.
fn module_path(path: &str) -> String {
    let path = path.trim_start_matches("crates/").trim_end_matches(".rs");
    let parts = path
        .split('/')
        .filter(|part| !matches!(*part, "src" | "tests" | "lib" | "main" | "mod"));
    parts.collect::<Vec<_>>().join("::")
}

/// Ids inside the texts of a test's body: what the code without literals doesn't show.
fn ids_of_literals(source: &Source, function: &Function) -> Vec<String> {
    let range = function.body..function.bytes.end;
    let (Some(text), Some(code)) = (source.text.get(range.clone()), source.code.get(range)) else {
        return Vec::new();
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut ids = Vec::new();
    let mut at = 0;
    for word in text.split(|c: char| !is_word(c)) {
        let end = at + word.len();
        let hidden = code.get(at..end).is_some_and(|code| code.trim().is_empty());
        let commented = text
            .get(..at)
            .and_then(|before| before.lines().next_back())
            .is_some_and(|line| line.contains("//"));
        if hidden && !commented && is_id(word) {
            ids.push(word.to_owned());
        }
        at = end
            + text
                .get(end..)
                .and_then(|rest| rest.chars().next())
                .map_or(0, char::len_utf8);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"//! A file.
// EDGE-1
fn no_test() {}
#[cfg(test)]
mod tests {
    // EDGE-2 EDGE-3
    #[test]
    fn plain() {}

    // EDGE-4
    /// Said in words.
    #[tokio::test(flavor = "current_thread")]
    async fn with_runtime() {
        // EDGE-5 is only mentioned
        for (name, x) in [("EDGE-6 small", 1), ("other", 2)] { let id_7 = "ID-7"; }
    }

    // EDGE-8
    const X: u8 = 1;
}
"#;

    #[test]
    fn ids_are_taken_from_above_a_test_and_from_its_texts() {
        let repo = Repo::of_texts(&[("crates/http1/src/head/fields.rs", SAMPLE)]);
        let evidence = gather(&repo);
        let found: Vec<_> = evidence
            .tests
            .iter()
            .map(|(id, tests)| (id.as_str(), tests[0].name.as_str()))
            .collect();
        let runtime = "http1::head::fields::tests::with_runtime";
        let plain = "http1::head::fields::tests::plain";
        let want = [
            ("EDGE-2", plain),
            ("EDGE-3", plain),
            ("EDGE-4", runtime),
            ("EDGE-6", runtime),
            ("ID-7", runtime),
        ];
        assert_eq!(found, want);
        let dangling: Vec<_> = evidence
            .findings
            .iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(dangling, [2, 18]);
    }
}
