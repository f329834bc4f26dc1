//! Laws: nothing panics, splits change nothing, what is written is read back.

use crate::chunks::decode;
use crate::reading::{underscore_names, verdict};
use proptest::collection::vec;
use proptest::prelude::*;
use tollkeep_http1::{Answer, ChunkDecoder, ChunkEvent, Head, HeadFault, Limits, Progress, write};

/// Pieces of heads, so that random streams get past the first line now and then.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = proptest::sample::select(vec![
        "GET /ok HTTP/1.1\r\n",
        "GET ",
        "/ok",
        " HTTP/1.1",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 204 ",
        "\r\n",
        "\r",
        "\n",
        "\r\n\r\n",
        " ",
        ":",
        "Host: gw.test\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: ",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close, X\r\n",
        "X: 1\r\n",
        "x_y: 2\r\n",
        "5;a=b\r\n",
        "0\r\n",
    ]);
    prop_oneof![
        8 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..8),
    ]
}

/// A stream of pieces, often one that starts as a good head does.
fn stream(start: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let started = prop_oneof![Just(start), Just("")];
    (started, vec(piece(), 0..12))
        .prop_map(|(start, pieces)| [start.as_bytes().to_vec(), pieces.concat()].concat())
}

/// Growing lengths of a buffer, the last one whole.
fn lengths(cuts: &[prop::sample::Index], len: usize) -> Vec<usize> {
    let mut lengths: Vec<_> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    lengths.push(len);
    lengths.sort_unstable();
    lengths
}

/// Small limits, so that short streams reach them.
const TIGHT: Limits = Limits {
    fields_max: 4,
    head_bytes_max: 120,
    line_bytes_max: 30,
    target_bytes_max: 6,
};

fn outcome(bytes: &[u8], limits: &Limits, lengths: &[usize]) -> Option<Result<String, HeadFault>> {
    let mut head = Head::new();
    for len in lengths {
        match head.read(&bytes[..*len], limits, &underscore_names()) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => return Some(Ok(format!("{head:?}"))),
            Err(refusal) => return Some(Err(refusal.kind)),
        }
    }
    None
}

fn answer_outcome(bytes: &[u8], lengths: &[usize]) -> Option<Result<String, String>> {
    let mut answer = Answer::new();
    for len in lengths {
        match answer.read(&bytes[..*len], false) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => return Some(Ok(format!("{answer:?}"))),
            Err(fault) => return Some(Err(fault.to_string())),
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_request_head_reads_the_same_however_it_arrives(
        bytes in stream("GET /ok HTTP/1.1\r\nHost: a\r\n"),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
        tight: bool,
    ) {
        let limits = if tight { TIGHT } else { Limits::default() };
        let whole = outcome(&bytes, &limits, &[bytes.len()]);
        prop_assert_eq!(&whole, &outcome(&bytes, &limits, &lengths(&cuts, bytes.len())));
        let each: Vec<_> = (0..=bytes.len()).collect();
        let trickled = outcome(&bytes, &limits, &each);
        prop_assert_eq!(&whole, &trickled);
    }

    #[test]
    fn an_answer_head_reads_the_same_however_it_arrives(
        bytes in stream("HTTP/1.1 200 OK\r\n"),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let whole = answer_outcome(&bytes, &[bytes.len()]);
        prop_assert_eq!(&whole, &answer_outcome(&bytes, &lengths(&cuts, bytes.len())));
        let each: Vec<_> = (0..=bytes.len()).collect();
        prop_assert_eq!(&whole, &answer_outcome(&bytes, &each));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), shrink: bool) {
        let mut head = Head::new();
        let mut answer = Answer::new();
        let mut chunks = ChunkDecoder::new();
        for _ in 0..3 {
            let buf = if shrink { &bytes[bytes.len() / 2..] } else { &bytes };
            for bytes in [bytes.as_slice(), buf] {
                let read = head.read(bytes, &TIGHT, &[]);
                prop_assert!(read.is_ok() || read.is_err_and(|refusal| !refusal.reason().is_empty()));
                prop_assert!(answer.read(bytes, false) != Ok(Progress::Done) || answer.len <= bytes.len());
                if let Ok(ChunkEvent::Data { skip, len }) = chunks.next(bytes) {
                    prop_assert!(skip + len <= bytes.len());
                }
                for field in head.fields.iter().chain(&answer.fields) {
                    prop_assert!(field.name.of(bytes).len() <= field.name.len());
                }
            }
        }
    }

    #[test]
    fn an_accepted_head_holds_only_what_rfc_9112_allows(
        bytes in stream("GET /ok HTTP/1.1\r\nHost: a\r\n"),
    ) {
        let mut head = Head::new();
        if head.read(&bytes, &Limits::default(), &[]) == Ok(Progress::Done) {
            let text = &bytes[..head.len];
            prop_assert!(text.ends_with(b"\r\n\r\n"));
            for (at, byte) in text.iter().enumerate() {
                prop_assert_eq!(*byte == b'\r', text.get(at + 1) == Some(&b'\n'));
                prop_assert!(*byte >= b' ' || matches!(byte, b'\r' | b'\n' | b'\t'));
            }
            for field in &head.fields {
                prop_assert_eq!(field.value.of(&bytes), field.value.of(&bytes).trim_ascii());
                prop_assert!(!field.name.is_empty());
            }
        }
    }

    #[test]
    fn chunks_written_are_read_back(
        pieces in vec(vec(any::<u8>(), 0..300), 0..8),
        step in 1_usize..64,
    ) {
        let mut coded = Vec::new();
        pieces.iter().for_each(|piece| write::chunk(&mut coded, piece));
        write::last_chunk(&mut coded);
        coded.extend_from_slice(b"rest");
        let (body, rest) = decode(&coded, step).unwrap();
        prop_assert_eq!(body, pieces.concat());
        prop_assert_eq!(rest, b"rest");
    }

    #[test]
    fn broken_chunks_break_the_same_however_they_arrive(
        mut coded in vec(piece(), 0..8).prop_map(|pieces| pieces.concat()),
        cut in any::<prop::sample::Index>(),
    ) {
        coded.insert(0, b"0123456789"[coded.len() % 10]);
        let cut = cut.index(coded.len());
        prop_assert_eq!(drain(&[&coded]), drain(&[&coded[..cut], &coded[cut..]]));
    }

    #[test]
    fn a_head_written_is_read_back(
        names in vec("[a-z][a-z0-9-]{0,12}", 0..8),
        value in "[ -~]{0,30}",
        path in "(/[a-zA-Z0-9._~-]{1,8}){1,4}",
    ) {
        let mut out = Vec::new();
        write::request_line(&mut out, "DELETE", path.as_bytes());
        write::field(&mut out, b"host", b"gw.test");
        for name in &names {
            write::field(&mut out, format!("z-{name}").as_bytes(), value.as_bytes());
        }
        write::end(&mut out);
        let head = verdict(&out, &Limits::default(), [out.len()]).unwrap();
        prop_assert_eq!(head.target.of(&out), path.as_bytes());
        prop_assert_eq!(head.fields.len(), names.len() + 1);
        for (field, name) in head.fields.iter().skip(1).zip(&names) {
            let name = format!("z-{name}");
            prop_assert_eq!(field.name.of(&out), name.as_bytes());
            prop_assert_eq!(field.value.of(&out), value.trim().as_bytes());
        }
    }
}

/// The body so far and how decoding ended, for input in these parts.
fn drain(parts: &[&[u8]]) -> (Vec<u8>, String) {
    let mut decoder = ChunkDecoder::new();
    let mut body = Vec::new();
    for part in parts {
        let mut rest = *part;
        loop {
            match decoder.next(rest) {
                Ok(ChunkEvent::More { .. }) => break,
                Ok(ChunkEvent::End { used }) => return (body, format!("end {}", used > 0)),
                Ok(ChunkEvent::Data { skip, len }) => {
                    body.extend_from_slice(&rest[skip..skip + len]);
                    rest = &rest[skip + len..];
                }
                Err(fault) => return (body, fault.reason().to_owned()),
            }
        }
    }
    (body, "more".to_owned())
}
