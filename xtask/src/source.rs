//! A Rust file as the rules see it: comments and literals blanked, tests, functions and modules
//! found by counting brackets. No parser: a rule that needs types belongs to clippy.

mod blank;

use std::ops::Range;

pub(crate) struct Source {
    /// Relative to the repository's root.
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` with comments and the contents of literals replaced by blanks, byte for byte.
    pub(crate) code: String,
    pub(crate) functions: Vec<Function>,
    /// Inline modules: name and bytes of the body.
    pub(crate) modules: Vec<(String, Range<usize>)>,
    /// Bytes that are compiled for tests only.
    tests: Vec<Range<usize>>,
    /// Names of `#[cfg(test)] mod name;`.
    test_modules: Vec<String>,
    line_starts: Vec<usize>,
}

pub(crate) struct Function {
    pub(crate) name: String,
    /// Bytes from `fn` to the closing brace.
    pub(crate) bytes: Range<usize>,
    /// Where the body begins, past its `{`.
    pub(crate) body: usize,
}

impl Source {
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let code = blank::blank(text);
        let line_starts = std::iter::once(0)
            .chain(
                text.bytes()
                    .enumerate()
                    .filter(|(_, b)| *b == b'\n')
                    .map(|(at, _)| at.saturating_add(1)),
            )
            .collect();
        let mut source = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            functions: Vec::new(),
            modules: Vec::new(),
            tests: Vec::new(),
            test_modules: Vec::new(),
            line_starts,
        };
        source.find_items();
        source.find_tests();
        source
    }

    /// The line, from 1, on which a byte stands.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    pub(crate) fn all_test(&mut self) {
        self.tests.push(0..usize::MAX);
    }

    /// Whether the file is part of what is shipped: not of tests, benches, examples or tools.
    pub(crate) fn is_product(&self) -> bool {
        self.path.starts_with("crates/")
            && self.path.contains("/src/")
            && !self.path.starts_with("crates/testkit/")
    }

    /// Files that a `#[cfg(test)] mod name;` of this file brings in.
    pub(crate) fn test_files(&self) -> Vec<String> {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let stem = file.trim_end_matches(".rs");
        let folder = if matches!(stem, "lib" | "main" | "mod") {
            folder.to_owned()
        } else {
            format!("{folder}/{stem}")
        };
        self.test_modules
            .iter()
            .flat_map(|name| {
                [
                    format!("{folder}/{name}.rs"),
                    format!("{folder}/{name}/mod.rs"),
                ]
            })
            .collect()
    }

    /// Where `word` stands in the code, not as part of a longer word.
    pub(crate) fn find_word<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let bytes = self.code.as_bytes();
        let open_start = word.bytes().next().is_some_and(is_ident);
        let open_end = word.bytes().next_back().is_some_and(is_ident);
        self.code
            .match_indices(word)
            .map(|(at, _)| at)
            .filter(move |at| {
                let before = at.checked_sub(1).is_some_and(|i| is_ident(byte(bytes, i)));
                let after = is_ident(byte(bytes, at.saturating_add(word.len())));
                !(open_start && before || open_end && after)
            })
    }

    fn find_items(&mut self) {
        let mut functions = Vec::new();
        for at in self.find_word("fn") {
            let Some((name, past)) = self.name_after(at.saturating_add(2)) else {
                continue;
            };
            let Some((open, end)) = self.body_after(past) else {
                continue;
            };
            functions.push(Function {
                name,
                bytes: at..end,
                body: open.saturating_add(1),
            });
        }
        let mut modules = Vec::new();
        for at in self.find_word("mod") {
            let Some((name, past)) = self.name_after(at.saturating_add(3)) else {
                continue;
            };
            let Some((open, end)) = self.body_after(past) else {
                continue;
            };
            modules.push((name, open..end));
        }
        self.functions = functions;
        self.modules = modules;
    }

    fn find_tests(&mut self) {
        let bytes = self.code.as_bytes();
        let mut tests = Vec::new();
        let mut modules = Vec::new();
        for (at, _) in self.code.match_indices("#[cfg(") {
            let end = closing(bytes, at.saturating_add(1));
            let condition = self.code.get(at..end).unwrap_or("");
            let for_tests = condition.contains("(test") || condition.contains(" test");
            if !for_tests || condition.contains("not(test") {
                continue;
            }
            let item = self.past_attributes(end);
            if let Some((_, end)) = self.body_after(item) {
                tests.push(at..end);
            } else {
                let end = self
                    .code
                    .get(item..)
                    .and_then(|rest| rest.find(';'))
                    .map_or(item, |n| item.saturating_add(n));
                let words = self.code.get(item..end).unwrap_or("");
                if let Some(name) = words.trim_start_matches("pub(crate) ").strip_prefix("mod ") {
                    modules.push(name.trim().to_owned());
                }
                tests.push(at..end);
            }
        }
        if self.code.contains("#![cfg(test)]") || self.path.contains("/tests/") {
            tests.push(0..usize::MAX);
        }
        self.tests = tests;
        self.test_modules = modules;
    }

    /// The identifier after blanks, and where it ends.
    fn name_after(&self, from: usize) -> Option<(String, usize)> {
        let rest = self.code.get(from..)?;
        let trimmed = rest.trim_start();
        let start = from.saturating_add(rest.len().saturating_sub(trimmed.len()));
        let length = trimmed.bytes().take_while(|b| is_ident(*b)).count();
        let name = trimmed.get(..length)?;
        (length > 0 && start > from).then(|| (name.to_owned(), start.saturating_add(length)))
    }

    /// The `{` that opens the item's body and the byte past its `}`; none if `;` comes first.
    pub(crate) fn body_after(&self, from: usize) -> Option<(usize, usize)> {
        let bytes = self.code.as_bytes();
        let mut at = from;
        while at < bytes.len() {
            match byte(bytes, at) {
                b'{' => return Some((at, closing(bytes, at))),
                b';' => return None,
                b'(' | b'[' => at = closing(bytes, at),
                _ => at = at.saturating_add(1),
            }
        }
        None
    }

    fn past_attributes(&self, from: usize) -> usize {
        let bytes = self.code.as_bytes();
        let mut at = from;
        loop {
            while byte(bytes, at).is_ascii_whitespace() {
                at = at.saturating_add(1);
            }
            if byte(bytes, at) != b'#' {
                return at;
            }
            at = closing(bytes, at.saturating_add(1));
        }
    }
}

/// The byte past the bracket that closes the one at `open`; the end of the text if none does.
fn closing(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, b) in bytes.iter().enumerate().skip(open) {
        match b {
            b'(' | b'[' | b'{' => depth = depth.saturating_add(1),
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at.saturating_add(1);
        }
    }
    bytes.len()
}

fn is_ident(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// The byte at `at`, or 0 past the end.
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
//! A file.
fn one(list: [u8; 4]) -> [u8; 4] { list }
impl A {
    pub(crate) async fn two<T>(&self) where T: Copy {
        one();
    }
}
trait B { fn three(&self); }
#[cfg(all(test, not(loom)))]
#[path = \"x\"]
mod tests {
    fn four() {}
}
#[cfg(test)]
mod outside;
fn five() {}
";

    #[test]
    fn functions_have_names_and_bodies() {
        let source = Source::read("crates/x/src/lib.rs", SAMPLE);
        let names: Vec<_> = source.functions.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["one", "two", "four", "five"]);
        let two = &source.functions[1];
        assert_eq!(
            (
                source.line_of(two.bytes.start),
                source.line_of(two.bytes.end)
            ),
            (4, 6)
        );
    }

    #[test]
    fn test_code_is_told_from_product_code() {
        let source = Source::read("crates/x/src/lib.rs", SAMPLE);
        let is_test = |name: &str| {
            let function = source.functions.iter().find(|f| f.name == name).unwrap();
            source.is_test(function.bytes.start)
        };
        assert!(is_test("four"));
        assert!(!is_test("one") && !is_test("two") && !is_test("five"));
        assert!(
            source
                .test_files()
                .contains(&"crates/x/src/outside.rs".to_owned())
        );
    }

    #[test]
    fn words_are_whole() {
        let source = Source::read("a.rs", "let x = env::var(env_var); my_env::var();");
        assert_eq!(source.find_word("env::var").collect::<Vec<_>>(), [8]);
    }
}
