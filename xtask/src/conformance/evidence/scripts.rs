//! Ids above tests that are not Rust: Python, JavaScript and shell under `tests/`.

use super::{Evidence, Test, ids_of_comment};

pub(super) fn from_script<'a>(path: &str, text: &'a str, evidence: &mut Evidence) {
    let (mark, name_of): (&str, fn(&str) -> Option<&str>) = match path.rsplit_once('.') {
        Some((_, "py")) => ("#", python_test),
        Some((_, "mjs" | "js")) => ("//", javascript_test),
        Some((_, "sh")) => ("#", shell_function),
        _ => return,
    };
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let ids = ids_of_comment(line, mark);
        if ids.is_empty() {
            continue;
        }
        let number = index.saturating_add(1);
        let below = lines.iter().enumerate().skip(number);
        let mut code = below.skip_while(|(_, line)| line.trim_start().starts_with(mark));
        let named = |(index, line): (usize, &&'a str)| {
            Some((index.saturating_add(1), name_of(line.trim_start())?))
        };
        let test = code.next().and_then(named);
        let Some((line, name)) = test else {
            evidence.dangling(path, number);
            continue;
        };
        let test = Test {
            file: path.to_owned(),
            line,
            name: name.to_owned(),
        };
        ids.iter().for_each(|id| evidence.add(id, &test));
    }
}

/// `def test_x(`, or the title in a decorator: `@case("x")`.
fn python_test(line: &str) -> Option<&str> {
    if line.starts_with('@') {
        return quoted(line);
    }
    let name = line
        .strip_prefix("async ")
        .unwrap_or(line)
        .strip_prefix("def ")?;
    name.split('(')
        .next()
        .filter(|name| name.starts_with("test"))
}

/// The title in `test("x", …)`, `it('x', …)`, or a function of the suite that takes one.
fn javascript_test(line: &str) -> Option<&str> {
    let (called, rest) = line
        .strip_prefix("await ")
        .unwrap_or(line)
        .split_once('(')?;
    let is_name = !called.is_empty()
        && called
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    (is_name && rest.starts_with(['"', '\'', '`']))
        .then(|| quoted(rest))
        .flatten()
}

/// The first text in quotes.
fn quoted(text: &str) -> Option<&str> {
    let start = text.find(['"', '\'', '`'])?;
    let quote = text.get(start..)?.chars().next()?;
    text.get(start..)?.split(quote).nth(1)
}

fn shell_function(line: &str) -> Option<&str> {
    line.split_once("()")
        .map(|(name, _)| name.trim())
        .filter(|name| !name.is_empty() && !name.contains(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_their_tests() {
        for (path, text, want) in [
            (
                "a.py",
                "# EDGE-1\nasync def test_stream(client):\n",
                Some("test_stream"),
            ),
            (
                "a.py",
                "    # EDGE-1\n    def test_in_a_class(self):\n",
                Some("test_in_a_class"),
            ),
            (
                "a.py",
                "# EDGE-1\n# why\n@case(\"it stops\", True)\ndef _():\n",
                Some("it stops"),
            ),
            ("a.py", "# EDGE-1\ndef client():\n", None),
            (
                "a.mjs",
                "// EDGE-1\ntest('it streams', async () => {",
                Some("it streams"),
            ),
            (
                "a.mjs",
                "// EDGE-1\nplainTest(\"it's here\", () => {",
                Some("it's here"),
            ),
            ("a.mjs", "// EDGE-1\nconst x = f(\"y\");", None),
            ("a.sh", "# EDGE-1\ncurl_streams() {", Some("curl_streams")),
        ] {
            let mut evidence = Evidence::default();
            from_script(path, text, &mut evidence);
            let found = evidence
                .tests
                .get("EDGE-1")
                .map(|tests| tests[0].name.as_str());
            assert_eq!(found, want, "{path}");
            assert_eq!(evidence.findings.is_empty(), want.is_some(), "{path}");
        }
    }
}
