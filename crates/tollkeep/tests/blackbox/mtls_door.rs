//! The certificate of a client as a factor of the front door, and in records.

use crate::fixture::{gateway, head};
use crate::mtls_fixture::{Authority, Believed, Identity, status, status_of};
use rcgen::{DnType, SanType};
use rustls_pki_types::ServerName;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tollkeep_testkit::{Client, Http2Client, MANAGEMENT_KEY, Origin, eventually};

fn named(root: &Authority, name: &str) -> Identity {
    root.client_with(name, |params| {
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example");
        let spiffe = format!("spiffe://example.com/{name}");
        params.subject_alt_names = vec![
            SanType::URI(spiffe.try_into().unwrap()),
            SanType::Rfc822Name("someone@example.com".try_into().unwrap()),
        ];
    })
}

// EDGE-15 EDGE-126
#[test]
fn subjects_names_and_fingerprints_open_the_callers_door() {
    let root = Authority::root("Clients");
    let believed = Believed::new(&[&root]);
    let (ci, other) = (named(&root, "ci"), named(&root, "other"));
    let origin = Origin::plain();
    let door = |mtls: &str| format!(", front_door: {{ exempt: [/live], mtls: {{ {mtls} }} }}");
    let colons = ci.fingerprint();
    let gateway = believed
        .gateway(&origin, "optional", &door("subjects: [\"CN=none\"]"))
        .start();
    let mut kept = believed.caller(Some(&ci)).connect(gateway.data(), "a.test");
    for (mtls, opens) in [
        ("subjects: [\"O=Example,CN=ci\"]".to_owned(), true),
        ("subjects: [\"CN=ci,O=Example\"]".to_owned(), false),
        ("subjects: [\"CN=ci\"]".to_owned(), false),
        (
            "subjects: [\"CN=x\", \"URI:spiffe://example.com/ci\"]".to_owned(),
            true,
        ),
        (format!("sha256: [\"{}\"]", ci.sha256()), true),
        (
            format!("sha256: [\"{colons}\"], subjects: [\"CN=x\"]"),
            true,
        ),
        (format!("sha256: [\"{}\"]", "0".repeat(64)), false),
    ] {
        gateway.configure(believed.config(&origin, "optional", &door(&mtls)));
        let (code, told) = gateway.api("POST", "/api/v1/config/reload", Some(&json!({})));
        assert_eq!(code, 200, "{told}");
        let want = if opens { 200 } else { 403 };
        assert_eq!(
            kept.call(&head("GET /x", "")).status,
            want,
            "{mtls}, an open connection"
        );
        let ask = |who, path| status(believed.caller(who), gateway.data(), path);
        assert_eq!(ask(Some(&ci), "/x"), Ok(want), "{mtls}");
        assert_eq!(ask(Some(&other), "/x"), Ok(403), "{mtls}, another's");
        assert_eq!(ask(None, "/x"), Ok(403), "{mtls}, without one");
        assert_eq!(ask(None, "/live"), Ok(200), "{mtls}, beside the door");
        assert_eq!(ask(None, "/health"), Ok(403), "{mtls}, a probe");
    }
}

// EDGE-15 EDGE-125 EDGE-126
#[test]
fn what_fields_say_of_a_certificate_is_no_certificate() {
    let root = Authority::root("Clients");
    let believed = Believed::new(&[&root]);
    let ci = root.client("ci");
    let origin = Origin::plain();
    let door = format!(
        ", front_door: {{ require: all, service_token: {{}}, mtls: {{ subjects: [\"CN=ci\"], \
         sha256: [\"{}\"] }} }}",
        ci.sha256()
    );
    let gateway = believed.gateway(&origin, "optional", &door).start();
    let (code, made) = gateway.api("POST", "/api/v1/service-tokens", Some(&json!({})));
    assert_eq!(code, 201, "{made}");
    let token = format!(
        "CF-Access-Client-Id: {}\r\nCF-Access-Client-Secret: {}\r\n",
        made["id"].as_str().unwrap(),
        made["secret"].as_str().unwrap()
    );
    let pem = ci.cert_pem.replace('\n', "%0A");
    let der = ci
        .cert_pem
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect::<String>();
    let forged = [
        format!("X-Client-Cert: {pem}"),
        format!("X-SSL-Client-Cert: {pem}\r\nX-SSL-Client-Verify: SUCCESS"),
        format!(
            "X-Forwarded-Client-Cert: Hash={};Subject=\"CN=ci\"",
            ci.sha256()
        ),
        format!("X-Forwarded-Tls-Client-Cert: {der}"),
        format!("Client-Cert: :{der}:"),
        "X-Client-Subject: CN=ci\r\nX-Client-DN: CN=ci\r\nX-SSL-Client-S-DN: CN=ci".to_owned(),
        "CF-Client-Cert-Sha256: x\r\nTls-Client-Auth: verified".to_owned(),
    ];
    let ask = |who, lines: &str| {
        let config = Arc::new(believed.caller(who).config);
        status_of(&config, gateway.data(), "/x", lines)
    };
    for lines in forged {
        let lines = format!("{token}{lines}\r\n");
        assert_eq!(ask(None, &lines), Ok(403), "{lines}");
    }
    assert_eq!(ask(None, &token), Ok(403), "one of two");
    assert_eq!(ask(Some(&ci), ""), Ok(403), "the other");
    assert_eq!(origin.count(), 0);
    let told = "Client-Cert: :MIIB:\r\nX-SSL-Client-Verify: SUCCESS\r\nX-Client-Cert: x\r\n";
    assert_eq!(ask(Some(&ci), &format!("{token}{told}")), Ok(200));
    // An upstream that believes such fields must not hear of them from a caller.
    let got = origin.last();
    for name in ["client-cert", "x-ssl-client-verify", "x-client-cert"] {
        assert_eq!(got.field(name), None, "{name}");
    }
}

// EDGE-15
#[test]
fn calls_are_recorded_with_the_certificate_of_their_connection() {
    let root = Authority::root("Clients");
    let believed = Believed::new(&[&root]);
    let ci = named(&root, "ci");
    let origin = Origin::plain();
    let gateway = believed.gateway(&origin, "optional", "").start();
    let call = |who, agent: &str| {
        let config = Arc::new(believed.caller(who).config);
        let agent = format!("User-Agent: {agent}\r\n");
        assert_eq!(status_of(&config, gateway.data(), "/x", &agent), Ok(200));
    };
    call(Some(&ci), "one");
    call(None, "two");
    let connector = believed.caller(Some(&ci)).alpn(&["h2"]).config;
    let connector = TlsConnector::from(Arc::new(connector));
    let mut client = Http2Client::over(gateway.data(), 65_535, |socket| async move {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        connector.connect(name, socket).await.unwrap()
    });
    let request = client.request("GET", "/x", &[("user-agent", "three")]);
    let answers = client.call_all(&[(request, b"")]);
    assert_eq!(answers[0].as_ref().unwrap().status, 200);
    let details = |agent: &str| {
        let event = gateway.audit_line(agent, |line| {
            line["action"] == "proxy_request" && line["details"]["user_agent"] == agent
        });
        event["details"].clone()
    };
    for agent in ["one", "three"] {
        let details = details(agent);
        assert_eq!(details["certificate_sha256"], *ci.sha256(), "{details}");
        assert_eq!(details["certificate_subject"], "O=Example,CN=ci");
        let names = "URI:spiffe://example.com/ci,email:********";
        assert_eq!(
            details["certificate_names"], names,
            "no mail address is kept"
        );
    }
    let without = details("two");
    let none = without.as_object().unwrap().keys();
    assert!(
        none.clone().all(|key| !key.starts_with("certificate")),
        "{without}"
    );
}

// EDGE-15 EDGE-125 EDGE-126
#[test]
fn operators_have_a_door_of_their_own() {
    let root = Authority::root("Operators");
    let believed = Believed::new(&[&root]);
    let (me, other) = (root.client("me"), root.client("other"));
    let config = format!(
        "management: {{ {}, front_door: {{ mtls: {{ subjects: [\"CN=me\"] }} }} }}\n",
        believed.tls("optional")
    );
    let gateway = gateway(config).start();
    let key = format!("Authorization: Bearer {MANAGEMENT_KEY}\r\n");
    let ask = |who, path, lines: &str| {
        let config = Arc::new(believed.caller(who).config);
        status_of(&config, gateway.management(), path, lines)
    };
    assert_eq!(ask(Some(&me), "/api/v1/whoami", &key), Ok(200));
    assert_eq!(
        ask(Some(&me), "/api/v1/whoami", ""),
        Ok(401),
        "it is no key"
    );
    assert_eq!(ask(Some(&other), "/api/v1/whoami", &key), Ok(403));
    assert_eq!(ask(None, "/api/v1/whoami", &key), Ok(403));
    assert_eq!(ask(None, "/health", ""), Ok(403));
    // The local socket is beside it.
    let told = gateway.cli(&["status", "--json"]);
    assert!(told.status.success(), "{told:?}");
    let event = gateway.audit_line("the refusal", |line| {
        line["reason"] == "front_door" && line["details"]["certificate_subject"] == "CN=other"
    });
    assert_eq!(event["details"]["certificate_sha256"], *other.sha256());
    eventually("an act of the operator's", || {
        let lines = gateway.audit_lines();
        let failed = lines
            .iter()
            .find(|line| line["action"] == "management.auth")?;
        (failed["details"]["certificate_subject"] == "CN=me").then_some(())
    });
}

// EDGE-15 EDGE-4
#[test]
fn the_operators_door_takes_no_certificate_of_the_data_listener() {
    let root = Authority::root("Clients");
    let believed = Believed::new(&[&root]);
    let me = root.client("me");
    let config = format!(
        "server: {{ {} }}\nmanagement: {{ on_data_port: loopback, {}, front_door: {{ mtls: \
         {{ subjects: [\"CN=me\"] }} }} }}\n",
        believed.tls("optional"),
        believed.tls("optional")
    );
    let gateway = gateway(config).start();
    let key = format!("Authorization: Bearer {MANAGEMENT_KEY}\r\n");
    let config = Arc::new(believed.caller(Some(&me)).config);
    let told = status_of(&config, gateway.data(), "/api/v1/whoami", &key);
    assert_eq!(told, Ok(403), "whom that one believes is its own affair");
    let told = status_of(&config, gateway.management(), "/api/v1/whoami", &key);
    assert_eq!(told, Ok(200));
}

// EDGE-15 EDGE-126
#[test]
fn who_comes_in_clear_text_has_no_certificate_whatever_others_are_asked_for() {
    let root = Authority::root("Clients");
    let believed = Believed::new(&[&root]);
    let ci = root.client("ci");
    let origin = Origin::plain();
    let more = ", listen: [{ port: 0 }, { port: 0, tls: false }, { port: 0, http2: false }], \
                front_door: { mtls: { subjects: [\"CN=ci\"] } }";
    let gateway = believed.gateway(&origin, "required", more);
    let gateway = gateway.in_file("server.port").start();
    let [tls, clear, old] = <[SocketAddr; 3]>::try_from(gateway.listen()).unwrap();
    for addr in [tls, old] {
        assert_eq!(status(believed.caller(Some(&ci)), addr, "/x"), Ok(200));
        assert!(status(believed.caller(None), addr, "/x").is_err());
    }
    let answer = Client::connect(clear).call(&head("GET /x", "X-Client-Cert: CN=ci\r\n"));
    assert_eq!(answer.status, 403);
    assert_eq!(origin.count(), 2);
}
