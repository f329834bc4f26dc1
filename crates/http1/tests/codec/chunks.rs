//! The chunked coding: sizes, extensions, trailers.

use tollkeep_http1::{ChunkDecoder, ChunkEvent, ChunkFault};

/// The body and what was left behind it, decoded in pieces of `step` bytes.
pub(crate) fn decode(coded: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), ChunkFault> {
    let mut decoder = ChunkDecoder::new();
    let mut body = Vec::new();
    let mut at = 0;
    let mut end = step.min(coded.len());
    loop {
        let input = &coded[at..end];
        match decoder.next(input)? {
            ChunkEvent::Data { skip, len } => {
                assert!(len > 0, "empty data");
                body.extend_from_slice(&input[skip..skip + len]);
                at += skip + len;
            }
            ChunkEvent::End { used } => {
                assert_eq!(decoder.next(b"x")?, ChunkEvent::End { used: 0 });
                return Ok((body, coded[at + used..].to_vec()));
            }
            ChunkEvent::More { used } => {
                assert_eq!(used, input.len(), "everything fed is consumed");
                assert!(
                    end < coded.len(),
                    "incomplete: {:?}",
                    String::from_utf8_lossy(coded)
                );
                at += used;
                end = (end + step).min(coded.len());
            }
        }
    }
}

/// Decodes whole and byte by byte; both must agree.
fn both(coded: impl AsRef<[u8]>) -> Result<Vec<u8>, ChunkFault> {
    let coded = [coded.as_ref(), b"NEXT"].concat();
    let whole = decode(&coded, coded.len());
    let trickled = decode(&coded, 1);
    assert_eq!(
        whole.as_ref().map(|(body, _)| body),
        trickled.as_ref().map(|(body, _)| body)
    );
    let (body, rest) = whole?;
    assert_eq!(rest, b"NEXT", "the next message is left alone");
    Ok(body)
}

// EDGE-27
#[test]
fn a_chunk_has_one_form() {
    let hello: Result<&[u8], _> = Ok(b"hello");
    let broken = Err(ChunkFault::Chunk);
    for (name, coded, want) in [
        ("one", "5\r\nhello\r\n0\r\n\r\n", hello),
        ("two", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", hello),
        ("eight digits", "00000005\r\nhello\r\n000\r\n\r\n", hello),
        ("none", "0\r\n\r\n", Ok(b"")),
        (
            "capitals",
            "A\r\n0123456789\r\n0\r\n\r\n",
            Ok(b"0123456789"),
        ),
        (
            "small letters",
            "a\r\n0123456789\r\n0\r\n\r\n",
            Ok(b"0123456789"),
        ),
        ("CRLF as data", "2\r\n\r\n\r\n0\r\n\r\n", Ok(b"\r\n")),
        ("nine digits", "000000005\r\nhello\r\n0\r\n\r\n", broken),
        ("empty size", "\r\nhello\r\n0\r\n\r\n", broken),
        ("0x", "0x5\r\nhello\r\n0\r\n\r\n", broken),
        ("sign", "+5\r\nhello\r\n0\r\n\r\n", broken),
        ("underscore", "0_5\r\nhello\r\n0\r\n\r\n", broken),
        ("space before", " 5\r\nhello\r\n0\r\n\r\n", broken),
        ("space behind", "5 \r\nhello\r\n0\r\n\r\n", broken),
        ("no hex", "g\r\nhello\r\n0\r\n\r\n", broken),
        ("LF after the size", "5\nhello\r\n0\r\n\r\n", broken),
        ("CR after the size", "5\rhello\r\n0\r\n\r\n", broken),
        ("LF after the data", "5\r\nhello\n0\r\n\r\n", broken),
        ("CR after the data", "5\r\nhello\r0\r\n\r\n", broken),
        ("data too long", "5\r\nhelloX\r\n0\r\n\r\n", broken),
        ("data too short", "6\r\nhello\r\n0\r\n\r\n", broken),
        ("LF at the end", "0\n\n", broken),
    ] {
        assert_eq!(both(coded), want.map(<[u8]>::to_vec), "{name}");
    }
    assert_eq!(
        both("0\r\n\n"),
        Err(ChunkFault::Trailer),
        "LF for the last line"
    );
}

// EDGE-27
#[test]
fn extensions_are_checked_and_dropped() {
    for (name, extension, want) in [
        ("token", ";a", true),
        ("value", ";a=b", true),
        ("quoted", ";a=\"b c;\\\"\t\"", true),
        ("empty quotes", ";a=\"\"", true),
        ("several", ";a;b=c;d=\"e\";f", true),
        ("256 bytes", &format!(";{}", "a".repeat(255)), true),
        ("257 bytes", &format!(";{}", "a".repeat(256)), false),
        ("no name", ";", false),
        ("no name before the value", ";=b", false),
        ("no value", ";a=", false),
        ("two values", ";a=b=c", false),
        ("two semicolons", ";;a", false),
        ("space", "; a", false),
        ("space before", " ;a", false),
        ("quotes for a name", ";\"a\"", false),
        ("text after the quotes", ";a=\"b\"c", false),
        ("quotes in a value", ";a=b\"c\"", false),
        ("NUL", ";a\0", false),
        ("NUL in quotes", ";a=\"\0\"", false),
        ("LF", ";a\nb", false),
        ("CR in quotes", ";a=\"\r\"", false),
        ("LF escaped", ";a=\"\\\n\"", false),
        ("beyond ASCII in quotes", ";a=\"é\"", true),
        ("beyond ASCII", ";é", false),
    ] {
        let coded = format!("5{extension}\r\nhello\r\n0\r\n\r\n");
        assert_eq!(both(&coded).is_ok(), want, "{name}");
        let coded = format!("5\r\nhello\r\n0{extension}\r\n\r\n");
        assert_eq!(both(&coded).is_ok(), want, "{name} on the last chunk");
    }
    let chunk = format!("1;{}\r\na\r\n", "b".repeat(255));
    assert!(
        both(format!("{}0\r\n\r\n", chunk.repeat(16))).is_ok(),
        "4 KiB a message"
    );
    assert!(
        both(format!("{}0;a\r\n\r\n", chunk.repeat(16))).is_err(),
        "and one more"
    );
}

// EDGE-27
#[test]
fn trailers_are_checked_and_dropped() {
    for (name, trailers, want) in [
        ("one", "X-Check: 1\r\n", true),
        ("empty value", "X:\r\n", true),
        ("digest", "Digest: a=b\r\n", true),
        ("beyond ASCII in the value", "X: é\r\n", true),
        ("sixteen", &"X: 1\r\n".repeat(16), true),
        ("seventeen", &"X: 1\r\n".repeat(17), false),
        ("4 KiB", &format!("X:{}\r\n", "a".repeat(4094)), true),
        (
            "4 KiB and one",
            &format!("X:{}\r\n", "a".repeat(4095)),
            false,
        ),
        ("no colon", "broken\r\n", false),
        ("no name", ": 1\r\n", false),
        ("space in the name", "X T: 1\r\n", false),
        ("space before the colon", "X : 1\r\n", false),
        ("folded", "X: 1\r\n b\r\n", false),
        ("NUL", "X: \0\r\n", false),
        ("LF", "X: 1\n\r\n", false),
        ("CR", "X: 1\rY: 2\r\n", false),
    ] {
        let decoded = both(format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
        let want = if want {
            Ok(b"hello".to_vec())
        } else {
            Err(ChunkFault::Trailer)
        };
        assert_eq!(decoded, want, "{name}");
    }
}

// EDGE-27
#[test]
fn trailers_do_not_name_what_belongs_before_the_body() {
    for name in [
        "Host",
        "Content-Length",
        "content_length",
        "Transfer-Encoding",
        "Connection",
        "Expect",
        "Upgrade",
        "TE",
        "Trailer",
        "Content-Type",
        "Content-Encoding",
        "Content-MD5",
        "Cache-Control",
        "Authorization",
        "AUTHORIZATION",
        "Proxy-Authorization",
        "X-Api-Key",
        "x_api_key",
        "X-Forwarded-For",
        "Forwarded",
        "CF-Ray",
        "Cookie",
        "PAYMENT-SIGNATURE",
        "X-PAYMENT",
        "Grpc-Metadata-Macaroon",
        "X-Tollkeep-Project",
        "Origin",
        "Range",
        "Date",
        "Idempotency-Key",
        "traceparent",
    ] {
        let decoded = both(format!("0\r\n{name}: 1\r\n\r\n"));
        assert_eq!(decoded, Err(ChunkFault::Trailer), "{name}");
    }
    let longer = format!("X-Cloud-Trace-Context{}: 1\r\n", "-longer".repeat(9));
    assert!(
        both(format!("0\r\n{longer}\r\n")).is_ok(),
        "a longer name is another"
    );
}

#[test]
fn reasons_have_their_names() {
    assert_eq!(ChunkFault::Chunk.reason(), "chunk");
    assert_eq!(ChunkFault::Trailer.reason(), "trailer");
}
