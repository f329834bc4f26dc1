//! Allow and deny lists of addresses, in every spelling.

use crate::support::Case;
use tollkeep_config::settings::Settings;
use tollkeep_policy::ip_list::Listing::{self, Denied, Exempt, Passes};

fn judged(settings: &Settings, address: &str) -> Listing {
    settings.server.ip_lists.judge(address.parse().unwrap())
}

fn security(yaml: &str) -> Case {
    Case::yaml(&format!("server:\n  security:\n{yaml}"))
}

const PAGE_ALLOW: &str = "
    ip_allowlist:
      enabled: true
      allowed_ips:
        - \"10.0.0.0/8\"       # Private network
        - \"192.168.1.100\"    # Specific IP
        - \"203.0.113.0/24\"   # Public network
";

const PAGE_DENY: &str = "
    ip_denylist:
      enabled: true
      denied_ips:
        - \"192.0.2.0/24\"     # Test network
        - \"198.51.100.100\"   # Specific IP
";

// EDGE-65
#[test]
fn the_blocks_of_another_gateways_guide_work_as_written() {
    let settings = security(PAGE_ALLOW).settings();
    let only = security(&format!("{PAGE_ALLOW}      deny_all: true\n")).settings();
    for (address, want) in [
        ("10.1.2.3", Passes),
        ("192.168.1.100", Passes),
        ("192.168.1.101", Denied),
        ("203.0.113.255", Passes),
        ("8.8.8.8", Denied),
    ] {
        assert_eq!(judged(&settings, address), want, "{address}");
        assert_eq!(judged(&only, address), want, "{address}");
    }
    let exempt = security(&format!("{PAGE_ALLOW}      deny_all: false\n")).settings();
    assert_eq!(judged(&exempt, "10.1.2.3"), Exempt);
    assert_eq!(judged(&exempt, "8.8.8.8"), Passes);
    let both = security(&format!("{PAGE_ALLOW}{PAGE_DENY}")).settings();
    assert_eq!(judged(&both, "192.0.2.1"), Denied);
    let deny = security(PAGE_DENY).settings();
    assert_eq!(judged(&deny, "198.51.100.100"), Denied);
    assert_eq!(judged(&deny, "198.51.100.101"), Passes);
}

// EDGE-65
#[test]
fn a_list_that_guards_nothing_or_nobody_is_an_error() {
    for (name, yaml, want) in [
        (
            "nobody",
            "    ip_allowlist: {enabled: true}\n",
            "server.security.ip_allowlist: is enabled with nobody in `allowed_ips`: everybody would be refused",
        ),
        (
            "no switch",
            "    ip_allowlist: {allowed_ips: ['10.0.0.0/8']}\n",
            "server.security.ip_allowlist: lists addresses and does not say `enabled`",
        ),
        (
            "no switch",
            "    ip_denylist: {denied_ips: ['10.0.0.0/8']}\n",
            "server.security.ip_denylist: lists addresses and does not say `enabled`",
        ),
        (
            "host bits",
            "    ip_denylist: {enabled: true, denied_ips: ['10.1.2.3/8']}\n",
            "denied_ips[0]: 10.1.2.3/8 has host bits set; the network is 10.0.0.0/8",
        ),
        (
            "no address",
            "    ip_allowlist: {enabled: true, allowed_ips: ['10.0.0.0/8', 'banana']}\n",
            "allowed_ips[1]: want an address or CIDR such as `10.0.0.0/8`, not \"banana\"",
        ),
    ] {
        let errors = security(yaml).errors();
        assert!(errors.contains(want), "{name}: {errors}");
    }
    let off = security(
        "    ip_allowlist: {enabled: false, allowed_ips: ['10.0.0.0/8']}\n    ip_denylist: {enabled: false, denied_ips: ['10.0.0.0/8']}\n",
    );
    assert!(off.settings().server.ip_lists.is_off());
    assert!(Case::yaml("").settings().server.ip_lists.is_off());
    let exempt_nobody = security("    ip_allowlist: {enabled: true, deny_all: false}\n");
    assert_eq!(judged(&exempt_nobody.settings(), "10.0.0.1"), Passes);
}

// EDGE-66
#[test]
fn llm_routers_names_are_an_allow_list_that_is_in_force() {
    for name in ["LLM_ROUTER_ALLOWED_IPS", "LLM_ROUTER_IP_ALLOWLIST"] {
        for value in [
            "203.0.113.7,10.0.0.0/8",
            "203.0.113.7 10.0.0.0/8",
            " 203.0.113.7 ,\t10.0.0.0/8, ",
        ] {
            let case = Case::yaml("").env(&[(name, value)]);
            let settings = case.settings();
            for (address, want) in [
                ("203.0.113.7", Passes),
                ("10.9.9.9", Passes),
                ("203.0.113.8", Denied),
            ] {
                assert_eq!(judged(&settings, address), want, "{name}={value}");
            }
            assert!(case.warnings().contains(name), "{name}");
        }
    }
    let both = |one: &str, other: &str| {
        let case = Case::yaml("");
        case.env(&[
            ("LLM_ROUTER_ALLOWED_IPS", one),
            ("LLM_ROUTER_IP_ALLOWLIST", other),
        ])
    };
    let same = both("10.0.0.1,10.0.0.2", "10.0.0.2 10.0.0.1").settings();
    assert_eq!(judged(&same, "10.0.0.1"), Passes);
    let errors = both("10.0.0.1", "10.0.0.2").errors();
    assert!(
        errors.contains("LLM_ROUTER_IP_ALLOWLIST") && errors.contains("LLM_ROUTER_ALLOWED_IPS"),
        "{errors}"
    );
    let nobody = Case::yaml("").env(&[("LLM_ROUTER_ALLOWED_IPS", " , ")]);
    assert!(nobody.errors().contains("everybody would be refused"));
    let stays = security("    ip_allowlist: {enabled: false, deny_all: false}\n")
        .env(&[("LLM_ROUTER_ALLOWED_IPS", "10.0.0.1")]);
    assert_eq!(judged(&stays.settings(), "10.0.0.2"), Denied);
}

// EDGE-68
#[test]
fn management_and_routes_have_lists_of_their_own() {
    let judged = |yaml: &str, address: &str| {
        let settings = Case::yaml(yaml).settings();
        settings.management.ip_lists.judge(address.parse().unwrap())
    };
    let short = "management: {allowed_ips: ['10.0.0.0/8']}\n";
    let long = "management: {security: {ip_allowlist: {enabled: true, allowed_ips: ['10.0.0.0/8']}, ip_denylist: {enabled: true, denied_ips: ['10.9.0.0/16']}}}\n";
    assert_eq!(judged(short, "10.1.1.1"), Passes);
    assert_eq!(judged(short, "127.0.0.1"), Denied);
    assert_eq!(judged(long, "10.9.1.1"), Denied);
    assert_eq!(judged(long, "10.1.1.1"), Passes);
    for (name, yaml, want) in [
        (
            "two spellings",
            "management: {allowed_ips: ['10.0.0.0/8'], security: {ip_allowlist: {enabled: true, allowed_ips: ['10.0.0.0/8']}}}\n",
            "management.allowed_ips: says the same as `management.security.ip_allowlist`; write one",
        ),
        (
            "nobody",
            "management: {allowed_ips: []}\n",
            "everybody would be refused",
        ),
        (
            "no limit to be exempt from",
            "management: {security: {ip_allowlist: {enabled: true, allowed_ips: ['10.0.0.0/8'], deny_all: false}}}\n",
            "management.security.ip_allowlist.deny_all: has no effect",
        ),
        (
            "a route for nobody",
            "upstreams: {api: {url: 'https://api.example'}}\nroutes: {'GET /x': {upstream: api, allowed_ips: []}}\n",
            "allowed_ips: names nobody: list addresses, or leave it out",
        ),
    ] {
        let errors = Case::yaml(yaml).errors();
        assert!(errors.contains(want), "{name}: {errors}");
    }
    let routes = "upstreams: {api: {url: 'https://api.example'}}\nroutes: {'GET /x': {upstream: api, allowed_ips: ['10.0.0.0/8']}}\n";
    let settings = Case::yaml(routes).settings();
    let allowed = settings.routes[0].allowed_ips.as_ref().unwrap();
    assert!(allowed.contains("10.0.0.1".parse().unwrap()));
}
