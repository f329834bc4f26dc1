//! What is written, to the byte.

use tollkeep_http1::write;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_request_head_is_written() {
    let head = written(|out| {
        write::request_line(out, "POST", b"/v1/x?a=b");
        write::field(out, b"Host", b"up.test");
        out.extend_from_slice(b"Content-Length: ");
        write::number(out, 1_048_576);
        write::end(out);
        write::end(out);
    });
    let want = "POST /v1/x?a=b HTTP/1.1\r\nHost: up.test\r\nContent-Length: 1048576\r\n\r\n";
    assert_eq!(head, want);
}

#[test]
fn a_status_line_is_written_with_the_phrase_of_its_status() {
    for (status, want) in [
        (200, "HTTP/1.1 200 OK\r\n"),
        (204, "HTTP/1.1 204 No Content\r\n"),
        (413, "HTTP/1.1 413 Content Too Large\r\n"),
        (529, "HTTP/1.1 529 \r\n"),
    ] {
        assert_eq!(written(|out| write::status_line(out, status)), want);
    }
}

#[test]
fn chunks_are_written() {
    for (len, size) in [
        (1, "1"),
        (15, "f"),
        (16, "10"),
        (255, "ff"),
        (256, "100"),
        (70_000, "11170"),
    ] {
        let data = "a".repeat(len);
        let want = format!("{size}\r\n{data}\r\n");
        assert_eq!(written(|out| write::chunk(out, data.as_bytes())), want);
    }
    assert_eq!(
        written(|out| write::chunk(out, b"")),
        "",
        "an empty chunk would end the body"
    );
    assert_eq!(written(write::last_chunk), "0\r\n\r\n");
}
