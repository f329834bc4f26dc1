//! Field lines: names, values, line endings.

use crate::reading::{fault, get_with, read};
use tollkeep_http1::HeadFault::{self, FieldName, FieldValue, LineEnding, ObsFold};
use tollkeep_http1::Known;

const FIELD_LINES: &[(&str, &str, Option<HeadFault>)] = &[
    ("no blank before the value", "X:1\r\n", None),
    ("blanks around the value", "X: \t 1 \t\r\n", None),
    ("empty value", "X:\r\n", None),
    ("colons in the value", "X: a:b: c\r\n", None),
    ("tab inside the value", "X: a\tb\r\n", None),
    (
        "every symbol of a token",
        "!#$%&'*+-.^`|~09azAZ: 1\r\n",
        None,
    ),
    ("beyond ASCII in the value", "X: café\r\n", None),
    ("no colon", "foo\r\n", Some(FieldName)),
    ("empty name", ": x\r\n", Some(FieldName)),
    ("space before the colon", "X : 1\r\n", Some(FieldName)),
    ("tab before the colon", "X\t: 1\r\n", Some(FieldName)),
    ("space in the name", "X Y: 1\r\n", Some(FieldName)),
    ("beyond ASCII in the name", "Xé: 1\r\n", Some(FieldName)),
    ("NUL in the name", "X\0: 1\r\n", Some(FieldName)),
    ("separator in the name", "X(: 1\r\n", Some(FieldName)),
    ("folded with space", "X: a\r\n b\r\n", Some(ObsFold)),
    ("folded with tab", "X: a\r\n\tb\r\n", Some(ObsFold)),
    ("folded with nothing", "X: a\r\n \r\n", Some(ObsFold)),
    ("NUL in the value", "X: a\0b\r\n", Some(FieldValue)),
    ("bell", "X: \x07\r\n", Some(FieldValue)),
    ("vertical tab", "X: \x0b1\r\n", Some(FieldValue)),
    ("form feed at the end", "X: 1\x0c\r\n", Some(FieldValue)),
    ("escape", "X: \x1b[0m\r\n", Some(FieldValue)),
    ("DEL", "X: \x7f\r\n", Some(FieldValue)),
    ("bare CR in the value", "X: a\rb\r\n", Some(LineEnding)),
    ("bare LF in the value", "X: a\nY: b\r\n", Some(LineEnding)),
    ("CR CR LF", "X: a\r\r\n", Some(LineEnding)),
    ("CR in the name", "X\rY: a\r\n", Some(LineEnding)),
    ("LF in the name", "X\nY: a\r\n", Some(LineEnding)),
    ("LF for a line", "X: a\r\n\nY: b\r\n", Some(LineEnding)),
    ("CR for a line", "X: a\r\n\rY: b\r\n", Some(LineEnding)),
];

// EDGE-22 EDGE-23
#[test]
fn a_field_line_has_one_form() {
    for (name, lines, want) in FIELD_LINES {
        assert_eq!(fault(get_with(lines)), *want, "{name}");
    }
    let first_line_blank = "GET /ok HTTP/1.1\r\n Host: gw.test\r\n\r\n";
    assert_eq!(fault(first_line_blank), Some(FieldName));
}

#[test]
fn values_come_without_their_outer_blanks() {
    let read = read(get_with("User-Agent: \t a b \t\r\nAccept:\r\n")).unwrap();
    assert_eq!(read.value(Known::UserAgent), Some("a b"));
    assert_eq!(read.value(Known::Accept), Some(""));
    assert_eq!(read.value(Known::Origin), None);
    assert_eq!(read.names(), ["Host", "User-Agent", "Accept"]);
}
