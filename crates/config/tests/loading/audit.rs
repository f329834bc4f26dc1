//! The audit log under the names of other gateways, and when it can't be switched off.

use crate::support::Case;
use std::path::PathBuf;
use tollkeep_config::settings::{AuditEvents, AuditFormat};

// AUD-3 AUD-4
#[test]
fn the_section_of_cliproxyapi_is_read_where_it_has_it() {
    let file = "logging:\n  level: debug\n  audit:\n    enabled: true\n    file: /var/log/a.log\n    \
                format: json\n    events: [auth_failure, config_change]\naudit: {queue: 100}\n";
    let audit = Case::yaml(file).settings().audit;
    assert!(audit.enabled);
    assert_eq!(audit.file, Some(PathBuf::from("/var/log/a.log")));
    assert_eq!(audit.format, AuditFormat::Cliproxy);
    assert_eq!(
        audit.events,
        [AuditEvents::AuthFailure, AuditEvents::ConfigChange]
    );
    assert_eq!(audit.queue, 100, "beside what stands under `audit`");
    let off = Case::yaml("logging: {audit: {enabled: false}}\n").settings();
    assert!(!off.audit.enabled);
    let own = Case::yaml("logging: {audit: {format: llm-proxy}}\n").settings();
    assert_eq!(own.audit.format, AuditFormat::LlmProxy);
    // The environment is asked after the file.
    let over = Case::yaml("logging: {audit: {file: a.log}}\n").set("audit.file=b.log");
    assert_eq!(over.settings().audit.file, Some(PathBuf::from("b.log")));
}

// AUD-4 AUD-21
#[test]
fn what_that_section_can_not_mean_is_refused_where_it_stands() {
    for (name, file, want) in [
        (
            "said twice",
            "audit: {file: a.log}\nlogging: {audit: {file: b.log}}\n",
            "tollkeep.yaml:2:19: logging.audit.file: is said by `audit.file` too: keep one of them",
        ),
        (
            "no key",
            "logging: {audit: {fil: b.log}}\n",
            "tollkeep.yaml:1:19: logging.audit.fil: is no key: there are `enabled`, `file`, \
             `format`, `events`",
        ),
        (
            "no section",
            "logging: {audit: true}\n",
            "tollkeep.yaml:1:11: logging.audit: want a section: `enabled`, `file`, `format`, \
             `events`",
        ),
    ] {
        assert_eq!(Case::yaml(file).errors(), want, "{name}");
    }
    let unknown = Case::yaml("logging: {audit: {events: [auth_failed]}}\n").errors();
    assert!(
        unknown.contains("auth_failure"),
        "the words there are: {unknown}"
    );
    let no_switch = Case::yaml("logging: {audit: {enabled: maybe}}\n").errors();
    assert!(no_switch.contains("audit.enabled"), "{no_switch}");
}

/// A route that is paid for.
const PAID: &str = "upstreams: {shop: {url: 'http://127.0.0.1:9'}}\nwallets: {base: \
                    '0x209693bc6afc0c5328ba36faf03c514ef312287c'}\naccepts: [{asset: usdc, network: \
                    base}]\nroutes: {'GET /shop': {upstream: shop, price: '$0.01'}}\n";

// AUD-20
#[test]
fn production_that_is_paid_keeps_its_audit_log() {
    let production = "environment: production\nvault: {allow_local_kek: true}\n";
    let off = "audit: {enabled: false}\n";
    let refused = "audit.enabled: is off, which production refuses where routes are paid for";
    let errors = |file: String| Case::yaml(&file).load().err().unwrap_or_default();
    let paid_and_off = errors(format!("{production}{PAID}{off}"));
    assert!(paid_and_off.contains(refused), "{paid_and_off}");
    for (name, file) in [
        ("kept", format!("{production}{PAID}")),
        ("nothing is paid for", format!("{production}{off}")),
        ("in development", format!("{PAID}{off}")),
    ] {
        let errors = errors(file);
        assert!(!errors.contains("audit.enabled"), "{name}: {errors}");
    }
}
