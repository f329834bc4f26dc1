//! Authorities and revocations that change while the gateway serves.

use crate::fixture::{before, free, gateway as gateway_of, head};
use crate::mtls_fixture::{Authority, Believed, status, status_of};
use crate::tls_fixture::{Kind, carried, shake};
use rcgen::date_time_ymd;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tollkeep_testkit::{Gateway, MANAGEMENT_KEY, Origin, PATIENCE, eventually};

fn reload_tls(gateway: &Gateway) {
    let (code, told) = gateway.api("POST", "/api/v1/tls/reload", Some(&json!({})));
    assert_eq!(code, 200, "{told}");
}

// EDGE-12 EDGE-15
#[test]
fn other_authorities_hold_for_new_connections_and_open_ones_stay() {
    let (old, new) = (Authority::root("Old"), Authority::root("New"));
    let believed = Believed::new(&[&old]);
    let origin = Origin::plain();
    let gateway = believed.gateway(&origin, "required", "").start();
    let (of_old, of_new) = (old.client("a"), new.client("b"));
    let ask = |who| status(believed.caller(Some(who)), gateway.data(), "/x");
    let mut kept = believed
        .caller(Some(&of_old))
        .connect(gateway.data(), "a.test");
    assert_eq!(kept.call(&head("GET /x", "")).status, 200);
    assert!(ask(&of_new).is_err());
    // By the watch of files.
    believed.believe(&[&new]);
    eventually("the new authority is believed", || {
        (ask(&of_new) == Ok(200)).then_some(())
    });
    assert!(ask(&of_old).is_err());
    assert_eq!(
        kept.call(&head("GET /x", "")).status,
        200,
        "an open one goes on"
    );

    std::fs::write(&believed.ca_file, of_old.cert_pem.as_bytes()).unwrap();
    let told = gateway.audit_line("a reject", |line| line["action"] == "config.reject");
    assert!(
        told.to_string()
            .contains("clients.pem: the certificate of CN=a is no authority")
    );
    assert!(
        ask(&of_new) == Ok(200) && ask(&of_old).is_err(),
        "the last good one holds"
    );
    let refused = gateway.cli(&["tls", "reload"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    believed.believe(&[&new, &old]);
    let done = gateway.cli(&["tls", "reload", "--json"]);
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("server.tls.client_ca"));
    assert!(ask(&of_new) == Ok(200) && ask(&of_old) == Ok(200));
}

// EDGE-12 EDGE-15
#[test]
fn who_is_revoked_opens_no_further_connection() {
    let root = Authority::root("Clients");
    let believed = Believed::new(&[&root]);
    believed.revoke(&[root.list(&[])]);
    let origin = Origin::plain();
    let gateway = believed.gateway(&origin, "optional", "").start();
    let (lost, fine) = (root.client("lost"), root.client("fine"));
    // With what they remember of earlier connections.
    let configs = [&lost, &fine].map(|who| Arc::new(believed.caller(Some(who)).config));
    let ask = || {
        configs
            .each_ref()
            .map(|config| status_of(config, gateway.data(), "/x", ""))
    };
    assert_eq!(ask(), [Ok(200), Ok(200)]);
    believed.revoke(&[root.list(&[&lost])]);
    reload_tls(&gateway);
    let [told, others] = ask();
    assert!(told.is_err(), "{told:?}");
    assert_eq!(others, Ok(200));
    // A list that is worse than none changes nothing.
    believed.revoke(&[Authority::root("Clients").list(&[])]);
    let (code, told) = gateway.api("POST", "/api/v1/tls/reload", Some(&json!({})));
    assert_eq!(code, 422, "{told}");
    assert!(
        told.to_string()
            .contains("revoked.pem: the revocation list of CN=Clients"),
        "{told}"
    );
    assert!(ask()[0].is_err());
}

/// How the handshake of a further connection goes, which then asks for `/x`.
fn again(config: &Arc<ClientConfig>, addr: SocketAddr) -> Result<HandshakeKind, String> {
    let (socket, session) = shake(config, addr, "a.test")?;
    let kind = session.handshake_kind().unwrap();
    let mut client = carried(socket, session);
    client.send(&head("GET /x", ""));
    match client.answer(PATIENCE) {
        Ok(answer) if answer.status == 200 => Ok(kind),
        other => Err(format!("{kind:?}: {other:?}")),
    }
}

// EDGE-10 EDGE-15
#[test]
fn no_ticket_passes_by_the_check_of_a_certificate() {
    let (old, new) = (Authority::root("Old"), Authority::root("New"));
    let believed = Believed::new(&[&old]);
    let origin = Origin::plain();
    let gateway = believed.gateway(&origin, "\"off\"", "").start();
    let configure = |need: &str| {
        gateway.configure(believed.config(&origin, need, ""));
        let (code, told) = gateway.api("POST", "/api/v1/config/reload", Some(&json!({})));
        assert_eq!(code, 200, "{told}");
    };
    let of_old = old.client("a");
    for version in [&TLS12, &TLS13] {
        believed.believe(&[&old]);
        configure("\"off\"");
        let config = |identity| {
            let caller = believed.certificates.caller().only(version);
            Arc::new(crate::mtls_fixture::shown_by(caller, identity).config)
        };
        let (nobody, somebody) = (config(None), config(Some(&of_old)));
        let ask = |config| again(config, gateway.data());
        for config in [&nobody, &somebody] {
            assert_eq!(ask(config), Ok(HandshakeKind::Full), "{version:?}");
            assert_eq!(ask(config), Ok(HandshakeKind::Resumed), "{version:?}");
        }
        // They hold tickets of the time when nobody was asked.
        configure("required");
        let told = ask(&nobody);
        assert!(told.is_err(), "{version:?}: {told:?}");
        for _ in 0..2 {
            assert_eq!(ask(&somebody), Ok(HandshakeKind::Full), "{version:?}");
        }
        configure("optional");
        for config in [&nobody, &somebody] {
            assert_eq!(ask(config), Ok(HandshakeKind::Full), "{version:?}");
            assert_eq!(ask(config), Ok(HandshakeKind::Full), "{version:?}");
        }
        believed.believe(&[&new]);
        reload_tls(&gateway);
        let told = ask(&somebody);
        assert!(told.is_err(), "{version:?}: {told:?}");
        assert_eq!(ask(&nobody), Ok(HandshakeKind::Full), "{version:?}");
    }
}

// EDGE-12 EDGE-15 EDGE-126
#[test]
fn a_door_does_not_open_for_who_was_revoked_on_an_open_connection() {
    let root = Authority::root("Clients");
    let believed = Believed::new(&[&root]);
    believed.revoke(&[root.list(&[])]);
    let origin = Origin::plain();
    let door = "front_door: { mtls: { subjects: [\"CN=lost\", \"CN=fine\"] } }";
    let tls = believed.tls("optional");
    let config = format!(
        "server: {{ {tls}, {door} }}\nmanagement: {{ {tls}, {door} }}\n{}",
        before(&origin, &free("GET /x"))
    );
    let gateway = gateway_of(config).start();
    let reload = || {
        let done = gateway.cli(&["tls", "reload"]);
        assert!(done.status.success(), "{done:?}");
    };
    let (lost, fine) = (root.client("lost"), root.client("fine"));
    let key = format!("Authorization: Bearer {MANAGEMENT_KEY}\r\n");
    let planes = [
        (gateway.data(), head("GET /x", "")),
        (gateway.management(), head("GET /api/v1/whoami", &key)),
    ];
    let mut kept: Vec<_> = planes
        .iter()
        .flat_map(|(addr, request)| {
            [(&lost, 403), (&fine, 200)].map(|(who, then)| {
                let client = believed.caller(Some(who)).connect(*addr, "a.test");
                (client, request, then)
            })
        })
        .collect();
    for (client, request, _) in &mut kept {
        assert_eq!(client.call(request).status, 200);
    }
    reload();
    for (client, request, _) in &mut kept {
        assert_eq!(client.call(request).status, 200, "nothing has changed");
    }
    believed.revoke(&[root.list(&[&lost])]);
    reload();
    for (client, request, then) in &mut kept {
        assert_eq!(client.call(request).status, *then);
    }
}

// EDGE-15 EDGE-53
#[test]
fn connections_of_operators_and_of_who_scrapes_end_of_age() {
    let root = Authority::root("Operators");
    let believed = Believed::new(&[&root]);
    let me = root.client("me");
    let tls = believed.tls("required");
    let gateway = gateway_of(format!("management: {{ {tls} }}\nmetrics: {{ {tls} }}\n"))
        .set("server.timeouts.connection_age_max_ms", "700")
        .start();
    let key = format!("Authorization: Bearer {MANAGEMENT_KEY}\r\n");
    for (addr, path) in [
        (gateway.management(), "/api/v1/whoami"),
        (gateway.metrics(), "/metrics"),
    ] {
        let mut idle = believed.caller(Some(&me)).connect(addr, "a.test");
        assert_eq!(idle.call(&head(&format!("GET {path}"), &key)).status, 200);
        let mut unused = believed.caller(Some(&me)).connect(addr, "a.test");
        assert!(idle.closed_within(PATIENCE), "{path}");
        assert!(unused.closed_within(PATIENCE), "{path}, never asked");
    }
}

// EDGE-12 EDGE-15
#[test]
fn what_expired_while_it_was_served_keeps_out_no_revocation() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let last = now.as_secs() + 5;
    let end = date_time_ymd(1970, 1, 1) + Duration::from_secs(last);
    let root = Authority::root("Clients");
    let short = Authority::root_with("Short", |params| params.not_after = end);
    let believed = Believed::new(&[&root, &short]);
    believed.revoke(&[root.list(&[]), short.list(&[])]);
    let origin = Origin::plain();
    let own = &believed.certificates;
    let other = own.pair_with("other", Kind::Ecdsa, &["b.test"], |params| {
        params.not_after = end;
    });
    let certificates = format!("enabled: true, certificates: [{{ {} }}]", other.yaml());
    let config = believed.config(&origin, "required", "");
    let config = config.replacen("enabled: true", &certificates, 1);
    let gateway = gateway_of(&config).start();
    let (lost, fine, of_short) = (root.client("l"), root.client("f"), short.client("s"));
    let ask = |who| status(believed.caller(Some(who)), gateway.data(), "/x");
    assert_eq!(
        [&lost, &fine, &of_short].map(ask),
        [Ok(200), Ok(200), Ok(200)]
    );
    eventually("both have expired", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        (now.as_secs() > last).then_some(())
    });
    believed.revoke(&[root.list(&[&lost]), short.list(&[])]);
    reload_tls(&gateway);
    assert_eq!(ask(&fine), Ok(200));
    assert!(ask(&lost).is_err(), "the new list holds");
    assert!(ask(&of_short).is_err(), "it is believed no more");
    // One that was not served before is a fault as ever, and so are both at a start.
    let late = own.pair_with("other", Kind::Ecdsa, &["b.test"], |params| {
        params.not_after = date_time_ymd(2002, 1, 1);
        params.not_before = date_time_ymd(2001, 1, 1);
    });
    let (code, told) = gateway.api("POST", "/api/v1/tls/reload", Some(&json!({})));
    assert_eq!(code, 422, "{told}");
    let path = late.cert.display().to_string();
    assert!(
        told.to_string()
            .contains(&format!("{path}: the certificate expired")),
        "{told}"
    );
    let refused = gateway_of(&config).try_start().err().unwrap();
    assert!(
        refused.stderr.contains("the authority CN=Short expired"),
        "{}",
        refused.stderr
    );
}
