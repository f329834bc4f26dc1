//! What `tollkeep doctor` says of payments.

use crate::fixture::TOLLKEEP;
use crate::paid_fixture::{PAYEE, USDC};
use serde_json::{Value, json};
use std::process::Command;
use tollkeep_payments::evm::Domain;
use tollkeep_testkit::{Origin, Request};

/// A node of Base Sepolia, by whose word USDC has these decimals and this version.
fn node(decimals: u8, version: &'static str) -> Origin {
    let domain = Domain {
        name: "USDC",
        version: Some(version),
        chain_id: 84532,
        contract: USDC.parse().unwrap(),
    };
    let domain: String = domain
        .separator()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Origin::start(move |request: &Request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let data = asked["params"][0]["data"].as_str().unwrap_or_default();
        let result = match (asked["method"].as_str().unwrap(), data) {
            ("eth_chainId", _) => "0x14a34".to_owned(),
            ("eth_call", "0x3644e515") => format!("0x{domain}"),
            ("eth_call", "0x313ce567") => format!("0x{decimals:064x}"),
            _ => return tollkeep_testkit::json(&json!({ "error": { "code": -1 } })),
        };
        tollkeep_testkit::json(&json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
    })
}

/// What checks 101 and 102 come to.
fn looked(rpc: &str, arguments: &[&str]) -> [(String, String); 2] {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tollkeep.yaml");
    let text = format!(
        "upstreams: {{ a: {{ url: \"https://a.example\" }} }}\n\
         accepts: [{{ asset: USDC, network: base-sepolia }}]\n\
         wallets: {{ base-sepolia: \"{PAYEE}\" }}\n\
         payments: {{ x402: {{ facilitators: {{ f: {{ url: \"https://fac.example\" }} }}{rpc} }} }}\n\
         routes:\n  GET /x: {{ upstream: a, price: \"$0.01\" }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let output = Command::new(TOLLKEEP)
        .args(["doctor", "--json", "--only", "101,102", "--config"])
        .arg(&file)
        .args(arguments)
        .env("TOLLKEEP_DATA_DIR", folder.path().join("data"))
        .output()
        .unwrap();
    let told: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    [101, 102].map(|number| {
        let checks = told["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["number"] == number);
        let check = check.unwrap_or_else(|| panic!("{number}: {told}"));
        let text = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
        (text("status"), text("found"))
    })
}

fn reads(node: &Origin, network: &str) -> String {
    format!(", rpc: {{ \"{network}\": \"{}\" }}", node.url())
}

// PAY-62
#[test]
fn a_network_that_no_node_reads_is_warned_of() {
    let [reading, tokens] = looked("", &[]);
    assert_eq!(reading.0, "fail", "{reading:?}");
    assert!(reading.1.contains("eip155:84532"), "{reading:?}");
    assert_eq!(tokens.0, "skipped", "{tokens:?}");
    let [reading, tokens] = looked(&reads(&node(6, "2"), "base-sepolia"), &[]);
    assert_eq!((reading.0.as_str(), tokens.0.as_str()), ("pass", "skipped"));
    let [reading, _] = looked(&reads(&node(6, "2"), "base"), &[]);
    assert_eq!(reading.0, "fail", "of another network: {reading:?}");
}

// PAY-103
#[test]
fn a_chain_is_asked_whether_tokens_are_what_signatures_are_judged_by() {
    for (node, network, want) in [
        (node(6, "2"), "base-sepolia", None),
        (
            node(6, "1"),
            "base-sepolia",
            Some("is not named `USDC`, version `2`"),
        ),
        (
            node(18, "2"),
            "base-sepolia",
            Some("has 18 decimals, not 6"),
        ),
        (
            node(6, "2"),
            "base",
            Some("the node is one of eip155:84532"),
        ),
        (
            Origin::plain(),
            "base-sepolia",
            Some("the node does not answer"),
        ),
    ] {
        let [_, tokens] = looked(&reads(&node, network), &["--online"]);
        match want {
            None => assert_eq!(tokens.0, "pass", "{tokens:?}"),
            Some(want) => {
                assert_eq!(tokens.0, "fail", "{want}: {tokens:?}");
                assert!(tokens.1.contains(want), "{want}: {tokens:?}");
            }
        }
    }
    assert_eq!(looked("", &["--online"])[1].0, "skipped");
}
