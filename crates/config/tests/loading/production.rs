//! Binds, hosts, and what production turns from advice into errors.

use crate::support::Case;

/// What any production file needs.
const PRODUCTION: &str = "environment: production\nvault: {allow_local_kek: true}\n";

fn production(rest: &str) -> Case {
    Case::yaml(&format!("{PRODUCTION}{rest}"))
}

// OPS-5
#[test]
fn production_turns_advice_into_errors() {
    assert_eq!(production("").warnings(), "");
    for (name, file, want) in [
        (
            "sandbox switch",
            "sandbox: {upstream: true}\n",
            "tollkeep.yaml:3:21: sandbox.upstream: switches the sandbox on, which is refused in production",
        ),
        (
            "sandbox provider",
            "providers: {sandbox: {}}\n",
            "tollkeep.yaml:3:13: providers.sandbox: switches the sandbox on, which is refused in production",
        ),
        (
            "security headers off",
            "server: {security: {headers: {enabled: false}}}\n",
            "tollkeep.yaml:3:40: server.security.headers.enabled: `false` is refused in production",
        ),
        (
            "all hosts",
            "server: {allowed_hosts: ['*']}\n",
            "tollkeep.yaml:3:25: server.allowed_hosts: `*` is refused in production: name the hosts you serve",
        ),
    ] {
        assert_eq!(production(file).errors(), want, "{name}");
        let development = Case::yaml(&format!("\n\n{file}"));
        assert!(development.load().is_ok(), "{name}");
    }
}

// OPS-5 ID-64
#[test]
fn production_wants_a_key_from_outside() {
    let bare = Case::bare().env(&[("TOLLKEEP_ENVIRONMENT", "production")]);
    assert_eq!(
        bare.errors(),
        "auth.encryption.key: is missing: production wants a key from outside, here or in `vault.keks`, or `vault.allow_local_kek: true`"
    );
    let key = "k".repeat(32);
    let with_key = Case::bare().env(&[
        ("TOLLKEEP_ENVIRONMENT", "production"),
        ("TOLLKEEP_ENCRYPTION_KEY", &key),
    ]);
    assert!(with_key.load().is_ok());
    let required = Case::bare().env(&[("REQUIRE_ENCRYPTION_KEY", "true")]);
    assert_eq!(
        required.errors(),
        "auth.encryption.key: is missing, and REQUIRE_ENCRYPTION_KEY asks for it"
    );
    let off = Case::yaml("auth: {encryption: {enabled: false, key: '${K}'}}\n").env(&[("K", &key)]);
    assert!(
        off.warnings()
            .contains("is off, so the key that is set is not used")
    );
    assert!(off.settings().auth.encryption_key.is_none());
}

// EDGE-1
#[test]
fn a_public_bind_names_its_ways_out() {
    let errors = Case::yaml("server: {host: 0.0.0.0, allowed_hosts: [api.example]}\n").errors();
    assert_eq!(
        errors,
        "tollkeep.yaml:1:16: server.host: 0.0.0.0 is a public address without TLS: set `server.tls`, \
         or name the proxy in front in `server.trusted_proxies`, or set \
         `server.insecure_public_http: true`"
    );
    for way_out in [
        "trusted_proxies: [10.0.0.0/8]",
        "insecure_public_http: true",
        "tls: {enabled: true, cert_file: a.pem, key_file: a.key}",
    ] {
        let file = format!("server: {{host: 0.0.0.0, allowed_hosts: [api.example], {way_out}}}\n");
        assert!(Case::yaml(&file).load().is_ok(), "{way_out}");
    }
    for host in ["127.0.0.1", "127.9.9.9", "'::1'"] {
        assert!(
            Case::yaml(&format!("server: {{host: {host}}}\n"))
                .load()
                .is_ok(),
            "{host}"
        );
    }
}

// EDGE-1
#[test]
fn management_and_metrics_leave_loopback_with_tls_only() {
    for (file, want) in [
        (
            "management: {listen: '0.0.0.0:8318'}\n",
            "tollkeep.yaml:1:22: management.listen: 0.0.0.0 is a public address without TLS: set `management.tls`, or listen on loopback or `unix:/path`\nmanagement.allowed_ips: is missing, and 0.0.0.0 is reached from beyond this machine: list the addresses that may come, or listen on loopback or `unix:/path`\nmanagement.allowed_hosts: must name the hosts served, since the address is not loopback",
        ),
        (
            "metrics: {host: '::'}\n",
            "tollkeep.yaml:1:17: metrics.host: :: is a public address without TLS: set `metrics.tls`, or listen on loopback\nmetrics.allowed_hosts: must name the hosts served, since the address is not loopback",
        ),
    ] {
        assert_eq!(Case::yaml(file).errors(), want);
    }
    let tls = "allowed_hosts: [a.example], tls: {enabled: true, cert_file: a.pem, key_file: a.key}";
    for file in [
        format!("management: {{listen: '0.0.0.0:8318', {tls}, allowed_ips: [10.0.0.0/8]}}\n"),
        format!("metrics: {{host: '::', {tls}}}\n"),
        "metrics: {enabled: false, host: '::'}\n".to_owned(),
    ] {
        assert!(Case::yaml(&file).load().is_ok(), "{file}");
        assert!(production(&file).load().is_ok(), "{file}");
    }
    let clear = "management: {listen: '0.0.0.0:8318', insecure_public_http: true, allowed_hosts: [a.example], allowed_ips: [10.0.0.1]}\n";
    assert!(
        Case::yaml(clear)
            .warnings()
            .contains("keys go there in clear text")
    );
    assert!(
        production(clear)
            .errors()
            .contains("management.insecure_public_http: is refused")
    );
    for (listen, want) in [
        ("''", "Off"),
        ("unix:/run/tollkeep.sock", "Unix(\"/run/tollkeep.sock\")"),
        ("localhost:1", "Tcp(127.0.0.1:1)"),
        ("'[::1]:1'", "Tcp([::1]:1)"),
    ] {
        let settings = Case::yaml(&format!("management: {{listen: {listen}}}\n")).settings();
        assert_eq!(format!("{:?}", settings.management.listen), want);
    }
}

// ID-55
#[test]
fn management_that_is_public_says_who_may_come() {
    const TLS: &str =
        "allowed_hosts: [a.example], tls: {enabled: true, cert_file: a.pem, key_file: a.key}";
    let errors = |listen: &str, more: &str| {
        let case = Case::yaml(&format!(
            "management: {{listen: '{listen}', {TLS}{more}}}\n"
        ));
        match case.load() {
            Ok(_) => String::new(),
            Err(faults) => faults,
        }
    };
    let list = |rest: &str| format!(", security: {{ip_allowlist: {{{rest}}}}}");
    let missing = "management.allowed_ips: is missing, and 10.0.0.1 is reached";
    for (more, want) in [
        (String::new(), missing),
        (list("enabled: false, allowed_ips: [10.0.0.0/8]"), missing),
        (
            ", security: {ip_denylist: {enabled: true, denied_ips: [10.9.9.9]}}".to_owned(),
            missing,
        ),
        (", allowed_ips: []".to_owned(), "everybody would be refused"),
        (", allowed_ips: [10.0.0.0/8]".to_owned(), ""),
        (list("enabled: true, allowed_ips: [10.0.0.0/8]"), ""),
    ] {
        let errors = errors("10.0.0.1:8318", &more);
        assert!(
            errors.contains(want) && errors.is_empty() == want.is_empty(),
            "{more}: {errors}"
        );
    }
    for local in ["127.0.0.1:8318", "[::1]:8318", "unix:/run/tollkeep.sock"] {
        assert_eq!(errors(local, ""), "", "{local}");
    }
}

// EDGE-3
#[test]
fn a_public_bind_names_its_hosts() {
    let errors = Case::yaml("server: {host: 10.0.0.1, insecure_public_http: true}\n").errors();
    assert_eq!(
        errors,
        "server.allowed_hosts: must name the hosts served, since the address is not loopback"
    );
    let any = "server: {host: 10.0.0.1, insecure_public_http: true, allowed_hosts: ['*']}\n";
    assert!(Case::yaml(any).load().is_ok());
    let errors = production(any).errors();
    assert!(errors.contains("`*` is refused in production"), "{errors}");
}

#[test]
fn nobody_trusts_everybody() {
    for net in ["0.0.0.0/0", "'::/0'"] {
        let errors = Case::yaml(&format!("server: {{trusted_proxies: [{net}]}}\n")).errors();
        assert!(
            errors.contains("trusts everybody: name your proxies"),
            "{errors}"
        );
    }
}

#[test]
fn the_sandbox_is_never_public() {
    let file = "server: {host: 10.0.0.1, insecure_public_http: true, allowed_hosts: [a.example]}\nsandbox: {upstream: true}\n";
    assert!(
        Case::yaml(file)
            .errors()
            .contains("while `server.host` is not a loopback address")
    );
}

// EDGE-1
#[test]
fn what_is_public_or_dangerous_is_said_at_every_start() {
    let file = "server: {host: 10.0.0.1, insecure_public_http: true, allowed_hosts: [a.example]}\nupstreams:\n  a: {url: 'https://a.example', dangerously_allow_metadata: true}\n";
    assert_eq!(
        Case::yaml(file).warnings(),
        "tollkeep.yaml:1:48: server.insecure_public_http: is on\n\
         tollkeep.yaml:3:61: upstreams.a.dangerously_allow_metadata: is on\n\
         tollkeep.yaml:1:16: server.host: 10.0.0.1 is reached from beyond this machine"
    );
}
