//! Plans as the server plays them, read from the socket.
#![expect(clippy::disallowed_methods, reason = "these tests are the client")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;
use tollkeep_sandbox::serve;

use crate::door::{Surface, with};

struct Server {
    at: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let stopped = async {
                stopped.await.ok();
            };
            runtime().block_on(serve(listener, stopped)).unwrap();
        });
        Self {
            at,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn post(&self, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        stream
    }

    /// Everything the server sends for a chat.
    fn chat(&self, text: &str, streamed: bool) -> String {
        let body = with(
            Surface::Chat.body("sandbox-1", text),
            "stream",
            json!(streamed),
        );
        let mut stream = self.post("/v1/chat/completions", &body.to_string());
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        all
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn whole_answers_have_a_length_and_streams_are_chunked() {
    let server = Server::start();
    let whole = server.chat("Hello", false);
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{whole}");
    assert!(whole.contains("\r\ncontent-length: "), "{whole}");
    assert!(whole.contains("You said: Hello"), "{whole}");
    let stream = server.chat("sandbox:chunks=3,gap=2; Hello", true);
    assert!(
        stream.contains("\r\ntransfer-encoding: chunked\r\n"),
        "{stream}"
    );
    assert!(
        stream.contains("\r\ncontent-type: text/event-stream; charset=utf-8\r\n"),
        "{stream}"
    );
    assert!(
        stream.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"),
        "{stream}"
    );
}

// OPS-23
#[test]
fn a_cut_sends_what_was_before_it_and_no_end() {
    let server = Server::start();
    let stream = server.chat("sandbox:cut_after=2; Hello", true);
    assert!(stream.contains(r#"{"content":"said: "}"#), "{stream}");
    assert!(
        !stream.contains("Hello") && !stream.ends_with("0\r\n\r\n"),
        "{stream}"
    );
    let whole = server.chat("sandbox:cut_after=1; Hello", false);
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    assert!(!body.is_empty() && body.len() < length, "{whole}");
}

#[test]
fn a_client_that_goes_away_leaves_the_server_serving() {
    let server = Server::start();
    let slow = with(
        Surface::Chat.body("sandbox-1", "sandbox:chunks=50,gap=1000;"),
        "stream",
        json!(true),
    );
    let mut stream = server.post("/v1/chat/completions", &slow.to_string());
    let mut first = [0; 16];
    stream.read_exact(&mut first).unwrap();
    drop(stream);
    drop(server.post("/v1/chat/completions", "half"));
    assert!(server.chat("Hello", false).contains("You said: Hello"));
}

#[test]
fn a_body_over_the_limit_is_refused_by_its_declared_length() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.at).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let over = tollkeep_sandbox::BODY_BYTES_MAX + 1;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {over}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 12];
    // Nothing of the body is sent: a server that waited for it would never answer.
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
}

#[test]
fn it_listens_on_loopback_only() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let refused = runtime().block_on(serve(listener, std::future::pending()));
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::InvalidInput
    );
}
