//! A tour of what callers do: each call leaves the events it should, each once.

use crate::callers::{answer, bearer, chat, get, models, served};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tollkeep_testkit::{Gateway, Origin, Signal, eventually};

/// The events of a request, as `action result`, once they are there.
fn events_of(lines: &[Value], request: &str) -> Vec<String> {
    let of_request = lines.iter().filter(|line| line["request_id"] == *request);
    of_request
        // Who signs in is told of once in ten minutes.
        .filter(|line| line["action"] != "management.auth")
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("action"), text("result"))
        })
        .collect()
}

// AUD-13 AUD-10
#[test]
fn every_call_leaves_one_event_however_it_ends() {
    let (_origin, gateway, token) = served();
    let good = bearer(&token);
    let calls: [(&str, Vec<u8>, &[&str]); 5] = [
        (
            "served",
            chat(&good, "hi"),
            &["token.access success", "proxy_request success"],
        ),
        ("broken", chat(&good, "do:500"), &["proxy_request error"]),
        (
            "wrong",
            chat(&bearer("tok-wrong"), "hi"),
            &["token.access failure", "proxy_request denied"],
        ),
        (
            "none",
            chat("", "hi"),
            &["token.access failure", "proxy_request denied"],
        ),
        (
            "nowhere",
            b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(),
            &[],
        ),
    ];
    let mut asked = BTreeMap::new();
    for (name, request, want) in &calls {
        let answer = gateway.call(request);
        let id = answer.field("x-request-id").unwrap().to_owned();
        asked.insert(id, (*name, *want));
    }
    let of_call = |line: &&Value| {
        let action = line["action"].as_str().unwrap();
        action == "proxy_request" || action.starts_with("token.access")
    };
    let lines = eventually("all is written", || {
        let lines = gateway.audit_lines();
        (lines.iter().filter(of_call).count() == 7).then_some(lines)
    });
    for (id, (name, want)) in &asked {
        let lines: Vec<Value> = lines.iter().filter(of_call).cloned().collect();
        assert_eq!(events_of(&lines, id), *want, "{name}: {}", json!(lines));
    }
}

/// The events of a gateway that ended, of this action and result.
fn at_the_end(gateway: &mut Gateway, action: &str, result: &str) -> Vec<Value> {
    gateway.signal(Signal::TERM);
    let ended = gateway.wait_exit(Duration::from_secs(20));
    assert!(ended.unwrap().success(), "{}", gateway.stderr());
    let lines = gateway.audit_lines().into_iter();
    lines
        .filter(|line| line["action"] == action && line["result"] == result)
        .collect()
}

/// How many of them were told of, together and by themselves.
fn told(events: &[Value]) -> u64 {
    let counts = events.iter().map(|event| &event["details"]["count"]);
    counts.map(|count| count.as_u64().unwrap_or(1)).sum()
}

// AUD-12 AUD-10
#[test]
fn uses_of_tokens_and_calls_are_told_of_as_the_settings_say() {
    for (setting, told_of) in [
        ("all", vec![1, 1, 1]),
        ("first", vec![1, 2]),
        ("off", vec![]),
    ] {
        let origin = Origin::start(answer);
        let mut gateway = models(&origin)
            .set("audit.access_success", setting)
            .set(
                "audit.proxy_request",
                if setting == "off" { "errors" } else { "all" },
            )
            .start();
        let good = bearer(&gateway.mint_token(&json!({})));
        for content in ["one", "do:500", "three"] {
            gateway.call(&chat(&good, content));
        }
        let used = at_the_end(&mut gateway, "token.access", "success");
        let counts = used.iter().map(|event| told(std::slice::from_ref(event)));
        assert_eq!(counts.collect::<Vec<_>>(), told_of, "{setting}: {used:?}");
        for event in &used {
            assert_eq!(event["class"], "access", "{event}");
            assert_eq!(event["actor_id"], event["details"]["token_ref"], "{event}");
            assert!(event["project_id"].is_string(), "{event}");
        }
        let lines = gateway.audit_lines();
        let calls = |result: &str| {
            let is = |line: &&Value| line["action"] == "proxy_request" && line["result"] == result;
            lines.iter().filter(is).count()
        };
        let served = if setting == "off" { 0 } else { 2 };
        assert_eq!((calls("success"), calls("error")), (served, 1), "{setting}");
    }
}

// AUD-12
#[test]
fn a_flood_of_refusals_leaves_few_events_that_count_it_exactly() {
    let (_origin, mut gateway, _) = served();
    let stranger = b"GET /plain HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    const FLOOD: u64 = 400;
    for _ in 0..FLOOD {
        assert_eq!(gateway.call(stranger).status, 421);
    }
    let events = at_the_end(&mut gateway, "request.rejected", "denied");
    assert_eq!(told(&events), FLOOD);
    let folded = events
        .iter()
        .filter(|event| event["details"]["count"].is_u64());
    let folded: Vec<_> = folded.collect();
    assert!(!folded.is_empty(), "{} events", events.len());
    for event in folded {
        assert_eq!(event["client_ip"], "127.0.0.1", "{event}");
        assert_eq!(event["reason"], events[0]["reason"], "{event}");
        assert!(event["request_id"].is_null(), "{event}");
    }
}

// AUD-31 AUD-30
#[test]
fn a_secret_that_was_found_is_known_again_by_its_fingerprint() {
    for (mask, shown) in [("partial", "no********89"), ("full", "********")] {
        let origin = Origin::start(answer);
        let gateway = models(&origin)
            .set("audit.unknown_token_mask", mask)
            .start();
        let token = gateway.mint_token(&json!({}));
        let strange = "not-a-token-of-ours-0123456789";
        gateway.call(&chat(&bearer(&token), "hi"));
        gateway.call(&chat(&bearer(strange), "hi"));
        let is = |action: &'static str, result: &'static str| {
            move |line: &Value| line["action"] == action && line["result"] == result
        };
        let of = |secret: &str| {
            // Beside the gateway, whose settings have secrets of an environment that this one has not.
            let beside = gateway.folder().join("beside.yaml");
            std::fs::write(beside, "# Nothing but the defaults.\n").unwrap();
            let arguments = ["audit", "fingerprint", "-", "--config", "beside.yaml"];
            let found = gateway.cli_with(&arguments, &format!("{secret}\n"));
            let problem = String::from_utf8_lossy(&found.stderr);
            assert!(found.status.success(), "{problem}");
            let told = String::from_utf8(found.stdout).unwrap();
            assert!(!told.contains(secret), "{told}");
            told.trim_end().to_owned()
        };
        for (action, result, secret) in [
            ("token.create", "success", &*token),
            ("token.access", "success", &*token),
            ("token.access", "failure", strange),
        ] {
            let event = gateway.audit_line(action, is(action, result));
            assert_eq!(event["details"]["fingerprint"], of(secret), "{event}");
            assert!(!event.to_string().contains(secret), "{event}");
        }
        let failed = gateway.audit_line("the failure", is("token.access", "failure"));
        assert_eq!(failed["details"]["token_id"], shown, "{failed}");
        assert_ne!(of(strange), of(&token));
    }
    let (_origin, gateway, _) = served();
    for (input, arguments) in [
        ("", &["audit", "fingerprint", "-"][..]),
        ("x", &["audit", "fingerprint", "tok-on-the-command-line"]),
    ] {
        let refused = gateway.cli_with(arguments, input);
        assert!(!refused.status.success() && refused.stdout.is_empty());
    }
}

// AUD-10
#[test]
fn whoever_shows_a_management_key_is_told_of_and_what_is_wrong_is_shown_masked() {
    let (_origin, gateway, token) = served();
    for _ in 0..3 {
        assert_eq!(gateway.api("GET", "/api/v1/projects", None).0, 200);
    }
    let host = gateway.management();
    let request = format!(
        "GET /api/v1/status HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer mgt-0123456789abcdef\r\n\r\n"
    );
    let answer = tollkeep_testkit::Client::connect(host).call(request.as_bytes());
    assert_eq!(answer.status, 401);
    let of = |result: &'static str| {
        move |line: &Value| line["action"] == "management.auth" && line["result"] == result
    };
    let failed = gateway.audit_line("the failure", of("failure"));
    assert_eq!(
        failed["details"]["token_id"], "mgt-0123****cdef",
        "{failed}"
    );
    let print = failed["details"]["fingerprint"].as_str().unwrap();
    assert!(print.starts_with("fp_") && print.len() == 19, "{print}");
    let lines = gateway.audit_lines();
    assert_eq!(lines.iter().filter(|line| of("success")(line)).count(), 1);
    // A holder who looks at its token uses it, and says so in a word of its own.
    gateway.call(&get("/.well-known/tollkeep/token", &bearer(&token)));
    let looked = |line: &Value| line["action"] == "token.validate";
    let event = gateway.audit_line("the look", looked);
    assert_eq!(
        (&event["result"], &event["class"]),
        (&json!("success"), &json!("access"))
    );
    gateway.call(&get("/.well-known/tollkeep/token", &bearer("tok-wrong")));
    let event = gateway.audit_line("the failed look", |line: &Value| {
        looked(line) && line["result"] == "failure"
    });
    assert_eq!(event["class"], "security", "{event}");
}

// AUD-10
#[test]
fn a_life_of_the_process_is_told_from_its_start_to_its_end() {
    let (_origin, mut gateway, _) = served();
    let closed = at_the_end(&mut gateway, "audit.close", "success");
    assert_eq!(closed.len(), 1);
    let lines = gateway.audit_lines();
    let at = |action: &str| {
        let mut places = lines.iter().enumerate();
        let found = places.find(|(_, line)| line["action"] == action);
        found.unwrap_or_else(|| panic!("no {action}")).0
    };
    let life = [
        "audit.open",
        "config.load",
        "system.start",
        "system.drain",
        "system.stop",
        "audit.close",
    ];
    assert!(life.map(at).is_sorted(), "{:?}", life.map(at));
    let version = &lines[at("system.start")]["details"]["version"];
    assert!(version.is_string());
}
