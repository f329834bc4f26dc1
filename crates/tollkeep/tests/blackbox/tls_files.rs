//! Certificates and keys as operators have them: what is taken, and what each fault is told as.

use crate::fixture::gateway;
use crate::tls_fixture::{Certificates, Kind, Pair, openssl, private};
use rcgen::{CertificateParams, DnType, date_time_ymd};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tollkeep_testkit::Builder;

fn with(pair: &Pair, more: &str) -> Builder {
    gateway(pair.server(more))
}

/// What a start with this pair is refused with.
fn refusal(pair: &Pair, more: &str) -> String {
    let refused = with(pair, more).try_start().err().expect("refused");
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    refused.stderr
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// Pairs whose texts are wrong, each in files of its own, and what is said of them.
fn wrong_texts(certificates: &Certificates) -> Vec<(Pair, &'static str)> {
    let good = certificates.pair("good", Kind::Ecdsa, &["a.test"]);
    let other = certificates.pair("other", Kind::Ecdsa, &["a.test"]);
    let (cert, key) = (text(&good.cert), text(&good.key));
    let folder = certificates.folder.path();
    let seal = "pkcs8 -topk8 -in good.key -out sealed.key -passout pass:x";
    openssl(folder, seal);
    let sealed = text(&certificates.path("sealed.key"));
    let texts: [(&str, &str, &str, &str); 10] = [
        (
            "t0",
            "nothing\n",
            &key,
            "t0.pem: holds no certificate in PEM",
        ),
        (
            "t1",
            &key,
            &key,
            "t1.pem: holds no certificate in PEM, but something else",
        ),
        (
            "t2",
            &cert,
            &cert,
            "t2.key: holds no private key in PEM, but something else",
        ),
        (
            "t3",
            &cert.replace('A', "%"),
            &key,
            "t3.pem: holds no certificate in PEM",
        ),
        (
            "t4",
            &cert.replacen("MII", "MIJ", 1),
            &key,
            "t4.pem: the certificate in it is damaged",
        ),
        (
            "t5",
            &cert,
            &key.replacen("MI", "MJ", 1),
            "t5.key: the private key in it is damaged",
        ),
        (
            "t6",
            &cert,
            &format!("{key}{key}"),
            "t6.key: holds 2 private keys",
        ),
        (
            "t7",
            &cert,
            &text(&other.key),
            "t7.key: this key does not match the certificate in",
        ),
        (
            "t8",
            &cert,
            &sealed,
            "t8.key: holds no private key in PEM: it is encrypted",
        ),
        ("t9", &cert, "", "t9.key: holds no private key in PEM"),
    ];
    let write = |(file, cert, key, want): (&str, &str, &str, _)| {
        (certificates.write(file, cert, key), want)
    };
    texts.map(write).into()
}

/// Pairs that are wrong in another way.
fn wrong_pairs(certificates: &Certificates) -> Vec<(Pair, &'static str)> {
    let dated = |file: &str, from, until| {
        certificates.pair_with(file, Kind::Ecdsa, &["a.test"], |params| {
            (params.not_before, params.not_after) = (from, until);
        })
    };
    let fine = |file: &str| certificates.pair(file, Kind::Ecdsa, &["a.test"]);
    let (no_cert, no_key, wide) = (fine("no_cert"), fine("no_key"), fine("wide"));
    fs::remove_file(&no_cert.cert).unwrap();
    fs::remove_file(&no_key.key).unwrap();
    fs::set_permissions(&wide.key, fs::Permissions::from_mode(0o640)).unwrap();
    let weak =
        "req -x509 -newkey rsa:1024 -nodes -keyout short.key -out short.pem -days 9 -subj /CN=a";
    openssl(certificates.folder.path(), weak);
    let short = Pair {
        cert: certificates.path("short.pem"),
        key: certificates.path("short.key"),
    };
    let (year_2001, year_2002) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    let (year_2090, year_2091) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
    vec![
        (no_cert, "no_cert.pem: can't be read: No such file"),
        (no_key, "no_key.key: can't be read: No such file"),
        (
            wide,
            "wide.key: the key is readable by group or others: chmod 600 /",
        ),
        (short, "short.pem: the RSA key has 1024 bits: at least 2048"),
        (
            dated("old", year_2001, year_2002),
            "old.pem: the certificate expired at 2002-01-01T00:00:00",
        ),
        (
            dated("new", year_2090, year_2091),
            "new.pem: the certificate is not valid before 2090-01-01T00:00:00",
        ),
    ]
}

// EDGE-11
#[test]
fn each_fault_of_a_pair_has_its_message_and_names_its_file() {
    let certificates = Certificates::new();
    for (pair, want) in wrong_texts(&certificates)
        .into_iter()
        .chain(wrong_pairs(&certificates))
    {
        let told = refusal(&pair, "");
        assert!(
            told.contains("server.tls: ") && told.contains(want),
            "{want}: {told}"
        );
        assert!(!told.contains("BEGIN"), "{want}: {told}");
    }
    // Several faults are told at once, also of further certificates.
    let gone = certificates.pair("gone", Kind::Ecdsa, &["a.test"]);
    fs::remove_file(&gone.cert).unwrap();
    let empty = certificates.write("empty", "nothing\n", "nothing\n");
    let all = refusal(&empty, &format!(", certificates: [{{ {} }}]", gone.yaml()));
    for file in ["empty.pem", "empty.key", "gone.pem"] {
        assert!(all.contains(file), "{file}: {all}");
    }
}

// EDGE-11
#[test]
fn what_an_operator_should_know_is_said_at_start() {
    let certificates = Certificates::new();
    let good = certificates.pair("good", Kind::Ecdsa, &["a.test"]);
    let (cert, key) = (
        fs::read_to_string(&good.cert).unwrap(),
        fs::read_to_string(&good.key).unwrap(),
    );
    let alien = certificates.pair("alien", Kind::Ecdsa, &["x.test"]);
    let chained = |with: &str| format!("{cert}{with}");
    let root = certificates.root.pem();
    let alien = fs::read_to_string(&alien.cert).unwrap();
    let out_of_order = "the chain is out of order";
    for (name, pair, want) in [
        ("leaf alone", certificates.write("leaf", &cert, &key), None),
        (
            "leaf and root",
            certificates.write("chain", &chained(&root), &key),
            None,
        ),
        (
            "leaf and another's",
            certificates.write("mixed", &chained(&alien), &key),
            Some(out_of_order),
        ),
    ] {
        let gateway = with(&pair, "").start();
        let told = gateway.stderr();
        match want {
            Some(want) => assert!(told.contains(want), "{name}: {told}"),
            None => assert!(!told.contains("server.tls: "), "{name}: {told}"),
        }
    }
    let wide = certificates.write("wide", &cert, &key);
    fs::set_permissions(&wide.key, fs::Permissions::from_mode(0o644)).unwrap();
    with(&wide, ", insecure_key_mode: true").start();
}

// EDGE-10 EDGE-11
#[test]
fn the_recipe_of_the_cliproxyapi_page_works_as_written() {
    let certificates = Certificates::new();
    let folder = certificates.folder.path();
    openssl(folder, "genrsa -out tls.key 2048");
    openssl(
        folder,
        "req -new -x509 -key tls.key -out tls.crt -days 365 \
         -subj /C=US/ST=State/L=City/O=Organization/CN=localhost",
    );
    let page = "server:\n  tls:\n    enabled: true\n    cert_file: \"FOLDER/tls.crt\"\n    \
                key_file: \"FOLDER/tls.key\"\n    min_version: \"1.2\"\n    cipher_suites:\n      \
                - \"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\"\n      \
                - \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"\n";
    let page = page.replace("FOLDER", &folder.display().to_string());
    let started = gateway(page).start();
    let told = started.stderr();
    assert!(
        told.contains("tls.crt: the certificate has no subject alternative name"),
        "{told}"
    );
    assert!(!told.contains("self-signed"), "{told}");
    for (name, suite) in [
        ("localhost", None),
        ("localhost", Some("ECDHE-RSA-AES256-GCM-SHA384")),
    ] {
        let version = suite.map_or_else(String::new, |suite| format!(" -tls1_2 -cipher {suite}"));
        let data = started.data();
        openssl(
            folder,
            &format!("s_client -connect {data} -servername {name}{version}"),
        );
    }
}

// EDGE-10
#[test]
fn keys_in_every_form_that_openssl_writes_are_taken() {
    let certificates = Certificates::new();
    let folder = certificates.folder.path();
    for (name, make) in [
        (
            "pkcs8_rsa",
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out NAME.key",
        ),
        ("pkcs1_rsa", "genrsa -traditional -out NAME.key 3072"),
        (
            "sec1_p256",
            "ecparam -name prime256v1 -genkey -out NAME.key",
        ),
        (
            "sec1_p384",
            "ecparam -name secp384r1 -genkey -noout -out NAME.key",
        ),
        (
            "pkcs8_p256",
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NAME.key",
        ),
        ("pkcs8_ed25519", "genpkey -algorithm ED25519 -out NAME.key"),
    ] {
        openssl(folder, &make.replace("NAME", name));
        let certify = "req -new -x509 -key NAME.key -out NAME.pem -days 9 -subj /CN=a.test -addext subjectAltName=DNS:a.test";
        openssl(folder, &certify.replace("NAME", name));
        let key = fs::read_to_string(certificates.path(&format!("{name}.key"))).unwrap();
        let form = key
            .lines()
            .find(|line| line.contains("PRIVATE KEY"))
            .unwrap();
        let want = match name {
            "pkcs1_rsa" => "BEGIN RSA PRIVATE KEY",
            "sec1_p256" | "sec1_p384" => "BEGIN EC PRIVATE KEY",
            _ => "BEGIN PRIVATE KEY",
        };
        assert!(form.contains(want), "{name}: {form}");
        private(&certificates.path(&format!("{name}.key")), &key);
        let pair = Pair {
            cert: certificates.path(&format!("{name}.pem")),
            key: certificates.path(&format!("{name}.key")),
        };
        let gateway = with(&pair, "").start();
        let opened = certificates
            .caller()
            .trusting_all()
            .open(gateway.data(), "a.test");
        assert!(opened.is_ok(), "{name}: {:?}", opened.err());
    }
}

// EDGE-10
#[test]
fn a_suite_list_that_nothing_fits_is_refused() {
    let certificates = Certificates::new();
    let (elliptic, rsa) = (
        certificates.pair("elliptic", Kind::Ecdsa, &["a.test"]),
        certificates.pair("rsa", Kind::Rsa, &["b.test"]),
    );
    let of_rsa = "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]";
    let told = refusal(&elliptic, &format!(", {of_rsa}"));
    assert!(
        told.contains("none of the listed cipher suites can be used with"),
        "{told}"
    );
    let told = refusal(&rsa, &format!(", {of_rsa}, min_version: \"1.3\""));
    assert!(told.contains("from TLS 1.3 on"), "{told}");
    with(&rsa, &format!(", {of_rsa}")).start();
    let both = format!(", {of_rsa}, certificates: [{{ {} }}]", rsa.yaml());
    with(&elliptic, &both).start();
    let newest = with(&rsa, ", cipher_suites: [TLS_AES_128_GCM_SHA256]").start();
    assert!(
        newest.stderr().contains("only 1.3 is spoken"),
        "{}",
        newest.stderr()
    );
    for name in [
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "HIGH",
    ] {
        let told = refusal(&rsa, &format!(", cipher_suites: [{name}]"));
        assert!(
            told.contains("TLS_CHACHA20_POLY1305_SHA256"),
            "{name}: {told}"
        );
    }
}

/// The subject of a certificate without alternative names still names it, as in old recipes.
// EDGE-13
#[test]
fn a_certificate_without_alternative_names_is_for_its_common_name() {
    let certificates = Certificates::new();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "Old.Test");
    let key = Kind::Ecdsa.key();
    let cert = params.self_signed(&key).unwrap();
    let pair = certificates.write("old", &cert.pem(), &key.serialize_pem());
    let gateway = with(&pair, "").start();
    let open = |name| {
        certificates
            .caller()
            .trusting_all()
            .open(gateway.data(), name)
            .is_ok()
    };
    assert!(open("old.test") && open("127.0.0.1") && !open("new.test"));
}
