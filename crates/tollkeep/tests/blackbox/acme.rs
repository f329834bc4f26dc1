//! Certificates that are ordered: the first, the next, and none in place of a good one.

use crate::acme_fixture::{DAY, World, again, checked, degraded, failed, files, orders};
use crate::fixture::{before, free, gateway, head};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tollkeep_testkit::{Client, Gateway, Signal, eventually};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

// EDGE-14
#[test]
fn the_first_certificate_is_ordered_and_served_without_a_restart() {
    let world = World::new(90 * DAY);
    let gate = world.hold("new-order");
    let config = world.config("a.example, b.example");
    let config = config.replace(
        "terms_agreed: true",
        "terms_agreed: true, email: \"ops@a.example\"",
    );
    let gateway = gateway(config).start();
    world.lead_to(&gateway);
    eventually("the order", || {
        (world.authority.asked("new-order") == 1).then_some(())
    });
    // It listens, and a handshake ends with an alert.
    for name in ["a.example", "other.example"] {
        let refused = world.served(&gateway, name).unwrap_err();
        assert!(refused.contains("UnrecognisedName"), "{refused}");
    }
    let nameless = world.served(&gateway, "127.0.0.1").unwrap_err();
    assert!(nameless.contains("alert"), "{nameless}");
    eventually("the reason", || {
        degraded(&gateway)
            .contains(&"no_certificate".to_owned())
            .then_some(())
    });
    let (code, told) = checked(&gateway);
    assert_eq!(
        (code, &told["not_after"]),
        (Some(8), &Value::Null),
        "{told}"
    );
    gate.open();
    let first = world.wait_served(&gateway, "a.example");
    assert_eq!(world.served(&gateway, "b.example"), Ok(first));
    let refused = world.served(&gateway, "other.example").unwrap_err();
    assert!(refused.contains("UnrecognisedName"), "{refused}");
    let mut client = world
        .caller()
        .alpn(&["http/1.1"])
        .connect(gateway.data(), "a.example");
    assert_eq!(
        client
            .call(b"GET /x HTTP/1.1\r\nhost: a.example\r\n\r\n")
            .status,
        200
    );
    eventually("no reason", || degraded(&gateway).is_empty().then_some(()));
    assert_eq!(world.authority.problems(), Vec::<String>::new());
    assert_eq!(world.authority.orders(), [["a.example", "b.example"]]);
    let accounts = world.authority.accounts();
    assert_eq!(accounts.len(), 1);
    assert_eq!(accounts[0]["contact"], json!(["mailto:ops@a.example"]));
    let line = eventually("its record", || orders(&gateway).into_iter().next());
    assert_eq!(
        (&line["result"], &line["details"]["name"]),
        (&json!("success"), &json!("server.tls")),
        "{line}"
    );
    let gauge = "tollkeep_certificate_expiry_timestamp_seconds{name=\"server.tls\"}";
    eventually("its end", || {
        gateway.metrics_text().contains(gauge).then_some(())
    });
    let (code, told) = checked(&gateway);
    assert_eq!((code, &told["failures"]), (Some(0), &json!(0)), "{told}");
    assert!(
        told["next_order"].as_str().unwrap().starts_with("20"),
        "{told}"
    );
    assert_private(&world, &gateway);
}

/// Account, certificate and what became of orders are their owner's alone; challenges are gone.
fn assert_private(world: &World, gateway: &Gateway) {
    assert_eq!(mode(&world.cache()), 0o700);
    let kept = files(&world.cache(), "");
    assert!(kept.iter().all(|path| mode(path) == 0o600), "{kept:?}");
    assert!(files(&world.cache(), ".challenges").is_empty());
    assert_eq!(files(&world.cache(), ".pem"), [world.kept()]);
    let key = fs::read_to_string(world.kept()).unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
    let key = key.lines().nth(1).unwrap();
    for said in [gateway.stderr(), gateway.metrics_text()] {
        assert!(!said.contains(key));
    }
}

// EDGE-14
#[test]
fn a_restart_uses_what_is_kept() {
    let world = World::new(90 * DAY);
    let gateway = world.start("a.example");
    let first = world.wait_served(&gateway, "a.example");
    let gateway = gateway.restart().unwrap();
    assert_eq!(
        world.served(&gateway, "a.example"),
        Ok(first),
        "from the first handshake on"
    );
    again(&gateway);
    assert_eq!(world.authority.orders().len(), 1);
    assert_eq!(degraded(&gateway), Vec::<String>::new());
}

// EDGE-14
#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_connections_stay() {
    let world = World::new(Duration::from_secs(12));
    let gateway = world.start("a.example");
    let first = world.wait_served(&gateway, "a.example");
    let mut client = world
        .caller()
        .alpn(&["http/1.1"])
        .connect(gateway.data(), "a.example");
    let request = b"GET /x HTTP/1.1\r\nhost: a.example\r\n\r\n";
    assert_eq!(client.call(request).status, 200);
    let second = eventually("another certificate", || {
        // On a machine with much else to do the first may be over before.
        let served = world.served(&gateway, "a.example").ok();
        served.filter(|served| *served != first)
    });
    assert_eq!(
        client.call(request).status,
        200,
        "it was opened with the first"
    );
    assert!(world.authority.issued() >= 2 && second != first);
    assert_eq!(world.authority.accounts().len(), 1);
    assert_eq!(world.authority.problems(), Vec::<String>::new());
}

// EDGE-14
#[test]
fn the_authority_may_suggest_to_renew_early() {
    let world = World::new(90 * DAY);
    world
        .authority
        .suggest("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
    let gateway = world.start("a.example");
    world.authority.wait_for_issued(1);
    eventually("the second order", || {
        (world.authority.orders().len() == 2).then_some(())
    });
    world
        .authority
        .suggest("2099-01-01T00:00:00Z", "2099-01-02T00:00:00Z");
    let replaced = world.authority.replaced();
    assert!(
        replaced[0].is_none() && replaced[1].is_some(),
        "{replaced:?}"
    );
    world.authority.wait_for_issued(2);
    assert!(world.served(&gateway, "a.example").is_ok());
    assert_eq!(world.authority.problems(), Vec::<String>::new());
}

// EDGE-14
#[test]
fn names_come_and_go_with_the_settings() {
    let world = World::new(90 * DAY);
    let gateway = world.start("a.example");
    let first = world.wait_served(&gateway, "a.example");
    let gate = world.hold("new-order");
    gateway.configure(world.config("a.example, b.example"));
    eventually("the order", || {
        (world.authority.asked("new-order") == 2).then_some(())
    });
    assert_eq!(
        world.served(&gateway, "a.example"),
        Ok(first),
        "until the new one is there"
    );
    assert!(world.served(&gateway, "b.example").is_err());
    gate.open();
    let both = world.wait_served(&gateway, "b.example");
    assert_eq!(world.served(&gateway, "a.example"), Ok(both.clone()));
    let gate = world.hold("new-order");
    gateway.configure(world.config("b.example"));
    eventually("a third order", || {
        (world.authority.asked("new-order") == 3).then_some(())
    });
    assert_eq!(world.served(&gateway, "b.example"), Ok(both.clone()));
    let refused = world.served(&gateway, "a.example").unwrap_err();
    assert!(refused.contains("UnrecognisedName"), "{refused}");
    gate.open();
    eventually("its own", || {
        (world.served(&gateway, "b.example") != Ok(both.clone())).then_some(())
    });
    // Back to names that were there: what is kept for them is used, nothing is ordered.
    gateway.configure(world.config("a.example, b.example"));
    eventually("the one for both", || {
        (world.served(&gateway, "a.example") == Ok(both.clone())).then_some(())
    });
    assert_eq!(world.authority.orders().len(), 3);
}

// EDGE-14
#[test]
fn a_damaged_folder_is_told_and_ordered_anew() {
    let world = World::new(90 * DAY);
    let mut gateway = world.start("a.example");
    let first = world.wait_served(&gateway, "a.example");
    gateway.kill();
    for path in files(&world.cache(), "") {
        fs::write(path, "{ damaged").unwrap();
    }
    let gateway = gateway.restart().unwrap();
    world.lead_to(&gateway);
    let second = world.wait_served(&gateway, "a.example");
    assert_ne!(second, first);
    assert_eq!(world.authority.accounts().len(), 2);
    let said = gateway.stderr();
    for words in ["holds no certificate in PEM", "is damaged", "is put aside"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

// EDGE-14
#[test]
fn a_folder_that_cannot_be_used_is_told_at_the_start() {
    let world = World::new(90 * DAY);
    fs::write(world.cache(), "a file").unwrap();
    let refused = world.builder("a.example").try_start().err().unwrap();
    assert_eq!(refused.code, Some(3));
    assert!(
        refused.stderr.contains("server.tls.acme.cache_dir"),
        "{}",
        refused.stderr
    );
}

// EDGE-14
#[test]
fn two_who_share_the_folder_make_one_order_and_either_answers() {
    let world = World::new(90 * DAY);
    let gate = world.hold("new-order");
    let one = world.builder("a.example").start();
    eventually("the order", || {
        (world.authority.asked("new-order") == 1).then_some(())
    });
    let two = world.builder("a.example").start();
    eventually("it looks too", || {
        degraded(&two)
            .contains(&"no_certificate".to_owned())
            .then_some(())
    });
    // The authority asks the one that did not order.
    world.lead_to(&two);
    gate.open();
    let served = world.wait_served(&one, "a.example");
    assert_eq!(world.wait_served(&two, "a.example"), served);
    eventually("no reason", || {
        (degraded(&one).is_empty() && degraded(&two).is_empty()).then_some(())
    });
    assert_eq!(
        (
            world.authority.orders().len(),
            world.authority.accounts().len()
        ),
        (1, 1)
    );
    assert_eq!(orders(&two), Vec::<Value>::new());
    assert_eq!(world.authority.problems(), Vec::<String>::new());
}

// EDGE-14
#[test]
fn who_is_killed_in_the_middle_leaves_nothing_that_stays_in_the_way() {
    let world = World::new(90 * DAY);
    let gate = world.hold("finalize");
    let mut gateway = world.start("a.example");
    eventually("the middle", || {
        (world.authority.asked("finalize") == 1).then_some(())
    });
    gateway.kill();
    gate.open();
    let gateway = gateway.restart().unwrap();
    world.lead_to(&gateway);
    // Its lease ends by time; then another order is made, by the account that there is.
    let served = tollkeep_testkit::wait_until(Duration::from_secs(40), || {
        world.served(&gateway, "a.example").ok()
    });
    assert!(served.is_some());
    assert_eq!(
        (
            world.authority.orders().len(),
            world.authority.accounts().len()
        ),
        (2, 1)
    );
    assert!(files(&world.cache(), ".challenges").is_empty());
}

// EDGE-14
#[test]
fn a_stop_in_the_middle_of_an_order_is_clean() {
    let world = World::new(90 * DAY);
    let gate = world.hold("finalize");
    let mut gateway = world.start("a.example");
    eventually("the middle", || {
        (world.authority.asked("finalize") == 1).then_some(())
    });
    gateway.signal(Signal::TERM);
    let status = gateway.wait_exit(Duration::from_secs(20)).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
    gate.open();
}

// EDGE-14
#[test]
fn nothing_is_served_to_who_asks_for_proof_and_nobody_is_proven_to_without_an_order() {
    let world = World::new(90 * DAY);
    let gateway = world.start("a.example");
    world.wait_served(&gateway, "a.example");
    let open = |protocols: &[&str], name| {
        let opened = world
            .caller()
            .trusting_all()
            .alpn(protocols)
            .open(gateway.data(), name);
        opened.map(|(_, session)| session.alpn_protocol().map(<[u8]>::to_vec))
    };
    let refused = open(&["acme-tls/1"], "a.example").unwrap_err();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    let refused = open(&["acme-tls/1"], "other.example").unwrap_err();
    assert!(refused.contains("UnrecognisedName"), "{refused}");
    let both = open(&["acme-tls/1", "http/1.1"], "a.example").unwrap();
    assert_eq!(both, Some(b"http/1.1".to_vec()));
}

// EDGE-14
#[test]
fn questions_in_clear_text_are_answered_on_the_data_listener_while_they_are_open() {
    let world = World::new(90 * DAY);
    let by_http = world.acme("manage.example", ", challenge: http-01");
    let config = format!(
        "management: {{ allowed_hosts: [manage.example], tls: {{ enabled: true, {by_http} }} }}\n{}",
        before(&world.origin, &free("GET /x"))
    );
    let gate = world.hold("finalize");
    let gateway = gateway(config).start();
    world.lead_to(&gateway);
    eventually("the middle", || {
        (world.authority.asked("finalize") == 1).then_some(())
    });
    let token = world.authority.tokens()[0].clone();
    let ask = |method: &str, host: &str, path: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        Client::connect(gateway.data()).call(request.as_bytes())
    };
    let path = format!("/.well-known/acme-challenge/{token}");
    let told = ask("GET", "manage.example", &path);
    assert_eq!(told.status, 200);
    assert!(
        told.text().starts_with(&format!("{token}.")),
        "{}",
        told.text()
    );
    for (method, host, path, status) in [
        ("GET", "127.0.0.1", path.as_str(), 404),
        ("GET", "other.example", &path, 421),
        ("POST", "127.0.0.1", &path, 404),
        ("GET", "127.0.0.1", "/.well-known/acme-challenge/other", 404),
        ("GET", "127.0.0.1", "/.well-known/acme-challenge/", 404),
        ("GET", "127.0.0.1", &format!("{path}/"), 404),
        ("GET", "127.0.0.1", &format!("{path}?a"), 404),
    ] {
        assert_eq!(
            ask(method, host, path).status,
            status,
            "{method} {host} {path}"
        );
    }
    gate.open();
    world.authority.wait_for_issued(1);
    eventually("closed again", || {
        (ask("GET", "manage.example", &path).status == 421).then_some(())
    });
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls_pki_types::CertificateDer::from(
            world.authority.root(),
        ))
        .unwrap();
    let caller = || crate::tls_fixture::Caller::with(roots.clone());
    let opened = eventually("its certificate", || {
        caller().open(gateway.management(), "manage.example").ok()
    });
    drop(opened);
    assert_eq!(world.authority.problems(), Vec::<String>::new());
    assert_eq!(gateway.call(&head("GET /x", "")).status, 200);
}

// EDGE-14
#[test]
fn the_listener_that_leads_to_tls_answers_questions_in_clear_text() {
    let world = World::new(90 * DAY);
    let by_http = world.acme("a.example", ", challenge: http-01");
    let config = format!(
        "server: {{ listen: [{{ port: 0 }}, {{ port: 0, redirect_http: true }}], \
         allowed_hosts: [a.example], tls: {{ enabled: true, {by_http} }} }}\n{}",
        before(&world.origin, &free("GET /x"))
    );
    let gateway = gateway(config).in_file("server.port").start();
    let away = gateway.listen()[1];
    world.authority.lead_to(1, away.port());
    world.wait_served(&gateway, "a.example");
    let path = format!(
        "/.well-known/acme-challenge/{}",
        world.authority.tokens()[0]
    );
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n");
    eventually("led away again", || {
        let answer = Client::connect(away).call(request.as_bytes());
        (answer.status == 308).then_some(())
    });
    assert_eq!(world.authority.problems(), Vec::<String>::new());
}

// EDGE-14
#[test]
fn management_and_metrics_prove_and_share_what_the_data_listener_orders() {
    let world = World::new(90 * DAY);
    let acme = world.acme("all.example", "");
    let section = format!("allowed_hosts: [all.example], tls: {{ enabled: true, {acme} }}");
    let config = format!(
        "server: {{ {section} }}\nmanagement: {{ {section} }}\nmetrics: {{ {section} }}\n{}",
        before(&world.origin, &free("GET /x"))
    );
    let gateway = gateway(config).start();
    // The authority comes to the management listener.
    world.authority.lead_to(gateway.management().port(), 1);
    let all = [gateway.data(), gateway.management(), gateway.metrics()];
    for addr in all {
        eventually("its certificate", || {
            world.caller().open(addr, "all.example").ok()
        });
    }
    assert_eq!(world.authority.orders().len(), 1);
    assert_eq!(world.authority.problems(), Vec::<String>::new());
    let request = b"GET /metrics HTTP/1.1\r\nhost: all.example\r\nconnection: close\r\n\r\n";
    let scrape = || {
        let mut client = world.caller().connect(gateway.metrics(), "all.example");
        client.call(request).text()
    };
    for name in ["server.tls", "management.tls", "metrics.tls"] {
        let told = || scrape().contains(&format!("{{name=\"{name}\"}}"));
        eventually("its end", || told().then_some(()));
    }
}

// EDGE-14 EDGE-90
#[test]
fn an_authority_in_a_private_network_is_called_only_where_that_is_allowed() {
    let world = World::new(90 * DAY);
    let config = world
        .config("a.example")
        .replace("allow_private: [\"127.0.0.1/32\"], ", "");
    let refused = gateway(config).try_start();
    match refused {
        Err(refused) => {
            assert_eq!(refused.code, Some(3));
            assert!(
                refused.stderr.contains("server.tls.acme.directory"),
                "{}",
                refused.stderr
            );
        }
        Ok(gateway) => {
            let why = failed(&gateway, 1);
            assert!(why.contains("egress refused"), "{why}");
        }
    }
    assert_eq!(world.authority.asked("directory"), 0);
}
