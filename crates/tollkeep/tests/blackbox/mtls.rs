//! Certificates of clients: who is let in, and who is not even answered.

use crate::fixture::gateway;
use crate::mtls_fixture::{Authority, Believed, Identity, said, shown_by, status};
use crate::tls_fixture::{Caller, Kind};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tollkeep_testkit::{Http2Client, MANAGEMENT_KEY, Origin};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
/// What begins HTTP/2, and an empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The authorities of these tests, what they revoked, and who shows what.
struct Cast {
    believed: Believed,
    /// Who shows what, and whether it lets in.
    all: Vec<(&'static str, Option<Identity>, Lets)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lets {
    In,
    /// In where it is optional.
    InWithout,
    Out,
}

fn cast() -> Cast {
    let (root, other) = (Authority::root("Clients"), Authority::root("Others"));
    let (between, left) = (root.below("Clients 2"), root.below("Clients 3"));
    let namesake = Authority::root("Clients");
    let revoked = [root.client("revoked"), between.client("revoked below")];
    let believed = Believed::new(&[&root, &between]);
    believed.revoke(&[
        root.list(&[&revoked[0], &left]),
        between.list(&[&revoked[1]]),
    ]);
    let dated = |from: i32, until: i32| {
        root.client_with("dated", |params: &mut CertificateParams| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
        })
    };
    let used = |usages: &[ExtendedKeyUsagePurpose]| {
        root.client_with("used", |params| {
            params.extended_key_usages = usages.to_vec();
        })
    };
    let forged = {
        let mut forged = other.client("ci");
        forged.chain.push(root.as_client().chain[0].clone());
        forged
    };
    let of_a_leaf = Authority::root_with("leaf", |params| params.is_ca = rcgen::IsCa::NoCa);
    let [revoked, revoked_below] = revoked;
    let all = vec![
        ("nobody", None, Lets::InWithout),
        ("of the root", Some(root.client("ci")), Lets::In),
        ("of one below", Some(between.client("ci")), Lets::In),
        (
            "of one below, which is known",
            Some(between.client("ci").alone()),
            Lets::In,
        ),
        ("for no use that it tells", Some(used(&[])), Lets::Out),
        (
            "for any use",
            Some(used(&[ExtendedKeyUsagePurpose::Any])),
            Lets::Out,
        ),
        (
            "for clients and servers",
            Some(used(&[
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ])),
            Lets::In,
        ),
        (
            "for servers",
            Some(used(&[ExtendedKeyUsagePurpose::ServerAuth])),
            Lets::Out,
        ),
        ("expired", Some(dated(2001, 2002)), Lets::Out),
        ("not yet valid", Some(dated(2090, 2091)), Lets::Out),
        ("of another authority", Some(other.client("ci")), Lets::Out),
        ("of a namesake", Some(namesake.client("ci")), Lets::Out),
        ("of another, beside the right one", Some(forged), Lets::Out),
        ("the authority's own", Some(root.as_client()), Lets::Out),
        ("its own", Some(of_a_leaf.as_client()), Lets::Out),
        ("revoked", Some(revoked), Lets::Out),
        ("revoked by the one below", Some(revoked_below), Lets::Out),
        ("of a revoked authority", Some(left.client("ci")), Lets::Out),
    ];
    Cast { believed, all }
}

impl Cast {
    fn caller(&self, version: &'static SupportedProtocolVersion) -> Caller {
        self.believed.certificates.caller().only(version)
    }
}

// EDGE-15
#[test]
fn only_a_verified_certificate_lets_in_and_a_bad_one_is_never_none() {
    let cast = cast();
    let origin = Origin::plain();
    for (need, without) in [("required", false), ("optional", true)] {
        let gateway = cast.believed.gateway(&origin, need, "").start();
        for (who, identity, lets) in &cast.all {
            let lets_in = *lets == Lets::In || (*lets == Lets::InWithout && without);
            for version in VERSIONS {
                let name = format!("{who}, {need}, {version:?}");
                let caller = || shown_by(cast.caller(version), identity.as_ref());
                let before = origin.count();
                let told = status(caller(), gateway.data(), "/x");
                assert_eq!(told == Ok(200), lets_in, "{name}: {told:?}");
                assert_eq!(origin.count() - before, usize::from(lets_in), "{name}");
                let told = over_http2(caller(), gateway.data(), lets_in);
                assert_eq!(told == Ok(200), lets_in, "{name}, HTTP/2: {told:?}");
                // Not even a probe, for which nobody is asked who they are.
                let told = status(caller(), gateway.data(), "/health");
                assert_eq!(told == Ok(200), lets_in, "{name}, a probe: {told:?}");
            }
        }
    }
}

/// The status of `GET /x` over HTTP/2, or that not a byte came back.
fn over_http2(caller: Caller, addr: SocketAddr, lets_in: bool) -> Result<u16, String> {
    let config = Arc::new(caller.alpn(&["h2"]).config);
    if !lets_in {
        return said(&config, addr, PREFACE).map(|said| panic!("{said:?}"));
    }
    let connector = TlsConnector::from(config);
    let mut client = Http2Client::over(addr, 65_535, |socket| async move {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        connector.connect(name, socket).await.unwrap()
    });
    let request = client.request("GET", "/x", &[]);
    let answer = client.call_all(&[(request, b"")]).into_iter().next();
    answer
        .unwrap()
        .map(|answer| answer.status)
        .map_err(|reset| format!("{reset:?}"))
}

// EDGE-15
#[test]
fn operators_and_who_scrapes_are_asked_as_callers_are() {
    let cast = cast();
    let config = format!(
        "management: {{ {} }}\nmetrics: {{ {} }}\n",
        cast.believed.tls("required"),
        cast.believed.tls("optional")
    );
    let gateway = gateway(config).start();
    let key = format!("Authorization: Bearer {MANAGEMENT_KEY}\r\n");
    for (who, identity, lets) in &cast.all {
        for version in VERSIONS {
            let name = format!("{who}, {version:?}");
            let config = shown_by(cast.caller(version), identity.as_ref()).config;
            let config = Arc::new(config);
            let ask = |addr, path| crate::mtls_fixture::status_of(&config, addr, path, &key);
            let told = ask(gateway.management(), "/api/v1/whoami");
            assert_eq!(
                told == Ok(200),
                *lets == Lets::In,
                "management, {name}: {told:?}"
            );
            let told = ask(gateway.metrics(), "/metrics");
            assert_eq!(
                told == Ok(200),
                *lets != Lets::Out,
                "metrics, {name}: {told:?}"
            );
        }
    }
}

// EDGE-15
#[test]
fn where_nobody_knows_what_was_revoked_nobody_comes_in() {
    let root = Authority::root("Clients");
    let between = root.below("Clients 2");
    let believed = Believed::new(&[&root]);
    let origin = Origin::plain();
    let below = between.client("ci");
    let gateway = believed.gateway(&origin, "required", "").start();
    let told = status(believed.caller(Some(&below)), gateway.data(), "/x");
    assert_eq!(told, Ok(200), "without lists nothing is revoked");
    // The root's list says nothing of those whom the one below issued.
    believed.revoke(&[root.list(&[])]);
    let gateway = believed.gateway(&origin, "required", "").start();
    let told = status(believed.caller(Some(&below)), gateway.data(), "/x");
    assert!(told.is_err(), "{told:?}");
    let told = status(
        believed.caller(Some(&root.client("ci"))),
        gateway.data(),
        "/x",
    );
    assert_eq!(told, Ok(200));
}

// EDGE-15
#[test]
fn commands_show_a_certificate_where_one_is_asked_for() {
    let root = Authority::root("Operators");
    let believed = Believed::new(&[&root]);
    let gateway = gateway(format!("management: {{ {} }}\n", believed.tls("required"))).start();
    let own = believed.certificates.path("root.pem");
    std::fs::write(&own, believed.certificates.root.pem()).unwrap();
    let me = root.client("me");
    let pair = believed.certificates.write("me", &me.cert_pem, &me.key_pem);
    let other = believed
        .certificates
        .pair("other", Kind::Ecdsa, &["a.test"]);
    let url = format!("https://{}", gateway.management());
    let cli = |more: &[&str]| {
        let ran = std::process::Command::new(crate::fixture::TOLLKEEP)
            .args(["status", "--json", "--url", &url, "--ca-file"])
            .arg(&own)
            .args(more)
            .env_clear()
            .env("TOLLKEEP_MANAGEMENT_KEY", MANAGEMENT_KEY)
            .output()
            .unwrap();
        (
            ran.status.code(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        )
    };
    let files = |pair: &crate::tls_fixture::Pair| {
        let text = |path: &std::path::Path| path.display().to_string();
        [text(&pair.cert), text(&pair.key)]
    };
    let shown =
        |[cert, key]: &[String; 2]| cli(&["--client-cert-file", cert, "--client-key-file", key]);
    assert_eq!(shown(&files(&pair)), (Some(0), String::new()));
    assert_eq!(cli(&[]).0, Some(7), "without one");
    assert_eq!(shown(&files(&other)).0, Some(7), "with another's");
    let [cert, _] = files(&pair);
    let [_, key] = files(&other);
    let (code, told) = shown(&[cert.clone(), key]);
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("this key does not match the certificate in"),
        "{told}"
    );
    assert_eq!(
        cli(&["--client-cert-file", &cert]).0,
        Some(2),
        "half a pair"
    );
}
