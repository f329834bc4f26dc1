//! Heads of answers.

use tollkeep_http1::AnswerFault::{
    BothLengths, Connection, ContentLength, FieldName, FieldValue, LineEnding, ObsFold, StatusLine,
    Switching, TooLarge, TransferEncoding, Underscore,
};
use tollkeep_http1::{Answer, AnswerFault, AnswerFraming, Known, Progress, Version};

/// Reads an answer whole and byte by byte; both must agree.
fn answer(bytes: impl AsRef<[u8]>, head_request: bool) -> Result<Answer, AnswerFault> {
    let bytes = bytes.as_ref();
    let mut whole = Answer::new();
    let read = whole.read(bytes, head_request);
    let mut trickled = Answer::new();
    let last = (0..=bytes.len())
        .map(|len| trickled.read(&bytes[..len], head_request))
        .find(|read| *read != Ok(Progress::More));
    assert_eq!(Some(read), last, "{:?}", String::from_utf8_lossy(bytes));
    if read.is_ok() {
        assert_eq!(format!("{whole:?}"), format!("{trickled:?}"));
    }
    read.map(|_| whole)
}

// EDGE-75
#[test]
fn a_status_line_has_one_form() {
    for (name, line, want) in [
        ("plain", "HTTP/1.1 200 OK", Ok(200)),
        ("older", "HTTP/1.0 200 OK", Ok(200)),
        ("no reason", "HTTP/1.1 200 ", Ok(200)),
        ("long reason", "HTTP/1.1 404 Not\tfound, é", Ok(404)),
        ("interim", "HTTP/1.1 103 Early Hints", Ok(103)),
        ("unknown status", "HTTP/1.1 599 x", Ok(599)),
        ("no space", "HTTP/1.1 200", Err(StatusLine)),
        ("two digits", "HTTP/1.1 20 OK", Err(StatusLine)),
        ("four digits", "HTTP/1.1 2000 OK", Err(StatusLine)),
        ("letters", "HTTP/1.1 2x0 OK", Err(StatusLine)),
        ("below 100", "HTTP/1.1 099 OK", Err(StatusLine)),
        ("above 599", "HTTP/1.1 600 OK", Err(StatusLine)),
        ("two spaces", "HTTP/1.1  200 OK", Err(StatusLine)),
        ("lower case", "http/1.1 200 OK", Err(StatusLine)),
        ("other version", "HTTP/1.2 200 OK", Err(StatusLine)),
        ("HTTP/2", "HTTP/2 200", Err(StatusLine)),
        ("empty line before", "\r\nHTTP/1.1 200 OK", Err(StatusLine)),
        ("another protocol", "SSH-2.0-x", Err(StatusLine)),
        ("control byte", "HTTP/1.1 200 O\x07K", Err(StatusLine)),
        ("NUL", "HTTP/1.1 200 \0", Err(StatusLine)),
        ("bare CR", "HTTP/1.1 200 O\rK", Err(StatusLine)),
        ("bare LF", "HTTP/1.1 200 OK\nX: y", Err(LineEnding)),
        ("101 without being asked", "HTTP/1.1 101 x", Err(Switching)),
    ] {
        let read = answer(format!("{line}\r\nContent-Length: 0\r\n\r\n"), false);
        assert_eq!(read.map(|answer| answer.status), want, "{name}");
    }
}

const FIELDS: &[(&str, &str, Option<AnswerFault>)] = &[
    ("plain", "X: 1", None),
    ("underscore", "x_y: 1", None),
    ("many cookies", "Set-Cookie: a\r\nSet-Cookie: b", None),
    ("folded", "X: 1\r\n 2", Some(ObsFold)),
    ("NUL", "X: \0", Some(FieldValue)),
    ("bare LF", "X: 1\nY: 2", Some(LineEnding)),
    ("bare CR", "X: 1\rY: 2", Some(LineEnding)),
    ("space before the colon", "X : 1", Some(FieldName)),
    ("no colon", "X", Some(FieldName)),
    (
        "two lengths",
        "Content-Length: 1\r\nContent-Length: 1",
        Some(ContentLength),
    ),
    (
        "list of lengths",
        "Content-Length: 1, 1",
        Some(ContentLength),
    ),
    ("signed length", "Content-Length: +1", Some(ContentLength)),
    ("empty length", "Content-Length: ", Some(ContentLength)),
    (
        "both",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        Some(BothLengths),
    ),
    ("coding", "Transfer-Encoding: gzip", Some(TransferEncoding)),
    (
        "stacked",
        "Transfer-Encoding: gzip, chunked",
        Some(TransferEncoding),
    ),
    (
        "coding twice",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        Some(TransferEncoding),
    ),
    ("underscore length", "Content_Length: 1", Some(Underscore)),
    (
        "underscore coding",
        "transfer_encoding: x",
        Some(Underscore),
    ),
    ("connection", "Connection: close;", Some(Connection)),
];

// EDGE-75
#[test]
fn fields_of_an_answer_are_read_as_strictly() {
    for (name, lines, want) in FIELDS {
        let read = answer(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"), false);
        assert_eq!(read.err(), *want, "{name}");
    }
    for (count, want) in [(100, None), (101, Some(TooLarge))] {
        let lines = "X: 1\r\n".repeat(count);
        let read = answer(format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), false);
        assert_eq!(read.err(), want, "{count} fields");
    }
    let older = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(answer(older, false).err(), Some(TransferEncoding));
}

// EDGE-75
#[test]
fn a_head_of_64_kib_passes_and_one_byte_more_does_not() {
    let head = |len: usize| {
        let start = "HTTP/1.1 200 OK\r\nX: ";
        format!("{start}{}\r\n\r\n", "a".repeat(len - start.len() - 4))
    };
    assert_eq!(answer(head(64 * 1024), false).err(), None);
    assert_eq!(answer(head(64 * 1024 + 1), false).err(), Some(TooLarge));
    let endless = [b"HTTP/1.1 200 ".as_slice(), &[b'a'; 64 * 1024]].concat();
    assert_eq!(answer(endless, false).err(), Some(TooLarge));
}

#[test]
fn the_body_is_delimited_as_rfc_9112_says() {
    use AnswerFraming::{Chunked, Length, None, UntilClose};
    for (name, line, lines, head_request, want) in [
        (
            "length",
            "1.1 200",
            "Content-Length: 5\r\n",
            false,
            (Length(5), true),
        ),
        (
            "length zero",
            "1.1 200",
            "Content-Length: 0\r\n",
            false,
            (Length(0), true),
        ),
        (
            "chunked",
            "1.1 200",
            "Transfer-Encoding: Chunked\r\n",
            false,
            (Chunked, true),
        ),
        ("neither", "1.1 200", "", false, (UntilClose, false)),
        (
            "to HEAD",
            "1.1 200",
            "Content-Length: 5\r\n",
            true,
            (None, true),
        ),
        ("to HEAD, neither", "1.1 200", "", true, (None, true)),
        ("no content", "1.1 204", "", false, (None, true)),
        (
            "not modified",
            "1.1 304",
            "Content-Length: 5\r\n",
            false,
            (None, true),
        ),
        ("interim", "1.1 103", "", false, (None, true)),
        (
            "close",
            "1.1 200",
            "Content-Length: 5\r\nConnection: Close\r\n",
            false,
            (Length(5), false),
        ),
        (
            "older",
            "1.0 200",
            "Content-Length: 5\r\n",
            false,
            (Length(5), false),
        ),
        (
            "older with keep-alive",
            "1.0 200",
            "Content-Length: 5\r\nConnection: keep-alive\r\n",
            false,
            (Length(5), false),
        ),
    ] {
        let answer = answer(format!("HTTP/{line} x\r\n{lines}\r\n"), head_request).unwrap();
        assert_eq!((answer.framing, answer.keep_alive), want, "{name}");
    }
}

#[test]
fn an_answer_gives_its_fields_and_where_the_body_starts() {
    let bytes =
        b"HTTP/1.0 200 OK\r\nContent-type: a/b\r\nConnection: x-foo\r\nX-Foo: 1\r\n\r\nbody";
    let answer = answer(bytes, false).unwrap();
    assert_eq!(answer.version, Version::Http10);
    assert_eq!(
        answer.value(bytes, Known::ContentType),
        Some(b"a/b".as_slice())
    );
    assert_eq!(&bytes[answer.len..], b"body");
    let marked: Vec<_> = answer.fields.iter().map(|field| field.hop).collect();
    assert_eq!(marked, [false, false, true]);
}

#[test]
fn a_value_serves_many_answers() {
    let mut answer = Answer::new();
    let interim = b"HTTP/1.1 103 x\r\nLink: a\r\n\r\n";
    let last = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n";
    for _ in 0..3 {
        assert_eq!(answer.read(interim, false), Ok(Progress::Done));
        assert_eq!(answer.read(&last[..20], false), Ok(Progress::More));
        assert_eq!(answer.read(last, false), Ok(Progress::Done));
        assert_eq!((answer.status, answer.fields.len()), (200, 1));
        assert!(answer.read(b"x", false).is_err());
        assert_eq!(answer.read(&interim[..20], false), Ok(Progress::More));
        answer.reset();
    }
}
