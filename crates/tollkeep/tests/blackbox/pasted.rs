//! Blocks and names of other gateways' security guides, pasted as they stand there, and what they
//! then do.

use crate::fixture::{TOLLKEEP, UPSTREAM_KEY, before, free, head, post};
use tollkeep_testkit::{Answer, Client, Gateway, Origin, Step, ok};

/// A gateway with a pasted block of the file, behind a proxy that tells who calls.
fn pasted(origin: &Origin, block: &str) -> Gateway {
    let file = format!("{block}\n{}", before(origin, &free("ANY /x")));
    Gateway::builder(TOLLKEEP)
        .config(file)
        .set("server.trusted_proxies", "127.0.0.1/32")
        .start()
}

fn from(gateway: &Gateway, client: &str) -> Answer {
    gateway.call(&head("GET /x", &format!("X-Forwarded-For: {client}\r\n")))
}

// EDGE-65
#[test]
fn the_address_lists_of_the_cliproxyapi_page_do_what_it_says() {
    let origin = Origin::plain();
    let open = "server:
  security:
    ip_allowlist:
      enabled: true
      allowed_ips:
        - \"10.0.0.0/8\"       # Private network
        - \"192.168.1.100\"    # Specific IP
        - \"203.0.113.0/24\"   # Public network
";
    let shut = "server:
  security:
    ip_allowlist:
      enabled: true
      allowed_ips:
        - \"10.0.0.0/8\"
      deny_all: true # Block all except allowed_ips
";
    let deny = "server:
  security:
    ip_denylist:
      enabled: true
      denied_ips:
        - \"192.0.2.0/24\"      # Test network
        - \"198.51.100.100\"    # Specific IP
";
    let clients = [
        "10.1.2.3",
        "192.168.1.100",
        "192.168.1.101",
        "203.0.113.9",
        "192.0.2.1",
        "198.51.100.100",
        "198.51.100.101",
    ];
    for (block, want) in [
        (open, [200, 200, 403, 200, 403, 403, 403]),
        (shut, [200, 403, 403, 403, 403, 403, 403]),
        (deny, [200, 200, 200, 200, 403, 403, 200]),
    ] {
        let gateway = pasted(&origin, block);
        assert_eq!(
            clients.map(|client| from(&gateway, client).status),
            want,
            "{block}"
        );
    }
}

// EDGE-85 EDGE-93
#[test]
fn the_limits_of_the_cliproxyapi_page_do_what_it_says() {
    let origin = Origin::plain();
    let by_address = "server:
  security:
    rate_limiting:
      enabled: true
      requests_per_second: 10
      burst: 20
      per_ip: true
";
    let of_all = "server:
  rate_limit:
    enabled: true
    requests_per_second: 100
    burst: 200
";
    let gateway = pasted(&origin, by_address);
    let passed = |client: &str| {
        let all = (0..60).filter(|_| from(&gateway, client).status == 200);
        all.count()
    };
    for client in ["192.0.2.1", "192.0.2.2"] {
        let passed = passed(client);
        assert!(
            (20..60).contains(&passed),
            "{client}: {passed}, each its own burst"
        );
    }
    let gateway = pasted(
        &origin,
        &format!("{of_all}  security: {{ rate_limiting: {{ enabled: false }} }}\n"),
    );
    // At once, from as many addresses: they share one burst.
    let mut sender = gateway.connect();
    let requests: Vec<u8> = (0..400_u16)
        .flat_map(|at| {
            head(
                "GET /x",
                &format!("X-Forwarded-For: 198.18.{}.{}\r\n", at / 250, at % 250),
            )
        })
        .collect();
    let sending = std::thread::spawn(move || {
        sender.send(&requests);
        (0..400)
            .filter(|_| sender.answer(tollkeep_testkit::PATIENCE).unwrap().status == 200)
            .count()
    });
    let passed = sending.join().unwrap();
    assert!((200..400).contains(&passed), "{passed} of 400");
}

// EDGE-76
#[test]
fn the_headers_of_the_cliproxyapi_page_are_on_every_answer_as_it_lists_them() {
    let origin = Origin::plain();
    let block = "server:
  security:
    headers:
      enabled: true
      strict_transport_security: \"max-age=31536000; includeSubDomains\"
      content_type_options: \"nosniff\"
      frame_options: \"DENY\"
      xss_protection: \"1; mode=block\"
      content_security_policy: \"default-src 'self'\"
";
    let gateway = pasted(&origin, block);
    for target in ["GET /x", "GET /nowhere"] {
        let answer = gateway.call(&head(target, "X-Forwarded-Proto: https\r\n"));
        for (name, value) in [
            (
                "Strict-Transport-Security",
                "max-age=31536000; includeSubDomains",
            ),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("X-XSS-Protection", "1; mode=block"),
            ("Content-Security-Policy", "default-src 'self'"),
        ] {
            assert_eq!(answer.field(name), Some(value), "{target} {name}");
        }
    }
    let warned = gateway.stderr();
    assert!(!warned.contains("panicked"), "{warned}");
}

// OPS-51
#[test]
fn the_metrics_block_of_the_cliproxyapi_page_is_scraped_where_it_says() {
    let block = "metrics:
  enabled: true
  port: 9090
  path: \"/metrics\"
";
    let gateway = pasted(&Origin::plain(), block);
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = Client::connect(gateway.metrics()).call(request);
    assert_eq!(answer.status, 200);
    // What the page greps for.
    for name in ["auth_failures", "rate_limit_violations"] {
        assert!(answer.text().contains(name), "{name}");
    }
}

// EDGE-50 EDGE-66 EDGE-80 EDGE-110
#[test]
fn llm_routers_names_in_the_environment_do_what_its_page_says() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/x" => ok(b"ok"),
        _ => vec![Step::Sleep(std::time::Duration::from_secs(5))],
    });
    let url = origin.url();
    let config = format!(
        "providers:\n  openai: {{ base_url: \"{url}/v1\", allow_private: [\"127.0.0.1/32\"], \
         credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}] }}\n{}",
        before(&origin, &free("ANY /x"))
    );
    let start = |more: &[(&str, &str)]| {
        let builder = Gateway::builder(TOLLKEEP)
            .config(config.clone())
            .set("server.trusted_proxies", "127.0.0.1/32")
            .set("server.security.rate_limiting.enabled", "false")
            .env("UPSTREAM_KEY", UPSTREAM_KEY);
        let names = more.iter();
        names
            .fold(builder, |builder, (name, value)| builder.env(name, *value))
            .start()
    };
    let gateway = start(&[
        ("LLM_ROUTER_MAX_REQUEST_BODY_BYTES", "8192"),
        ("LLM_ROUTER_UPSTREAM_TIMEOUT_MS", "1000"),
        ("LLM_ROUTER_ALLOWED_IPS", "203.0.113.7, 198.51.100.4"),
        ("LLM_ROUTER_CORS_ALLOWED_ORIGINS", "https://app.example.com"),
        ("LLM_ROUTER_CORS_ALLOW_ALL", "false"),
    ]);
    let call = |lines: &str, length: usize| {
        let lines = format!("X-Forwarded-For: 203.0.113.7\r\n{lines}");
        gateway.call(&post("/x", &lines, &vec![b'x'; length]))
    };
    assert_eq!((call("", 8_192).status, call("", 8_193).status), (200, 413));
    for (client, status) in [
        ("203.0.113.7", 200),
        ("198.51.100.4", 200),
        ("198.51.100.5", 403),
    ] {
        assert_eq!(from(&gateway, client).status, status, "{client}");
    }
    for (page, allowed) in [
        ("https://app.example.com", true),
        ("https://evil.example", false),
    ] {
        let answer = call(&format!("Origin: {page}\r\n"), 0);
        let told = answer.field("access-control-allow-origin");
        assert_eq!(told, allowed.then_some(page));
    }
    let token = gateway.mint_token(&serde_json::json!({ "project": "default" }));
    let lines = format!(
        "X-Forwarded-For: 203.0.113.7\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n"
    );
    let late = gateway.call(&post(
        "/v1/chat/completions",
        &lines,
        br#"{"model":"m","messages":[]}"#,
    ));
    assert_eq!((late.status, late.code().as_str()), (504, "timeout"));
    // The other spelling of the list, and every page allowed.
    let gateway = start(&[
        ("LLM_ROUTER_IP_ALLOWLIST", "203.0.113.7 198.51.100.4"),
        ("LLM_ROUTER_CORS_ALLOW_ALL", "true"),
    ]);
    assert_eq!(from(&gateway, "198.51.100.5").status, 403);
    let lines = "X-Forwarded-For: 198.51.100.4\r\nOrigin: https://evil.example\r\n";
    let answer = gateway.call(&head("GET /x", lines));
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
}
