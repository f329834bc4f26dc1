//! Writing JSON by hand, for lines that are written once a request.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a byte stands for itself in every JSON string we write.
const fn plain(byte: u8) -> bool {
    byte >= 0x20 && byte < 0x7f && byte != b'"' && byte != b'\\'
}

/// Whether all of `text` can be copied as it is. No early end, so that it is done many bytes at
/// a time.
fn all_plain(text: &str) -> bool {
    text.bytes().fold(true, |so_far, byte| so_far & plain(byte))
}

/// Whether a character could end a line, hide text or change its direction.
const fn must_escape(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '"' | '\\' | '\x7f'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffd}')
}

/// Appends `text` as a JSON string. Controls, DEL, C1, line and paragraph separators and the
/// characters that change the direction of text are escaped, so that a line stays one line and
/// shows what it holds. U+FFFD, which stands for bytes that were no UTF-8, is escaped too.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Appends what [`string`] does, without the quotes.
pub fn escaped(out: &mut Vec<u8>, text: &str) {
    if all_plain(text) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut rest = text;
    while let Some(at) = rest.find(must_escape) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        let mut chars = from.chars();
        match chars.next() {
            Some('"') => out.extend_from_slice(b"\\\""),
            Some('\\') => out.extend_from_slice(b"\\\\"),
            Some(c) => unicode(out, u32::from(c)),
            None => {}
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
}

/// Appends `\uXXXX`. Everything [`must_escape`] names fits.
fn unicode(out: &mut Vec<u8>, code: u32) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        let digit = (code >> shift) & 0xf;
        out.extend(HEX.get(digit as usize));
    }
}

/// Appends a number.
pub fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends nanoseconds as milliseconds with three places, cut off.
pub fn millis(out: &mut Vec<u8>, nanos: u64) {
    let micros = nanos / 1_000;
    number(out, micros / 1_000);
    out.push(b'.');
    let fraction = micros % 1_000;
    for divisor in [100, 10, 1] {
        let digit = fraction / divisor % 10;
        out.extend(HEX.get(usize::try_from(digit).unwrap_or(0)));
    }
}

/// Appends an id as a JSON string, from its prefix and its hex digits.
pub fn id(out: &mut Vec<u8>, prefix: &str, hex: &[u8; 32]) {
    out.push(b'"');
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(hex);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    // AUD-35
    #[test]
    fn what_could_forge_or_hide_a_line_is_escaped() {
        for (name, text, want) in [
            ("plain", "GET /v1", r#""GET /v1""#),
            ("quotes", r#"a"b\c"#, r#""a\"b\\c""#),
            ("line ends", "a\r\nb", r#""a\u000d\u000ab""#),
            ("null", "a\0b", r#""a\u0000b""#),
            ("ansi", "\x1b[31mred", r#""\u001b[31mred""#),
            ("delete", "a\x7f", r#""a\u007f""#),
            ("c1", "a\u{9b}31m", r#""a\u009b31m""#),
            ("separators", "\u{2028}\u{2029}", r#""\u2028\u2029""#),
            ("override", "\u{202e}gpj", r#""\u202egpj""#),
            ("isolates", "\u{2066}\u{2069}", r#""\u2066\u2069""#),
            (
                "marks",
                "\u{200e}\u{200f}\u{61c}",
                r#""\u200e\u200f\u061c""#,
            ),
            ("not utf-8", "a\u{fffd}", r#""a\ufffd""#),
            ("other scripts stay", "grüße 東京 🦀", r#""grüße 東京 🦀""#),
        ] {
            assert_eq!(written(text), want, "{name}");
        }
    }

    #[test]
    fn nanoseconds_are_told_as_milliseconds() {
        for (nanos, want) in [
            (0, "0.000"),
            (999, "0.000"),
            (1_234_567, "1.234"),
            (12_005_000_000, "12005.000"),
        ] {
            let mut out = Vec::new();
            millis(&mut out, nanos);
            assert_eq!(out, want.as_bytes());
        }
    }

    proptest::proptest! {
        // AUD-35
        #[test]
        fn any_text_is_one_line_and_comes_back(text in ".*|\\PC*") {
            let line = written(&text);
            proptest::prop_assert!(!line.contains(must_escape_unquoted));
            let back: String = serde_json::from_str(&line).unwrap();
            proptest::prop_assert_eq!(back, text);
        }
    }

    fn must_escape_unquoted(c: char) -> bool {
        must_escape(c) && c != '"' && c != '\\'
    }
}
