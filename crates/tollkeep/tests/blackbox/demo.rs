//! The first minute of a new user.

use crate::callers::{bearer, chat, get};
use crate::fixture::TOLLKEEP;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tollkeep_testkit::{Client, PATIENCE, wait_until};

/// A demo that runs, and the folder that it may leave nothing in.
struct Demo {
    child: Child,
    out: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(TOLLKEEP);
        command
            .arg("demo")
            .args(arguments)
            .env_clear()
            .env("TMPDIR", folder.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.current_dir(folder.path()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, folder }
    }

    /// Reads lines until one holds `last`.
    fn read_until(&mut self, last: &str) -> String {
        let mut text = String::new();
        while !text.contains(last) {
            let read = self.out.read_line(&mut text).unwrap();
            assert!(read > 0, "it ended: {text}");
        }
        text
    }

    fn ready(&mut self) -> Value {
        serde_json::from_str(&self.read_until("\n")).unwrap()
    }

    /// Interrupts it, and asserts that nothing is left.
    fn interrupt(mut self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        let status = self.end();
        assert!(status.success(), "{signal}: {status}");
        assert_eq!(self.left(), Vec::<String>::new(), "{signal}");
    }

    fn end(&mut self) -> ExitStatus {
        wait_until(PATIENCE, || self.child.try_wait().unwrap()).expect("an end")
    }

    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn addr(url: &Value) -> std::net::SocketAddr {
    let text = url.as_str().unwrap().strip_prefix("http://").unwrap();
    text.split('/').next().unwrap().parse().unwrap()
}

// OPS-21
#[test]
fn one_json_line_tells_everything_and_is_ready_within_a_second_or_so() {
    let began = Instant::now();
    let mut demo = Demo::start(&["--json", "--port", "0"]);
    let ready = demo.ready();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "ready after {took:?}");
    let keys: Vec<_> = ready.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "data_url",
            "management_url",
            "metrics_url",
            "token",
            "management_key",
            "pid",
            "data_dir"
        ]
    );
    assert_eq!(ready["pid"], demo.child.id());
    let folder = ready["data_dir"].as_str().unwrap();
    assert!(
        folder.starts_with(demo.folder.path().to_str().unwrap()),
        "{folder}"
    );
    let token = bearer(ready["token"].as_str().unwrap());
    let body =
        json!({ "model": "sandbox-1", "messages": [{ "role": "user", "content": "Hello" }] });
    let request = crate::callers::post_json("/v1/chat/completions", &token, &body);
    let answer = Client::connect(addr(&ready["data_url"])).call(&request);
    assert_eq!(
        answer.json()["choices"][0]["message"]["content"],
        "You said: Hello"
    );
    let models = Client::connect(addr(&ready["data_url"]))
        .call(&get("/v1/models", &token))
        .json();
    let names: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(names, ["sandbox-1", "sandbox-embed", "sandbox-think"]);
    let close = "connection: close\r\n";
    let key = bearer(ready["management_key"].as_str().unwrap());
    let whoami = Client::connect(addr(&ready["management_url"]))
        .call(&get("/api/v1/whoami", &format!("{key}{close}")));
    assert_eq!(
        (whoami.status, &whoami.json()["role"]),
        (200, &json!("owner"))
    );
    let scrape = Client::connect(addr(&ready["metrics_url"])).call(&get("/metrics", close));
    assert!(scrape.text().contains("tollkeep_build_info"));
    demo.interrupt("-INT");
}

// OPS-21
#[test]
fn a_signal_leaves_nothing_behind_also_in_the_middle_of_a_stream() {
    for signal in ["-INT", "-TERM"] {
        let mut demo = Demo::start(&["--json", "--port", "0"]);
        let ready = demo.ready();
        let body = json!({ "model": "sandbox-1", "stream": true,
            "messages": [{ "role": "user", "content": "sandbox:chunks=20,gap=20; one two three four five" }] });
        let token = bearer(ready["token"].as_str().unwrap());
        let mut caller = Client::connect(addr(&ready["data_url"]));
        caller.send(&crate::callers::post_json(
            "/v1/chat/completions",
            &token,
            &body,
        ));
        let mut answer = caller.head(PATIENCE).unwrap();
        let first = caller.piece(&mut answer);
        assert!(first.is_some(), "{signal}: a piece");
        demo.interrupt(signal);
        let mut rest = String::new();
        while let Some(piece) = caller.piece(&mut answer) {
            rest.push_str(&String::from_utf8(piece).unwrap());
        }
        assert!(
            rest.ends_with("data: [DONE]\n\n"),
            "{signal}: the stream was drained: {rest}"
        );
    }
}

// OPS-21
#[test]
fn once_makes_one_call_prints_both_sides_and_ends() {
    let mut demo = Demo::start(&["--once"]);
    let text = demo.read_until("usage");
    assert!(demo.end().success());
    for told in [
        "POST http://127.0.0.1:",
        "/v1/chat/completions",
        "\"content\":\"Hello\"",
        "200 OK",
        "You said: Hello",
    ] {
        assert!(text.contains(told), "no `{told}` in {text}");
    }
    assert_eq!(demo.left(), Vec::<String>::new());
}

// OPS-21
#[test]
fn the_printed_curl_line_works_when_pasted_and_streams() {
    let mut demo = Demo::start(&["--port", "0"]);
    let guide = demo.read_until("Anthropic");
    let (_, pasted) = guide.split_once("Paste this:\n\n").unwrap();
    let line = pasted.split("\n\n").next().unwrap();
    assert!(guide.contains("from openai import OpenAI"), "{guide}");
    if Command::new("curl")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        eprintln!("not run: the pasted line, since curl is not here");
        return;
    }
    let pasted = Command::new("bash").args(["-c", line]).output().unwrap();
    let text = String::from_utf8(pasted.stdout).unwrap();
    assert!(pasted.status.success(), "{line}\n{text}");
    let events: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    assert_eq!(events.last(), Some(&"[DONE]"), "{text}");
    let pieces = events
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok());
    let said: String = pieces
        .filter_map(|piece| {
            piece["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(said, "You said: Hello");
    assert!(events.len() > 3, "in pieces: {text}");
}

// OPS-21
#[test]
fn two_demos_run_beside_each_other_and_know_nothing_of_each_other() {
    let (mut one, mut other) = (
        Demo::start(&["--json", "--port", "0"]),
        Demo::start(&["--json", "--port", "0"]),
    );
    let (first, second) = (one.ready(), other.ready());
    for member in [
        "data_url",
        "management_url",
        "metrics_url",
        "token",
        "management_key",
        "data_dir",
    ] {
        assert_ne!(first[member], second[member], "{member}");
    }
    let token = bearer(first["token"].as_str().unwrap());
    assert_eq!(
        Client::connect(addr(&second["data_url"]))
            .call(&chat(&token, "hi"))
            .status,
        401
    );
    one.interrupt("-INT");
    let token = bearer(second["token"].as_str().unwrap());
    assert_eq!(
        Client::connect(addr(&second["data_url"]))
            .call(&get("/v1/models", &token))
            .status,
        200
    );
    other.interrupt("-INT");
}
