//! Switches that other gateways' files have: whom to believe, maintenance, management's places.

use crate::support::Case;
use tollkeep_config::settings::{OnDataPort, Settings};

fn trusted(settings: &Settings) -> (Vec<String>, usize) {
    let server = &settings.server;
    let nets = server.trusted_proxies.iter().map(ToString::to_string);
    (nets.collect(), server.client_ip.hops)
}

// EDGE-61
#[test]
fn trust_proxy_is_read_in_each_of_its_forms() {
    let loopback = vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()];
    for (name, yaml, want) in [
        (
            "true",
            "gateway: {trustProxy: true}\n",
            (loopback.clone(), 1),
        ),
        ("hops", "gateway: {trustProxy: 2}\n", (loopback.clone(), 2)),
        ("at the top", "trustProxy: 2\n", (loopback.clone(), 2)),
        (
            "our spelling",
            "server: {trust_proxy: true}\n",
            (loopback.clone(), 1),
        ),
        (
            "only hops",
            "gateway: {trustProxy: {hops: 3}}\n",
            (loopback, 3),
        ),
        (
            "named",
            "gateway: {trustProxy: {hops: 1, cidrs: ['10.0.0.0/8']}}\n",
            (vec!["10.0.0.0/8".to_owned()], 1),
        ),
        (
            "named, all hops",
            "gateway: {trustProxy: {cidrs: ['10.0.0.1']}}\n",
            (vec!["10.0.0.1/32".to_owned()], 0),
        ),
        ("false", "gateway: {trustProxy: false}\n", (vec![], 0)),
        ("no hops", "gateway: {trustProxy: 0}\n", (vec![], 0)),
        (
            "the same twice",
            "trustProxy: false\ngateway: {trustProxy: false}\n",
            (vec![], 0),
        ),
    ] {
        assert_eq!(trusted(&Case::yaml(yaml).settings()), want, "{name}");
    }
    let env = Case::yaml("").env(&[("TOLLKEEP_SERVER__TRUST_PROXY", "true")]);
    assert_eq!(trusted(&env.settings()).1, 1);
}

// EDGE-61
#[test]
fn trust_proxy_trusts_no_other_machine_unless_it_is_named() {
    let warnings = Case::yaml("gateway: {trustProxy: true}\n").warnings();
    assert!(warnings.contains("`server.trusted_proxies`"), "{warnings}");
    let named = Case::yaml("gateway: {trustProxy: {cidrs: ['10.0.0.1']}}\n").warnings();
    assert_eq!(named, "");
    for (name, yaml, want) in [
        (
            "everybody",
            "gateway: {trustProxy: {cidrs: ['0.0.0.0/0']}}\n",
            "0.0.0.0/0 trusts everybody",
        ),
        (
            "twice",
            "trustProxy: 1\nserver: {trusted_proxies: ['10.0.0.1']}\n",
            "trust_proxy: stands beside `server.trusted_proxies`",
        ),
        (
            "twice, differently",
            "trustProxy: 1\ngateway: {trustProxy: 2}\n",
            "trust_proxy: says something else than `server.trust_proxy`",
        ),
        (
            "a word",
            "gateway: {trustProxy: 'yes'}\n",
            "want `true`, a number of hops, or `{hops, cidrs}`, not \"yes\"",
        ),
        (
            "too many",
            "gateway: {trustProxy: 33}\n",
            "want 0 to 32, not `33`",
        ),
        (
            "unknown member",
            "gateway: {trustProxy: {hop: 1}}\n",
            "hop: is no known key",
        ),
        (
            "host bits",
            "gateway: {trustProxy: {cidrs: ['10.0.0.1/8']}}\n",
            "the network is 10.0.0.0/8",
        ),
        (
            "no proxy in front of a public address",
            "gateway: {hostname: 0.0.0.0, trustProxy: true, allowed_hosts: [x.example]}\n",
            "0.0.0.0 is a public address without TLS",
        ),
    ] {
        let errors = Case::yaml(yaml).errors();
        assert!(errors.contains(want), "{name}: {errors}");
    }
}

// EDGE-130
#[test]
fn maintenance_has_a_text_that_callers_can_be_told() {
    let page =
        "server:\n  maintenance_mode: true\n  message: \"Scheduled maintenance in progress\"\n";
    let on = Case::yaml(page).settings().server.maintenance;
    assert!(on.on);
    assert_eq!(on.message, "Scheduled maintenance in progress");
    assert_eq!(on.retry_after.as_secs(), 120);
    let off = Case::yaml("").settings().server.maintenance;
    assert!(!off.on && !off.message.is_empty() && off.allow.is_empty());
    let own = "server: {maintenance_retry_after_s: 30, maintenance_allow_ips: ['10.0.0.0/8']}\n";
    let own = Case::yaml(own).settings().server.maintenance;
    assert_eq!(own.retry_after.as_secs(), 30);
    assert!(own.allow.contains("10.1.1.1".parse().unwrap()));
    for (name, yaml) in [
        ("empty", "server: {message: ''}\n".to_owned()),
        ("two lines", "server: {message: \"a\\nb\"}\n".to_owned()),
        (
            "too long",
            format!("server: {{message: {}}}\n", "m".repeat(501)),
        ),
        (
            "never",
            "server: {maintenance_retry_after_s: 0}\n".to_owned(),
        ),
    ] {
        assert!(Case::yaml(&yaml).load().is_err(), "{name}");
    }
}

// EDGE-4
#[test]
fn management_is_on_the_data_port_only_where_nobody_else_looks_local() {
    let yaml =
        |server: &str| Case::yaml(&format!("management: {{on_data_port: loopback}}\n{server}"));
    assert_eq!(
        yaml("").settings().management.on_data_port,
        OnDataPort::Loopback
    );
    for off in [
        "",
        "management: {on_data_port: off}\n",
        "management: {on_data_port: 'off'}\n",
    ] {
        let settings = Case::yaml(off).settings();
        assert_eq!(settings.management.on_data_port, OnDataPort::Off, "{off}");
    }
    for server in [
        "server: {trusted_proxies: ['127.0.0.0/8']}\n",
        "server: {trusted_proxies: ['10.0.0.0/8', '127.0.0.5']}\n",
        "server: {trusted_proxies: ['::1']}\n",
        "server: {trusted_proxies: ['96.0.0.0/3']}\n",
        "trustProxy: true\n",
    ] {
        let errors = yaml(server).errors();
        assert!(
            errors.contains("management.on_data_port"),
            "{server}: {errors}"
        );
    }
    let remote = yaml("server: {trusted_proxies: ['10.0.0.0/8', 'fd00::/8']}\n");
    assert!(remote.load().is_ok());
}
