//! Signed requests as the origin gets them, checked by the verifier we ship.

use crate::fixture::{free, gateway, head, post};
use std::time::{SystemTime, UNIX_EPOCH};
use tollkeep_origin_verifier::{Received, Refused, V1, bolthub};
use tollkeep_testkit::{Gateway, Origin, Request, Step, ok};

const SECRET: &str = "origin-key-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1e";
const OLD: &str = "origin-key-of-last-year-9bHc3dJf6gVa1eUi5oQx";

fn config(origin: &Origin, signing: &str, further: &str) -> String {
    let routes = ["GET /*", "POST /*", "HEAD /*", "DELETE /*"]
        .map(free)
        .concat();
    format!(
        "upstreams:\n  origin:\n    url: \"{}/base\"\n    allow_private: [\"127.0.0.1/32\"]\n{further}    \
         signing: {signing}\nroutes:\n{routes}",
        origin.url()
    )
}

fn before(origin: &Origin, signing: &str) -> Gateway {
    gateway(config(origin, signing, ""))
        .env("KEY", SECRET)
        .env("OLD", OLD)
        .start()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn fields(request: &Request) -> Vec<(&str, &[u8])> {
    let fields = request.fields.iter();
    fields
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

fn v1(verifier: &V1, request: &Request) -> Result<String, Refused> {
    let fields = fields(request);
    let received = Received {
        method: &request.method,
        authority: request.field("host").unwrap(),
        target: &request.target,
        fields: &fields,
        body: &request.body,
    };
    verifier
        .verify(&received, now_ms() / 1_000)
        .map(str::to_owned)
}

/// The verdict of a bolthub verifier that sees this path.
fn bolthub_at(path: &str, secrets: &[&str], request: &Request) -> Result<(), bolthub::Refused> {
    let fields = fields(request);
    let received = Received {
        method: &request.method,
        authority: "",
        target: path,
        fields: &fields,
        body: &request.body,
    };
    bolthub::verify(secrets, &received, now_ms())
}

const BOLTHUB: &str = "{ mode: bolthub, keys: [{ id: a, secret: \"${KEY}\" }] }";
const DECODED: &str =
    "{ mode: bolthub, path_form: decoded, keys: [{ id: a, secret: \"${KEY}\" }] }";
const V1_FORM: &str = "{ mode: v1, keys: [{ id: a, secret: \"${KEY}\" }] }";

/// A chunked POST of these bytes.
fn chunked(target: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let lines = format!("{lines}Transfer-Encoding: chunked\r\n");
    let mut request = head(&format!("POST {target}"), &lines);
    for piece in body.chunks(1_000) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

// EDGE-120
#[test]
fn bolthub_verifiers_accept_what_the_origin_gets() {
    let origin = Origin::plain();
    let gateway = before(&origin, BOLTHUB);
    let long = "Zölle ☕ ".repeat(10_000);
    for (name, request, path) in [
        ("no body", head("GET /v1/data?page=2", ""), "/base/v1/data"),
        ("head", head("HEAD /v1/data", ""), "/base/v1/data"),
        ("delete", head("DELETE /v1/items/7", ""), "/base/v1/items/7"),
        (
            "encoded",
            head("GET /v1/caf%c3%a9", ""),
            "/base/v1/caf%C3%A9",
        ),
        (
            "blanks kept",
            post("/a", "", b"{ \"q\": \"hello\" }\n"),
            "/base/a",
        ),
        ("a long text", post("/a", "", long.as_bytes()), "/base/a"),
        ("chunked", chunked("/a", "", long.as_bytes()), "/base/a"),
    ] {
        assert_eq!(gateway.call(&request).status, 200, "{name}");
        let got = origin.last();
        assert_eq!(bolthub_at(path, &[SECRET], &got), Ok(()), "{name}");
        assert_eq!(bolthub_at(path, &[OLD, SECRET], &got), Ok(()), "{name}");
        let refused = Err(bolthub::Refused::Mismatch);
        assert_eq!(bolthub_at("/other", &[SECRET], &got), refused, "{name}");
        assert_eq!(bolthub_at(path, &[OLD], &got), refused, "{name}");
        let time: u64 = got.field("x-gateway-timestamp").unwrap().parse().unwrap();
        assert!(now_ms() - time >= 1_000, "{name}: backdated");
    }
    assert_eq!(origin.faults(), [""; 0]);
}

// EDGE-120
#[test]
fn the_decoded_form_signs_the_path_that_decoding_frameworks_see() {
    let origin = Origin::plain();
    let gateway = before(&origin, DECODED);
    assert_eq!(gateway.call(&head("GET /v1/caf%C3%A9", "")).status, 200);
    let got = origin.last();
    assert_eq!(got.target, "/base/v1/caf%C3%A9");
    assert_eq!(bolthub_at("/base/v1/café", &[SECRET], &got), Ok(()));
    let raw = bolthub_at("/base/v1/caf%C3%A9", &[SECRET], &got);
    assert_eq!(raw, Err(bolthub::Refused::Mismatch));
}

// EDGE-120
#[test]
fn a_body_that_is_no_text_is_refused_where_only_texts_are_signed() {
    let origin = Origin::plain();
    let bolt = before(&origin, BOLTHUB);
    let octets = "Content-Type: application/octet-stream\r\n";
    for request in [
        post("/a", octets, b"\xff\xfe"),
        chunked("/a", octets, &[0x80; 100_000]),
    ] {
        let answer = bolt.call(&request);
        assert_eq!(answer.status, 415);
        assert_eq!(answer.json()["code"], "signing_body_not_text");
    }
    assert_eq!(origin.count(), 0);
    let ours = before(&origin, V1_FORM);
    assert_eq!(ours.call(&post("/a", octets, b"\xff\xfe")).status, 200);
    let verifier = V1::new([("a", SECRET)]);
    assert_eq!(v1(&verifier, &origin.last()).as_deref(), Ok("a"));
}

// EDGE-121 EDGE-122
#[test]
fn the_v1_verifier_accepts_once_what_the_origin_gets() {
    let origin = Origin::plain();
    let signing =
        "{ mode: v1, keys: [{ id: a, secret: \"${KEY}\" }], headers: [X-Tenant, Accept] }";
    let gateway = before(&origin, signing);
    let verifier = V1::new([("a", SECRET)]);
    let big = vec![0x80; 300_000];
    let typed = "Content-Type: application/octet-stream\r\n";
    for (name, request) in [
        ("no body", head("GET /v1/data?page=2&q=a%20b", "")),
        ("an empty query", head("GET /v1/data?", "")),
        ("another path as written", head("GET /v1/%7eme", "")),
        ("head", head("HEAD /", "X-Tenant: one\r\n")),
        (
            "two lines of a covered field",
            head("GET /", "x-tenant: one\r\nX-Tenant: two\r\n"),
        ),
        ("an empty covered field", head("GET /", "X-Tenant:\r\n")),
        ("a body", post("/a", typed, b"{}")),
        ("a large body", post("/a", typed, &big)),
        ("a large body in chunks", chunked("/a", typed, &big)),
    ] {
        assert_eq!(gateway.call(&request).status, 200, "{name}");
        let got = origin.last();
        assert_eq!(v1(&verifier, &got).as_deref(), Ok("a"), "{name}: {got:?}");
        assert_eq!(v1(&verifier, &got), Err(Refused::Replayed), "{name}");
    }
    let covered = |got: &Request| {
        let value = got.field("x-tollkeep-signature").unwrap().to_owned();
        value
            .split(",h=")
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(covered(&origin.last()), "content-type;x-request-id");
    gateway.call(&head("GET /", "x-tenant: one\r\nX-Tenant: two\r\n"));
    let got = origin.last();
    assert_eq!(covered(&got), "x-request-id;x-tenant");
    assert_eq!(got.field("x-tenant"), Some("one, two"));
}

// EDGE-121
#[test]
fn whatever_is_changed_on_the_way_is_noticed() {
    let origin = Origin::plain();
    let gateway = before(&origin, V1_FORM);
    let typed = "Content-Type: application/json\r\nX-Other: 1\r\n";
    gateway.call(&post("/v1/data?page=2", typed, b"{\"a\":1}"));
    let good = origin.last();
    let set = |name: &str, value: &str| {
        let mut changed = good.clone();
        for (known, own) in &mut changed.fields {
            if known.eq_ignore_ascii_case(name) {
                value.clone_into(own);
            }
        }
        changed
    };
    let with = |change: fn(&mut Request)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    for (name, changed, want) in [
        (
            "method",
            with(|got| got.method = "PUT".to_owned()),
            Refused::Mismatch,
        ),
        (
            "query",
            with(|got| got.target = "/base/v1/data?page=3".to_owned()),
            Refused::Mismatch,
        ),
        (
            "path",
            with(|got| got.target = "/base/v1/date?page=2".to_owned()),
            Refused::Mismatch,
        ),
        (
            "body",
            with(|got| got.body.push(b' ')),
            Refused::BodyMismatch,
        ),
        ("authority", set("host", "127.0.0.1"), Refused::Mismatch),
        (
            "content type",
            set("content-type", "text/plain"),
            Refused::Mismatch,
        ),
        (
            "request id",
            set("x-request-id", "req_1"),
            Refused::Mismatch,
        ),
        (
            "signature",
            set("x-tollkeep-signature", ""),
            Refused::Malformed,
        ),
    ] {
        let verifier = V1::new([("a", SECRET)]);
        assert_eq!(v1(&verifier, &changed), Err(want), "{name}");
    }
    let verifier = V1::new([("a", SECRET)]);
    assert_eq!(
        v1(&verifier, &set("x-other", "2")).as_deref(),
        Ok("a"),
        "not covered"
    );
}

// EDGE-122
#[test]
fn another_key_or_another_name_of_it_does_not_fit() {
    let origin = Origin::plain();
    let gateway = before(&origin, V1_FORM);
    gateway.call(&head("GET /", ""));
    let good = origin.last();
    assert_eq!(v1(&V1::new([("a", OLD)]), &good), Err(Refused::Mismatch));
    assert_eq!(
        v1(&V1::new([("b", SECRET)]), &good),
        Err(Refused::UnknownKey)
    );
}

// EDGE-121
#[test]
fn an_unsigned_body_and_the_callers_identity_are_as_configured() {
    let origin = Origin::plain();
    let signing =
        "{ mode: v1, keys: [{ id: a, secret: \"${KEY}\" }], body: unsigned, identity: true }";
    let config = config(&origin, signing, "").replace("access: free", "access: token");
    let gateway = gateway(config).env("KEY", SECRET).start();
    let token = gateway.mint_token(&serde_json::json!({ "project": "default" }));
    let forged =
        "X-Tollkeep-Project: prj_0\r\nX-Tollkeep-Payment: pay_0\r\nX-Gateway-Secret: s\r\n";
    let lines = format!("Authorization: Bearer {token}\r\n{forged}");
    assert_eq!(gateway.call(&post("/a", &lines, b"\xff")).status, 200);
    let mut got = origin.last();
    let (_, page) = gateway.api("GET", "/api/v1/tokens", None);
    let made = &page["data"][0];
    assert_eq!(got.field("x-tollkeep-token"), made["id"].as_str());
    assert_eq!(got.field("x-tollkeep-project"), made["project_id"].as_str());
    assert_eq!(got.field("x-tollkeep-payment"), None);
    assert_eq!(got.field("x-gateway-secret"), None);
    let signature = got.field("x-tollkeep-signature").unwrap();
    assert!(signature.contains(",b=UNSIGNED,h=x-request-id;x-tollkeep-project;x-tollkeep-token,"));
    got.body.clear();
    assert_eq!(v1(&V1::new([("a", SECRET)]), &got).as_deref(), Ok("a"));
}

// EDGE-121 EDGE-122
#[test]
fn a_request_that_is_sent_again_has_a_nonce_of_its_own() {
    // The second request on a connection gets no answer: the gateway sends it on a fresh one.
    let origin = Origin::start(|request| match request.target.as_str() {
        "/base/second" if request.connection == 0 => vec![Step::Close],
        _ => ok(b"ok"),
    });
    let gateway = gateway(config(&origin, V1_FORM, ""))
        .env("KEY", SECRET)
        .set("server.workers", "1")
        .start();
    assert_eq!(gateway.call(&head("GET /first", "")).status, 200);
    assert_eq!(gateway.call(&head("GET /second", "")).status, 200);
    let verifier = V1::new([("a", SECRET)]);
    let requests = origin.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!(v1(&verifier, request).as_deref(), Ok("a"), "{request:?}");
    }
}

// EDGE-123
#[test]
fn the_active_key_signs_and_the_other_waits() {
    let origin = Origin::plain();
    let keys = "[{ id: old, secret: \"${OLD}\" }, { id: new, secret: \"${KEY}\" }]";
    let verifier = V1::new([("old", OLD), ("new", SECRET)]);
    for active in ["old", "new"] {
        let gateway = before(
            &origin,
            &format!("{{ mode: v1, keys: {keys}, active: {active} }}"),
        );
        gateway.call(&head("GET /", ""));
        assert_eq!(v1(&verifier, &origin.last()).as_deref(), Ok(active));
        let gateway = before(
            &origin,
            &format!("{{ mode: bolthub, keys: {keys}, active: {active} }}"),
        );
        gateway.call(&head("GET /", ""));
        assert_eq!(bolthub_at("/base/", &[SECRET, OLD], &origin.last()), Ok(()));
    }
}

// EDGE-120
#[test]
fn mode_secret_sends_the_secret_warns_and_lets_no_answer_bring_it_back() {
    let origin = Origin::start(|request| {
        let secret = request
            .field("x-gateway-secret")
            .unwrap_or_default()
            .to_owned();
        tollkeep_testkit::with_fields(&format!("x-echo: got {secret}\r\nx-other: 1\r\n"), b"ok")
    });
    let gateway = before(
        &origin,
        "{ mode: secret, keys: [{ id: a, secret: \"${KEY}\" }] }",
    );
    let answer = gateway.call(&head("GET /", "X-Gateway-Secret: forged\r\n"));
    assert_eq!(origin.last().field("x-gateway-secret"), Some(SECRET));
    assert_eq!((answer.status, answer.field("x-echo")), (200, None));
    assert_eq!(answer.field("x-other"), Some("1"));
    let said = gateway.stderr();
    assert!(
        said.contains("proves the sender, not the message"),
        "{said}"
    );
    assert!(!said.contains(SECRET));
}

#[test]
fn mode_off_signs_nothing() {
    let origin = Origin::plain();
    let gateway = before(&origin, "{ mode: off }");
    gateway.call(&head("GET /", "X-Gateway-Signature: 00\r\n"));
    let got = origin.last();
    let names = got.fields.iter().map(|(name, _)| name.to_lowercase());
    let ours: Vec<_> = names
        .filter(|name| name.starts_with("x-gateway") || name.starts_with("x-tollkeep"))
        .collect();
    assert_eq!(ours, [""; 0]);
}
