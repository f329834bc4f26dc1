//! What must never be dialled, at every place that takes a URL: the shared cases of `ssrf.json`,
//! and names whose answers change all the time. A trap listens on every loopback address; what is
//! public goes to a proxy here, which tells what it was asked for.

use crate::egress::{config, upstream};
use crate::fixture::{TOLLKEEP, UPSTREAM_KEY, chat, gateway, head};
use crate::reload::{reloaded, unwatched};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tollkeep_testkit::{ConnectProxy, Gateway, NameServer, Reply, Tunnel, eventually};

const CASES: &str = include_str!("../../../policy/tests/data/ssrf.json");

/// Listens on every address of loopback, of both families, and should never be called.
struct Trap(TcpListener);

impl Trap {
    fn set() -> Self {
        // Where there is no IPv6, there is nothing to reach by it.
        let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0"));
        let listener = listener.unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    #[track_caller]
    fn assert_empty(&self) {
        if let Ok((_, peer)) = self.0.accept() {
            panic!("the trap was called by {peer}");
        }
    }

    /// It works: whoever does call is noticed.
    fn try_out(&self) {
        for ip in ["127.0.0.1", "127.0.0.2", "127.9.9.9"] {
            drop(std::net::TcpStream::connect((ip, self.port())).unwrap());
            eventually("a visitor", || self.0.accept().ok());
        }
    }
}

fn cases() -> Vec<Value> {
    let file: Value = serde_json::from_str(CASES).unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn text<'v>(case: &'v Value, key: &str) -> &'v str {
    case[key].as_str().unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().into_iter().flatten();
    list.map(|text| text.as_str().unwrap()).collect()
}

/// What an operator's URL may say and a tenant's may not: clear text, and ports that nobody blocks.
const OPERATORS_MAY: [&str; 4] = [
    "number-form/decimal-public",
    "scheme/http",
    "port/mgmt",
    "port/alt-8080",
];

/// Whether settings with this URL must be refused.
fn is_refused(case: &Value) -> bool {
    let id = text(case, "id");
    let of_sockets = text(case, "input").starts_with("wss:");
    of_sockets || (case["expect"] == "refuse" && !OPERATORS_MAY.contains(&id))
}

/// The same, where other paths are put behind it.
fn is_no_base(case: &Value) -> bool {
    is_refused(case) || text(case, "input").contains('?')
}

/// Whether a proxy may be there though nobody else may: it is in a private network, under a name
/// of that, and with a login.
fn is_fine_for_a_proxy(case: &Value) -> bool {
    let lifted = ["private", "name", "userinfo"];
    let reasons = texts(&case["reason"]);
    text(case, "input").is_empty() || reasons.iter().any(|reason| lifted.contains(reason))
}

/// What `config check` says to this configuration.
fn checked(folder: &std::path::Path, config: &Value) -> String {
    let file = folder.join("tollkeep.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut command = Command::new(TOLLKEEP);
    let output = command
        .args(["config", "check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

// EDGE-95 EDGE-97 EDGE-99
#[test]
fn every_url_gets_its_verdict_wherever_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let all = cases();
    let urls = all
        .iter()
        .filter(|case| case["kind"] == "url" || case["kind"] == "operator_url")
        .filter(|case| case["id"] != "operator/self-data");
    let urls: Vec<_> = urls.enumerate().collect();
    let (mut upstreams, mut providers) = (json!({}), json!({}));
    for (at, case) in &urls {
        let allowed = case
            .get("allow_private")
            .cloned()
            .unwrap_or_else(|| json!([]));
        let url = &case["input"];
        upstreams[format!("u{at}")] = json!({ "url": url, "allow_private": allowed });
        providers[format!("p{at}")] = json!({
            "kind": "openai", "base_url": url, "allow_private": allowed, "credentials": [{ "secret": "none" }],
        });
    }
    let told = checked(
        folder.path(),
        &json!({ "upstreams": upstreams, "providers": providers }),
    );
    for (at, case) in &urls {
        let id = text(case, "id");
        let is_told = |key: String| told.contains(&key);
        assert_eq!(
            is_told(format!("upstreams.u{at}.url:")),
            is_no_base(case),
            "{id}: {told}"
        );
        let clear =
            text(case, "input").starts_with("http:") && case["allow_private"] == Value::Null;
        let refused = is_no_base(case) || clear;
        assert_eq!(
            is_told(format!("providers.p{at}.base_url:")),
            refused,
            "{id}: {told}"
        );
    }
    for (_, case) in &urls {
        let id = text(case, "id");
        let jwt = json!({ "jwt": {
            "issuer": "i", "audience": ["a"], "jwks_url": case["input"],
            "allow_private": case.get("allow_private").cloned().unwrap_or_else(|| json!([])),
        } });
        let told = checked(
            folder.path(),
            &json!({
                "server": { "front_door": jwt }, "management": { "front_door": jwt },
                "egress": { "proxy": { "url": case["input"] } },
            }),
        );
        let clear =
            text(case, "input").starts_with("http:") && case["allow_private"] == Value::Null;
        for door in ["server", "management"] {
            let is_told = told.contains(&format!("{door}.front_door.jwt.jwks_url:"));
            assert_eq!(is_told, is_refused(case) || clear, "{id} at {door}: {told}");
        }
        let has_path = texts(&case["reason"]).is_empty();
        if is_refused(case) && !is_fine_for_a_proxy(case) {
            assert!(told.contains("egress.proxy.url:"), "{id} as proxy: {told}");
        } else if !has_path && !is_fine_for_a_proxy(case) {
            assert!(!told.contains("egress.proxy.url:"), "{id} as proxy: {told}");
        }
    }
}

/// A case whose name is resolved here: its number, and what its resolver answers.
fn resolved(all: &[Value]) -> Vec<(usize, &Value)> {
    let all = all.iter().enumerate();
    all.filter(|(_, case)| case["kind"] == "addr" || case["kind"] == "dns")
        .collect()
}

fn reply(case: &Value) -> Reply {
    if case["kind"] == "addr" {
        return Reply::Addresses(vec![text(case, "input").parse().unwrap()]);
    }
    let answer = &case["answers"][0];
    match answer.as_str() {
        Some("NXDOMAIN") => return Reply::NoSuchName,
        Some("TIMEOUT") => return Reply::Silence,
        _ => {}
    }
    let answers = texts(answer);
    if let Some(alias) = answers
        .first()
        .and_then(|first| first.strip_prefix("CNAME "))
    {
        let here = [IpAddr::from(Ipv4Addr::LOCALHOST), "::1".parse().unwrap()];
        return Reply::Aliases(vec![alias.trim_end_matches('.').to_owned()], here.to_vec());
    }
    Reply::Addresses(answers.iter().map(|ip| ip.parse().unwrap()).collect())
}

/// The number in `c12.ssrf.example` or `c12`.
fn number(name: &str) -> Option<usize> {
    name.split('.').next()?.get(1..)?.parse().ok()
}

fn names() -> NameServer {
    let all = cases();
    let replies: HashMap<usize, Reply> = resolved(&all)
        .into_iter()
        .map(|(at, case)| (at, reply(case)))
        .collect();
    NameServer::start(move |name| {
        let known = number(name).and_then(|at| replies.get(&at));
        known.cloned().unwrap_or(Reply::NoSuchName)
    })
}

/// A proxy that opens no tunnel, so that nothing leaves this machine.
fn shut() -> ConnectProxy {
    ConnectProxy::start(|_| {
        Tunnel::Answer(b"HTTP/1.1 403 Not from here\r\ncontent-length: 0\r\n\r\n".to_vec())
    })
}

fn egress(proxy: &str, names: &NameServer) -> String {
    format!(
        "egress: {{ proxy: {{ url: \"{proxy}\" }}, resolver: {{ mode: servers, servers: [\"{}\"], timeout_ms: 300, attempts: 1 }} }}\n",
        names.addr()
    )
}

/// The addresses a case may lead to.
fn connects(case: &Value) -> Vec<String> {
    let listed = texts(&case["connects"]);
    if listed.is_empty() && case["expect"] == "allow" {
        return vec![text(case, "input").to_owned()];
    }
    listed.into_iter().map(str::to_owned).collect()
}

/// Judges the answers to a call of each case, and what the proxy was asked for in between.
fn assert_verdicts(port: u16, proxy: &ConnectProxy, mut call: impl FnMut(usize) -> (u16, String)) {
    let all = cases();
    for (at, case) in resolved(&all) {
        let (id, before) = (text(case, "id"), proxy.asked().len());
        let (status, code) = call(at);
        let asked = proxy.targets().split_off(before);
        if case["expect"] == "refuse" {
            let refused = code == "egress_refused" || code == "upstream_dns";
            assert!(status == 502 && refused, "{id}: {status} {code}");
            assert!(asked.is_empty(), "{id}: {asked:?}");
            continue;
        }
        assert_eq!((status, code.as_str()), (502, "proxy_refused"), "{id}");
        let allowed: Vec<String> = connects(case)
            .iter()
            .map(|ip| std::net::SocketAddr::new(ip.parse().unwrap(), port).to_string())
            .collect();
        let all_allowed = asked.iter().all(|target| allowed.contains(target));
        assert!(all_allowed && !asked.is_empty(), "{id}: {asked:?}");
    }
}

// EDGE-95 EDGE-96 EDGE-98 EDGE-104
#[test]
fn no_upstream_is_reached_where_nobody_may_go() {
    let (trap, proxy, server, all) = (Trap::set(), shut(), names(), cases());
    let parts = resolved(&all).into_iter().map(|(at, _)| {
        let url = format!("https://c{at}.ssrf.example:{}/", trap.port());
        upstream(
            &format!("c{at}"),
            &url,
            ", retry: { connect: 0 }, breaker: off",
        )
    });
    let text = egress(&proxy.url(), &server) + &config(&parts.collect::<Vec<_>>());
    let gateway = gateway(text).start();
    assert_verdicts(trap.port(), &proxy, |at| {
        let answer = gateway.call(&head(&format!("GET /c{at}"), ""));
        (answer.status, answer.code())
    });
    trap.assert_empty();
    trap.try_out();
}

// EDGE-95 EDGE-96 EDGE-98 EDGE-104
#[test]
fn no_provider_is_reached_where_nobody_may_go() {
    let (trap, proxy, server, all) = (Trap::set(), shut(), names(), cases());
    let parts = resolved(&all).into_iter().map(|(at, _)| {
        format!(
            "  c{at}: {{ kind: openai, base_url: \"https://c{at}.ssrf.example:{}/v1\", models: [c{at}], breaker: off, \
             credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}] }}\n",
            trap.port()
        )
    });
    let text = format!(
        "{}providers:\n{}",
        egress(&proxy.url(), &server),
        parts.collect::<String>()
    );
    let gateway = gateway(text).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    assert_verdicts(trap.port(), &proxy, |at| {
        let body = format!("{{\"model\":\"c{at}\",\"messages\":[]}}");
        let answer = gateway.call(&chat(&token, &body));
        (
            answer.status,
            answer
                .field("x-tollkeep-error")
                .unwrap_or_default()
                .to_owned(),
        )
    });
    trap.assert_empty();
}

/// Takes `settings` over and waits for what becomes of the look-up of `c<at>`.
fn told_of(gateway: &Gateway, at: usize, settings: &str) -> String {
    let name = format!("c{at}.ssrf.example");
    reloaded(gateway, settings);
    eventually(&name, || {
        let all = gateway.stderr();
        let mut lines = all.lines().filter(|line| line.contains("can't be fetched"));
        lines.find(|line| line.contains(&name)).map(str::to_owned)
    })
}

// EDGE-96 EDGE-98 EDGE-126
#[test]
fn no_keys_are_fetched_from_where_nobody_may_go() {
    let (trap, proxy, server, all) = (Trap::set(), shut(), names(), cases());
    let settings = |at: usize| {
        format!(
            "{}server: {{ front_door: {{ jwt: {{ issuer: i, audience: [a], jwks_url: \"https://c{at}.ssrf.example:{}/\" }} }} }}\n",
            egress(&proxy.url(), &server),
            trap.port()
        )
    };
    let gateway = unwatched("").start();
    for (at, case) in resolved(&all) {
        let (id, before) = (text(case, "id"), proxy.asked().len());
        let told = told_of(&gateway, at, &settings(at));
        let asked = proxy.targets().len() - before;
        let is_refused = told.contains("egress refused") || told.contains("cannot resolve");
        assert_eq!(is_refused, case["expect"] == "refuse", "{id}: {told}");
        assert_eq!(asked > 0, case["expect"] == "allow", "{id}: {told}");
    }
    trap.assert_empty();
}

// EDGE-96 EDGE-101 EDGE-103
#[test]
fn no_proxy_is_reached_where_none_can_be() {
    let (trap, server, all) = (Trap::set(), names(), cases());
    let part = upstream(
        "u",
        "http://93.184.216.34",
        ", retry: { connect: 0 }, breaker: off",
    );
    let gateway = unwatched("").set("server.workers", "1").start();
    let never = ["special", "metadata", "embedded_v4", "too_many", "dns"];
    let mut tried = 0;
    for (at, case) in resolved(&all) {
        let reasons = texts(&case["reason"]);
        let is_never = !reasons.is_empty() && reasons.iter().all(|reason| never.contains(reason));
        if !is_never {
            continue;
        }
        tried += 1;
        let url = format!("http://c{at}.ssrf.example:{}", trap.port());
        reloaded(
            &gateway,
            &(egress(&url, &server) + &config(std::slice::from_ref(&part))),
        );
        let answer = gateway.call(&head("GET /u", ""));
        let want = ["egress_refused", "proxy_unavailable"];
        let (id, code) = (text(case, "id"), answer.code());
        assert!(
            want.contains(&code.as_str()),
            "{id}: {} {code}",
            answer.status
        );
    }
    assert!(tried > 40, "{tried}");
    trap.assert_empty();
}

/// What a hostile name server says next.
fn hostile(name: &str, turn: usize) -> Reply {
    let addresses =
        |list: &[&str]| Reply::Addresses(list.iter().map(|ip| ip.parse().unwrap()).collect());
    let public = "93.184.216.34";
    let many = |last: IpAddr| {
        let all = (0..499_u16).map(|at| {
            let [high, low] = at.to_be_bytes();
            IpAddr::from([93, 184, high, low])
        });
        Reply::Addresses(all.chain([last]).collect())
    };
    match (number(name).unwrap_or_default() % 8, turn % 2) {
        (_, 0) => addresses(&[public]),
        (0, _) => addresses(&["127.0.0.1"]),
        (1, _) => addresses(&["::1"]),
        (2, _) => addresses(&[public, "127.0.0.2"]),
        (3, _) => addresses(&[public, "::ffff:127.0.0.1", "::1"]),
        (4, _) => Reply::Aliases(
            vec!["inner.example".to_owned(), "localhost".to_owned()],
            vec![Ipv4Addr::LOCALHOST.into()],
        ),
        (5, _) => many(Ipv4Addr::LOCALHOST.into()),
        (6, _) => many([93, 184, 216, 34].into()),
        _ => addresses(&["0.0.0.0", "169.254.169.254"]),
    }
}

/// Calls upstreams under such names until the server has answered so many questions.
fn rebind(upstreams: usize, questions: usize, patience: Duration) {
    let (trap, proxy) = (Trap::set(), shut());
    let turns = Mutex::new(HashMap::<String, usize>::new());
    let server = NameServer::start(move |name| {
        let mut turns = turns.lock().unwrap();
        let turn = turns.entry(name.to_owned()).or_default();
        *turn += 1;
        // Twice the same, since both families are asked for.
        hostile(name, *turn / 2)
    });
    let parts = (0..upstreams).map(|at| {
        let url = format!("http://r{at}.rebind.example:{}", trap.port());
        upstream(
            &format!("r{at}"),
            &url,
            ", retry: { connect: 1 }, breaker: off",
        )
    });
    let text = egress(&proxy.url(), &server) + &config(&parts.collect::<Vec<_>>());
    let gateway = gateway(text).start();
    let until = Instant::now() + patience;
    let mut seen = HashMap::<String, usize>::new();
    let mut client = gateway.connect();
    while server.asked().len() < questions {
        assert!(Instant::now() < until, "{} questions", server.asked().len());
        for at in 0..upstreams {
            let answer = client.call(&head(&format!("GET /r{at}"), ""));
            *seen.entry(answer.code()).or_default() += 1;
            // A connection serves so many requests and no more.
            if answer.closes() {
                client = gateway.connect();
            }
        }
    }
    trap.assert_empty();
    let odd = |code: &&String| {
        !["proxy_refused", "egress_refused", "upstream_dns"].contains(&code.as_str())
    };
    assert_eq!(seen.keys().find(odd), None, "{seen:?}");
    for code in ["proxy_refused", "egress_refused"] {
        assert!(
            seen.get(code).is_some_and(|count| *count > upstreams / 8),
            "{seen:?}"
        );
    }
    let strangers = proxy
        .targets()
        .into_iter()
        .filter(|target| !target.starts_with("93.184.216.34:"));
    assert_eq!(strangers.collect::<Vec<_>>(), Vec::<String>::new());
}

// EDGE-96 EDGE-98
#[test]
fn a_name_that_changes_its_mind_all_the_time_gets_nowhere() {
    rebind(40, 240, Duration::from_secs(60));
}

// EDGE-96 EDGE-98
#[test]
#[ignore = "10,000 rounds take a minute or more: make soak"]
fn a_name_that_changes_its_mind_ten_thousand_times_gets_nowhere() {
    // A question for each family makes a round.
    rebind(400, 20_000, Duration::from_secs(1_200));
}
