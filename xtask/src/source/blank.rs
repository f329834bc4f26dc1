//! Blanks comments and the contents of literals, so that a word found is a word of the program.

/// The text with every byte of a comment, and every byte inside a string or character literal,
/// replaced by a blank; line ends stay.
pub(super) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (keep, end) = literal_or_comment(bytes, at);
        let inner = at.saturating_add(keep)..end.saturating_sub(keep);
        if let Some(range) = out.get_mut(inner) {
            range
                .iter_mut()
                .filter(|b| **b != b'\n')
                .for_each(|b| *b = b' ');
        }
        at = end.max(at.saturating_add(1));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What begins at `at`: how many bytes to keep at each side, and where it ends. Ordinary code is
/// one byte, kept by having an empty inside.
fn literal_or_comment(bytes: &[u8], at: usize) -> (usize, usize) {
    let after = |n: usize| super::byte(bytes, at.saturating_add(n));
    let in_word = at
        .checked_sub(1)
        .is_some_and(|i| super::is_ident(super::byte(bytes, i)));
    match (after(0), after(1)) {
        (b'/', b'/') => (0, find(bytes, at, b"\n")),
        (b'/', b'*') => (0, block_comment(bytes, at)),
        (b'"', _) => (1, quoted(bytes, at, b'"')),
        (b'r', b'"' | b'#') if !in_word || super::byte(bytes, at.saturating_sub(1)) == b'b' => {
            raw(bytes, at)
        }
        (b'\'', b'\\') => (1, quoted(bytes, at, b'\'')),
        (b'\'', first) if after(1_usize.saturating_add(utf8_length(first))) == b'\'' => {
            (1, at.saturating_add(2).saturating_add(utf8_length(first)))
        }
        _ => (1, at.saturating_add(1)),
    }
}

fn utf8_length(first: u8) -> usize {
    match first {
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    }
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or(&[]);
    rest.windows(what.len())
        .position(|window| window == what)
        .map_or(bytes.len(), |n| from.saturating_add(n))
}

/// Block comments nest.
fn block_comment(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i < bytes.len() {
        let pair = (
            super::byte(bytes, i),
            super::byte(bytes, i.saturating_add(1)),
        );
        match pair {
            (b'/', b'*') => depth = depth.saturating_add(1),
            (b'*', b'/') => depth = depth.saturating_sub(1),
            _ => {
                i = i.saturating_add(1);
                continue;
            }
        }
        i = i.saturating_add(2);
        if depth == 0 {
            return i;
        }
    }
    bytes.len()
}

fn quoted(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut i = at.saturating_add(1);
    while i < bytes.len() {
        match super::byte(bytes, i) {
            b'\\' => i = i.saturating_add(2),
            b if b == quote => return i.saturating_add(1),
            _ => i = i.saturating_add(1),
        }
    }
    bytes.len()
}

/// `r"…"` and `r#"…"#`; `r#name` is a word.
fn raw(bytes: &[u8], at: usize) -> (usize, usize) {
    let hashes = bytes
        .iter()
        .skip(at.saturating_add(1))
        .take_while(|b| **b == b'#')
        .count();
    let open = at.saturating_add(1).saturating_add(hashes);
    if super::byte(bytes, open) != b'"' {
        return (1, at.saturating_add(1));
    }
    let end: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let past = find(bytes, open.saturating_add(1), &end)
        .saturating_add(end.len())
        .min(bytes.len());
    (hashes.saturating_add(1), past)
}

#[cfg(test)]
mod tests {
    use super::blank;

    #[test]
    fn comments_and_literals_are_blanked_and_nothing_else() {
        for (name, text, want) in [
            ("line comment", "a // b\nc", "a     \nc"),
            (
                "nested block",
                "a /* b /* c */ d */ e",
                "a                   e",
            ),
            ("string", "a(\"b // c\", d)", "a(\"      \", d)"),
            ("escaped quote", r#"a("\"b", c)"#, r#"a("   ", c)"#),
            ("raw string", "a(r#\"b \"c\" \"#, d)", "a(r#       \"#, d)"),
            ("byte raw string", "br\"x\\\" + y", "br   \" + y"),
            ("raw word", "r#type + b", "r#type + b"),
            ("character", "x == '\"' && y", "x == ' ' && y"),
            ("escaped character", r"x == '\'' && y", "x == '  ' && y"),
            ("two-byte character", "x == 'é' && y", "x == '  ' && y"),
            (
                "lifetime",
                "fn a<'b>(c: &'b str) {}",
                "fn a<'b>(c: &'b str) {}",
            ),
        ] {
            assert_eq!(blank(text), want, "{name}");
        }
    }
}
