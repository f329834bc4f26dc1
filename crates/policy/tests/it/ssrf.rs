//! Every case of `ssrf.json`, which explains its own fields.

use ipnet::IpNet;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use tollkeep_policy::egress::{
    EgressPolicy, EgressReason, EgressRefusal, EgressUrl, Exceptions, Giver, Host, Purpose,
    VettedAddr, check_redirect, parse_url,
};

const CASES: &str = include_str!("../data/ssrf.json");

fn policy(fixture: &Value) -> EgressPolicy {
    let listeners = texts(&fixture["listeners"]).map(|addr| addr.parse().unwrap());
    EgressPolicy::new(Vec::new(), Vec::new(), listeners.collect())
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|text| text.as_str().unwrap())
}

/// What the fixture's resolver answers for a name.
fn addresses_of(name: &str) -> Vec<IpAddr> {
    let texts: &[&str] = if name == "localhost" {
        &["127.0.0.1", "::1"]
    } else {
        &["93.184.216.34"]
    };
    texts.iter().map(|ip| ip.parse().unwrap()).collect()
}

/// What the case's resolver answers: addresses, an alias, or a failure, which is no address.
fn answer(given: &Value) -> Vec<IpAddr> {
    let one = |text: &str| match text.strip_prefix("CNAME ") {
        Some(alias) => addresses_of(alias.trim_end_matches('.')),
        None => vec![text.parse().unwrap()],
    };
    texts(given).flat_map(one).collect()
}

/// Parses, admits, resolves and vets, as a dial does.
fn dial(
    policy: &EgressPolicy,
    url: Result<EgressUrl, EgressRefusal>,
    exceptions: &Exceptions,
    resolve: impl Fn(&str) -> Vec<IpAddr>,
) -> Result<(EgressUrl, Vec<VettedAddr>), EgressRefusal> {
    let url = url?;
    policy.admit(&url, exceptions)?;
    let ips = match url.host() {
        Host::Name(name) => resolve(name),
        Host::V4(ip) => vec![(*ip).into()],
        Host::V6(ip) => vec![(*ip).into()],
    };
    let addrs: Vec<SocketAddr> = ips
        .into_iter()
        .map(|ip| SocketAddr::new(ip, url.port()))
        .collect();
    let vetted = policy.vet(&url, exceptions, &addrs)?;
    Ok((url, vetted))
}

fn tenant_url(text: &str) -> Result<EgressUrl, EgressRefusal> {
    let purpose = if text.starts_with("ws") {
        Purpose::Relay
    } else {
        Purpose::Webhook
    };
    parse_url(text, purpose, Giver::Tenant)
}

fn judge(
    policy: &EgressPolicy,
    case: &Value,
) -> Result<(EgressUrl, Vec<VettedAddr>), EgressRefusal> {
    let input = case["input"].as_str().unwrap();
    let none = Exceptions::default();
    match case["kind"].as_str().unwrap() {
        "url" => dial(policy, tenant_url(input), &none, addresses_of),
        "operator_url" => {
            let allow_private: Vec<IpNet> = texts(&case["allow_private"])
                .map(|net| net.parse().unwrap())
                .collect();
            let exceptions = Exceptions {
                allow_private,
                allow_metadata: false,
            };
            dial(
                policy,
                parse_url(input, Purpose::Upstream, Giver::Operator),
                &exceptions,
                addresses_of,
            )
        }
        "addr" => {
            let ip = input.parse().unwrap();
            dial(
                policy,
                tenant_url("https://probe.example.com/"),
                &none,
                |_| vec![ip],
            )
        }
        "dns" => dial(policy, tenant_url(input), &none, |_| {
            answer(&case["answers"][0])
        }),
        other => panic!("unknown kind {other}"),
    }
}

// EDGE-95 EDGE-96 EDGE-97 EDGE-98 EDGE-101 EDGE-104
#[test]
fn every_case_gets_its_verdict_and_reason() {
    let file: Value = serde_json::from_str(CASES).unwrap();
    let policy = policy(&file["fixture"]);
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(
        cases.len(),
        usize::try_from(file["count"].as_u64().unwrap()).unwrap()
    );
    for case in cases.iter().filter(|case| case["kind"] != "redirect") {
        let id = case["id"].as_str().unwrap();
        match judge(&policy, case) {
            Ok((url, vetted)) => {
                assert_eq!(case["expect"], "allow", "{id}");
                check_dialled(case, id, &url, &vetted);
            }
            Err(refusal) => {
                assert_eq!(case["expect"], "refuse", "{id}: {refusal}");
                let label = refusal.reason().label();
                assert!(
                    texts(&case["reason"]).any(|reason| reason == label),
                    "{id}: {label}"
                );
            }
        }
    }
}

fn check_dialled(case: &Value, id: &str, url: &EgressUrl, vetted: &[VettedAddr]) {
    if let Some(host) = case["host"].as_str() {
        let dialled = url.host().to_string();
        assert_eq!(dialled.trim_matches(['[', ']']), host, "{id}");
        assert_eq!(Some(u64::from(url.port())), case["port"].as_u64(), "{id}");
    }
    if case["connects"].is_array() {
        let dialled: Vec<String> = vetted
            .iter()
            .map(|vetted| vetted.addr().ip().to_string())
            .collect();
        assert_eq!(
            dialled,
            texts(&case["connects"]).collect::<Vec<_>>(),
            "{id}"
        );
    }
}

/// A name whose next answer is another is judged by that one.
// EDGE-98
#[test]
fn every_dial_is_vetted_anew() {
    let file: Value = serde_json::from_str(CASES).unwrap();
    let policy = policy(&file["fixture"]);
    let flips = file["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["second"] == "refuse");
    for case in flips {
        let url = || tenant_url(case["input"].as_str().unwrap());
        for (at, allowed) in [(0, true), (1, false), (0, true)] {
            let dialled = dial(&policy, url(), &Exceptions::default(), |_| {
                answer(&case["answers"][at])
            });
            assert_eq!(dialled.is_ok(), allowed, "{}", case["id"]);
        }
    }
}

// EDGE-100
#[test]
fn redirects_are_followed_nowhere() {
    let file: Value = serde_json::from_str(CASES).unwrap();
    let redirects = file["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["kind"] == "redirect");
    for case in redirects {
        for purpose in [Purpose::Provider, Purpose::Webhook, Purpose::Relay] {
            for status in [300, 301, 302, 303, 304, 307, 308, 399] {
                let refusal = check_redirect(purpose, status).unwrap_err();
                assert_eq!(
                    refusal.reason(),
                    EgressReason::Redirect,
                    "{} {status}",
                    case["id"]
                );
            }
        }
    }
    for status in [200, 204, 299, 400, 502] {
        assert_eq!(
            check_redirect(Purpose::Provider, status),
            Ok(()),
            "{status}"
        );
    }
    assert_eq!(check_redirect(Purpose::Upstream, 302), Ok(()));
}
