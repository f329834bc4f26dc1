//! Writing JSON by hand, for lines that are written once a request.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether all of `text` can be copied as it is: printable ASCII without quote and backslash.
fn all_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(last) = bytes.last_chunk() else {
        return not_plain(less_than_eight(bytes)) == 0;
    };
    // The last word lies over the one before instead of being short.
    let (words, _) = bytes.as_chunks();
    let marks = words
        .iter()
        .fold(not_plain(u64::from_le_bytes(*last)), |marks, word| {
            marks | not_plain(u64::from_le_bytes(*word))
        });
    marks == 0
}

/// Zero if all eight bytes are plain.
const fn not_plain(word: u64) -> u64 {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    const fn equal(word: u64, byte: u8) -> u64 {
        let zero_where_equal = word ^ u64::from_le_bytes([byte; 8]);
        zero_where_equal.wrapping_sub(LOW) & !zero_where_equal
    }
    let controls = word.wrapping_sub(u64::from_le_bytes([0x20; 8])) & !word;
    let marks = controls | equal(word, b'"') | equal(word, b'\\') | equal(word, 0x7f);
    // A byte with its highest bit set is never ASCII.
    (marks | word) & HIGH
}

/// A short text as a word, with spaces or parts of it again in what is left.
#[inline]
fn less_than_eight(bytes: &[u8]) -> u64 {
    let [low, high] = match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => [*first, *last],
        (None, _) | (_, None) => {
            let at = |place: usize| bytes.get(place).copied().unwrap_or(b' ');
            [[at(0), at(1), at(2), b' '], [b' '; 4]]
        }
    };
    u64::from(u32::from_le_bytes(high)) << 32 | u64::from(u32::from_le_bytes(low))
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

/// Appends what [`string`] does for a text that is known to need no escapes.
#[inline]
pub fn word(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Appends what [`string`] does, without the quotes.
#[inline]
pub fn escaped(out: &mut Vec<u8>, text: &str) {
    if all_plain(text) {
        return out.extend_from_slice(text.as_bytes());
    }
    escaped_by_character(out, text);
}

#[cold]
fn escaped_by_character(out: &mut Vec<u8>, text: &str) {
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

/// The three digits of each number below a thousand, and how many of them lead with zero.
static DIGITS: [[u8; 4]; 1_000] = {
    let mut table = [[0; 4]; 1_000];
    let (mut value, mut left) = (0_u16, table.as_mut_slice());
    while let [entry, others @ ..] = left {
        let [h, t, u] = [value / 100, value / 10 % 10, value % 10];
        let zeros = (value < 100) as u8 + (value < 10) as u8;
        *entry = [digit(h), digit(t), digit(u), zeros];
        (value, left) = (value + 1, others);
    }
    table
};

const fn digit(value: u16) -> u8 {
    let [value, _] = value.to_le_bytes();
    b'0' + value
}

/// Appends a number.
#[inline]
pub fn number(out: &mut Vec<u8>, value: u64) {
    if value < 1_000 {
        return leading(out, value);
    }
    large_number(out, value);
}

#[inline(never)]
fn large_number(out: &mut Vec<u8>, value: u64) {
    if value < 1_000_000 {
        leading(out, value / 1_000);
        return out.extend_from_slice(&three_digits(value % 1_000));
    }
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn entry(value: u64) -> [u8; 4] {
    let entry = usize::try_from(value).ok().and_then(|at| DIGITS.get(at));
    entry.copied().unwrap_or_default()
}

/// Appends a number below a thousand without zeros before it.
#[inline]
fn leading(out: &mut Vec<u8>, value: u64) {
    let entry = entry(value);
    let [.., zeros] = entry;
    let digits = u32::from_le_bytes(entry) >> (8 * zeros);
    let end = out.len() + 3 - usize::from(zeros);
    out.extend_from_slice(&digits.to_le_bytes());
    out.truncate(end);
}

/// The digits of a number below a thousand, with zeros before it.
#[inline]
fn three_digits(value: u64) -> [u8; 3] {
    let [hundreds, tens, units, _] = entry(value);
    [hundreds, tens, units]
}

/// Appends a number that may be below zero.
#[inline]
pub fn signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    number(out, value.unsigned_abs());
}

/// Appends the last nine digits of a number, with zeros before it.
#[inline]
pub fn nine_digits(out: &mut Vec<u8>, value: u64) {
    for thousands in [value / 1_000_000, value / 1_000, value] {
        out.extend_from_slice(&three_digits(thousands % 1_000));
    }
}

/// Appends nanoseconds as milliseconds with three places, cut off.
#[inline]
pub fn millis(out: &mut Vec<u8>, nanos: u64) {
    let micros = nanos / 1_000;
    number(out, micros / 1_000);
    let [tenths, hundredths, thousandths] = three_digits(micros % 1_000);
    out.extend_from_slice(&[b'.', tenths, hundredths, thousandths]);
}

/// Appends an id as a JSON string, from its prefix and its hex digits.
#[inline]
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

    #[test]
    fn numbers_have_the_digits_of_their_display() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        let near = powers.flat_map(|power| [power - 1, power, power + 1]);
        for value in (0..=2_000).chain(near).chain([u64::MAX]) {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    // AUD-35
    #[test]
    fn only_plain_text_is_copied_unseen_wherever_the_odd_byte_is() {
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..0x80 {
                    let mut bytes = vec![b'a'; len];
                    bytes[at] = byte;
                    let text = String::from_utf8(bytes).unwrap();
                    let plain = !text.contains(must_escape);
                    assert_eq!(all_plain(&text), plain, "{text:?}");
                }
            }
        }
        assert!(all_plain(""));
        assert!(!all_plain("\u{e9}"));
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
