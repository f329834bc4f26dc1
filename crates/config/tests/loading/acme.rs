//! Certificates that are ordered: what can be asked for, and what can't.

use crate::support::Case;
use std::path::{Path, PathBuf};
use tollkeep_config::settings::AcmeChallenge;

fn case(section: &str) -> Case {
    Case::yaml(&format!(
        "server: {{tls: {{enabled: true, acme: {{enabled: true, {section}}}}}}}\n"
    ))
}

// EDGE-14
#[test]
fn names_and_consent_are_enough() {
    let settings = case("terms_agreed: true, domains: [API.example.com, b.example]").settings();
    let tls = settings.server.tls.unwrap();
    let acme = tls.acme.unwrap();
    assert!(tls.certificates.is_empty());
    assert_eq!(acme.domains, ["api.example.com", "b.example"]);
    assert_eq!(
        acme.directory.to_string(),
        "https://acme-v02.api.letsencrypt.org/directory"
    );
    assert_eq!(acme.challenge, AcmeChallenge::TlsAlpn01);
    assert_eq!(acme.cache_dir(Path::new("/d")), PathBuf::from("/d/acme"));
    assert!(acme.email.is_none() && acme.allow_private.is_empty());
}

// EDGE-14
#[test]
fn an_authority_of_ones_own_is_named_by_its_url() {
    let settings = case(
        "terms_agreed: true, domains: [a.internal], email: ops@a.internal, challenge: tls-alpn-01, \
         directory: 'https://ca.internal:9000/acme/directory', directory_ca_file: root.pem, \
         allow_private: ['10.0.0.0/8'], cache_dir: /certs",
    );
    let acme = settings.settings().server.tls.unwrap().acme.unwrap();
    assert_eq!(
        acme.directory.to_string(),
        "https://ca.internal:9000/acme/directory"
    );
    assert_eq!(acme.cache_dir(Path::new("/d")), PathBuf::from("/certs"));
    assert_eq!(acme.email.as_deref(), Some("ops@a.internal"));
    assert_eq!(acme.directory_ca_file, Some(PathBuf::from("root.pem")));
    let staging = case("terms_agreed: true, domains: [a.b], directory: letsencrypt-staging");
    let acme = staging.settings().server.tls.unwrap().acme.unwrap();
    assert!(acme.directory.authority().contains("staging"));
}

// EDGE-14
#[test]
#[rustfmt::skip]
fn what_cannot_be_ordered_is_refused_with_its_reason() {
    for (section, want) in [
        ("domains: [a.b]", "server.tls.acme.terms_agreed: is needed"),
        ("terms_agreed: true", "server.tls.acme.domains: is empty"),
        ("terms_agreed: true, domains: ['*.a.b']", "domains[0]: is a wildcard"),
        ("terms_agreed: true, domains: ['10.0.0.1']", "domains[0]: want a name"),
        ("terms_agreed: true, domains: ['::1']", "domains[0]: want a name"),
        ("terms_agreed: true, domains: ['a..b']", "domains[0]: want a name"),
        ("terms_agreed: true, domains: ['-a.b']", "domains[0]: want a name"),
        ("terms_agreed: true, domains: ['a_b.c']", "domains[0]: want a name"),
        ("terms_agreed: true, domains: ['../../etc']", "domains[0]: want a name"),
        ("terms_agreed: true, domains: [a.b, A.b]", "domains[1]: a.b is there twice"),
        ("terms_agreed: true, domains: [a.b], email: 'x'", "email: want one e-mail address"),
        ("terms_agreed: true, domains: [a.b], email: 'a@b,c@d'", "email: want one e-mail address"),
        ("terms_agreed: true, domains: [a.b], directory: 'http://ca.b/d'", "directory: want"),
        ("terms_agreed: true, domains: [a.b], directory: zerossl", "directory: want"),
        ("terms_agreed: true, domains: [a.b], directory: 'https://127.0.0.1/d'", "server.tls.acme.directory: "),
        ("terms_agreed: true, domains: [a.b], challenge: dns-01", "challenge: want"),
        ("terms_agreed: true, domains: [a.b], challenge: http-01", "server.tls.acme.challenge: `http-01` is asked for in clear text, and every data listener"),
    ] {
        let errors = case(section).errors();
        assert!(errors.contains(want), "{section}: {errors}");
    }
    let names: Vec<_> = (0..101).map(|number| format!("n{number}.b")).collect();
    let errors = case(&format!(
        "terms_agreed: true, domains: [{}]",
        names.join(", ")
    ))
    .errors();
    assert!(errors.contains("domains: names more than 100"), "{errors}");
}

// EDGE-14
#[test]
fn questions_in_clear_text_need_a_listener_in_clear_text() {
    let acme = "enabled: true, terms_agreed: true, domains: [a.b], challenge: http-01";
    for (file, fits) in [
        (
            format!("management: {{tls: {{enabled: true, acme: {{{acme}}}}}}}\n"),
            true,
        ),
        (
            format!("server: {{tls: {{enabled: true, acme: {{{acme}}}}}}}\n"),
            false,
        ),
        (
            format!(
                "server: {{listen: [{{port: 443}}, {{port: 80, redirect_http: true}}], \
                 tls: {{enabled: true, acme: {{{acme}}}}}}}\n"
            ),
            true,
        ),
    ] {
        let loaded = Case::yaml(&file).load();
        assert_eq!(loaded.is_ok(), fits, "{file}: {:?}", loaded.err());
    }
}

// EDGE-14
#[test]
fn a_section_that_is_off_asks_for_nothing() {
    let off = Case::yaml(
        "server: {tls: {enabled: true, cert_file: a, key_file: b, acme: {enabled: false, domains: [a.b]}}}\n",
    );
    assert!(off.settings().server.tls.unwrap().acme.is_none());
    let neither = Case::yaml("server: {tls: {enabled: true, acme: {domains: [a.b]}}}\n");
    let errors = neither.errors();
    assert!(
        errors.contains("set `cert_file` and `key_file`, or `acme`"),
        "{errors}"
    );
}
