//! TLS towards one upstream: its own roots, our certificate, names, versions and pins.

use crate::egress::{answers, ask, config, resolver, upstream};
use crate::fixture::{UPSTREAM_KEY, chat, gateway, head};
use crate::reload::{reload, reloaded, unwatched};
use crate::tls_fixture::{Certificates, Kind, Pair, private};
use crate::upstream_tls::{Server, Trust};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tollkeep_testkit::{Gateway, NameServer, Origin, eventually};

const NAME: &str = "secure.test.example";

/// A route `/<name>` to an origin behind TLS, with these options.
fn secure(name: &str, origin: &Origin, options: &str) -> (String, String) {
    let url = format!("https://{NAME}:{}", origin.addr().port());
    let more = format!(
        ", allow_private: [\"127.0.0.1/32\"], retry: {{ connect: 0 }}, breaker: off, tls: {{ {options} }}"
    );
    upstream(name, &url, &more)
}

fn ca(trust: &Trust) -> String {
    format!("ca_file: \"{}\"", trust.file().display())
}

/// The options that show this pair.
fn shown(pair: &Pair) -> String {
    format!(
        "client_cert_file: \"{}\", client_key_file: \"{}\"",
        pair.cert.display(),
        pair.key.display()
    )
}

fn root_of(certificates: &Certificates) -> CertificateDer<'static> {
    CertificateDer::from(certificates.root.der().to_vec())
}

fn base64_of(hex: &str) -> String {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    BASE64_STANDARD.encode(digits.map(byte).collect::<Vec<_>>())
}

/// Calls an upstream behind each server, with these options, and says which are answered.
fn answered(rows: Vec<(&str, Server, String, bool)>, more: &str) -> Gateway {
    let server = NameServer::start(answers);
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, server, options, good)| (name, server.origin(), options, good))
        .collect();
    let parts = rows
        .iter()
        .enumerate()
        .map(|(at, (_, origin, options, _))| secure(&format!("u{at}"), origin, options));
    let parts: Vec<_> = parts.collect();
    let resolver = resolver(&server).replace("egress: { ", &format!("egress: {{ {more}"));
    let gateway = gateway(format!("{resolver}{}", config(&parts))).start();
    for (at, (name, origin, _, good)) in rows.iter().enumerate() {
        let answer = ask(&gateway, &format!("u{at}"));
        if *good {
            assert_eq!((answer.status, origin.count()), (200, 1), "{name}");
            continue;
        }
        let told = (answer.status, answer.code());
        assert_eq!(told, (502, "upstream_error".to_owned()), "{name}");
        assert_eq!(origin.count(), 0, "{name}: no byte of the request");
    }
    gateway
}

// EDGE-103
#[test]
fn an_upstream_is_believed_by_its_own_roots_alone_and_by_the_name_it_should_have() {
    let (trust, other) = (Trust::new(), Trust::new());
    let named = |name: &str| format!("{}, server_name: \"{name}\"", ca(&trust));
    let of_all = format!("ca_file: \"{}\", ", other.file().display());
    #[rustfmt::skip]
    let rows = vec![
        ("its own root", trust.server(NAME), ca(&trust), true),
        ("not the root of all", other.server(NAME), ca(&trust), false),
        ("the root of all, without its own", other.server(NAME), "min_version: \"1.3\"".to_owned(), true),
        ("another name", trust.server("other.test.example"), ca(&trust), false),
        ("the name it should have", trust.server("other.test.example"), named("other.test.example"), true),
        ("the name of the URL, where another is wanted", trust.server(NAME), named("other.test.example"), false),
        ("an address as name", trust.server("192.0.2.1"), named("192.0.2.1"), true),
    ];
    answered(rows, &of_all);
}

// EDGE-103
#[test]
fn only_as_new_a_version_of_tls_as_wanted_is_spoken() {
    let trust = Trust::new();
    let oldest = |version: &str| format!("{}, min_version: \"{version}\"", ca(&trust));
    #[rustfmt::skip]
    let rows = vec![
        ("1.2 by default", trust.server(NAME).only(&TLS12), ca(&trust), true),
        ("1.2 where 1.3 is wanted", trust.server(NAME).only(&TLS12), oldest("1.3"), false),
        ("1.3 where 1.3 is wanted", trust.server(NAME).only(&TLS13), oldest("1.3"), true),
        ("1.3 where 1.2 will do", trust.server(NAME).only(&TLS13), oldest("1.2"), true),
    ];
    answered(rows, "");
}

// EDGE-103
#[test]
fn a_pin_is_wanted_besides_the_chain_and_the_name() {
    let (trust, other) = (Trust::new(), Trust::new());
    let (server, zeros) = (|| trust.server(NAME), "0".repeat(64));
    let pinned = |pins: &[&str]| format!("{}, pin_sha256: {pins:?}", ca(&trust));
    let with = |server: Server, spelled: fn(&str) -> String| {
        let options = pinned(&[&spelled(&server.pin())]);
        (server, options)
    };
    let (in_hex, hex) = with(server(), str::to_owned);
    let (in_base64, base64) = with(server(), base64_of);
    let (as_curl, curl) = with(server(), |pin| format!("sha256//{}", base64_of(pin)));
    let (chain, of_chain) = with(other.server(NAME), str::to_owned);
    let (name, of_name) = with(trust.server("other.test.example"), str::to_owned);
    let second = server();
    let of_second = pinned(&[&zeros, &second.pin()]);
    let also = server().sending(other.certificate());
    #[rustfmt::skip]
    let rows = vec![
        ("in hex", in_hex, hex, true),
        ("in base64", in_base64, base64, true),
        ("as curl writes it", as_curl, curl, true),
        ("one of two", second, of_second, true),
        ("another key", server(), pinned(&[&zeros]), false),
        ("the key of its authority", server(), pinned(&[&trust.pin()]), false),
        ("the key of a certificate that is sent along", also, pinned(&[&other.pin()]), false),
        ("the key, not the chain", chain, of_chain, false),
        ("the key, not the name", name, of_name, false),
    ];
    let gateway = answered(rows, "");
    eventually("what the pin would be", || {
        let told = gateway.stderr();
        (told.contains("is not in `pin_sha256`") && told.contains("sha256//")).then_some(())
    });
}

// EDGE-103
#[test]
fn an_upstream_that_asks_who_calls_is_shown_our_certificate() {
    let (trust, ours, others) = (Trust::new(), Certificates::new(), Certificates::new());
    let [good, foreign] =
        [&ours, &others].map(|of| shown(&of.pair("client", Kind::Ecdsa, &["client.example"])));
    let rsa = shown(&ours.pair("rsa", Kind::Rsa, &[]));
    let asking = || trust.server(NAME).for_clients_of(root_of(&ours));
    let with = |more: &str| format!("{}, {more}", ca(&trust));
    #[rustfmt::skip]
    let rows = vec![
        ("ours", asking(), with(&good), true),
        ("ours, of RSA and without a name", asking(), with(&rsa), true),
        ("ours, in 1.2", asking().only(&TLS12), with(&good), true),
        ("none", asking(), ca(&trust), false),
        ("none, in 1.2", asking().only(&TLS12), ca(&trust), false),
        ("of a root it does not know", asking(), with(&foreign), false),
        ("nobody asks", trust.server(NAME), with(&good), true),
    ];
    answered(rows, "");
}

// EDGE-103
#[test]
fn a_provider_has_the_same_options() {
    let (trust, ours, server) = (
        Trust::new(),
        Certificates::new(),
        NameServer::start(answers),
    );
    let pair = ours.pair("client", Kind::Ecdsa, &["client.example"]);
    let asking = trust
        .server("api.example.com")
        .for_clients_of(root_of(&ours));
    let pin = asking.pin();
    let origin = asking.origin();
    let with = |pin: &str| {
        format!(
            "{}providers:\n  openai:\n    base_url: \"https://{NAME}:{}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
             credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]\n    breaker: off\n    \
             tls: {{ {}, {}, server_name: api.example.com, min_version: \"1.3\", pin_sha256: [\"{pin}\"] }}\n",
            resolver(&server),
            origin.addr().port(),
            ca(&trust),
            shown(&pair),
        )
    };
    let gateway = unwatched(with(&pin))
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let call = || {
        let body = r#"{"model":"m","messages":[]}"#;
        gateway.call(&chat(&token, body)).status
    };
    assert_eq!((call(), origin.count()), (200, 1));
    reloaded(&gateway, &with(&trust.pin()));
    assert_eq!((call(), origin.count()), (502, 1));
}

/// Files that are no good: each name, what is done to good ones, and what is told.
fn spoilt(folder: &Certificates) -> Vec<(&'static str, String, &'static str)> {
    let good = folder.pair("good", Kind::Ecdsa, &["a"]);
    let other = folder.pair("other", Kind::Ecdsa, &["a"]);
    let old = folder.pair_with("old", Kind::Ecdsa, &["a"], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let text = |name: &str, text: &str| {
        let path = folder.path(name);
        private(&path, text);
        path
    };
    let empty = text("empty.pem", "nothing\n");
    let damaged = text(
        "damaged.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let wide = text("wide.key", &fs::read_to_string(&good.key).unwrap());
    fs::set_permissions(&wide, fs::Permissions::from_mode(0o644)).unwrap();
    let missing = folder.path("missing.pem");
    let roots = |path: &Path| format!("ca_file: \"{}\"", path.display());
    let pair = |cert: &Path, key: &Path| {
        shown(&Pair {
            cert: cert.to_path_buf(),
            key: key.to_path_buf(),
        })
    };
    #[rustfmt::skip]
    let rows = vec![
        ("roots missing", roots(&missing), "missing.pem: can't be read"),
        ("no roots", roots(&empty), "empty.pem: holds no certificate"),
        ("damaged roots", roots(&damaged), "damaged.pem: the certificate in it is damaged"),
        ("no file for roots", roots(folder.folder.path()), "it is no file"),
        ("certificate missing", pair(&missing, &good.key), "missing.pem: can't be read"),
        ("no certificate", pair(&empty, &good.key), "empty.pem: holds no certificate"),
        ("damaged certificate", pair(&damaged, &good.key), "damaged.pem: the certificate in it is damaged"),
        ("key missing", pair(&good.cert, &missing), "missing.pem: can't be read"),
        ("no key", pair(&good.cert, &empty), "empty.pem: holds no private key"),
        ("another key", pair(&good.cert, &other.key), "other.key: this key does not match"),
        ("a key for all to see", pair(&good.cert, &wide), "chmod 600"),
        ("too old", pair(&old.cert, &old.key), "old.pem: the certificate expired"),
    ];
    rows
}

// EDGE-103
#[test]
fn each_fault_of_a_file_is_told_at_start_and_at_a_reload() {
    let folder = Certificates::new();
    let rows = spoilt(&folder);
    let origin = Origin::plain();
    let parts: Vec<_> = rows
        .iter()
        .enumerate()
        .map(|(at, (_, options, _))| secure(&format!("u{at}"), &origin, options))
        .collect();
    let refused = gateway(config(&parts)).try_start().err().expect("refused");
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    let told_of = |all: &str, at: usize, want: &str| {
        let mut lines = all.lines();
        lines.any(|line| line.contains(&format!("upstreams.u{at}.tls")) && line.contains(want))
    };
    for (at, (name, _, want)) in rows.iter().enumerate() {
        assert!(
            told_of(&refused.stderr, at, want),
            "{name}: {}",
            refused.stderr
        );
    }
    let fine = config(&[upstream(
        "u",
        &origin.url(),
        ", allow_private: [\"127.0.0.1/32\"]",
    )]);
    let gateway = unwatched(fine).start();
    gateway.configure(config(&parts));
    let (status, answer) = reload(&gateway);
    assert_eq!(status, 422, "{answer}");
    let all = gateway.stderr();
    for (at, (name, _, want)) in rows.iter().enumerate() {
        assert!(told_of(&all, at, want), "{name}: {all}");
    }
    assert_eq!(ask(&gateway, "u").status, 200, "what was in force still is");
}

// EDGE-103
#[test]
fn options_that_can_mean_nothing_are_refused_and_checks_cannot_be_turned_off() {
    let origin = Origin::plain();
    let on_clear = upstream(
        "u",
        &origin.url(),
        ", allow_private: [\"127.0.0.1/32\"], tls: { min_version: \"1.3\" }",
    );
    let with = |options: &str| secure("u", &origin, options);
    for (name, part, key) in [
        ("clear text", on_clear, "upstreams.u.tls"),
        (
            "no key",
            with("client_cert_file: a.pem"),
            "upstreams.u.tls.client_key_file",
        ),
        (
            "no certificate",
            with("client_key_file: a.pem"),
            "upstreams.u.tls.client_cert_file",
        ),
        (
            "half a pin",
            with("pin_sha256: [\"00ff\"]"),
            "upstreams.u.tls.pin_sha256",
        ),
        (
            "a URL as name",
            with("server_name: \"https://a\""),
            "upstreams.u.tls.server_name",
        ),
        (
            "a port in the name",
            with("server_name: \"a.example:443\""),
            "upstreams.u.tls.server_name",
        ),
        (
            "an old version",
            with("min_version: \"1.1\""),
            "upstreams.u.tls.min_version",
        ),
        (
            "no checks",
            with("insecure_skip_verify: true"),
            "upstreams.u.tls.insecure_skip_verify",
        ),
        ("no checks", with("verify: false"), "upstreams.u.tls.verify"),
    ] {
        let refused = gateway(config(&[part])).try_start().err();
        let refused = refused.unwrap_or_else(|| panic!("{name} started"));
        assert_eq!(refused.code, Some(3), "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains(key), "{name}: {}", refused.stderr);
    }
}

// EDGE-103
#[test]
fn other_files_mean_other_connections_and_the_same_files_the_same() {
    let (trust, other, ours) = (Trust::new(), Trust::new(), Certificates::new());
    let server = NameServer::start(answers);
    let origin = trust.server(NAME).for_clients_of(root_of(&ours)).origin();
    let pair = ours.pair("client", Kind::Ecdsa, &["one.example"]);
    let roots = ours.path("roots.pem");
    fs::copy(trust.file(), &roots).unwrap();
    let options = format!("ca_file: \"{}\", {}", roots.display(), shown(&pair));
    let text = format!(
        "{}{}",
        resolver(&server),
        config(&[secure("u", &origin, &options)])
    );
    let gateway = unwatched(&text).set("server.workers", "1").start();
    let status = || {
        let answer = gateway.call(&head("GET /u", ""));
        (answer.status, origin.connections())
    };
    assert_eq!((status(), status()), ((200, 1), (200, 1)));
    reloaded(&gateway, &text);
    assert_eq!(status(), (200, 1), "nothing has changed");
    ours.pair("client", Kind::Ecdsa, &["two.example"]);
    assert_eq!(status(), (200, 1), "it is not read before a reload");
    reloaded(&gateway, &text);
    assert_eq!(
        (status(), status()),
        ((200, 2), (200, 2)),
        "another certificate of ours"
    );
    let good = fs::read_to_string(&pair.key).unwrap();
    private(&pair.key, "nothing");
    let (refused, _) = reload(&gateway);
    assert_eq!(
        (refused, status()),
        (422, (200, 2)),
        "a reload that is refused changes nothing"
    );
    private(&pair.key, &good);
    fs::copy(other.file(), &roots).unwrap();
    reloaded(&gateway, &text);
    assert_eq!(status().0, 502, "its root is not known any more");
    fs::copy(trust.file(), &roots).unwrap();
    reloaded(&gateway, &text);
    assert_eq!(status().0, 200);
}

// EDGE-103
#[test]
fn changed_files_are_read_without_being_asked() {
    let (trust, other) = (Trust::new(), Trust::new());
    let (server, folder) = (NameServer::start(answers), tempfile::tempdir().unwrap());
    let origin = trust.origin(NAME);
    let roots = folder.path().join("roots.pem");
    fs::copy(other.file(), &roots).unwrap();
    let options = format!("ca_file: \"{}\"", roots.display());
    let text = format!(
        "{}{}",
        resolver(&server),
        config(&[secure("u", &origin, &options)])
    );
    let gateway = gateway(&text).start();
    assert_eq!(ask(&gateway, "u").status, 502);
    fs::copy(trust.file(), &roots).unwrap();
    eventually("the new root", || {
        (ask(&gateway, "u").status == 200).then_some(())
    });
}

// EDGE-103
#[test]
fn roots_are_those_of_the_system_those_of_mozilla_or_a_file() {
    let (trust, stranger) = (Trust::new(), Trust::new());
    let server = NameServer::start(answers);
    let origin = trust.origin(NAME);
    let part = secure("u", &origin, "");
    let with = |roots: &str| {
        let resolver = resolver(&server).replace("egress: { ", &format!("egress: {{ {roots}, "));
        format!("{resolver}{}", config(std::slice::from_ref(&part)))
    };
    let gateway = unwatched(with("roots: bundled")).start();
    for (roots, want) in [
        ("roots: bundled".to_owned(), 502),
        (format!("roots: bundled, {}", ca(&trust)), 200),
        (format!("roots: file, {}", ca(&trust)), 200),
        (format!("roots: file, {}", ca(&stranger)), 502),
        (format!("roots: system, {}", ca(&trust)), 200),
    ] {
        reloaded(&gateway, &with(&roots));
        assert_eq!(ask(&gateway, "u").status, want, "{roots}");
    }
    gateway.configure(with("roots: file"));
    let (status, answer) = reload(&gateway);
    assert!(
        status == 422 && answer.to_string().contains("egress.roots"),
        "{answer}"
    );
}
