//! Who settles payments, in the short form.

use crate::support::Case;
use tollkeep_payments::x402::Network;

const DEFAULT: &str = "https://fac.example/";
const OTHER: &str = "https://other.example/x";

/// The addresses asked on Base, then on Polygon, best first.
fn asked(yaml: &str) -> Result<[Vec<String>; 2], String> {
    let loaded = Case::yaml(yaml).load()?;
    let x402 = &loaded.settings.payments.x402;
    let of = |network: &str| {
        let network = Network::from_caip2(network).unwrap();
        let known = x402.facilitators_of(&network);
        known.iter().map(|known| known.url.to_string()).collect()
    };
    Ok([of("eip155:8453"), of("eip155:137")])
}

// PAY-100
#[test]
fn one_address_or_one_by_network_says_who_settles() {
    let by_network = format!(
        "facilitator: {{ default: \"{DEFAULT}\", chains: {{ base/USDC: \"{OTHER}\" }} }}\n"
    );
    let only_some = format!("facilitator: {{ chains: {{ base: \"{OTHER}\" }} }}\n");
    for (yaml, base, polygon) in [
        (
            format!("facilitator: \"{DEFAULT}\"\n"),
            vec![DEFAULT],
            vec![DEFAULT],
        ),
        (by_network, vec![OTHER, DEFAULT], vec![DEFAULT]),
        (only_some, vec![OTHER], vec![]),
        ("facilitator: \"\"\n".to_owned(), vec![], vec![]),
        (String::new(), vec![], vec![]),
    ] {
        let [on_base, on_polygon] = asked(&yaml).unwrap();
        assert_eq!(on_base, base, "{yaml}");
        assert_eq!(on_polygon, polygon, "{yaml}");
    }
}

// PAY-100 PAY-101
#[test]
fn what_says_it_badly_is_told_where() {
    for (yaml, told) in [
        (
            "facilitator: mock",
            "facilitator: is not supported as `mock` yet",
        ),
        (
            "facilitator: http://fac.example",
            "`http` outside of `payments.x402.allow_private`",
        ),
        ("facilitator: ftp://fac.example", "facilitator: "),
        (
            "facilitator: {url: https://fac.example}",
            "want `default` and `chains`, not `url`",
        ),
        (
            "facilitator: {chains: {base/USDC: https://a.example, base/EURC: https://b.example}}",
            "a network has one facilitator, whatever the token",
        ),
        (
            "facilitator: {chains: {bse: https://a.example}}",
            "did you mean `base`?",
        ),
        (
            "facilitator: https://fac.example\npayments: {x402: {facilitators: {a: {url: https://a.example}}}}",
            "stands beside `payments.x402.facilitators`",
        ),
    ] {
        let problem = asked(&format!("{yaml}\n")).unwrap_err();
        assert!(problem.contains(told), "{yaml}: {problem}");
    }
}
