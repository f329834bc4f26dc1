//! Files of a tollbooth in our words.

use std::path::PathBuf;
use tollkeep_config::settings::Access;
use tollkeep_config::{Env, Imported, Settings, import_tollbooth};

/// The example on tollbooth's page for beginners, with an address in it.
const BEGINNERS: &str = r#"
gateway:
  port: 3000
  discovery: true

wallets:
  base: "0x1111111111111111111111111111111111111111"

accepts:
  - asset: USDC
    network: base

defaults:
  price: "$0.001"
  timeout: 60

upstreams:
  myapi:
    url: "https://api.example.com"
    headers:
      authorization: "Bearer ${API_KEY}"

routes:
  "GET /health":
    upstream: myapi
    price: "$0"

  "GET /data":
    upstream: myapi
    price: "$0.01"
"#;

fn imported(yaml: &str) -> Result<Imported, String> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("tollbooth.config.yaml");
    std::fs::write(&path, yaml).unwrap();
    import_tollbooth(&path).map_err(|faults| {
        let place = format!("{}:", path.display());
        faults.to_string().replace(&place, "")
    })
}

fn settings(imported: &Imported) -> Settings {
    let checked = imported.check(&Env::empty());
    checked
        .unwrap_or_else(|faults| panic!("{faults}\n{}", imported.text))
        .settings
}

fn fates(imported: &Imported) -> Vec<String> {
    let notes = imported.notes.iter();
    notes
        .map(|note| format!("{} {}", note.fate.as_str(), note.key))
        .collect()
}

// PAY-10 OPS-30
#[test]
fn the_beginners_example_comes_over_and_is_told_of() {
    let imported = imported(BEGINNERS).unwrap();
    assert_eq!(imported.unset(&Env::empty()), ["API_KEY"]);
    let settings = settings(&imported);
    assert_eq!(settings.server.listen[0].addr.to_string(), "127.0.0.1:3000");
    let [route] = &settings.routes[..] else {
        panic!("{}", imported.text)
    };
    assert_eq!(
        (route.name().as_str(), route.access),
        ("GET /data", Access::Payment)
    );
    assert_eq!(
        fates(&imported),
        [
            "needs you gateway.hostname",
            "needs you facilitator",
            "dropped routes.\"GET /health\""
        ]
    );
    assert!(
        imported
            .text
            .contains("# GET /health: the gateway answers this path itself")
    );
    assert!(
        imported
            .text
            .contains("x402.org/facilitator\"  # tollbooth's own default")
    );
    // Twice the same.
    assert_eq!(self::imported(BEGINNERS).unwrap().text, imported.text);
}

// PAY-10 PAY-14 PAY-20 PAY-24 PAY-28 PAY-32 OPS-30
#[test]
fn everything_that_differs_is_written_out() {
    let imported = imported(
        r#"
gateway: { port: 8080, hostname: localhost, cors: { origin: "https://app.example.com", methods: [GET] }, trustProxy: true, metrics: true }
wallets: { base-sepolia: "0x1111111111111111111111111111111111111111", solana: "x" }
accepts: [{ asset: USDC, network: base-sepolia }, { asset: USDC, network: solana }]
defaults: { rateLimit: { windowMs: 60000, max: 100 }, verificationCache: { ttl: 5m } }
stores: { redis: { url: "redis://127.0.0.1:6379", prefix: tb } }
facilitator: mock
upstreams:
  dummy: { url: "http://localhost:4000", timeout: 30000 }
  dune: { url: "https://api.dune.com/api", headers: { x-dune-api-key: "${DUNE}" } }
routes:
  "GET /data/*": { upstream: dune, path: "/v1/${params.*}", price: "10000", verificationCache: { ttl: 1h } }
  "GET /data/:query_id": { upstream: dune, path: "/v1/query/${params.query_id}/results", price: "$1" }
  "POST /chat":
    upstream: dummy
    settlement: after-response
    rateLimit: { requests: 5, window: 1m }
    payTo: "0x2222222222222222222222222222222222222222"
    metadata: { description: "chat: it's good" }
    match:
      - where: { body.model: "opus*", body.n: 4, query.size: xl }
        price: "$0.075"
        payTo: "0x3333333333333333333333333333333333333333"
    price: "$0.015"
  "POST /v1/chat/completions": { upstream: dummy, type: token-based, models: { gpt-4o: "$0.05" }, fallback: "$0.02" }
  "GET /cheap": { upstream: dummy }
  "GET /free": { upstream: dummy, price: "0" }
"#,
    )
    .unwrap();
    let settings = settings(&imported);
    let text = &imported.text;
    for line in [
        "  port: 8080\n",
        "    allowed_origins: [\"https://app.example.com\"]\n",
        "  price: \"$0.001\"  # tollbooth's own default\n",
        "  sandbox: true  # no money moves; as `facilitator: mock`\n",
        "    timeout: \"30000ms\"  # milliseconds there\n",
        "    allow_private: [\"127.0.0.0/8\",\"::1/128\"]",
        "  # the smallest units, as tollbooth reads whole numbers\n",
        "    price: \"$1\"  # dollars; tollbooth charged 1 of the smallest unit\n",
        "    # before `GET /data/*`, which tollbooth asked first\n",
        "    path: \"/v1/${params.rest}\"\n",
        "    fallback: \"$0.015\"\n",
        "    rate_limit: {\"requests\":100,\"window\":\"60000ms\"}  # from `defaults.rateLimit`\n",
        "    price: \"$0\"\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let names: Vec<String> = settings.routes.iter().map(|route| route.name()).collect();
    assert_eq!(names.len(), 6);
    assert_eq!(names[..2], ["GET /data/*", "GET /data/:query_id"]);
    let chat = settings.routes[2].sale.as_ref().unwrap();
    assert_eq!(chat.pricing.rules().len(), 1);
    assert_eq!(settings.routes[2].rate.as_ref().unwrap().requests, 5);
    assert_eq!(settings.routes[4].rate.as_ref().unwrap().requests, 100);
    assert_eq!(settings.routes[5].access, Access::Free);
    assert!(settings.payments.sandbox);
    let want = [
        "needs you gateway.trustProxy",
        "changed gateway.metrics",
        "dropped wallets.solana",
        "dropped accepts[1]",
        "dropped stores.redis.prefix",
        "dropped defaults.verificationCache",
        "changed defaults.rateLimit",
        "changed upstreams.dummy.url",
        "changed routes.\"GET /data/*\".price",
        "changed routes.\"GET /data/:query_id\"",
        "changed routes.\"GET /data/:query_id\".price",
    ];
    assert_eq!(fates(&imported), want);
}

// PAY-10 OPS-30 OPS-52
#[test]
fn counters_are_where_they_were_or_off() {
    for (there, enabled, path) in [
        ("true", true, "/metrics"),
        ("false", false, "/metrics"),
        ("{ enabled: true, path: /counters }", true, "/counters"),
        ("{ enabled: false }", false, "/metrics"),
        ("{ path: /counters }", true, "/counters"),
    ] {
        let lines = format!("gateway: {{ port: 3000, metrics: {there} }}");
        let imported = imported(&with(&lines)).unwrap();
        let metrics = settings(&imported).metrics;
        assert_eq!(
            (metrics.enabled, &*metrics.path),
            (enabled, path),
            "{there}"
        );
        assert!(metrics.seed_names, "their names go on");
    }
    let odd = imported(&with("gateway: { metrics: { enabled: true, pth: /x } }"));
    let told = odd.err().unwrap();
    assert!(told.contains("gateway.metrics.pth: is no key"), "{told}");
}

/// A whole file with these lines in it.
fn with(lines: &str) -> String {
    format!("upstreams:\n  a: {{ url: \"https://a.example\" }}\n{lines}")
}

// PAY-10 PAY-30 PAY-35 PAY-100 OPS-30
#[test]
#[expect(clippy::too_many_lines, reason = "a table of faults")]
fn what_can_not_be_had_is_refused_at_its_line_with_the_way_to_have_it() {
    for (lines, told) in [
        (
            "hooks: { onRequest: hooks/a.ts }",
            "3:10: hooks.onRequest: is code, which is not run here",
        ),
        (
            "routes:\n  GET /x: { upstream: a, hooks: { onError: b.ts } }",
            "onError: is code",
        ),
        (
            "routes:\n  GET /x: { upstream: a, price: { fn: ./p.ts } }",
            "4:33: routes.\"GET /x\".price: is code",
        ),
        (
            "settlement: { strategy: custom, module: ./s.ts }",
            "settle through a facilitator of your own",
        ),
        (
            "settlement: { strategy: nanopayments }",
            "is not supported yet",
        ),
        (
            "settlement: { strategy: wire }",
            "want `strategy: facilitator`",
        ),
        (
            "routes:\n  GET /x: { upstream: a, match: [{ where: { body.m: a }, price: $0.1 }] }",
            "has no `fallback`",
        ),
        (
            "routes:\n  GET /x: { upstream: a, payTo: [{ address: x, share: 1 }] }",
            "several payees",
        ),
        (
            "routes:\n  GET /x: { upstream: a, facilitator: https://f.example }",
            "is not supported on a route",
        ),
        (
            "routes:\n  GET /x: { upstream: a, price: \"$0.0000001\" }",
            "no whole number of units",
        ),
        (
            "routes:\n  GET /x: { upstream: a, price: free }",
            "is not a price",
        ),
        (
            "routes:\n  GET /x: { upstream: a, price: 0.01 }",
            "want a text, not `0.01`",
        ),
        (
            "routes:\n  GET /x: { upstream: a, price: $0.1, pricing: { model: time } }",
            "pricing.duration: is missing",
        ),
        (
            "routes:\n  GET /x: { upstream: a, pricing: { model: weekly } }",
            "pricing.model: want `request` or `time`",
        ),
        (
            "routes:\n  GET /x: { upstream: a, price: $0.1, pricing: { price: $0.2 } }",
            "pricing.price: is said by `price` of the route too",
        ),
        (
            "routes:\n  GET /x: { upstream: a, pricing: { price: { fn: ./p.ts } } }",
            "pricing.price: is code",
        ),
        (
            "routes:\n  GET /x: { upstream: a, rateLimit: { requests: 5 } }",
            "want `{requests: 100",
        ),
        (
            "routes:\n  GET /x: { upstream: a, ratelimit: {} }",
            "did you mean `rate_limit`?",
        ),
        (
            "routes:\n  GET /x: { upstream: a, rateLimit: {requests: 1, window: 1s}, rate_limit: {requests: 1, window: 1s} }",
            "is said by `rateLimit` too",
        ),
        ("routes:\n  GET /x: { price: $0.1 }", "upstream: is missing"),
        ("routes:\n  get /x: { upstream: a }", "\"get\" is no method"),
        ("routes:\n  /x: { upstream: a }", "want `METHOD /path`"),
        ("routes: [a]", "3:9: routes: want a section, not a list"),
        (
            "wallet: {}",
            "3:1: wallet: is no key that tollbooth knows; did you mean `wallets`?",
        ),
        ("wallets: { base: 1 }", "want a text"),
        ("accepts: USDC", "want a list"),
        ("gateway: { port: many }", "want a whole number"),
        ("gateway: 3000", "want a section"),
        ("routes: {", "not YAML"),
    ] {
        let problem = imported(&with(&format!("{lines}\n"))).expect_err(lines);
        assert!(problem.contains(told), "{lines}: {problem}");
    }
    let slow = "upstreams:\n  a: { url: \"https://a.example\", timeout: 120 }\n";
    let problem = imported(slow).unwrap_err();
    assert!(
        problem.contains("2:43: upstreams.a.timeout: is 120 milliseconds to tollbooth"),
        "{problem}"
    );
    assert!(
        imported("- a\n- b\n")
            .unwrap_err()
            .contains("want a section")
    );
    let missing = import_tollbooth(std::path::Path::new("/nonexistent/a.yaml")).unwrap_err();
    assert!(missing.to_string().contains("can't read it"));
}

// PAY-10 PAY-24 PAY-40
#[test]
fn passes_and_documents_come_over() {
    let yaml = r#"
wallets: { base: "0x1111111111111111111111111111111111111111" }
accepts: [{ asset: USDC, network: base }]
facilitator: https://fac.example
upstreams:
  a: { url: "https://a.example" }
  b: { url: "https://b.example", openapi: "https://b.example/openapi.json", defaultPrice: "10000" }
  c: { url: "https://c.example", openapi: ./c.yaml }
  d: { url: "https://d.example", defaultPrice: "$0.1" }
routes:
  "GET /pass": { upstream: a, price: "$0.50", pricing: { model: time, duration: 1h } }
  "GET /call": { upstream: a, pricing: { model: request, price: "$0.25", duration: 1h } }
  "POST /rules":
    upstream: a
    pricing:
      match: [{ where: { body.size: xl }, price: "$0.9" }]
      fallback: "$0.1"
"#;
    let imported = imported(yaml).unwrap();
    let settings = settings(&imported);
    let route = |name: &str| {
        let mut routes = settings.routes.iter();
        routes.find(|route| route.name() == name).unwrap()
    };
    let billing = |name: &str| route(name).sale.as_ref().unwrap().billing.clone();
    let pass = billing("GET /pass").unwrap();
    assert_eq!(pass.model.as_str(), "time_pass");
    assert_eq!(pass.lasts.as_secs(), 3_600);
    assert!(billing("GET /call").is_none());
    let rules = format!("{:?}", route("POST /rules").sale.as_ref().unwrap().pricing);
    assert!(
        rules.contains("900000000") && rules.contains("100000000"),
        "{rules}"
    );
    let text = &imported.text;
    for line in [
        "    openapi: \"https://b.example/openapi.json\"\n    openapi_refresh: \"start\"  # as there",
        "    default_price: {\"a",
        "    openapi: \"./c.yaml\"\n  d:\n",
        "      model: \"time\"\n      duration: \"1h\"\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let told = fates(&imported).join("\n");
    assert!(told.contains("upstreams.d.defaultPrice"), "{told}");
    assert!(told.contains("pricing.duration"), "{told}");
}

// PAY-10: what a tollbooth's file says is read as it stands, but for what needs a decision.
#[test]
fn the_beginners_example_is_read_as_it_stands() {
    let unchanged = BEGINNERS.replace("/health", "/status");
    let yaml = format!("{unchanged}\nfacilitator: https://fac.example\n");
    let case = crate::support::Case::yaml(&yaml).env(&[("API_KEY", "k-1")]);
    let settings = case.loaded().settings;
    assert_eq!(settings.server.listen[0].addr.port(), 3000);
    assert_eq!(settings.routes.len(), 2);
    assert_eq!(settings.routes[0].access, Access::Free);
    assert_eq!(settings.routes[1].access, Access::Payment);
}

// PAY-10
#[test]
fn both_spellings_of_a_key_at_once_are_refused() {
    for (twins, told) in [
        (
            "rateLimit: { requests: 1, window: 1s }, rate_limit: { requests: 1, window: 1s }",
            "rate_limit",
        ),
        (
            "payTo: \"0x1111111111111111111111111111111111111111\", pay_to: \"0x1111111111111111111111111111111111111111\"",
            "pay_to",
        ),
    ] {
        let yaml = with(&format!(
            "routes:\n  GET /x: {{ upstream: a, access: token, {twins} }}\n"
        ));
        let problem = crate::support::Case::yaml(&yaml)
            .load()
            .unwrap_err()
            .to_string();
        assert!(problem.contains(told), "{twins}: {problem}");
    }
}
