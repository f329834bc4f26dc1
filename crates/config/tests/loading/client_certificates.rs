//! Certificates of clients: who is asked for one, and which open a front door.

use crate::support::Case;
use tollkeep_policy::front_door::WantedSubject;
use tollkeep_types::tls::ClientCertNeed;

const PAIR: &str = "enabled: true, cert_file: a.pem, key_file: a.key";

// EDGE-15
#[test]
fn client_auth_is_for_every_listener_and_off_by_default() {
    let tls = format!("tls: {{ {PAIR}, client_auth: optional, client_ca_file: ca.pem }}");
    let settings = Case::yaml(&format!(
        "server: {{ tls: {{ {PAIR} }} }}\nmanagement: {{ {tls} }}\nmetrics: {{ tls: {{ {PAIR}, \
         client_auth: required, client_ca_file: ca.pem, client_crl_file: crl.pem }} }}\n"
    ))
    .settings();
    assert_eq!(settings.server.tls.unwrap().client_auth, None);
    let management = settings.management.tls.unwrap().client_auth.unwrap();
    assert_eq!(
        (management.need, management.crl_file),
        (ClientCertNeed::Optional, None)
    );
    let metrics = settings.metrics.tls.unwrap().client_auth.unwrap();
    assert_eq!(metrics.need, ClientCertNeed::Required);
    assert!(metrics.ca_file.ends_with("ca.pem") && metrics.crl_file.unwrap().ends_with("crl.pem"));
}

// EDGE-15 EDGE-126
#[test]
fn what_is_half_said_about_certificates_of_clients_is_refused() {
    let asked = "client_auth: required, client_ca_file: ca.pem";
    let door = "front_door: { mtls: { sha256: [] , subjects: [\"CN=a\"] } }";
    for (name, text, want) in [
        (
            "nobody to believe",
            format!("server: {{ tls: {{ {PAIR}, client_auth: optional }} }}"),
            "server.tls.client_ca_file: is missing: `server.tls.client_auth` needs",
        ),
        (
            "nobody is asked",
            format!("metrics: {{ tls: {{ {PAIR}, client_ca_file: ca.pem }} }}"),
            "metrics.tls.client_ca_file: has no effect while `metrics.tls.client_auth` is off",
        ),
        (
            "a list for nobody",
            format!("server: {{ tls: {{ {PAIR}, client_auth: off, client_crl_file: crl.pem }} }}"),
            "server.tls.client_crl_file: has no effect while",
        ),
        (
            "no TLS",
            format!("management: {{ tls: {{ {asked} }} }}"),
            "management.tls.client_auth: asks for certificates, but `management.tls.enabled` is off",
        ),
        (
            "another word",
            format!("server: {{ tls: {{ {PAIR}, client_auth: require }} }}"),
            "did you mean `required`?",
        ),
        (
            "a door without certificates",
            format!("server: {{ tls: {{ {PAIR} }}, {door} }}"),
            "server.front_door.mtls: needs certificates of clients, and nobody is asked for one: \
             set `server.tls.client_auth`",
        ),
        (
            "a door without TLS",
            format!("management: {{ {door} }}"),
            "set `management.tls.client_auth`",
        ),
        (
            "a door on a socket",
            format!(
                "management: {{ listen: \"unix:/run/x.sock\", tls: {{ {PAIR}, {asked} }}, {door} }}"
            ),
            "management.front_door.mtls: needs certificates of clients, and `management.listen` \
             is a Unix socket",
        ),
        (
            "a door nowhere",
            format!("management: {{ listen: \"\", tls: {{ {PAIR}, {asked} }}, {door} }}"),
            "`management.listen` is nowhere",
        ),
        (
            "a door for nobody",
            format!("server: {{ tls: {{ {PAIR}, {asked} }}, front_door: {{ mtls: {{}} }} }}"),
            "names neither `subjects` nor `sha256`: no certificate would pass",
        ),
        (
            "as other tools print subjects",
            "server: { front_door: { mtls: { subjects: [\"C = CH, CN = ci\"] } } }".to_owned(),
            "want a subject such as `CN=ci,O=Example`, as `openssl x509",
        ),
    ] {
        let errors = Case::yaml(&text).errors();
        assert!(errors.contains(want), "{name}: {errors}");
    }
}

// EDGE-126
#[test]
fn what_is_no_fingerprint_is_refused() {
    let half = "server: { front_door: { mtls: { sha256: [abcd] } } }";
    let errors = Case::yaml(half).errors();
    assert!(errors.contains("64 hexadecimal digits"), "{errors}");
}

// EDGE-126
#[test]
fn subjects_keep_their_commas_also_in_the_environment() {
    let door = |case: Case| case.settings().server.front_door.unwrap().mtls.unwrap();
    let text = format!(
        "server: {{ tls: {{ {PAIR}, client_auth: required, client_ca_file: ca.pem }}, \
         front_door: {{ mtls: {{ subjects: [\"CN=ci,O=Example\", \"DNS:A.example\"] }} }} }}"
    );
    let wanted = |text: &str| text.parse::<WantedSubject>().unwrap();
    let listed = door(Case::yaml(&text));
    assert_eq!(
        listed.subjects,
        [wanted("CN=ci,O=Example"), wanted("DNS:a.example")]
    );
    let key = "TOLLKEEP_SERVER__FRONT_DOOR__MTLS__SUBJECTS";
    let one = door(Case::yaml(&text).env(&[(key, "CN=ci,O=Example")]));
    assert_eq!(one.subjects, [wanted("CN=ci,O=Example")]);
    let two = door(Case::yaml(&text).env(&[(key, "[\"CN=ci,O=Example\", \"CN=b\"]")]));
    assert_eq!(two.subjects, [wanted("CN=ci,O=Example"), wanted("CN=b")]);
}

// EDGE-15
#[test]
fn a_listener_in_clear_text_beside_required_certificates_is_told() {
    let listen = "listen: [{ port: 1 }, { port: 2, tls: false }, { port: 3, redirect_http: true }]";
    let case = |need: &str| {
        Case::yaml(&format!(
            "server: {{ {listen}, tls: {{ {PAIR}, client_auth: {need}, client_ca_file: ca.pem }} }}"
        ))
    };
    let told = case("required").warnings();
    let want = "server.listen[1]: is in clear text: callers come in there without";
    assert!(told.contains(want), "{told}");
    assert_eq!(told.matches("is in clear text").count(), 1, "{told}");
    assert!(!case("optional").warnings().contains("is in clear text"));
}

// EDGE-15
#[test]
fn in_production_callers_in_clear_text_beside_required_certificates_are_of_this_machine() {
    let case = |host: &str, more: &str| {
        Case::yaml(&format!(
            "environment: production\nserver: {{ insecure_public_http: true, listen: [{{ port: 1 \
             }}, {{ port: 2, host: \"{host}\", {more} }}], tls: {{ {PAIR}, client_auth: required, \
             client_ca_file: ca.pem }} }}"
        ))
    };
    let want = "server.listen[1]: is in clear text: callers come in there without";
    for (host, more, is_refused) in [
        ("0.0.0.0", "tls: false", true),
        ("10.1.1.1", "tls: false", true),
        ("::", "tls: false", true),
        ("0.0.0.0", "redirect_http: true", false),
        ("127.0.0.1", "tls: false", false),
        ("::1", "tls: false", false),
    ] {
        let errors = case(host, more).load().err().unwrap_or_default();
        assert_eq!(errors.contains(want), is_refused, "{host} {more}: {errors}");
    }
}

// EDGE-4 EDGE-15
#[test]
fn management_on_the_data_port_is_no_way_around_a_required_certificate() {
    let case = |need: &str, more: &str| {
        Case::yaml(&format!(
            "management: {{ on_data_port: loopback, tls: {{ {PAIR}, client_auth: {need}, \
             client_ca_file: ca.pem }}, {more} }}"
        ))
    };
    let errors = case("required", "").errors();
    let want = "management.on_data_port: is a way around the certificate";
    assert!(errors.contains(want), "{errors}");
    let errors = case("required", "front_door: { service_token: {} }").errors();
    assert!(errors.contains(want), "{errors}");
    for (need, more) in [
        ("optional", ""),
        ("required", "front_door: { mtls: { subjects: [\"CN=a\"] } }"),
    ] {
        assert!(case(need, more).load().is_ok(), "{need} {more}");
    }
}
