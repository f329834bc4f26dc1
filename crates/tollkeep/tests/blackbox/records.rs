//! What a request leaves behind: one audit event, one access line, and one usage record if a model
//! was asked, on every outcome.

use crate::callers::{answer, bearer, call_to, chat, get, models, post_json};
use crate::fixture::head;
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin, eventually};

/// What a caller asks.
enum Ask {
    /// A chat call that says this.
    Chat(&'static str),
    /// The same, and an answer in pieces.
    Stream(&'static str),
    /// A chat call with this body.
    Body(&'static str),
    /// A call of another route.
    Call(&'static str),
    /// A GET.
    Get(&'static str),
    /// A body that is refused from its head alone.
    Huge,
    /// A chat call without a token.
    Nameless,
    /// A name that is not served.
    Elsewhere,
    /// A chat call whose caller hangs up while the model thinks.
    Leave,
}

/// A call, and what it leaves: name, status (0: none was told), outcome, result and reason of the
/// event (none where there was no route), and the quality of the usage record.
struct Row(
    &'static str,
    Ask,
    u16,
    &'static str,
    Option<(&'static str, Option<&'static str>)>,
    Option<&'static str>,
);

const SERVED: Option<(&str, Option<&str>)> = Some(("success", None));
const REPORTED: Option<&str> = Some("reported");
const UNKNOWN: Option<&str> = Some("unknown");

const fn denied(reason: &'static str) -> Option<(&'static str, Option<&'static str>)> {
    Some(("denied", Some(reason)))
}

const fn error(reason: &'static str) -> Option<(&'static str, Option<&'static str>)> {
    Some(("error", Some(reason)))
}

#[rustfmt::skip]
const ROWS: [Row; 16] = [
    Row("served", Ask::Chat("hi"), 200, "served", SERVED, REPORTED),
    Row("streamed", Ask::Stream("hi"), 200, "served", SERVED, REPORTED),
    Row("messages", Ask::Call("/v1/messages"), 200, "served", SERVED, REPORTED),
    Row("models", Ask::Get("/v1/models"), 200, "served", SERVED, None),
    Row("plain", Ask::Call("/plain"), 200, "served", SERVED, None),
    Row("no-token", Ask::Nameless, 401, "refused", denied("invalid_token"), None),
    Row("no-model", Ask::Body(r#"{"model":"no"}"#), 404, "refused", denied("model_not_found"), None),
    Row("no-json", Ask::Body("null"), 400, "refused", denied("invalid_json"), None),
    Row("too-large", Ask::Huge, 413, "refused", denied("body_too_large"), None),
    Row("no-route", Ask::Get("/nothing"), 404, "refused", None, None),
    Row("no-host", Ask::Elsewhere, 421, "refused", None, None),
    Row("failed", Ask::Chat("do:500"), 502, "upstream_error", error("upstream_error"), Some("released")),
    Row("closed", Ask::Chat("do:close"), 502, "upstream_error", error("upstream_error"), UNKNOWN),
    Row("slow", Ask::Chat("do:hang"), 504, "timeout", error("timeout"), UNKNOWN),
    Row("cut", Ask::Stream("do:cut"), 200, "cut", error("upstream_interrupted"), Some("estimated")),
    Row("gone", Ask::Leave, 0, "caller_gone", error("caller_gone"), UNKNOWN),
];

impl Row {
    /// The request, named by its correlation id.
    fn request(&self, token: &str) -> Vec<u8> {
        let named = format!("x-correlation-id: {}\r\n", self.0);
        let lines = format!("{}{named}", bearer(token));
        let path = "/v1/chat/completions";
        match self.1 {
            Ask::Chat(content) => chat(&lines, content),
            Ask::Stream(content) => {
                let said = json!([{ "role": "user", "content": content }]);
                let body = json!({ "model": "gpt-4o", "stream": true, "messages": said });
                post_json(path, &lines, &body)
            }
            Ask::Body(body) => post_json(path, &lines, &serde_json::from_str(body).unwrap()),
            Ask::Call(path) => call_to(path, &lines, "hi"),
            Ask::Get(path) => get(path, &lines),
            Ask::Huge => {
                let length = 21 * 1024 * 1024;
                let json = "content-type: application/json\r\n";
                head(
                    &format!("POST {path}"),
                    &format!("{lines}{json}content-length: {length}\r\n"),
                )
            }
            Ask::Nameless => chat(&named, "hi"),
            Ask::Elsewhere => {
                let text = String::from_utf8(get("/plain", &lines)).unwrap();
                text.replace("127.0.0.1", "evil.example").into_bytes()
            }
            Ask::Leave => chat(&lines, "do:hang"),
        }
    }

    /// Sends the request; its id, if the caller waits for an answer.
    fn send(&self, gateway: &Gateway, origin: &Origin, token: &str) -> Option<String> {
        let (mut caller, request) = (gateway.connect(), self.request(token));
        if matches!(self.1, Ask::Leave) {
            let before = origin.count();
            caller.send(&request);
            origin.wait_for(before + 1);
            return None;
        }
        let answer = caller.call(&request);
        assert_eq!(answer.status, self.2, "{}: {}", self.0, answer.text());
        Some(answer.field("x-request-id").unwrap().to_owned())
    }

    fn check_access(&self, lines: &[&Value]) {
        let name = self.0;
        let [line] = lines else {
            panic!("{name}: {} access lines", lines.len())
        };
        assert_eq!(line["outcome"], self.3, "{name}: {line}");
        assert_eq!(line["status"], self.2, "{name}: {line}");
        assert_in_order(name, line, &ACCESS_KEYS);
        assert_eq!(line["msg"], "request", "{name}");
        if self.5 == REPORTED {
            assert!(line["tokens"]["input"].as_u64() > Some(0), "{name}: {line}");
        }
    }

    fn check_events(&self, lines: &[&Value]) {
        let name = self.0;
        let is_call = |line: &&&Value| line["action"] == "proxy_request";
        let calls: Vec<_> = lines.iter().filter(is_call).collect();
        let expected = usize::from(self.4.is_some());
        assert_eq!(calls.len(), expected, "{name}: {lines:?}");
        for (line, (result, reason)) in calls.iter().zip(self.4) {
            assert_eq!(line["result"], result, "{name}: {line}");
            let told = line.get("reason").and_then(Value::as_str);
            assert_eq!(told, reason, "{name}: {line}");
            assert_eq!(line["correlation_id"], name);
            assert_eq!(line["details"]["status_code"], self.2, "{name}");
            assert_eq!(line["class"], "access");
            let nobody = matches!(self.1, Ask::Nameless);
            let actor = if nobody { "anonymous" } else { "client" };
            assert_eq!(line["actor"], actor, "{name}");
        }
        for line in lines {
            assert_event_form(name, line);
        }
    }

    fn check_usage(&self, records: &[&Value]) {
        let qualities: Vec<_> = records.iter().map(|record| &record["quality"]).collect();
        let expected: Vec<_> = self.5.into_iter().collect();
        assert_eq!(qualities, expected, "{}: usage", self.0);
        for record in records {
            assert_eq!(record["outcome"], self.3, "{}", self.0);
            assert_eq!(record["status"], self.2, "{}", self.0);
        }
    }
}

/// The keys of an access line, in their order.
pub(crate) const ACCESS_KEYS: [&str; 21] = [
    "timestamp",
    "level",
    "msg",
    "target",
    "request_id",
    "method",
    "route",
    "status",
    "latency_ms",
    "ttft_ms",
    "upstream_ms",
    "bytes_in",
    "bytes_out",
    "project_id",
    "token_ref",
    "provider",
    "model",
    "tokens",
    "amount_nano_usd",
    "outcome",
    "client_ip",
];

fn of_request<'a>(lines: &'a [Value], id: &str) -> Vec<&'a Value> {
    lines
        .iter()
        .filter(|line| line["request_id"] == id)
        .collect()
}

// AUD-13 AUD-81 AUD-2
#[test]
fn every_outcome_leaves_one_event_one_access_line_and_one_usage_record_of_an_asked_model() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    let token = gateway.mint_token(&json!({}));
    let ids = ROWS.map(|row| row.send(&gateway, &origin, &token));
    let access = eventually("all access lines", || {
        Some(gateway.access_lines()).filter(|lines| lines.len() >= ROWS.len())
    });
    let expected = ROWS.iter().filter(|row| row.4.is_some()).count();
    let calls = || {
        let lines = gateway.audit_lines().into_iter();
        lines.filter(|line| line["action"] == "proxy_request")
    };
    eventually("all events", || (calls().count() >= expected).then_some(()));
    let (events, usage) = (gateway.audit_lines(), gateway.usage_lines());
    let gone = calls().find(|line| line["correlation_id"] == "gone");
    let gone = gone.unwrap()["request_id"].as_str().unwrap().to_owned();
    for (row, id) in ROWS.iter().zip(ids) {
        let id = id.unwrap_or_else(|| gone.clone());
        row.check_access(&of_request(&access, &id));
        row.check_events(&of_request(&events, &id));
        row.check_usage(&of_request(&usage, &id));
    }
    assert_eq!((access.len(), calls().count()), (ROWS.len(), expected));
}

/// The keys of a line are some of `order`, in that order.
pub(crate) fn assert_in_order(name: &str, line: &Value, order: &[&str]) {
    let places = line.as_object().unwrap().keys().map(|key| {
        let place = order.iter().position(|known| known == key);
        place.unwrap_or_else(|| panic!("{name}: `{key}` is unknown: {line}"))
    });
    assert!(places.is_sorted(), "{name}: {line}");
}

/// The form of llm-proxy's events, and what is ours behind it.
pub(crate) fn assert_event_form(name: &str, line: &Value) {
    let order = [
        "timestamp",
        "action",
        "actor",
        "project_id",
        "request_id",
        "correlation_id",
        "client_ip",
        "result",
        "details",
        "id",
        "tenant_id",
        "actor_id",
        "class",
        "reason",
        "stream",
        "seq",
        "prev",
        "hash",
    ];
    assert_in_order(name, line, &order);
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let stamp = text("timestamp");
    assert!(stamp.len() == 24 && stamp.ends_with('Z'), "{name}: {stamp}");
    assert!(
        text("id").starts_with("evt_") && text("stream").starts_with("aus_"),
        "{name}: {line}"
    );
    if let Some(details) = line["details"].as_object() {
        assert!(details.len() <= 24, "{name}: {line}");
        for value in details.values() {
            assert!(
                !value.is_object() && !value.is_array(),
                "{name}: details are flat: {line}"
            );
        }
    }
    // What a stranger shows is masked by what it is.
    let is_known = line["actor"] != "anonymous";
    if let Some(masked) = line["details"]["token_id"].as_str().filter(|_| is_known) {
        let stars = masked.strip_prefix("tok-").and_then(|body| body.get(4..8));
        assert_eq!(
            (masked.len(), stars),
            (16, Some("****")),
            "{name}: {masked}"
        );
        assert_eq!(
            line["actor"] == "client",
            line["details"]["token_ref"] == line["actor_id"],
            "{name}"
        );
    }
}
