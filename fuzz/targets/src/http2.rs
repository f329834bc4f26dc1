//! A caller's HTTP/2 connection, as far as it is bytes.

use crate::cuts::growing;
use tollkeep_http2::{Connection, Ended, Opening, PREFACE, Read, StreamEnd, Told};
use tollkeep_types::MonoNanos;

/// What a request's fields may take.
const FIELDS_BYTES_MAX: usize = 4 * 1024;
/// No more than this waits to be sent for bytes of a client that reads nothing.
const TO_SEND_BYTES_MAX: usize = 160 * 1024;

/// The bytes are what follows a client's preface and settings.
///
/// Laws: the same verdict, the same requests and the same answers however it arrives; nothing
/// gathers; no request's text has a line that its fields don't have.
pub fn http2(data: &[u8]) {
    let whole = served(data, &[data.len()]);
    assert_eq!(whole, served(data, &growing(data)), "cut into pieces");
    let opening = Opening::of(data);
    assert!(opening != Opening::Http2 || data.len() >= PREFACE.len());
}

/// What a connection came to: its requests' heads, and what was sent.
#[derive(Debug, Eq, PartialEq)]
struct Came {
    heads: Vec<Vec<u8>>,
    sent: Vec<u8>,
    ended: Option<Ended>,
}

/// Serves data that arrives in pieces which end at these places.
fn served(data: &[u8], ends: &[usize]) -> Came {
    let begin = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let all = [&begin[..], data].concat();
    let mut conn: Connection<()> = Connection::new(FIELDS_BYTES_MAX, MonoNanos(1));
    let (mut heads, mut at, mut ended) = (Vec::new(), 0, None);
    for end in ends.iter().map(|end| end + begin.len()) {
        while ended.is_none() {
            let unread = all.get(at..end).unwrap_or_default();
            match conn.receive(unread, MonoNanos(1)) {
                Ok(Some((used, told))) => {
                    assert!(used > 0 && used <= unread.len(), "every byte once");
                    at += used;
                    if let Told::Request(id) = told {
                        heads.push(serve(&mut conn, id));
                    }
                }
                Ok(None) => break,
                Err(why) => ended = Some(why),
            }
        }
    }
    assert!(conn.to_send().len() <= TO_SEND_BYTES_MAX, "it gathers");
    Came {
        heads,
        sent: conn.to_send().to_vec(),
        ended,
    }
}

/// Answers every other request at once; the rest stay.
fn serve(conn: &mut Connection<()>, id: u32) -> Vec<u8> {
    let mut head = Vec::new();
    let read = conn.read_head(id, true, &mut head);
    assert!(read.is_some(), "asked for now");
    if head.is_empty() {
        conn.answer(
            id,
            400,
            b"HTTP/1.1 400 Bad Request\r\na: b\r\n",
            StreamEnd::Head,
        );
        conn.leave(id);
        return head;
    }
    let lines = head.windows(2).filter(|pair| *pair == b"\r\n").count();
    let breaks = head
        .iter()
        .filter(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    assert!(lines >= 3 && breaks >= 2 * lines, "a line and its fields");
    if id % 4 == 1 {
        conn.answer(
            id,
            200,
            b"HTTP/1.1 200 OK\r\na: b\r\n",
            StreamEnd::Length(2),
        );
        assert_ne!(conn.read(id, &mut Vec::new()), Read::Bytes(usize::MAX));
        conn.write(id, b"ok");
        conn.leave(id);
    }
    head
}
